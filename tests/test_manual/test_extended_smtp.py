"""smtp(8zm), section EXTENDED SMTP, and the facilities that SEE ALSO says are implemented."""

from __future__ import annotations

import re
import time

from tests.test_manual.manual import MIME_8BIT, MIME_QP, ManualCase, Run
from zsmtp.testing.spool import Addressee
from zsmtp.testing.table import Table

TEXT = "Grüße\n".encode()
ENCODED = b"Gr=C3=BC=C3=9Fe\r\n"
SIGNED = b"DKIM-Signature: v=1; h=from; b=x\n"


class EightBitMail(ManualCase):
    """When user sends out 8-bit mail with proper headers."""

    def sent(self, header: bytes, body: bytes, *announced: str) -> Run:
        """A message to a server that announces these extensions."""
        server = self.server(Table(announce=announced))
        return self.carry(server=server, mails=[self.spool.add(header=header, body=body)])

    def test_it_goes_8_bit_transparent_to_a_conforming_server(self) -> None:
        run = self.sent(MIME_8BIT, TEXT, "8BITMIME")
        self.assertEqual(self.body(run), TEXT.replace(b"\n", b"\r\n"))
        self.assertIn(b"Content-Transfer-Encoding: 8BIT\r\n", self.head(run))

    def test_else_it_is_down_converted_to_7bit_if_that_is_what_the_contents_are(self) -> None:
        run = self.sent(MIME_8BIT, b"ascii\n")
        self.assertEqual(self.body(run), b"ascii\r\n")
        self.assertIn(b"Content-Transfer-Encoding: 7bit\r\n", self.head(run))

    def test_else_it_is_down_converted_to_quoted_printable(self) -> None:
        run = self.sent(MIME_8BIT, TEXT)
        self.assertEqual(self.body(run), ENCODED)
        self.assertIn(b"Content-Transfer-Encoding: quoted-printable\r\n", self.head(run))

    def test_quoted_printable_is_left_alone(self) -> None:
        run = self.sent(MIME_QP, ENCODED.replace(b"\r\n", b"\n"), "8BITMIME")
        self.assertEqual(self.body(run), ENCODED)

    def test_this_works_with_text_plain_and_beyond_the_page_with_every_part_of_a_multipart(self) -> None:
        header = MIME_8BIT.replace(b"text/plain; charset=utf-8", b"multipart/alternative; boundary=b")
        html = b"Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
        run = self.sent(header, b"--b\n" + html + TEXT + b"--b--\n")
        self.assertIn(ENCODED + b"--b--\r\n", self.body(run))

    def test_without_mime_headers_it_is_encoded_and_not_stripped_to_7_bits(self) -> None:
        """A difference on purpose: to strip the eighth bit destroys the text."""
        run = self.sent(b"From: a@example.com\n", TEXT)
        self.assertEqual(self.body(run), ENCODED)
        self.assertIn(b"Content-Type: text/plain; charset=utf-8\r\n", self.head(run))

    def test_what_must_not_be_converted_is_undeliverable(self) -> None:
        """A difference on purpose: the original sent it as it was, against the server's announcement."""
        server = self.server(Table(announce=[]))
        mail = self.spool.add(header=SIGNED + MIME_8BIT, body=TEXT)
        run = self.carry(server=server, mails=[mail])
        self.assertEqual(run.report.word, "error2")
        self.assertIn(b"5.6.3", mail.now())
        self.assertIn(b"5.6.3", run.report.text + mail.now())
        self.assertEqual(run.connection.messages, [])


class Facilities(ManualCase):
    """Several extended SMTP facilities are implemented."""

    def offered(self, *announced: str, **mail: object) -> Run:
        """A message to a server that announces these extensions."""
        made = self.spool.add(**mail)  # type: ignore[arg-type]
        return self.carry(server=self.server(Table(announce=announced)), mails=[made])

    def test_rfc_1869_ehlo_framework(self) -> None:
        """EHLO first, HELO where that is not known."""
        run = self.carry(server=self.server(Table({"ehlo": "500 what?"})))
        self.assertEqual([line.split()[0] for line in run.commands[:2]], [b"EHLO", b"HELO"])
        self.assertEqual(run.words, ["ok3"])

    def test_rfc_1870_size(self) -> None:
        run = self.offered("SIZE 100000")
        self.assertIn(b" SIZE=%d" % len(run.message.octets), run.message.commands[0])

    def test_rfc_1870_size_that_is_too_large_is_not_sent(self) -> None:
        run = self.offered("SIZE 1000", body=b"x\n" * 1000)
        self.assertEqual(run.report.word, "error2")
        self.assertEqual(re.findall(rb"(?m)^MAIL", run.connection.client), [])

    def test_rfc_2047_mime_headers(self) -> None:
        run = self.offered(header="From: a@example.com\nSubject: Grüße\n".encode())
        self.assertIn(b"Subject: =?utf-8?B?R3LDvMOfZQ==?=\r\n", self.head(run))

    def test_rfc_3030_chunking(self) -> None:
        """The second message of a connection and those after it, dots and all."""
        mails = [self.spool.add(body=b".\n") for _ in range(2)]
        run = self.carry(server=self.server(Table(announce=["CHUNKING"])), mails=mails)
        first, second = run.connection.messages
        self.assertEqual(run.connection.client.count(b"BDAT"), 1)
        self.assertIn(b"BDAT %d LAST\r\n" % len(second.octets), run.connection.client)
        self.assertTrue(first.octets.endswith(b"\r\n\r\n.\r\n") and second.octets.endswith(b"\r\n\r\n.\r\n"))

    def test_rfc_2920_pipelining(self) -> None:
        flights = self.offered("PIPELINING").connection.flights
        self.assertEqual(re.findall(rb"(?m)^(MAIL|RCPT|DATA)\b", flights[1]), [b"MAIL", b"RCPT", b"DATA"])

    def test_rfc_3461_dsn(self) -> None:
        one = Addressee(
            b"bob@example.net",
            notary=b"NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;old@example.net",
            ret=b"HDRS",
            envelope_id=b"QQ314159",
        )
        mail, rcpt = self.offered("DSN", recipients=[one]).message.commands
        self.assertEqual(set(mail.split()[2:]), {b"RET=HDRS", b"ENVID=QQ314159"})
        self.assertEqual(rcpt.split()[2:], [b"NOTIFY=SUCCESS,FAILURE", b"ORCPT=rfc822;old@example.net"])

    def test_rfc_2034_enhanced_status_codes(self) -> None:
        server = self.server(Table({"rcpt": "550 5.7.27 sender has no mailbox"}))
        mail = self.mail()
        self.carry(server=server, mails=[mail])
        self.assertIn(b"5.7.27", mail.now())

    def test_rfc_2033_lmtp_client_mode(self) -> None:
        run = self.carry("-M", server=self.server(Table(lmtp=True)))
        self.assertEqual(run.commands[0], b"LHLO client.example")

    def test_rfc_2852_deliverby(self) -> None:
        """The seconds that are left of the time that the control file names."""
        one = Addressee(b"bob@example.net", notary=b"NOTIFY=FAILURE BY=%d;R" % (time.time() + 3600))
        mail, _ = self.offered("DELIVERBY", "DSN", recipients=[one]).message.commands
        self.assertRegex(mail, rb" BY=3[56][0-9][0-9];R$")
