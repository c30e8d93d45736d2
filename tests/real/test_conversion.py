"""Messages for servers without 8BITMIME: what a MIME parser reads afterwards is what it read before.

The parser is Python's `email`, which knows nothing of us.  The servers are aiosmtpd, which refuses any octet
with its top bit set and any line above 1,000 octets, and Postfix's smtp-sink.
"""

from __future__ import annotations

import email
import email.policy
import re
import sys
from collections import Counter
from email.message import EmailMessage
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from tests.real.peers import Aiosmtpd, Peer, SmtpSink, start
from zsmtp.testing.scheduler import Job, SchedulerStandIn
from zsmtp.testing.spool import SpoolMaker

MIME = "MIME-Version: 1.0\n"
LATIN = MIME + "Content-Type: text/plain; charset=ISO-8859-1\nContent-Transfer-Encoding: 8bit\n"
UTF8 = MIME + "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n"
DOTS = ".\n..\n.dot\nFrom here\ntrailing \ntab\t\n= sign\n\n"
MIXED = MIME + 'Content-Type: multipart/mixed; boundary="outer"\nContent-Transfer-Encoding: 8bit\n'
EIGHT = b"Content-Transfer-Encoding: 8bit\n"
LATIN_PART = (
    b"Content-Type: text/plain; charset=ISO-8859-1; format=flowed\n" + EIGHT + b"\nGr\xfc\xdfe \n.dot\n"
)
HTML_PART = b"Content-Type: text/html; charset=utf-8\n" + EIGHT + b"\n<p>Gr\xc3\xbc\xc3\x9fe</p>\n"
INNER = b"".join((b"--inner\n", LATIN_PART, b"--inner\n", HTML_PART, b"--inner--\n"))
FILE = b"Content-Type: image/x-any\nContent-Transfer-Encoding: base64\n"
FILE += b"Content-Disposition: attachment; filename=a.bin\n\nAAECAwQ=\n"
LETTER = b"Subject: inside\n" + UTF8.encode() + b"\n\xc3\xa4 inside\n"
NESTED = b"This is the preamble.\n"
for part in (
    b"Content-Type: multipart/alternative; boundary=inner\n" + EIGHT + b"\n" + INNER,
    b"Content-Type: text/plain\n\nascii stays\n",
    FILE,
    b"Content-Type: message/rfc822\n" + EIGHT + b"\n" + LETTER,
):
    NESTED += b"--outer\n" + part
NESTED += b"--outer--\n"


class Sample(NamedTuple):
    """A message: its own fields, its body, and what its subject says."""

    fields: str
    body: bytes
    subject: str = "plain"


SAMPLES = {
    "latin-1": Sample(LATIN, ("Grüße\n" + DOTS).encode("latin-1")),
    "utf-8": Sample(UTF8, ("Grüße, κόσμε\n" + DOTS).encode()),
    "mostly 8-bit": Sample(UTF8, ("κόσμε καλημέρα\n" * 300).encode()),
    "html": Sample(UTF8.replace("plain", "html"), "<p>ä</p>\n".encode()),
    "clean 8bit": Sample(UTF8, b"ascii\n"),
    "no fields": Sample("", "päivää\n".encode()),
    "no encoding": Sample(UTF8.partition("Content-Transfer")[0], "päivää\n".encode()),
    "no end": Sample(UTF8, "ä ".encode()),
    "empty": Sample(UTF8, b""),
    "quoted-printable": Sample(UTF8.replace("8bit", "quoted-printable"), b"=C3=A4 soft=\nbreak\n=2E\n"),
    "multipart": Sample(MIXED, NESTED),
    "long lines": Sample(UTF8, ("ä" * 3000 + "\n" + "x" * 3000 + "\n").encode()),
    "long ascii line": Sample(UTF8.replace("8bit", "7bit"), b"x" * 5000 + b"\n"),
    "odd octets": Sample(UTF8, b"a\rb\0c\x7f\x0c\n"),
    "binary": Sample(
        LATIN.replace("text/plain", "image/x-any").replace("8bit", "binary"), b"\0\n.\r\n\r\xff\n"
    ),
    "subject": Sample(
        UTF8, b"ascii\n", "Grüße, κόσμε und mehr Wörter, als auf eine Zeile passen, ganz sicher"
    ),
}


class TheSameMail(SynchronousTestCase):
    """Contents, types, names and header fields survive the conversion."""

    def carried(self, peer: Peer, *options: str) -> dict[str, bytes]:
        """Send all samples; give what arrived by the name of the sample."""
        peer = start(self, peer)
        spool = SpoolMaker()
        self.addCleanup(spool.remove)
        mails = []
        for name, sample in SAMPLES.items():
            header = f"From: a@client.example\nSubject: {sample.subject}\nX-Sample: {name}\n{sample.fields}"
            mails.append(spool.add(recipients=[b"u@peer.example"], header=header.encode(), body=sample.body))
        stand_in = SchedulerStandIn(
            [sys.executable, "-m", "zsmtp", "-c", "smtp", "-h", "client.example", *peer.options, *options],
            spool.postoffice,
            jobs=[Job(each.name, b"example.net") for each in mails],
            overfeed=50,
            deadline=60.0,
        )
        result = stand_in.run()
        self.assertEqual(Counter(result.words.values()), {"ok3": len(mails)})
        arrived = [each.message for each in peer.await_delivered(len(mails), 30.0)]
        names = [re.search(rb"(?m)^X-Sample: (.*?)\r?$", each) for each in arrived]
        return {name[1].decode(): each for name, each in zip(names, arrived, strict=True) if name}

    def compare(self, arrived: dict[str, bytes]) -> None:
        """Read everything as a mail program does, before and after."""
        self.assertEqual(sorted(arrived), sorted(SAMPLES))
        for name, sample in SAMPLES.items():
            before = _parsed(sample.fields.encode() + b"\n" + sample.body)
            after = _parsed(arrived[name])
            self.assertTrue(arrived[name].isascii(), name)
            self.assertLessEqual(max(map(len, arrived[name].split(b"\n"))), 998, name)
            self.assertEqual(after["Subject"], sample.subject, name)
            self.assertEqual([part.defects for part in after.walk() if part.defects], [], name)
            old, new = list(before.walk()), list(after.walk())
            if sample.fields:
                self.assertEqual([_kind(part) for part in new], [_kind(part) for part in old], name)
            else:
                self.assertEqual(after.get_content(), sample.body.decode(), name)
            for one, other in zip(old, new, strict=True):
                if not one.is_multipart():
                    self.assertEqual(_content(other), _content(one), name)

    def test_at_aiosmtpd_that_takes_seven_bits(self) -> None:
        """Strict about width and length."""
        self.compare(self.carried(Aiosmtpd(seven=True)))

    def test_at_smtp_sink_without_8bitmime(self) -> None:
        """With PIPELINING."""
        self.compare(self.carried(SmtpSink(more=["-8"])))

    def test_at_any_server_with_option_7(self) -> None:
        """The channel is narrow whatever the server can do."""
        self.compare(self.carried(Aiosmtpd(), "-7"))


def _parsed(octets: bytes) -> EmailMessage:
    return email.message_from_bytes(octets, policy=email.policy.default)


def _kind(part: EmailMessage) -> tuple[object, ...]:
    """Everything about a part but its encoding."""
    return part.get_content_type(), dict(part["Content-Type"].params), part.get_filename()


def _content(part: EmailMessage) -> bytes:
    """What a part says, the last line end aside; in text a CR LF is one line end, and an odd CR is a CR."""
    octets = part.get_payload(decode=True)
    assert isinstance(octets, bytes)
    if part.get_content_maintype() == "text":
        octets = octets.replace(b"\r\n", b"\n")
        octets = octets.removesuffix(b"\n")
    return octets
