"""What the tests of the manual page share: the program, its servers, a name server, and mail to deliver."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from typing import Any, NamedTuple

import dns.message

from tests.agent.agents import AgentCase, measured
from tests.net.lying import Asked, Zone
from zsmtp.testing.conversation import Conversation
from zsmtp.testing.peer import Message
from zsmtp.testing.report import Report
from zsmtp.testing.scheduler import Job, Result
from zsmtp.testing.server import ScriptedServer
from zsmtp.testing.spool import Addressee, SpooledMail

__all__ = ["MIME_8BIT", "MIME_QP", "ManualCase", "NameServer", "Ran", "Run"]

_MIME = b"From: alice@example.com\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
MIME_8BIT = _MIME + b"Content-Transfer-Encoding: 8BIT\n"
MIME_QP = _MIME + b"Content-Transfer-Encoding: QUOTED-PRINTABLE\n"


class Ran(NamedTuple):
    """What a program did that was only run."""

    status: int
    output: bytes
    errors: bytes


class Run(NamedTuple):
    """A delivery: the scheduler's side and the server's."""

    result: Result
    server: ScriptedServer

    @property
    def words(self) -> list[str]:
        """The words of the reports, in their order."""
        return [report.word for report in self.result.reports]

    @property
    def report(self) -> Report:
        """The only report."""
        (report,) = self.result.reports
        return report

    @property
    def connection(self) -> Conversation:
        """The only connection."""
        (connection,) = self.server.connections
        return connection

    @property
    def message(self) -> Message:
        """The only message."""
        (message,) = [message for each in self.server.connections for message in each.messages]
        return message

    @property
    def commands(self) -> list[bytes]:
        """The lines that the client sent over the only connection."""
        return self.connection.commands


class ManualCase(AgentCase):
    """Runs the program."""

    def run_program(self, *words: str, fed: bytes = b"") -> Ran:
        """Run it with these words alone."""
        done = subprocess.run(
            [sys.executable, "-m", "zsmtp", *words],
            input=fed,
            capture_output=True,
            cwd=self.spool.transport,
            env={**measured(), "PATH": "/usr/bin:/bin", "ZCONFIG": self.spool.zconfig},
            timeout=60,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def refused(self, *words: str) -> str:
        """Expect a usage error; give its line."""
        ran = self.run_program(*words)
        self.assertEqual((ran.status, ran.output), (64, b""), ran.errors)
        return ran.errors.decode().splitlines()[0]

    def mail(self, *users: bytes, host: bytes = b"example.net", channel: bytes = b"smtp") -> SpooledMail:
        """Put a mail into the spool, for these users of a host."""
        return self.spool.add(
            recipients=[Addressee(user, host, channel) for user in users or (b"bob@example.net",)]
        )

    def carry(
        self,
        *words: str,
        server: ScriptedServer | None = None,
        mails: list[SpooledMail] | None = None,
        host: bytes | None = b"example.net",
        command_host: bytes | None = None,
        forced: bool = True,
        **options: Any,
    ) -> Run:
        """Let the program deliver mails, by default one, and look at both sides when it has ended.

        `host` stands on the line of each order, or `command_host` is the one that the words name.  `forced`
        False: the words say where to, not we.
        """
        server = server or self.server()
        mails = [self.mail()] if mails is None else mails
        if command_host is not None:
            options["host"] = command_host
        jobs = [Job(mail.name, host) for mail in mails]
        stand_in = self.scheduler(*words, server=server if forced else None, jobs=jobs, overfeed=9, **options)
        result = stand_in.run(settle=0)
        self.assertTrue(server.wait(lambda one: all(each.is_finished for each in one.connections)))
        self.assertEqual([problem for mail in mails for problem in mail.problems()], [])
        return Run(result, server)

    def body(self, run: Run) -> bytes:
        """The body of the only message."""
        return run.message.octets.partition(b"\r\n\r\n")[2]

    def head(self, run: Run) -> bytes:
        """The header of the only message."""
        return run.message.octets.partition(b"\r\n\r\n")[0] + b"\r\n"

    def names(self, *records: str) -> NameServer:
        """Start a name server that knows these records, such as "a.example MX 10 b.example."."""
        server = NameServer(*records)
        self.addCleanup(server.stop)
        return server


class NameServer:
    """A name server on loopback, in a thread; `options` let the program ask it and nobody else."""

    def __init__(self, *records: str) -> None:
        self._zone = Zone(*records)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.options = ("-O", f"nameserver=127.0.0.1:{self._socket.getsockname()[1]}")
        self.asked: list[str] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        address = self._socket.getsockname()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"", address)
        self._thread.join(10)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            octets, address = self._socket.recvfrom(65535)
            if not octets:
                return
            asked = Asked(dns.message.from_wire(octets), octets, False, address)
            self.asked.append(f"{asked.name.lower()} {asked.type}")
            for reply in self._zone(asked):
                self._socket.sendto(reply, address)
