"""A thousand messages to each real server: every one arrives exactly once, octet for octet, and is reported
so.

The agent is the real one, fed over the scheduler's protocol by a stand-in that fails at any octet out of
place.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from tests.real.peers import Aiosmtpd, Delivered, Dovecot, Exim, Peer, SmtpSink, start
from zsmtp.testing.scheduler import Job, Result, SchedulerStandIn
from zsmtp.testing.spool import SpooledMail, SpoolMaker

MESSAGES = int(os.environ.get("ZSMTP_REAL_MESSAGES", "1000"))
SENDER = b"sender@client.example"


class Mail:
    """What is sent: many short messages of every kind, and some that are long."""

    def __init__(self, spool: SpoolMaker, count: int) -> None:
        self.spool = spool
        self.sent: Counter[tuple[tuple[bytes, ...], str]] = Counter()
        self.spooled: list[SpooledMail] = []
        chance = random.Random(20)
        for number in range(count):
            recipients = tuple(
                b"user%d@peer.example" % chance.randrange(20) for _ in range(chance.choice((1, 1, 1, 2, 3)))
            )
            recipients = tuple(dict.fromkeys(recipients))
            header = b"From: sender@client.example\nTo: somebody\nSubject: message %d\n" % number
            header += b"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
            header += b"Content-Transfer-Encoding: 8bit\n"
            body = self._body(number, chance)
            self.spooled.append(spool.add(recipients=recipients, sender=SENDER, header=header, body=body))
            self.sent[_key(recipients, header + b"\n" + body)] += 1

    def _body(self, number: int, chance: random.Random) -> bytes:
        if number % 97 == 0:
            return b"".join(b"line %06d %s\n" % (line, b"x" * 60) for line in range(4000))  # about 290 KiB
        lines = [b"message %d" % number, b".", b"..", b".leading dot", b"", b"From the start of a line"]
        if number % 3 == 0:
            lines.append("grüße, κόσμε".encode())
        lines += [bytes(chance.choices(range(32, 127), k=chance.randrange(200))) for _ in range(20)]
        return b"\n".join(lines) + b"\n"


def _key(recipients: tuple[bytes, ...], message: bytes) -> tuple[tuple[bytes, ...], str]:
    return tuple(sorted(recipients)), hashlib.sha256(message).hexdigest()


class ThousandMessages(SynchronousTestCase):
    """Everything that is put into the spool comes out at the other side, once."""

    timeout = 240

    def deliver(
        self, peer: Peer, *options: str, stored_singly: bool = False
    ) -> tuple[list[Delivered], Result]:
        """Send to `peer` and compare; `stored_singly`: the peer keeps a copy for each recipient."""
        peer = start(self, peer)
        spool = SpoolMaker(hash_levels=2)
        self.addCleanup(spool.remove)
        mail = Mail(spool, MESSAGES)
        argv = [sys.executable, "-m", "zsmtp", "-c", "smtp", "-h", "client.example", *peer.options, *options]
        stand_in = SchedulerStandIn(
            argv,
            spool.postoffice,
            jobs=[Job(each.name, b"example.net") for each in mail.spooled],
            overfeed=50,
            deadline=200.0,
        )
        result = stand_in.run()
        recipients = sum(len(each.offsets) for each in mail.spooled)
        self.assertEqual(Counter(result.words.values()), {"ok3": recipients})
        self.assertEqual([problem for each in mail.spooled for problem in each.problems()], [])
        self.assertEqual({tag for each in mail.spooled for tag in each.tags().values()}, {b"+"})
        sent = mail.sent
        if stored_singly:
            sent = Counter()
            for (several, digest), count in mail.sent.items():
                for recipient in several:
                    sent[((recipient,), digest)] += count
        arrived = peer.await_delivered(sent.total(), 60.0)
        got = Counter(_key(each.recipients, each.message) for each in arrived)
        self.assertEqual(got - sent, Counter())
        self.assertEqual(sent - got, Counter())
        self.assertEqual({each.sender for each in arrived}, {SENDER})
        return arrived, result

    def test_smtp_with_pipelining(self) -> None:
        """Postfix's smtp-sink over TCP."""
        self.deliver(SmtpSink())

    def test_smtp_without_pipelining(self) -> None:
        """One command, one reply."""
        self.deliver(SmtpSink(pipelining=False))

    def test_smtp_where_pipelining_is_refused_by_us(self) -> None:
        """Option -P."""
        self.deliver(SmtpSink(), "-P")

    def test_smtp_on_several_connections(self) -> None:
        """Option -O connections."""
        self.deliver(SmtpSink(), "-O", "connections=8")

    def test_smtp_on_a_socket(self) -> None:
        """SMTP over a UNIX socket."""
        self.deliver(SmtpSink(unix=True))

    def test_lmtp_on_a_port(self) -> None:
        """LMTP over TCP."""
        self.deliver(SmtpSink(lmtp=True))

    def test_lmtp_on_a_socket(self) -> None:
        """LMTP over a UNIX socket."""
        self.deliver(SmtpSink(lmtp=True, unix=True))

    def test_lmtp_without_pipelining(self) -> None:
        """LMTP, one command, one reply."""
        self.deliver(SmtpSink(lmtp=True, unix=True, pipelining=False))

    def test_aiosmtpd_inside_tls(self) -> None:
        """STARTTLS is taken where it is offered."""
        arrived, _ = self.deliver(Aiosmtpd())
        self.assertEqual({each.protocol for each in arrived}, {"ESMTPS"})

    def test_dovecot(self) -> None:
        """LMTP with CHUNKING into Maildirs."""
        self.deliver(Dovecot(), stored_singly=True)

    def test_exim_inside_tls_with_chunking(self) -> None:
        """Every extension at once."""
        exim = Exim()
        arrived, _ = self.deliver(exim)
        self.assertEqual({each.protocol for each in arrived}, {"ESMTPS"})

    def test_exim_in_clear(self) -> None:
        """Option -O no-starttls."""
        arrived, _ = self.deliver(Exim(), "-O", "no-starttls", "-O", "connections=4")
        self.assertEqual({each.protocol for each in arrived}, {"ESMTP"})
