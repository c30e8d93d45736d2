"""Postfix's ``smtp-sink`` as a peer."""

from __future__ import annotations

import os
import shutil
import smtplib
import socket
from collections.abc import Sequence
from pathlib import Path

from tests.real.peer import Delivered, Peer, address_in, free_port
from tests.real.process import Program

__all__ = ["SmtpSink"]


class SmtpSink(Peer):
    """Postfix's ``smtp-sink``: SMTP or LMTP, on a port or a socket, with everything that makes ESMTP fast but
    TLS.

    It drops CR wherever it comes, so that only messages without bare CR come back as they were.  `more` are
    further options of smtp-sink.
    """

    def __init__(
        self, *, lmtp: bool = False, unix: bool = False, pipelining: bool = True, more: Sequence[str] = ()
    ) -> None:
        self.lmtp = lmtp
        self._unix = unix
        self._more = [*more] if pipelining else ["-p", *more]

    @classmethod
    def missing(cls) -> str | None:
        """Look for the program."""
        return None if shutil.which("smtp-sink") else "smtp-sink is not installed (Debian: postfix)"

    def _launch(self, output: Path) -> Program:
        if self._unix:
            self.socket_path = self.folder / "socket"
            where = f"unix:{self.socket_path}"
        else:
            self.port = free_port()
            where = f"inet:127.0.0.1:{self.port}"
        arguments = ["smtp-sink", "-h", "sink.example", "-d", f"{self.mail}/m.", *self._more]
        if self.lmtp:
            arguments.append("-L")
        if os.geteuid() == 0:
            arguments += ["-u", "root"]  # it refuses root's rights until told whose to take
        return Program([*arguments, where, "200"], output)

    def connect(self, seconds: float = 10.0) -> smtplib.SMTP:
        """Open a connection; SMTP on a UNIX socket is beyond the standard library's constructors."""
        if self.socket_path is None or self.lmtp:
            return super().connect(seconds)
        client = smtplib.SMTP(local_hostname="client.example", timeout=seconds)
        client.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.sock.settimeout(seconds)
        try:
            client.sock.connect(str(self.socket_path))
            code, text = client.getreply()
        except OSError:
            client.close()
            raise
        if code != 220:
            client.close()
            raise smtplib.SMTPConnectError(code, text)
        return client

    def delivered(self) -> list[Delivered]:
        """Read the dumps: lines of smtp-sink, its Received field of three lines, the message, one more LF."""
        return [_sink_dump(path.read_bytes()) for path in self._files()]


def _sink_dump(octets: bytes) -> Delivered:
    sender = b""
    recipients: list[bytes] = []
    protocol = ""
    lines, _, rest = octets.partition(b"\nReceived: ")
    for line in lines.split(b"\n"):
        name, _, value = line.partition(b": ")
        match name:
            case b"X-Mail-Args":
                sender = address_in(value)
            case b"X-Rcpt-Args":
                recipients.append(address_in(value))
            case b"X-Client-Proto":
                protocol = value.decode()
    message = rest.split(b"\n", 3)[3].removesuffix(b"\n")
    return Delivered(sender, tuple(recipients), protocol, message)
