"""The demo's two servers: Twisted's SMTP server with STARTTLS, and LMTP as a subclass of it.

Both store mail in Maildirs, one for each recipient, exactly as it came and without a trace field, so that it
can be compared with what was sent.  PIPELINING costs nothing: the stock class handles line after line, and
each answer is given before the next line is looked at.  `Office.seen` keeps what only the server knows: by
which TLS version somebody was named as a recipient.

Made for a demonstration: the servers know only the demo's recipients, and take mail from anybody on this
machine.
Source: RFC 5321, RFC 2033, RFC 3207.
"""

from __future__ import annotations

import mailbox
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from OpenSSL import SSL
from twisted.internet import defer
from twisted.internet.protocol import ServerFactory
from twisted.mail.interfaces import IMessageSMTP
from twisted.mail.smtp import ESMTP, SMTPServerError
from twisted.python.failure import Failure
from zope.interface import implementer

from zsmtp.ctl.demomail import LARGE, Answer

__all__ = ["Office", "ServerOf", "Store", "store"]

Store = Callable[[str, str, bytes], None]
"""Stores a message: below this folder, for this recipient, with LF as line end."""

_QUIET_SECONDS = 60


def store(folder: str, recipient: str, octets: bytes) -> None:
    """Put a message into the Maildir of a recipient."""
    mailbox.Maildir(os.path.join(folder, recipient), create=True).add(octets)


class Office:
    """What the two servers share: who is known and how they are answered, and what has come.

    `seen` has the TLS version by sender and recipient, None for a connection without; `octets` counts what
    came from all connections, commands and TLS excluded.
    """

    def __init__(self, folder: str, answers: dict[str, Answer], store: Store) -> None:
        self.folder = folder
        self.answers = answers
        self.store = store
        self.seen: dict[tuple[str, str], str | None] = {}
        self.octets = 0


class _SmtpServer(ESMTP):
    """One connection."""

    noisy = False
    timeout = _QUIET_SECONDS
    transport: Any

    def __init__(self, office: Office, host: bytes, context: Any) -> None:
        ESMTP.__init__(self, contextFactory=context)
        self.host = self._name = host
        self._office = office

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol."""
        self._office.octets += len(data)
        ESMTP.dataReceived(self, data)

    def greeting(self) -> bytes:
        """See twisted.mail.smtp.ESMTP."""
        return self._name + b" ESMTP zsmtp demo"

    def extensions(self) -> dict[bytes, list[bytes] | None]:
        """See twisted.mail.smtp.ESMTP."""
        ours = {b"PIPELINING": None, b"8BITMIME": None, b"SIZE": [b"%d" % (2 * LARGE)]}
        return {**ours, **ESMTP.extensions(self)}

    def receivedHeader(self, helo: object, origin: object, recipients: object) -> bytes:
        """Add no trace field."""
        return b""

    def validateFrom(self, helo: object, origin: Any) -> Any:
        """Take every sender."""
        return origin

    def validateTo(self, user: Any) -> Callable[[], _Copy]:
        """Take a recipient that is known, unless its answer is a refusal that comes before the data."""
        recipient = str(user.dest)
        self._office.seen[str(user.orig), recipient] = self._tls_version()
        answer = self._office.answers.get(recipient)
        if answer is None:
            raise SMTPServerError(550, "5.1.1 not known to this demo")
        if not answer.after_data:
            raise SMTPServerError(answer.code, answer.text)
        return partial(_Copy, self._office, recipient, answer)

    def _tls_version(self) -> str | None:
        handle = self.transport.getHandle()
        return handle.get_protocol_version_name() if isinstance(handle, SSL.Connection) else None

    def _say(self, code: int, text: bytes) -> None:
        ESMTP.sendCode(self, code, text)

    def _messageHandled(self, resultList: list[tuple[bool, Any]]) -> None:
        """Answer the end of the data; the results are those of the copies, in the order of the recipients."""
        self._answer([_reply(result) for _, result in resultList])

    def _answer(self, replies: list[tuple[int, bytes]]) -> None:
        self._say(*max(replies))  # one for all: the worst


class _LmtpServer(_SmtpServer):
    """One connection on which LMTP is spoken.  Source: RFC 2033 section 4."""

    def greeting(self) -> bytes:
        """See twisted.mail.smtp.SMTP."""
        return self._name + b" LMTP zsmtp demo"

    def lookupMethod(self, command: Any) -> Any:
        """Refuse what is no command of LMTP."""
        return None if command.upper() in (b"HELO", b"EHLO") else ESMTP.lookupMethod(self, command)

    def do_LHLO(self, rest: bytes) -> None:
        """Answer LHLO; the stock class's EHLO asks for an IP address, which a UNIX socket has not."""
        self._from = None
        self._to: list[Any] = []
        self._say(250, self._name + b"\n" + ESMTP.listExtensions(self))

    def _answer(self, replies: list[tuple[int, bytes]]) -> None:
        for reply in replies:  # RFC 2033 4.2
            self._say(*reply)


def _reply(result: Any) -> tuple[int, bytes]:
    error = result.value if isinstance(result, Failure) else result
    match error:
        case SMTPServerError():
            return error.code, error.resp.encode()
        case Exception():
            return 451, b"4.3.0 cannot be stored: " + str(error).encode("ascii", "replace")
        case _:
            return 250, b"2.0.0 stored"


@implementer(IMessageSMTP)
class _Copy:
    """A message on its way to one recipient."""

    def __init__(self, office: Office, recipient: str, answer: Answer) -> None:
        self._office = office
        self._recipient = recipient
        self._answer = answer
        self._lines: list[bytes] = []

    def lineReceived(self, line: bytes) -> None:
        """See IMessageSMTP."""
        self._lines.append(line + b"\n")

    def eomReceived(self) -> defer.Deferred[None]:
        """See IMessageSMTP."""
        if self._answer.is_delivery:
            return defer.maybeDeferred(
                self._office.store, self._office.folder, self._recipient, b"".join(self._lines)
            )
        return defer.fail(SMTPServerError(self._answer.code, self._answer.text))

    def connectionLost(self) -> None:
        """See IMessageSMTP."""
        self._lines.clear()


class ServerOf(ServerFactory):
    """Makes the server for each connection, and can end all of them.

    `context` is a Twisted context factory: with one STARTTLS is offered.
    """

    def __init__(self, office: Office, host: bytes, *, lmtp: bool = False, context: Any = None) -> None:
        self._make = partial(_LmtpServer if lmtp else _SmtpServer, office, host, context)
        self._made: list[_SmtpServer] = []

    def buildProtocol(self, addr: object) -> _SmtpServer:
        """See IProtocolFactory."""
        server = self._make()
        server.factory = self
        self._made.append(server)
        return server

    def end_connections(self) -> None:
        """Close every connection at once."""
        for server in self._made:
            if server.transport is not None and server.transport.connected:
                server.transport.abortConnection()
        self._made.clear()
