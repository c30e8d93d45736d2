"""smtp-tls.conf, octet by octet: what is understood, what is passed over, what is refused."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.errors import ConfigError
from zsmtp.tlsfile import KEYWORDS, LONGEST_FILE, Level, TlsKeyword, TlsSettings, read_tls_file

# as it stands in smtp(8zm)
OF_THE_PAGE = b"""\
#|
#| This is example configuration file for TLS support at the SMTP TA
#|

tls-cert-file   /opt/mail/db/smtpserver-cert.pem
tls-key-file    /opt/mail/db/smtpserver-key.pem
tls-CAfile      /opt/mail/db/smtpserver-CAcert.pem
#tls-CApath /path/to/CAdir/
tls-loglevel  0\t # Value from 0 thru 4

tls-random-source  dev:/dev/urandom
#tls-random-source  egd:/var/run/egd-pool
#demand-tls-mode
"""


class TlsFileTest(SynchronousTestCase):
    """Reads a file called tls.conf."""

    def read(self, text: str | bytes) -> TlsSettings:
        """Read what is to be read without a complaint."""
        settings, complaints = self.read_loosely(text)
        self.assertEqual(complaints, [])
        return settings

    def read_loosely(self, text: str | bytes) -> tuple[TlsSettings, list[str]]:
        """Read, and return the complaints, too."""
        complaints: list[str] = []
        octets = text.encode() if isinstance(text, str) else text
        return read_tls_file(octets, "tls.conf", complaints.append), complaints

    def refuse(self, text: str | bytes) -> str:
        """Return the complaint about a file that is not to be used."""
        return str(self.assertRaises(ConfigError, self.read_loosely, text))


class Understood(TlsFileTest):
    """Every keyword of the original, of its manual page, and ours."""

    def test_file_of_the_manual_page(self) -> None:
        settings = self.read(OF_THE_PAGE)
        self.assertEqual(settings.cert_file, "/opt/mail/db/smtpserver-cert.pem")
        self.assertEqual(settings.key_file, "/opt/mail/db/smtpserver-key.pem")
        self.assertEqual(settings.ca_file, "/opt/mail/db/smtpserver-CAcert.pem")
        self.assertEqual((settings.ca_path, settings.detail, settings.is_demanded), ("", 0, False))
        self.assertIs(settings.level, Level.OPPORTUNISTIC)

    def test_same_file_with_the_demand(self) -> None:
        self.assertTrue(self.read(OF_THE_PAGE.replace(b"#demand", b"demand")).is_demanded)

    def test_empty_file(self) -> None:
        self.assertEqual(self.read(b""), TlsSettings("tls.conf", level=Level.OPPORTUNISTIC))

    def test_keywords_in_any_case(self) -> None:
        for keyword in ("TLS-CAFILE", "tls-cafile", "Tls-CaFile"):
            self.assertEqual(self.read(f"{keyword} /x\n").ca_file, "/x")

    def test_comments_blank_lines_and_further_words(self) -> None:
        settings = self.read("\n \t\n; a comment\n  # another\n tls-CApath\t/ca words ; and more\r\n")
        self.assertEqual((settings.ca_path, settings.lines), ("/ca", (("tls-CApath", 5),)))

    def test_last_of_several_lines_counts(self) -> None:
        settings = self.read("tls-CAfile /one\ntls-CAfile /two")
        self.assertEqual((settings.ca_file, settings.where("tls-CAfile")), ("/two", "tls.conf:2: tls-CAfile"))

    def test_what_has_no_effect(self) -> None:
        words = ("tls-random-source dev:/dev/urandom", "tls-random-source", "tls-strict-rfc2487")
        for line in (*words, "tls-use-scache", "no-tls-readahead"):
            self.assertEqual(self.read(line)._replace(lines=()), self.read(b""))

    def test_second_certificate(self) -> None:
        settings = self.read("tls-dcert-file /c\ntls-dkey-file /k\n")
        self.assertEqual((settings.second_cert_file, settings.second_key_file), ("/c", "/k"))

    def test_versions(self) -> None:
        self.assertEqual(self.read(b"").minimum, "TLSv1.2")
        for given_, meant in (
            ("TLSv1.3", "TLSv1.3"),
            ("tlsv1.2", "TLSv1.2"),
            ("1.1", "TLSv1.1"),
            ("1", "TLSv1"),
        ):
            self.assertEqual(self.read(f"tls-min-protocol {given_}").minimum, meant)

    def test_levels(self) -> None:
        for level in Level:
            self.assertIs(self.read(f"tls-verify {level.value.upper()}").level, level)

    def test_checking_the_name_demands_tls(self) -> None:
        self.assertTrue(self.read("tls-verify name").is_demanded)
        self.assertFalse(self.read("tls-verify opportunistic").is_demanded)

    def test_names(self) -> None:
        settings = self.read("tls-verify name\ntls-verify-name MX.example\ntls-verify-name 2001:db8::1")
        self.assertEqual(settings.names, ("mx.example", "2001:db8::1"))

    def test_ciphers(self) -> None:
        settings = self.read("tls-cipher-list HIGH:!aNULL\ntls-ciphersuites TLS_AES_128_GCM_SHA256")
        self.assertEqual((settings.ciphers, settings.suites), ("HIGH:!aNULL", "TLS_AES_128_GCM_SHA256"))

    def test_log_level_is_clamped(self) -> None:
        for number, level in ((0, 0), (4, 4), (5, 4), (-1, 0)):
            self.assertEqual(self.read(f"tls-loglevel {number}").detail, level)

    def test_age_of_sessions(self) -> None:
        self.assertEqual(self.read(b"").session_seconds, 3600)
        for number, seconds in ((0, 0), (60, 60), (999999999, 86400)):
            self.assertEqual(self.read(f"tls-scache-timeout {number}").session_seconds, seconds)

    def test_path_that_is_no_utf8(self) -> None:
        settings = self.read(b"tls-CAfile /\xff\n")
        self.assertEqual(settings.ca_file.encode("utf-8", "surrogateescape"), b"/\xff")


class PassedOver(TlsFileTest):
    """What is told of, and does not matter otherwise."""

    def test_unknown_keyword_is_told_with_its_line(self) -> None:
        settings, complaints = self.read_loosely("\nfancy-option on\ntls-CAfile /x\n")
        self.assertEqual(settings.ca_file, "/x")
        self.assertEqual(
            complaints, ["tls.conf:2: fancy-option: unknown keyword, passed over; remove the line"]
        )

    def test_slip_of_the_pen_is_told_what_to_write(self) -> None:
        _, complaints = self.read_loosely("tls-cafile-x /x\n")
        self.assertEqual(
            complaints,
            ["tls.conf:1: tls-cafile-x: unknown keyword, passed over; write tls-CAfile, or remove the line"],
        )

    def test_key_without_certificate(self) -> None:
        _, complaints = self.read_loosely("tls-key-file /k\n")
        self.assertIn("tls.conf:1: tls-key-file: a key without a certificate", complaints[0])

    def test_control_characters_do_not_reach_the_log(self) -> None:
        _, complaints = self.read_loosely(b"a\x1b[31m\x00\xffb\n")
        self.assertTrue(all(complaint.isprintable() for complaint in complaints), complaints)


class Refused(TlsFileTest):
    """What must not be passed over: somebody depends on it."""

    def test_slip_of_the_pen_in_the_demand(self) -> None:
        for line in (
            "demand-tls",
            "demand-tls-mod",
            "Demand-TLS-mode1",
            "demandtlsmode",
            "require-tls",
            "mandatory",
        ):
            self.assertIn("tls.conf:1:", self.refuse(line))
            self.assertIn("unknown keyword; write demand-tls-mode, or remove the line", self.refuse(line))

    def test_slip_of_the_pen_in_the_verification(self) -> None:
        for line, meant in (("tls-verfy name", "tls-verify"), ("tls-min-protocl 1.3", "tls-min-protocol")):
            self.assertIn(f"write {meant}, or remove", self.refuse(line))

    def test_value_is_missing(self) -> None:
        for keyword in KEYWORDS:
            for rest in ("", " ", " # nothing", " ;"):
                if keyword.value:
                    self.assertIn(
                        f"tls.conf:2: {keyword.name}: the value is missing; write {keyword.name} and a",
                        self.refuse(f"\n{keyword.name}{rest}\n"),
                    )

    def test_value_is_none(self) -> None:
        for line, said in (
            ("tls-verify maybe", 'tls-verify: "maybe" is no level; write one of none, opportunistic, name'),
            (
                "tls-verify name\ntls-verify-name a_b..c",
                "is no host name; write one such as mail.example.org",
            ),
            ("tls-verify name\ntls-verify-name " + "a" * 300, "is no host name"),
            ("tls-min-protocol SSLv3", "is no version of TLS; write one of TLSv1, TLSv1.1, TLSv1.2, TLSv1.3"),
            ("tls-scache-timeout soon", "is no number of seconds; write one up to 86400"),
            ("tls-loglevel much", "is no log level; write a number from 0 to 4"),
        ):
            self.assertIn(said, self.refuse(line))

    def test_name_on_which_nothing_depends(self) -> None:
        self.assertIn(
            "tls.conf:1: tls-verify-name: nothing depends on the name; write tls-verify name, too",
            self.refuse("tls-verify-name mx.example"),
        )

    def test_control_characters(self) -> None:
        self.assertIn("control characters", self.refuse(b"tls-CAfile /a\0b\n"))

    def test_long_line_and_long_file(self) -> None:
        self.assertIn("tls.conf:1: tls-CAfile: the line is too long", self.refuse("tls-CAfile " + "x" * 1100))
        self.assertIn("more than 65536 octets", self.refuse(b"#" * (LONGEST_FILE + 1)))

    def hold(self, octets: bytes) -> None:
        """Whatever is in a file, it is settings or a complaint that can be shown."""
        try:
            _, complaints = self.read_loosely(octets)
        except ConfigError as error:
            complaints = [str(error)]
        for complaint in complaints:
            self.assertTrue(complaint.startswith("tls.conf:"), complaint)
            self.assertTrue(complaint.isprintable(), complaint)

    @given(st.binary(max_size=300))
    def test_any_octets(self, octets: bytes) -> None:
        self.hold(octets)

    @given(st.lists(st.tuples(st.sampled_from(KEYWORDS), st.text(max_size=20))))
    def test_any_lines_of_known_keywords(self, lines: list[tuple[TlsKeyword, str]]) -> None:
        text = "\n".join(f"{keyword.name} {value}" for keyword, value in lines)
        self.hold(text.encode(errors="surrogatepass"))
