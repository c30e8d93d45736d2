"""By what replies show that they are in step with our commands, and what is believed when they are not.

Replies have no names: their order alone says what they answer, and only the 3yz to DATA stands out by itself.
But most servers mark replies with enhanced status codes (RFC 2034), those to MAIL, to RCPT and to the end of
the data with different ones.  `Marks` is how a server does it, learnt from a transaction that its 3yz has
proven; a later reply with the mark of another command is out of place.  A server that marks nothing, or all
alike, contradicts nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zsmtp.smtp.event import Event, RecipientAnswered, TransactionFinished
from zsmtp.smtp.patience import Awaits
from zsmtp.trouble import Kind, Trouble

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zsmtp.smtp.reply import Reply
    from zsmtp.smtp.transaction import Transaction

__all__ = ["Marks", "disbelieve"]


class Marks:
    """The enhanced status codes of a server's 2yz replies, by what they answered."""

    __slots__ = ("_all", "_own")

    def __init__(self, own: dict[Awaits, frozenset[bytes | None]]) -> None:
        self._own = own
        self._all = frozenset(code for codes in own.values() for code in codes if code is not None)

    @classmethod
    def of(cls, transaction: Transaction) -> Marks | None:
        """Return the marks that a transaction shows that went through, or None if nobody was delivered."""
        finals = [transaction.final_reply, *(one.final for one in transaction.accepted)]
        good = frozenset(one.enhanced for one in finals if one is not None and one.code < 300)
        if not good or transaction.mail_reply is None:
            return None
        said = frozenset(one.reply.enhanced for one in transaction.accepted if one.reply is not None)
        mail = frozenset({transaction.mail_reply.enhanced})
        return cls({Awaits.MAIL: mail, Awaits.RCPT: said, Awaits.FINAL: good})

    def contradict(self, awaited: Awaits, reply: Reply) -> bool:
        """Whether `reply` bears a mark that this server gives to replies to other commands only."""
        if not self._all:
            return False
        code = reply.enhanced
        return code in self._all and code not in self._own[awaited]


def disbelieve(
    events: Iterable[Event], under_way: Iterable[Transaction | None], *, even_proven: bool
) -> list[Event]:
    """Leave in doubt every transaction that is under way or in `events` and not proven, or `even_proven`.

    Returns the events that remain: of a recipient whose transaction is in doubt is told with the others.
    """
    for transaction in under_way:
        if transaction is not None and not transaction.is_proven:
            transaction.is_in_doubt = True
    remaining: list[Event] = []
    for event in events:
        if isinstance(event, TransactionFinished | RecipientAnswered):
            transaction = event.transaction
            if even_proven or not transaction.is_proven:
                transaction.is_in_doubt = True
                transaction.trouble = Trouble(
                    Kind.PROTOCOL, b"the replies were not in step with the commands"
                )
            if transaction.is_in_doubt and isinstance(event, RecipientAnswered):
                continue
        remaining.append(event)
    return remaining
