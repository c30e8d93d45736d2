"""Each clause of conf/scheduler.conf is tried: its command, as it stands there, delivers under the scheduler.

Only names that exist nowhere else are replaced: where the variables of zmailer.conf lead, the socket of the
LMTP server, and the smart host.
"""

from __future__ import annotations

import os
import stat
import sys

from tests.agent.agents import AgentCase
from tests.net.test_proctitle import title_of
from tests.real.dovecot import Dovecot
from tests.real.peer import Peer, start
from tests.real.smtp_sink import SmtpSink
from tests.source import ROOT
from tests.test_samples import clauses
from zsmtp.testing.authority import Authority
from zsmtp.testing.scheduler import Job, Result
from zsmtp.testing.spool import Addressee
from zsmtp.testing.table import Table

LOGIN = ["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "235 2.7.0 welcome"]


class Clauses(AgentCase):
    """The commands of the sample."""

    def setUp(self) -> None:
        super().setUp()
        self.logs, self.share = (os.path.join(self.spool.postoffice, name) for name in ("log", "share"))
        for folder in (self.logs, os.path.join(self.share, "db")):
            os.makedirs(folder)

    def command(self, selector: str, replaced: dict[str, str]) -> list[str]:
        """The words of a clause, as the scheduler makes them of it."""
        channel = selector.partition("/")[0]
        words = clauses((ROOT / "conf/scheduler.conf").read_text())[selector]["command"].split()
        self.assertEqual(words.pop(0), "zsmtp")
        found = []
        for word in words:
            word = channel if word == "$channel" else word
            for name, value in (("${LOGDIR}", self.logs), ("${MAILSHARE}", self.share)):
                word = word.replace(name, value)
            found.append(replaced.pop(word, word))
        self.assertEqual(replaced, {}, "not in the clause")
        return [sys.executable, "-m", "zsmtp", *found, "-O", "syslog=none"]

    def deliver(
        self, channel: bytes, program: list[str], *words: str, host: bytes = b"example.net"
    ) -> Result:
        """Deliver three mails of a channel."""
        mails = [self.spool.add(recipients=[Addressee(b"bob@example.net", host, channel)]) for _ in range(3)]
        jobs = [Job(mail.name, host) for mail in mails]
        result = self.scheduler(*words, program=program, jobs=jobs, channel=channel, overfeed=40).run()
        self.assertEqual(list(result.words.values()), ["ok3"] * 3)
        return result

    def real(self, peer: type[Peer]) -> Peer:
        """Start a real server; skips where there is none."""
        return start(self, peer())

    def test_smtp_clause_delivers_and_shows_what_it_does(self) -> None:
        sink = self.real(SmtpSink)
        program = self.command("smtp/*", {})
        # the only thing to add is that the mail exchanger of this domain is here
        self.deliver(b"smtp", program, "-F", "[127.0.0.1]", "-p", str(sink.port))
        self.assertEqual(len(sink.await_delivered(3)), 3)
        with open(os.path.join(self.logs, "zsmtp"), "rb") as file:
            self.assertEqual(file.read().count(b"w\t.\n"), 3)
        agent = self.scheduler(program=program)
        agent.start()
        agent.pump(lambda: agent.feeding.is_idle)
        self.eventually(lambda: title_of(agent.pid).startswith("zsmtp >[] (nil) #idle"), "the title")
        agent.finish()

    def test_lmtp_clause_delivers_to_a_socket(self) -> None:
        dovecot = self.real(Dovecot)
        program = self.command("smtp-lmtp/*", {"UNIX:/run/dovecot/lmtp": f"UNIX:{dovecot.socket_path}"})
        self.deliver(b"smtp-lmtp", program)
        self.assertEqual(len(dovecot.await_delivered(3)), 3)

    def test_smart_host_clause_sends_with_tls_and_auth(self) -> None:
        server = self.server(
            Table({"auth": LOGIN}, announce=["STARTTLS", "AUTH LOGIN", "PIPELINING"]),
            credentials=Authority().issue("smarthost.example.net"),
        )
        self.configure(server._credentials.authority)  # type: ignore[union-attr]
        self.deliver(b"smtp-relay", self.smart_host(server.port))
        (connection,) = server.connections
        self.assertEqual((connection.tls, len(connection.messages)), ("TLSv1.3", 3))
        self.assertIn(b"\r\nAUTH LOGIN\r\nbXluYW1l\r\nc2VjcmV0\r\n", connection.client)
        with open(os.path.join(self.logs, "zsmtp"), "rb") as file:
            log = file.read()
        self.assertIn(b"w\tAUTH LOGIN\n", log)
        self.assertNotIn(b"c2VjcmV0", log)

    def test_smart_host_clause_sends_nothing_to_somebody_else(self) -> None:
        table = Table({"auth": LOGIN}, announce=["STARTTLS", "AUTH LOGIN"])
        server = self.server(table, credentials=Authority().issue("other.example.net"))
        self.configure(server._credentials.authority)  # type: ignore[union-attr]
        mail = self.spool.add(recipients=[Addressee(b"bob@example.net", b"example.net", b"smtp-relay")])
        program = self.smart_host(server.port)
        result = self.scheduler(program=program, jobs=[Job(mail.name)], channel=b"smtp-relay").run()
        self.assertEqual([report.is_deferral for report in result.reports], [True])
        self.assertEqual(server.messages, [])
        self.assertNotIn(b"bXluYW1l", b"".join(each.client for each in server.connections))

    def smart_host(self, port: int) -> list[str]:
        """The command of the clause, with a smart host on this machine."""
        return self.command("smtp-relay/*", {"smarthost.example.net": "[127.0.0.1]", "submission": str(port)})

    def configure(self, authority: bytes) -> None:
        """Install both samples as they ask for, with the smart host's address and authority."""
        pem = os.path.join(self.share, "db", "authority.pem")
        with open(pem, "wb") as file:
            file.write(authority)
        secrets = (ROOT / "conf/smtp-auth-secrets.txt").read_text()
        self.write("smtp-auth-secrets.txt", secrets.replace("smarthost.example.net", "127.0.0.1", 1))
        more = f"tls-verify-name smarthost.example.net\ntls-CAfile {pem}\n"
        self.write("smtp-tls-mandatory.conf", (ROOT / "conf/smtp-tls-mandatory.conf").read_text() + more)

    def write(self, name: str, text: str) -> None:
        """Write a file of the postmaster's that nobody else reads."""
        path = os.path.join(self.share, "db", name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        os.chmod(path, stat.S_IRUSR)
