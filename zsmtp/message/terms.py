"""The terms in which a message is spoken about: what a server takes, what is wished, what comes of it.

Plain values, and `Form`, which makes the octets of one message for one server as often as they are asked for.
Source: RFC 1870 section 6 for the size of a message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from zsmtp.errors import Misuse
from zsmtp.message.wire import PIECE, gathered, stuffed

__all__ = ["Ability", "Form", "Refusal", "Wishes"]


class Ability(NamedTuple):
    """What the server announced; `binary`: both BINARYMIME and CHUNKING."""

    eight_bit_mime: bool
    smtputf8: bool
    binary: bool = False


class Wishes(NamedTuple):
    """What the operator asked for: options -7, -8, -H, ZENV DEFCHARSET, RFC822TABS, NORECEIVEDFORCLAUSE."""

    seven_bit: bool = False
    eight_bit: bool = False
    raw_headers: bool = False
    default_charset: bytes = b"unknown-8bit"
    expand_tabs: bool = True
    received_for: bool = True


class Refusal(NamedTuple):
    """Why this message cannot go to this server: for a temporary one the next try may help."""

    status: bytes
    text: str
    temporary: bool


class Form:
    """A message as one server gets it.

    `size`: octets on the wire with all CR LF, but without doubled dots and the final dot (RFC 1870);
    `eight_bit`: MAIL needs BODY=8BITMIME (false where 8-bit octets go raw to a server that has not announced
    it, see `notes`); `binary`: MAIL needs BODY=BINARYMIME, and the octets can only go by BDAT; `smtputf8`:
    MAIL needs SMTPUTF8; `conversion`: the word for the log; `notes`: things to log once.
    """

    __slots__ = (
        "_body",
        "_header",
        "_small",
        "binary",
        "conversion",
        "eight_bit",
        "notes",
        "size",
        "smtputf8",
    )

    def __init__(
        self,
        head: bytes,
        body: Callable[[], Iterable[bytes]],
        octets: int,
        *,
        eight_bit: bool = False,
        binary: bool = False,
        smtputf8: bool = False,
        conversion: bytes = b"NONE",
        notes: tuple[str, ...] = (),
    ) -> None:
        """Take the header with its empty line, what gives the body, both with CR LF, and the body's size."""
        self._header = head
        self._body = body
        self._small = octets <= PIECE
        self.size = len(head) + octets
        self.eight_bit = eight_bit
        self.binary = binary
        self.smtputf8 = smtputf8
        self.conversion = conversion
        self.notes = notes

    @property
    def head_size(self) -> int:
        """Octets of the header, the empty line included."""
        return len(self._header)

    def pieces(self, *, stuffed: bool) -> Iterator[bytes]:
        """Give header, empty line and body, dots doubled for DATA, not for BDAT; one piece if it is small.

        Raises Misuse where binary octets are asked for by DATA, in which they would end or be altered.
        """
        if stuffed and self.binary:
            raise Misuse("a binary message can only go by BDAT (RFC 3030 section 3)")
        if not self._small:
            stream = gathered(self._stream())
            return _stuffed(stream) if stuffed else stream
        whole = b"".join((self._header, *self._body()))
        if stuffed:
            if whole.rfind(b"\r\n.") >= 0:  # 1.7 us for 4 KiB, where `in` takes 3.7
                whole = whole.replace(b"\r\n.", b"\r\n..")
            if whole.startswith(b"."):
                whole = b"." + whole
        return iter((whole,))

    def _stream(self) -> Iterator[bytes]:
        yield self._header
        yield from self._body()

    def __repr__(self) -> str:
        return f"<Form {self.conversion.decode('ascii')} {self.size} octets>"


_stuffed = stuffed  # `pieces` has an argument of that name
