"""What all real counterparts share: a private folder, a start that is awaited, an end that is certain."""

from __future__ import annotations

import os
import shutil
import smtplib
import socket
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple, TypeVar

from twisted.trial.unittest import SkipTest, SynchronousTestCase
from twisted.trial.unittest import TestCase as DeferredTestCase

from tests.real.process import Program, ProgramFailed
from zsmtp.testing.certificate import certificate

__all__ = ["Delivered", "Peer", "address_in", "free_port", "start"]

ATTEMPTS = 3
"""A free port may be taken by another test between our look and the server's bind."""


class Delivered(NamedTuple):
    """One message as a peer stored it.

    `recipients` are those of one transaction; Dovecot stores a copy for each, with that one.  `message` has
    LF as line end and no trace fields of the peer; `wire` has the line ends that came, where the peer keeps
    them.  `protocol` is SMTP, ESMTP, ESMTPS or LMTP.
    """

    sender: bytes
    recipients: tuple[bytes, ...]
    protocol: str
    message: bytes
    wire: bytes | None = None


class Peer(ABC):
    """A server that can be started and stopped, and asked for what it got."""

    lmtp: bool = False
    socket_path: Path | None = None
    port: int | None = None

    @classmethod
    def missing(cls) -> str | None:
        """Say why this peer cannot be run here; None if it can."""
        return None

    def start(self) -> None:
        """Start the server and wait until it greets; raise ProgramFailed if it does not."""
        # Below /tmp and not in trial's folder: servers that give up root must be able to go there, and the
        # name of a UNIX socket has at most 107 octets.
        self.folder = Path(tempfile.mkdtemp(prefix="zsmtp-peer-"))
        self.folder.chmod(0o711)
        self.mail = self.folder / "mail"
        self.mail.mkdir()
        for attempt in range(ATTEMPTS):
            self.program = self._launch(self.folder / f"output.{attempt}")
            try:
                self.program.wait_until(self._greets, 15.0, type(self).__name__)
                return
            except ProgramFailed:
                self.program.stop()
                if attempt == ATTEMPTS - 1:
                    shutil.rmtree(self.folder)
                    raise

    def stop(self) -> None:
        """End the server and remove all that it wrote."""
        self.program.stop()
        shutil.rmtree(self.folder)

    @property
    def options(self) -> list[str]:
        """The agent's options that send everything to this peer."""
        lmtp = ["-M"] if self.lmtp else []
        if self.socket_path is not None:
            return [*lmtp, "-F", f"UNIX:{self.socket_path}"]
        return [*lmtp, "-F", "[127.0.0.1]", "-p", str(self.port)]

    def connect(self, seconds: float = 10.0) -> smtplib.SMTP:
        """Open a connection with the standard library's client, which reads the greeting."""
        kind = smtplib.LMTP if self.lmtp else smtplib.SMTP
        if self.socket_path is not None:
            return smtplib.LMTP(str(self.socket_path), timeout=seconds)
        assert self.port is not None
        return kind("127.0.0.1", self.port, "client.example", timeout=seconds)

    def certify(self, name: str) -> tuple[Path, Path]:
        """Write certificate and key for `name` and the loopback, and `authority.pem`, who signed them."""
        credentials = certificate(name, "localhost", "127.0.0.1")
        files = (self.folder / "certificate.pem", self.folder / "key.pem")
        files[0].write_bytes(credentials.certificate)
        files[1].write_bytes(credentials.key)
        (self.folder / "authority.pem").write_bytes(credentials.authority)
        return files

    @abstractmethod
    def delivered(self) -> list[Delivered]:
        """Read what has arrived so far."""

    def await_delivered(self, count: int, seconds: float = 30.0) -> list[Delivered]:
        """Wait until at least `count` messages lie there and read them; raise ProgramFailed if in vain."""
        self.program.wait_until(lambda: len(self._files()) >= count, seconds, f"{count} messages")
        return self.delivered()

    def log(self) -> str:
        """What the server wrote about its work."""
        return self.program.output.read_text(errors="replace")

    @abstractmethod
    def _launch(self, output: Path) -> Program:
        """Start the program; called again after a failure."""

    def _files(self) -> list[Path]:
        return [path for path in self.mail.iterdir() if not path.name.startswith(".")]

    def _greets(self) -> bool:
        try:
            self.connect(2.0).quit()
        except (OSError, smtplib.SMTPException):
            return False
        return self.program.running


P = TypeVar("P", bound=Peer)


def start(case: SynchronousTestCase | DeferredTestCase, peer: P) -> P:
    """Start `peer` for one test; without the program skip the test, or fail it where CI is set."""
    reason = peer.missing()
    if reason is not None:
        if "CI" in os.environ:
            case.fail(f"a peer is missing, and CI is set: {reason}")
        raise SkipTest(reason)
    peer.start()
    case.addCleanup(peer.stop)
    return peer


def address_in(octets: bytes) -> bytes:
    """Cut the address out of ``<address> parameters``."""
    return octets.strip().partition(b"<")[2].partition(b">")[0]


def free_port() -> int:
    """Find a TCP port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert isinstance(port, int)
    return port
