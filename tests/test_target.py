"""The text of a destination: what is accepted, what it means, and that hostile texts go no further."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.target import (
    Anywhere,
    Interface,
    Literal,
    Name,
    Target,
    Unix,
    host_name,
    local_identity,
    name_server,
    numeric,
    target,
)
from zsmtp.trouble import Kind, Trouble


def kind_of(text: bytes, *, forced: bool = False) -> Kind | Target:
    """Give the kind of trouble that a text makes, or what it was taken for instead."""
    found = target(text, forced=forced)
    return found.kind if isinstance(found, Trouble) else found


class ANameIsGiven(SynchronousTestCase):
    def test_case_and_final_dot_do_not_matter(self) -> None:
        for text in (b"Mail.Example.ORG", b"mail.example.org.", b"mail.example.org"):
            self.assertEqual(target(text, forced=False), Name("mail.example.org"))

    def test_underscore_and_hyphens_are_accepted_since_such_hosts_exist(self) -> None:
        self.assertEqual(target(b"_a-b-.x_y.example", forced=False), Name("_a-b-.x_y.example"))

    def test_a_name_beyond_ascii_becomes_a_labels(self) -> None:
        text = "Bücher.Example".encode()
        self.assertEqual(target(text, forced=False), Name("xn--bcher-kva.example"))

    def test_an_ideographic_full_stop_separates_labels(self) -> None:
        self.assertEqual(target("例え。テスト".encode(), forced=False), Name("xn--r8jz45g.xn--zckzah"))

    def test_what_cannot_be_an_internationalised_name_is_refused(self) -> None:
        for text in (b"b\xfccher.example", "a\u2028b.example".encode(), "☕.example".encode()):
            self.assertIs(kind_of(text), Kind.NO_SUCH_DOMAIN)

    def test_lengths_are_those_of_the_dns(self) -> None:
        longest = b".".join([b"a" * 63] * 3 + [b"b" * 61])
        self.assertEqual(target(longest, forced=False), Name(longest.decode()))
        for text in (b"x" + longest, b"a" * 64 + b".example", b"", b".", b"a..b", b".a", b"x" * 100_000):
            self.assertIs(kind_of(text), Kind.NO_SUCH_DOMAIN, text)
        self.assertIs(kind_of("é".encode() * 100_000), Kind.NO_SUCH_DOMAIN)

    def test_control_characters_and_blanks_are_refused_and_not_repeated(self) -> None:
        for text in (
            b"a\r\nRCPT TO:<x>",
            b"a b",
            b"a\0b",
            b"a\tb",
            b"%s",
            b"a/b",
            b"a:25",
            b"a@b",
            b"\x1b[2J",
        ):
            found = target(text, forced=False)
            assert isinstance(found, Trouble)
            self.assertIs(found.kind, Kind.NO_SUCH_DOMAIN)
            self.assertFalse(set(found.text) & {0, 9, 10, 13, 27})


class ALiteralIsGiven(SynchronousTestCase):
    def test_ipv4(self) -> None:
        expected = Literal(IPv4Address("10.8.0.4"), None, "10.8.0.4")
        self.assertEqual(target(b"[10.8.0.4]", forced=False), expected)

    def test_a_port_after_it(self) -> None:
        """D35: the port of a literal."""
        expected = Literal(IPv4Address("10.8.0.4"), 25, "10.8.0.4")
        self.assertEqual(target(b"[10.8.0.4]:25", forced=False), expected)

    def test_ipv6_with_each_form_of_the_tag_and_without(self) -> None:
        """D35: [IPv6:::1]; smtp(8zm) writes [ipv6.addr]."""
        for text in ("IPv6:::1", "ipv6.::1", "IPV6 ::1", "::1"):
            expected = Literal(IPv6Address("::1"), None, text)
            self.assertEqual(target(b"[%s]" % text.encode(), forced=False), expected)

    def test_a_scope_stays_with_the_address(self) -> None:
        found = target(b"[ipv6.fe80::1%eth0]:26", forced=True)
        self.assertEqual(found, Literal(IPv6Address("fe80::1%eth0"), 26, "ipv6.fe80::1%eth0", True))

    def test_a_missing_bracket_and_a_quote_in_front_are_accepted(self) -> None:
        """D35: [1.2.3.4; the original skips a quote."""
        expected = Literal(IPv4Address("1.2.3.4"), None, "1.2.3.4")
        for text in (b"[1.2.3.4", b'"[1.2.3.4]"', b'"[1.2.3.4]'):
            self.assertEqual(target(text, forced=False), expected)

    def test_it_remembers_that_the_postmaster_gave_it(self) -> None:
        self.assertEqual(target(b"[::1]", forced=True), Literal(IPv6Address("::1"), None, "::1", forced=True))

    def test_names_are_not_looked_up_and_other_notations_are_refused(self) -> None:
        """D35: [foo.bar]; programs disagree on [1.2.3] and [010.8.0.4]."""
        texts = (
            b"[foo.bar] [1.2.3] [1.2.3 [010.8.0.4] [0x0a080004] [168296452] [1.2.3.4.5] [] [ [[1.2.3.4]] "
            b"[1.2.3.4]x [1.2.3.4]: [1.2.3.4]:0 [1.2.3.4]:65536 [1.2.3.4]:smtp [1.2.3.4:25 [ipv6.1.2.3.4] "
            b"[ipv6.::1%a/b] [ipv6.1:2] [::1::] [IPv6::1] [\xc2\xb2.1.1.1] [ipv6.::1%] [1.2.3.4%eth0]"
        )
        for text in texts.split(b" "):
            found = target(text, forced=True)
            assert isinstance(found, Trouble), text
            self.assertEqual(found.kind, Kind.BAD_LITERAL)
            self.assertIn(b"bad IP address: [", found.text)


class ASocketIsGiven(SynchronousTestCase):
    def test_its_path_is_kept_as_it_is(self) -> None:
        self.assertEqual(target(b"UNIX:/run/Dir/lmtp", forced=True), Unix("/run/Dir/lmtp"))

    def test_only_with_f_since_a_host_column_comes_from_outside(self) -> None:
        self.assertIs(kind_of(b"UNIX:/run/lmtp"), Kind.NO_SUCH_DOMAIN)

    def test_a_path_that_is_not_absolute_is_no_socket(self) -> None:
        self.assertIs(kind_of(b"UNIX:run/lmtp", forced=True), Kind.NO_SUCH_DOMAIN)

    def test_a_path_that_the_kernel_would_cut_is_refused(self) -> None:
        self.assertEqual(target(b"UNIX:/" + b"x" * 106, forced=True), Unix("/" + "x" * 106))
        self.assertIs(kind_of(b"UNIX:/" + b"x" * 107, forced=True), Kind.INVALID_ADDRESS)
        self.assertIs(kind_of(b"UNIX:/a\0b", forced=True), Kind.INVALID_ADDRESS)

    def test_octets_beyond_utf8_come_back_when_the_path_is_used(self) -> None:
        found = target(b"UNIX:/\xff", forced=True)
        assert isinstance(found, Unix)
        self.assertEqual(found.path.encode("utf-8", "surrogateescape"), b"/\xff")


class AnythingIsGiven(SynchronousTestCase):
    @settings(deadline=None, max_examples=300)
    @given(st.binary(max_size=300), st.booleans())
    def test_it_becomes_a_clean_value(self, text: bytes, forced: bool) -> None:
        found = target(text, forced=forced)
        if isinstance(found, Name):
            self.assertRegex(found.name, r"\A[a-z0-9_.-]{1,253}\Z")
            self.assertEqual(target(found.name.encode(), forced=forced), found)
        elif isinstance(found, Trouble):
            self.assertTrue(found.text.decode("ascii").isprintable())

    @settings(deadline=None, max_examples=100)
    @given(st.ip_addresses(), st.none() | st.integers(1, 65535))
    def test_every_address_can_be_given(self, address: IPv4Address | IPv6Address, port: int | None) -> None:
        text = f"[{address}]" + (f":{port}" if port else "")
        self.assertEqual(target(text.encode(), forced=False), Literal(address, port, str(address)))

    @settings(deadline=None, max_examples=200)
    @given(st.text(alphabet="0123456789abcdef.:%x ", max_size=40))
    def test_numeric_accepts_nothing_that_python_does_not(self, text: str) -> None:
        found = numeric(text)
        if found is not None:
            self.assertEqual(found, ip_address(text))


class ANameComesFromTheDns(SynchronousTestCase):
    def test_a_dot_inside_a_label_is_not_taken_for_two_labels(self) -> None:
        self.assertEqual(host_name([b"a.b", b"example"]), "")
        self.assertEqual(host_name([b"A", b"b", b"example"]), "a.b.example")

    def test_nothing_is_no_name(self) -> None:
        self.assertEqual(host_name([]), "")
        self.assertEqual(host_name([b""]), "")


class ALocalIdentityIsGiven(SynchronousTestCase):
    def test_every_form(self) -> None:
        for text, wanted in (
            ("any", Anywhere()),
            ("ANY6", Anywhere()),
            ("iface:eth0", Interface("eth0", None)),
            ("IFACE:eth0:1", Interface("eth0:1", None)),
            ("iface:V4:eth0", Interface("eth0", 4)),
            ("iface:v6:eth0", Interface("eth0", 6)),
            ("Host.Example.", Name("host.example")),
        ):
            self.assertEqual(local_identity(text), wanted)
        for text, address in (
            ("[1.2.3.4]", "1.2.3.4"),
            ("[IPv6.2001:db8::1]", "2001:db8::1"),
            ("[ipv6:2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
        ):
            found = local_identity(text)
            assert isinstance(found, Literal)
            self.assertEqual(found.address, ip_address(address))

    def test_what_is_none(self) -> None:
        for text in (
            *("", "iface:", "iface:v4:", "[1.2.3.4", "[1.2.3.4]:25", "[1.2.3]", "[x]", "1.2.3.4", "1.2.3"),
            *("1:2", "2001:db8::1", "a b", "a\n", "UNIX:/x", "h\u00e4", "iface:a b"),
        ):
            self.assertIsNone(local_identity(text), text)


class ANameServerIsGiven(SynchronousTestCase):
    def test_every_form(self) -> None:
        for text, server in (
            ("192.0.2.1", ("192.0.2.1", 53)),
            ("192.0.2.1:5353", ("192.0.2.1", 5353)),
            ("::1", ("::1", 53)),
            ("[::1]", ("::1", 53)),
            ("[::1]:5353", ("::1", 5353)),
        ):
            self.assertEqual(name_server(text), server)

    def test_what_is_none(self) -> None:
        for text in ("", "ns.example", "192.0.2", "192.0.2.1:0", "192.0.2.1:65536", "[::1]:x", "[::1", ":53"):
            self.assertIsNone(name_server(text), text)
