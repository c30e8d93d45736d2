"""One mail from the hooks that every user of Twisted's ESMTPSender knows: getMailFrom, getMailTo,
getMailData.

Builds a transaction from them and tells the result in the words of that interface, so that `DeliverySender`
can stand in for its superclass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.mail.smtp import SMTPClientError, SMTPDeliveryError, SMTPProtocolError

from zsmtp.message.wire import examine, stuffed, wire_pieces
from zsmtp.smtp.command import path_problem
from zsmtp.smtp.transaction import Recipient, Transaction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zsmtp.trouble import Trouble

__all__ = ["StockMail", "error_from"]


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
    """The one mail of a stock sender."""

    def __init__(self, sender: Any) -> None:
        self._sender = sender
        self._refused: list[tuple[bytes, int, bytes]] = []
        self._is_sent = False

    def next(self) -> Transaction | None:
        """Return the transaction that the hooks describe; None when they have no more, and the session is
        left.
        """
        sender = self._sender
        reverse_path = None if self._is_sent else sender.getMailFrom()
        if reverse_path is None:
            if self._is_sent or not sender.session.begun:
                sender.session.leave()
            return None
        self._is_sent = True
        if isinstance(reverse_path, str):
            reverse_path = reverse_path.encode()
        recipients = []
        for address in sender.getMailTo():
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
        answered = [(one.path, one.reply.code, one.reply.text) for one in transaction.recipients if one.reply]
        reply = transaction.mail_reply
        if reply is not None and reply.code < 300:
            reply = transaction.final_reply or transaction.data_reply
            if not transaction.accepted and transaction.recipients[-1].reply is not None:
                reply = transaction.recipients[-1].reply
        if transaction.trouble is not None or reply is None:
            return  # the end of the session follows and tells it
        sender.sentMail(
            reply.code, reply.text, len(transaction.accepted), self._refused + answered, sender.log
        )


def error_from(trouble: Trouble) -> SMTPClientError:
    """Return the exception that Twisted's users expect for `trouble`."""
    code = trouble.reply.code if trouble.reply is not None else -1
    text = trouble.text.strip(b"\r").replace(b"\r", b" ")
    return SMTPProtocolError(code, text, None, isFatal=True, retry=code < 500)
