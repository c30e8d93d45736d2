"""Tests of zsmtp.daemon.bounce; what it composes is read by Python's email package."""

from __future__ import annotations

import email
import email.policy
from typing import Any

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.daemon.bounce import Fate, Report, Subject, compose, is_plain

REPORT = Report(
    b"alice@x.example", "me.example", "pm@me.example", "Sun, 15 Jun 2025 15:06:40 +0000", "<1@me>", "BB"
)
SUBJECT = Subject(b"From: alice\nSubject: hello\n", None, "Sun, 15 Jun 2025 15:00:00 +0000", None, "S1")
FATE = Fate(
    address=b"bob@y.example",
    action="failed",
    status=b"5.1.1 (bad destination mailbox)",
    diagnostic=b"smtp; 550 (5.1.1 no [such] user)",
    remote=b"dns; mx.example (192.0.2.1|25|192.0.2.9|4000)",
    text=b"\r<<- MAIL From:<a>\r->> 250 ok\r<<- RCPT To:<bob@y.example>\r->> 550-no\r->> 550 such user",
    at="Sun, 15 Jun 2025 15:06:00 +0000",
)


def parts(
    *fates: Fate, report: Report = REPORT, subject: Subject = SUBJECT
) -> tuple[Any, str, list[Any], Any]:
    """Compose, parse, and return the message, the text, the groups of fields and the last part."""
    octets = compose(report, subject, list(fates))
    assert octets.isascii() and b"\r" not in octets and max(map(len, octets.split(b"\n"))) <= 998
    message = email.message_from_bytes(octets, policy=email.policy.default)
    people, programs, returned = message.iter_parts()
    for part in (message, people, programs, returned):
        assert not part.defects, part.defects
    payload: Any = programs.get_payload()
    return message, people.get_content(), list(payload), returned


class Structure(SynchronousTestCase):
    """What RFC 3462 and 3464 ask for."""

    def test_header(self) -> None:
        message, *_ = parts(FATE)
        self.assertEqual(message["To"], "alice@x.example")
        self.assertEqual(message["From"], "Mail Delivery System <MAILER-DAEMON@me.example>")
        self.assertEqual(message.get_param("report-type"), "delivery-status")
        self.assertEqual(
            [part.get_content_type() for part in message.iter_parts()],
            ["text/plain", "message/delivery-status", "text/rfc822-headers"],
        )

    def test_fields(self) -> None:
        _, _, (about, recipient), _ = parts(FATE)
        self.assertEqual(about.keys(), ["Reporting-MTA", "Arrival-Date"])
        self.assertEqual(
            dict(recipient.items()),
            {
                "Final-Recipient": "rfc822; bob@y.example",
                "Action": "failed",
                "Status": "5.1.1",
                "Remote-MTA": "dns; mx.example",
                "Diagnostic-Code": "smtp; 550 5.1.1 no [such] user",
                "Last-Attempt-Date": "Sun, 15 Jun 2025 15:06:00 +0000",
            },
        )

    def test_local_trouble_is_no_reply_of_a_server(self) -> None:
        local = FATE._replace(diagnostic=b"local; 550 (bad address)", remote=b"")
        recipient = parts(local)[2][1]
        self.assertTrue(recipient["Diagnostic-Code"].startswith("X-zsmtp; "))
        self.assertNotIn("Remote-MTA", recipient)

    def test_status_that_is_none_is_not_passed_on(self) -> None:
        for status in (b"", b"oops", b"5", b"5.1.1.1", b"7.1.1"):
            self.assertEqual(parts(FATE._replace(status=status))[2][1]["Status"], "5.0.0")

    def test_address_beyond_ascii(self) -> None:
        recipient = parts(FATE._replace(address="jörg@müller.example".encode()))[2][1]
        self.assertEqual(recipient["Final-Recipient"], r"utf-8; j\x{F6}rg@m\x{FC}ller.example")

    def test_xtext_is_decoded(self) -> None:
        fate = FATE._replace(original=b"rfc822;a+2Bb@x")
        _, _, (about, recipient), _ = parts(fate, subject=SUBJECT._replace(envelope_id=b"Q+3D1"))
        self.assertEqual(
            (about["Original-Envelope-Id"], recipient["Original-Recipient"]), ("Q=1", "rfc822; a+b@x")
        )


class ForPeople(SynchronousTestCase):
    """What happened, with whom, what the server said, what to do."""

    def test_it_says_so(self) -> None:
        text = parts(FATE)[1]
        for piece in (
            "could not be delivered",
            "<bob@y.example>",
            "server: mx.example",
            "550-no",
            "550 such user",
            "Check the address",
            "pm@me.example",
            "S1",
        ):
            self.assertIn(piece, text)
        self.assertNotIn("250 ok", text)
        self.assertLessEqual(max(map(len, text.splitlines())), 78)

    def test_worst_makes_the_title(self) -> None:
        message, text, fields, _ = parts(FATE._replace(action="relayed", status=b"2.0.0"), FATE)
        self.assertEqual(message["Subject"], "Your message could not be delivered")
        self.assertIn("passed on", text)
        self.assertEqual(len(fields), 3)


class Returned(SynchronousTestCase):
    """What of the message comes back."""

    def test_header(self) -> None:
        self.assertEqual(parts(FATE)[3].get_content(), "From: alice\nSubject: hello\n")

    def test_header_beyond_ascii(self) -> None:
        header = "Subject: grüße\n".encode()
        returned = parts(FATE, subject=SUBJECT._replace(header=header))[3]
        self.assertEqual(returned.get_payload(decode=True), header)

    def test_whole_message_where_it_can_travel(self) -> None:
        returned = parts(FATE, subject=SUBJECT._replace(whole=b"body\n.\n"))[3]
        self.assertEqual(returned.get_content_type(), "message/rfc822")
        self.assertEqual(returned.get_content().get_content(), "body\n.\n")

    def test_header_only_where_it_cannot(self) -> None:
        for whole in (b"gr\xfc\xdfe\n", b"a\0b\n", b"x" * 1000 + b"\n", b"a\rb\n"):
            self.assertFalse(is_plain(whole))
            returned = parts(FATE, subject=SUBJECT._replace(whole=whole))[3]
            self.assertEqual(returned.get_content_type(), "text/rfc822-headers")


class Hostile(SynchronousTestCase):
    """Nothing that a server or a sender wrote leaves its field."""

    @given(
        some.binary(max_size=200),
        some.binary(max_size=200),
        some.binary(max_size=3000),
        some.binary(max_size=80),
    )
    def test_any_octets(self, address: bytes, diagnostic: bytes, text: bytes, remote: bytes) -> None:
        fate = FATE._replace(
            address=address, text=text, diagnostic=b"smtp; 550 (" + diagnostic, remote=remote
        )
        message, _, fields, _ = parts(fate, report=REPORT._replace(to=b"a@b\r\nBcc: c@d"))
        self.assertEqual(len(fields), 2)
        self.assertNotIn("Bcc", message)
        allowed = {
            "Final-Recipient",
            "Action",
            "Status",
            "Remote-MTA",
            "Diagnostic-Code",
            "Last-Attempt-Date",
        }
        self.assertEqual(set(fields[1].keys()) - allowed, set())
