"""Tests of zsmtp.message.addresses."""

from __future__ import annotations

from email.headerregistry import Address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.errors import MessageError
from zsmtp.message.addresses import address, addresses

LOCAL = st.text("abcXYZ019.!#$%&'*+-/=?^_`{|}~ @,;:<>()[]\"\\", min_size=1, max_size=20)
DOMAIN = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?(\.[a-z]{2,5}){0,3}", fullmatch=True)
NAME = st.text('abc .,;:<>()@"\\[]', max_size=20)


class Lists(SynchronousTestCase):
    """What people write."""

    def check(self, text: bytes, *expected: bytes) -> None:
        self.assertEqual(addresses(text), list(expected))

    def test_bare(self) -> None:
        self.check(b"bob@example.org", b"bob@example.org")

    def test_several(self) -> None:
        self.check(b" a@b.org,c@d.org , root,", b"a@b.org", b"c@d.org", b"root")

    def test_none(self) -> None:
        self.check(b" , ")

    def test_names(self) -> None:
        self.check(
            b'Bob <bob@x.org>, "Smith, J." <j@x.org>,J. R. Ewing<jr@x.org>',
            b"bob@x.org",
            b"j@x.org",
            b"jr@x.org",
        )

    def test_names_outside_of_ascii(self) -> None:
        self.check("Jörg <j@x.org>".encode(), b"j@x.org")
        self.check(b"=?utf-8?q?J=C3=B6rg?= <j@x.org>", b"j@x.org")

    def test_comments(self) -> None:
        self.check(b"a@b.org (A, (nested \\) one) B), (c) c@d.org", b"a@b.org", b"c@d.org")

    def test_groups(self) -> None:
        self.check(b"Team: a@b.org, C <c@d.org>; e@f.org", b"a@b.org", b"c@d.org", b"e@f.org")
        self.check(b"undisclosed-recipients:;")

    def test_obsolete_forms(self) -> None:
        self.check(b"bob @ example . org", b"bob@example.org")
        self.check(b"<@a.org,@b.org:bob@c.org>", b"bob@c.org")
        self.check(b"<@a.org:bob@c.org>", b"bob@c.org")

    def test_quoted_and_literal(self) -> None:
        self.check(b'"john doe"@x.org, a@[192.0.2.1]', b'"john doe"@x.org', b"a@[192.0.2.1]")

    @given(st.lists(st.tuples(NAME, LOCAL, DOMAIN), min_size=1, max_size=5))
    @settings(deadline=None, max_examples=300)
    def test_what_the_standard_library_writes_is_read(self, people: list[tuple[str, str, str]]) -> None:
        written = [Address(name, local, domain) for name, local, domain in people]
        text = ", ".join(map(str, written)).encode()
        self.assertEqual(addresses(text), [each.addr_spec.encode() for each in written])

    @given(st.binary(max_size=60))
    @settings(deadline=None, max_examples=300)
    def test_whatever_is_found_is_one_word_of_ascii(self, text: bytes) -> None:
        try:
            found = addresses(text)
        except MessageError:
            return
        for each in found:
            self.assertRegex(each, rb"\A[ -~]+\Z")

    def test_time_stays_linear(self) -> None:
        for text in (b"(" * 200_000, b'"' * 200_001, b"<" * 200_000, b'"\\' * 100_000):
            with self.assertRaises(MessageError):
                addresses(text)


class Refusals(SynchronousTestCase):
    """Nothing is guessed."""

    def check(self, text: bytes, why: str) -> None:
        with self.assertRaises(MessageError) as caught:
            addresses(text)
        self.assertIn(why, str(caught.exception))

    def test_beyond_ascii(self) -> None:
        self.check("jörg@x.org".encode(), "not in ASCII")
        self.check("a@xö.org".encode(), "not in ASCII")
        self.check(b"=?utf-8?q?j=C3=B6rg?=@x.org", "not in ASCII")

    def test_two_words(self) -> None:
        self.check(b"bob example", "no address")

    def test_unclosed(self) -> None:
        self.check(b"<a@b.org", "not closed")
        self.check(b"(a@b.org", "not closed")
        self.check(b'"a@b.org', "not closed")

    def test_empty(self) -> None:
        self.check(b"a@b.org, <>", "empty")

    def test_two_in_one(self) -> None:
        self.check(b"<a@b.org> c@d.org", "comma")
        self.check(b"<a@b.org, c@d.org>", "no place")
        self.check(b"<a@b.org; c@d.org>", "no place")

    def test_no_domain(self) -> None:
        for text in (b"a@", b"a@-b.org", b"a@b..org", b"a@b.org.", b"@b.org", b"a b@c.org"):
            self.check(text, "no address")

    def test_too_long(self) -> None:
        self.check(b"a" * 321, "longer")

    def test_line_end_never_gets_into_an_address(self) -> None:
        self.check(b'"a\nb"@c.org', "no address")
        self.check(b"a@[1\r\n2]", "no address")


class One(SynchronousTestCase):
    """The sender."""

    def test_null_sender(self) -> None:
        self.assertEqual([address(b"<>"), address(b"")], [b"", b""])

    def test_with_name(self) -> None:
        self.assertEqual(address(b"Bob <b@x.org>"), b"b@x.org")

    def test_two_are_refused(self) -> None:
        with self.assertRaises(MessageError):
            address(b"a@b.org, c@d.org")
