"""The content of one message on its way out: under DATA, with its end, or in chunks under BDAT.

Content is read when its octets are wanted and not before, one piece ahead, so that the last piece is known
for what it is.  Source: RFC 5321 section 4.1.1.4, RFC 3030 section 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zsmtp.smtp.command import bdat
from zsmtp.smtp.dialogue import CRLF, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zsmtp.smtp.transaction import Transaction

__all__ = ["Chunks", "Data"]


class _Body(Stream):
    """`ended` is called when the last octets are handed out, before anything else can happen."""

    __slots__ = ("_ahead", "_ended", "_pieces", "_transaction")

    def __init__(self, transaction: Transaction, ended: Callable[[Transaction], None]) -> None:
        self.is_done = self.is_long = False
        self._transaction = transaction
        self._ended = ended
        self._pieces: Iterator[bytes] | None = None
        self._ahead: bytes | None = None

    def _piece(self, *, stuffed: bool) -> bytes:
        """Return the next octets, and know whether they are the last."""
        if self._pieces is None:
            # an empty piece would look as if a reply had to come first
            self._pieces = filter(None, self._transaction.content.pieces(stuffed=stuffed))
            self._ahead = next(self._pieces, None)
        octets = self._ahead or b""
        self._ahead = next(self._pieces, None)
        if self._ahead is None:
            self.is_done = True
            self._ended(self._transaction)
        else:
            self.is_long = True
        return octets


class Data(_Body):
    """A message under DATA."""

    __slots__ = ()

    def next(self) -> bytes:
        """See Stream."""
        octets = self._piece(stuffed=True)
        # the end of a small message and the next envelope share the write
        return octets + b".\r\n" if self.is_done else octets


class Chunks(_Body):
    """A message under BDAT, one chunk for each piece.

    `may_go` says whether a chunk may leave now, `left` is called for each but the last.
    """

    __slots__ = ("_left", "_may_go")

    def __init__(
        self,
        transaction: Transaction,
        ended: Callable[[Transaction], None],
        *,
        may_go: Callable[[], bool],
        left: Callable[[Transaction], None],
    ) -> None:
        super().__init__(transaction, ended)
        self._may_go = may_go
        self._left = left

    def next(self) -> bytes:
        """See Stream."""
        if not self._may_go():
            return b""
        transaction = self._transaction
        octets = self._piece(stuffed=False)
        if not self.is_done:
            self._left(transaction)
        transaction.data_command = bdat(len(octets), last=self.is_done)
        return transaction.data_command + CRLF + octets
