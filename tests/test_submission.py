"""Tests of zsmtp.submission."""

from __future__ import annotations

import email
import email.policy
import os
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any

import zsmtp
from tests.spool.sample import SpoolTest
from zsmtp.errors import ConfigError, MessageError, SpoolError
from zsmtp.spool.controlfile import ControlFile, Notify, parse
from zsmtp.spool.submit import make_postoffice
from zsmtp.submission import Accepted, Envelope, accept, find_office, submit

TEXT = b"From: Alice <alice@x.org>\nTo: bob@y.org\nSubject: s\n\nhello\n"


class SubmissionTest(SpoolTest):
    """A test with an empty POSTOFFICE."""

    def setUp(self) -> None:
        super().setUp()
        make_postoffice(self.postoffice)
        self.patch(os, "environ", {**os.environ, "ZSMTP_CONFIG": ""})

    def submit(self, message: Any = TEXT, **options: Any) -> tuple[Accepted, ControlFile, bytes]:
        """Submit; return what came back, the control file, and the message as it is stored."""
        options.setdefault("postoffice", self.postoffice)
        accepted = submit(message, **options)
        control = parse(self.octets(accepted.path), accepted.path)
        with open(os.path.join(self.queue, accepted.path), "rb") as file:
            stored = file.read().partition(b"env-end\n")[2]
        self.assertEqual(control.problems, [])
        return accepted, control, stored

    def users(self, control: ControlFile) -> list[bytes]:
        return [recipient.quad.user for recipient in control.recipients]

    def sender(self, control: ControlFile) -> bytes | None:
        origin = control.recipients[0].sender
        assert origin is not None
        return None if origin.is_null else origin.quad.user

    def configure(self, text: str) -> str:
        path = os.path.join(self.postoffice, "zsmtp.toml")
        with open(path, "w") as file:
            file.write(f'postoffice = "{self.postoffice}"\nhello-name = "mail.me.org"\n{text}')
        return path

    def files(self) -> list[str]:
        return os.listdir(self.queue) + os.listdir(self.transport)


class Functions(SubmissionTest):
    """zsmtp.submit, as other programs call it."""

    def test_it_is_the_package_that_has_it(self) -> None:
        self.assertIs(zsmtp.submit, submit)
        with self.assertRaises(AttributeError):
            zsmtp.nothing_of_this_name  # noqa: B018

    def test_octets(self) -> None:
        accepted, control, stored = self.submit()
        self.assertEqual(self.users(control), [b"bob@y.org"])
        self.assertEqual(self.sender(control), b"alice@x.org")
        self.assertEqual(control.recipients[0].quad[:2], (b"smtp", b"y.org"))
        self.assertEqual(accepted.recipients[0].user, b"bob@y.org")
        self.assertTrue(stored.startswith(b"Received: by "))
        self.assertTrue(stored.endswith(b"\n\nhello\n"))
        assert control.body_offset is not None
        headers = control.recipients[0].headers
        assert headers is not None
        self.assertEqual(headers.octets + b"\nhello\n", stored)

    def test_message_object(self) -> None:
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Bcc"] = "Jörg <j@x.org>", "bob@y.org", "secret@z.org"
        mail["Subject"] = "Grüße"
        mail.set_content("Guten Tag, Jörg!\n.\nx\n")
        _, control, stored = self.submit(mail)
        self.assertEqual(self.users(control), [b"bob@y.org", b"secret@z.org"])
        self.assertNotIn(b"secret", stored)
        read = email.message_from_bytes(stored, policy=email.policy.default)
        self.assertEqual((read["From"], read["Subject"]), ("Jörg <j@x.org>", "Grüße"))
        self.assertEqual(read.get_content(), "Guten Tag, Jörg!\n.\nx\n")
        self.assertEqual(read.defects, [])
        self.assertEqual(mail["Bcc"], "secret@z.org")

    def test_given_recipients_take_the_place_of_those_in_the_header(self) -> None:
        _, control, stored = self.submit(recipients=["C <c@y.org>", b"d@y.org", "c@Y.ORG"], sender="<>")
        self.assertEqual(self.users(control), [b"c@y.org", b"d@y.org"])
        self.assertIsNone(self.sender(control))
        self.assertIn(b"\nTo: bob@y.org\n", stored)

    def test_file_in_pieces(self) -> None:
        def pieces() -> Iterator[bytes]:
            yield TEXT
            for _ in range(300):
                yield b"x" * 1023 + b"\n"

        _, _, stored = self.submit(pieces())
        self.assertTrue(stored.endswith(b"hello\n" + (b"x" * 1023 + b"\n") * 300))

    def test_reports(self) -> None:
        _, control, _ = self.submit(notify="success,delay", ret="hdrs", envelope_id="a+b=c d")
        self.assertEqual(control.recipients[0].notify, Notify.SUCCESS | Notify.DELAY)
        self.assertEqual((control.ret, control.envelope_id), (b"HDRS", b"a+2Bb+3Dc+20d"))

    def test_routes(self) -> None:
        path = self.configure(
            '[channels.smtp]\n[channels.lmtp]\nprotocol = "lmtp"\ndestination = "UNIX:/x"\n'
            '[routes]\n"y.org" = { channel = "lmtp" }\n"*" = { channel = "smtp", host = "relay.org" }\n'
        )
        _, control, stored = self.submit(
            recipients=["b@y.org", "c@z.org", "root"], postoffice=None, config=path
        )
        quads = [recipient.quad[:3] for recipient in control.recipients]
        self.assertEqual(
            quads,
            [
                (b"lmtp", b"y.org", b"b@y.org"),
                (b"smtp", b"relay.org", b"c@z.org"),
                (b"smtp", b"relay.org", b"root@mail.me.org"),
            ],
        )
        self.assertIn(b"Received: by mail.me.org (zsmtp", stored)

    def test_file_that_the_environment_names(self) -> None:
        self.patch(os, "environ", {**os.environ, "ZSMTP_CONFIG": self.configure("")})
        self.submit(postoffice=None)


class Refusals(SubmissionTest):
    """What raises leaves nothing."""

    def refuse(self, kind: type[Exception], why: str, message: Any = TEXT, **options: Any) -> None:
        before = self.files()
        with self.assertRaises(kind) as caught:
            self.submit(message, **options)
        self.assertIn(why, str(caught.exception))
        self.assertEqual(self.files(), before)

    def test_nobody(self) -> None:
        self.refuse(MessageError, "nobody", recipients=[])
        self.refuse(MessageError, "nobody", b"From: a@x.org\n\nhello\n")

    def test_address_beyond_ascii(self) -> None:
        self.refuse(MessageError, "not in ASCII", recipients=["jörg@x.org"])
        self.refuse(MessageError, "not in ASCII", "To: jörg@x.org\n\n".encode())
        self.refuse(MessageError, "not in ASCII", sender="jörg@x.org")

    def test_wrong_options(self) -> None:
        self.refuse(MessageError, "NOTIFY", notify="never,delay")
        self.refuse(MessageError, "NOTIFY", notify="trace")
        self.refuse(MessageError, "RET", ret="all")
        self.refuse(MessageError, "identifier", envelope_id="a\nb")

    def test_text_is_no_octets(self) -> None:
        self.refuse(TypeError, "octets", "To: a@b\n\n")

    def test_too_large(self) -> None:
        path = self.configure("message-limit = 100000\n")
        big = TEXT + b"x" * 70_000 + b"\n"
        self.submit(big, config=path)
        self.refuse(MessageError, "larger than 100000", [big, big], config=path)

    def test_reader_that_fails_in_the_middle(self) -> None:
        def pieces() -> Iterator[bytes]:
            yield TEXT + b"x" * 200_000
            raise OSError(5, "broken")

        self.refuse(MessageError, "cannot be read: broken", pieces())

    def test_no_route(self) -> None:
        path = self.configure('[channels.lmtp]\nprotocol = "lmtp"\ndestination = "UNIX:/x"\n')
        self.refuse(ConfigError, "no route leads to bob@y.org", config=path)

    def test_no_spool(self) -> None:
        self.refuse(SpoolError, "cannot be written", postoffice="/nonexistent")

    def test_nothing_said(self) -> None:
        self.patch(os.path, "exists", lambda path: False)
        self.refuse(ConfigError, "where the spool is", postoffice=None)

    def test_name_with_a_line_end(self) -> None:
        office = find_office(self.postoffice, None)
        with self.assertRaises(MessageError):
            accept([b"\nx\n"], Envelope(recipients=(b"a@b.org",), name="a\nBcc: x"), office)
