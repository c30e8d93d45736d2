"""Whom an agent takes up, and where it goes for them: cases S01 to S12, N18 and N20 of the specification."""

from __future__ import annotations

import time

from tests.agent.agents import AgentCase
from zsmtp.testing.scheduler import Job
from zsmtp.testing.server import unused_port
from zsmtp.testing.spool import Addressee
from zsmtp.testing.table import Table

NOWHERE = ("-O", f"nameserver=127.0.0.1:{unused_port()}")


class Selected(AgentCase):
    """Recipients of the right channel and host, and nobody else."""

    def recipients(self, *users: Addressee) -> list[bytes]:
        """Deliver to those at h.example; give the tags of all."""
        mail = self.spool.add(recipients=list(users))
        agent = self.raw("-c", "smtp", server=self.server())
        agent.send(mail.feed(b"h.example"))
        self.lines = agent.until_hungry(2)
        agent.rest()
        return list(mail.tags().values())

    def test_s01_case_of_the_channel_matters(self) -> None:
        users = [Addressee(b"a@x.org", b"h.example", channel) for channel in (b"smtp", b"SMTP", b"Smtp")]
        self.assertEqual(self.recipients(*users), [b"+", b" ", b" "])

    def test_s02_case_of_the_host_does_not(self) -> None:
        users = [Addressee(b"a@x.org", host) for host in (b"h.example", b"H.Example", b"k.example")]
        self.assertEqual(self.recipients(*users), [b"+", b"+", b" "])

    def test_s12_list_of_hosts_is_no_host(self) -> None:
        self.assertEqual(self.recipients(Addressee(b"a@x.org", b"((h.example)(b))")), [b" "])
        heard = [line.split(b" ")[0] for line in self.lines]
        self.assertEqual(heard, [b"#hungry", b"#", b"#resync", b"#hungry"])  # the one remark says so
        self.assertIn(b"list of hosts", self.lines[1])


class Reached(AgentCase):
    """The server that -F names, without a look at the DNS."""

    def test_s11_n18_unix_socket_needs_no_name_server_and_no_pause(self) -> None:
        """The original slept a second for each message."""
        server = self.server(Table(lmtp=True), path="")
        mails = [self.spool.add(recipients=[b"bob@no-such.invalid"]) for _ in range(10)]
        jobs = [Job(mail.name) for mail in mails]
        words = ("-M", "-x", "-F", f"UNIX:{server.path}", *NOWHERE)
        stand_in = self.scheduler(*words, jobs=jobs, overfeed=9)
        stand_in.start()
        stand_in.pump(lambda: bool(server.connections))  # an agent takes its time to start
        began = time.monotonic()
        result = stand_in.finish()
        self.assertEqual([report.word for report in result.reports], ["ok3"] * 10)
        self.assertLess(time.monotonic() - began, 8)

    def test_n20_each_host_has_a_connection_of_its_own_to_it(self) -> None:
        server = self.server()
        users = [Addressee(b"a@x.org", b"h.example"), Addressee(b"b@x.org", b"k.example")]
        mail = self.spool.add(recipients=users)
        jobs = [Job(mail.name, b"h.example"), Job(mail.name, b"k.example")]
        result = self.scheduler(*NOWHERE, server=server, jobs=jobs).run()
        self.assertEqual([report.word for report in result.reports], ["ok3", "ok3"])
        self.assertEqual(
            [[m.recipients for m in each.messages] for each in server.connections],
            [[(b"a@x.org",)], [(b"b@x.org",)]],
        )
