"""The message of one transaction on its way out: under DATA, with its end, or in chunks under BDAT.

Content is read when its octets are wanted and not before, one piece ahead, so that the last piece is known
for what it is.  Source: RFC 5321 section 4.1.1.4, RFC 3030 section 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zsmtp.smtp.command import bdat
from zsmtp.smtp.dialogue import CRLF, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zsmtp.smtp.dialogue import Dialogue
    from zsmtp.smtp.transaction import Transaction

__all__ = ["Chunks", "Data"]


class _Body(Stream):
    """`ended` is called when the last octets are handed out, before anything else can happen."""

    __slots__ = ("_ahead", "_dialogue", "_ended", "_pieces", "_sent", "_transaction")

    def __init__(
        self, dialogue: Dialogue, transaction: Transaction, ended: Callable[[Transaction], None]
    ) -> None:
        self.is_done = self.is_long = False
        self._dialogue = dialogue
        self._transaction = transaction
        self._ended = ended
        self._pieces: Iterator[bytes] | None = None
        self._ahead: bytes | None = None  # the piece that comes next
        self._sent = 0

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
            self._sent += len(octets)
            self._show("p", b"%d/%d" % (self._sent, self._transaction.content.size))
        return octets

    def _show(self, kind: str, line: bytes) -> None:
        if self._dialogue.witness is not None:
            self._dialogue.witness(kind, line)


class Data(_Body):
    """A message under DATA."""

    __slots__ = ()

    def next(self) -> bytes:
        """See Stream."""
        octets = self._piece(stuffed=True)
        if not self.is_done:
            return octets
        self._show("w", b".")
        # the end of a small message and the next envelope share the write
        return octets + b".\r\n"


class Chunks(_Body):
    """A message under BDAT, one chunk for each piece.

    `may_go` says whether a chunk may leave now, `left` is called for each but the last.
    """

    __slots__ = ("_left", "_may_go")

    def __init__(
        self,
        dialogue: Dialogue,
        transaction: Transaction,
        ended: Callable[[Transaction], None],
        *,
        may_go: Callable[[], bool],
        left: Callable[[Transaction], None],
    ) -> None:
        super().__init__(dialogue, transaction, ended)
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
        self._show("w", transaction.data_command)
        return transaction.data_command + CRLF + octets
