"""Mail from the hooks that every user of Twisted's ESMTPSender knows: getMailFrom, getMailTo, getMailData.

Builds transactions from them and tells the results in the words of that interface, so that `DeliverySender`
can stand in for its superclass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.mail.interfaces import IClientAuthentication
from twisted.mail.smtp import (
    AuthenticationError,
    EHLORequiredError,
    SMTPClientError,
    SMTPConnectError,
    SMTPDeliveryError,
    SMTPProtocolError,
    SMTPTimeoutError,
    TLSError,
    TLSRequiredError,
)
from zope.interface import classImplements

from zsmtp.message.wire import examine, stuffed, wire_pieces
from zsmtp.smtp.command import path_problem
from zsmtp.smtp.sasl import CramMd5, Login, Mechanism, Plain, mechanisms
from zsmtp.smtp.scram import ScramSha256
from zsmtp.smtp.transaction import Recipient, Transaction
from zsmtp.trouble import Kind, Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["StockMail", "authenticators"]

classImplements(CramMd5, IClientAuthentication)
classImplements(Plain, IClientAuthentication)
classImplements(Login, IClientAuthentication)
classImplements(ScramSha256, IClientAuthentication)

_ERRORS: Final[dict[Kind, type[SMTPClientError]]] = {
    Kind.GREETING_REFUSED: SMTPConnectError,
    Kind.HELLO_REFUSED: EHLORequiredError,
    Kind.TLS_REQUIRED: TLSRequiredError,
    Kind.TLS_FAILED: TLSError,
    Kind.AUTH_FAILED: AuthenticationError,
    Kind.TIMED_OUT: SMTPTimeoutError,
    Kind.WRITE_TIMED_OUT: SMTPTimeoutError,
}
_MAY_HEAL: Final = frozenset({Kind.HUNG_UP, Kind.TIMED_OUT, Kind.WRITE_TIMED_OUT, Kind.CLOSING})


def authenticators(user: bytes | None) -> list[Mechanism]:
    """Return what a sender registers in place of its superclass' own: one set for each connection."""
    return [] if user is None else mechanisms(user)


class _FileContent:
    """A message from a file object, header included."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._facts = examine(self._read)
        self.size = self._facts.octets
        self.eight_bit = self._facts.eight_bit

    def _read(self) -> Iterator[bytes]:
        self._file.seek(0)
        while piece := self._file.read(65536):
            yield piece

    def pieces(self, *, stuffed: bool) -> Iterator[bytes]:
        octets = wire_pieces(self._read)
        return _stuffed(octets) if stuffed else octets


_stuffed = stuffed


class StockMail:
    """The mails of a stock sender, one after the other."""

    def __init__(self, sender: Any) -> None:
        self._sender = sender
        self._refused: list[tuple[bytes, int, bytes]] = []
        self._maybe_delivered = False

    def next(self) -> Transaction | None:
        """Return the transaction that the hooks describe; leave the session when they have no more."""
        sender = self._sender
        if not sender.session.is_idle:
            return None  # what became of one mail is told before the next is asked for
        reverse_path = sender.getMailFrom()
        if reverse_path is None:
            sender.session.leave()
            return None
        self._refused = []
        reverse_path = _octets(reverse_path)
        recipients = []
        for address in map(_octets, sender.getMailTo()):
            problem = path_problem(address)
            if problem is None:
                recipients.append(Recipient(address))
            else:
                self._refused.append((address, 553, problem.encode()))
        if not recipients or (reverse_path and path_problem(reverse_path)):
            sender.sendError(
                SMTPDeliveryError(553, b"no address can be used", None, self._refused, isFatal=True)
            )
            return None
        content = _FileContent(sender.getMailData())
        return Transaction(reverse_path, recipients, content, eight_bit=content.eight_bit)

    def finished(self, transaction: Transaction) -> None:
        """Tell the outcome: sentMail with the final reply, or with the one that ended the transaction."""
        sender = self._sender
        self._maybe_delivered = transaction.maybe_delivered
        answered = [
            (one.path, one.reply.code, _readable(one.reply.text))
            for one in transaction.recipients
            if one.reply
        ]
        reply = transaction.mail_reply
        if reply is not None and reply.code < 300:
            reply = transaction.final_reply or transaction.data_reply
            if not transaction.accepted and transaction.recipients[-1].reply is not None:
                reply = transaction.recipients[-1].reply
        if transaction.trouble is not None or reply is None:
            return  # the end of the session follows and tells it
        text = _readable(reply.text)
        sender.sentMail(reply.code, text, len(transaction.accepted), self._refused + answered, sender.log)

    def error(self, trouble: Trouble) -> SMTPClientError:
        """Return the exception that Twisted's users expect for `trouble`.

        What a stock factory would try again at once must not be a message that may have arrived.
        """
        reply = trouble.reply
        code = reply.code if reply is not None and not self._maybe_delivered else -1
        text = _readable(trouble.text.strip(b"\r").replace(b"\r", b" "))
        retry = trouble.kind in _MAY_HEAL and not self._maybe_delivered
        kind = _ERRORS.get(trouble.kind, SMTPProtocolError)
        return kind(code, text, None, isFatal=True, retry=retry)


def _readable(text: bytes) -> bytes:
    """What a server says, in octets that Twisted's exceptions can show."""
    return text.decode("ascii", "backslashreplace").encode()


def _octets(address: str | bytes) -> bytes:
    return address.encode() if isinstance(address, str) else address
