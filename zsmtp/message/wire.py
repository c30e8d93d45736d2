"""The body on the wire: line ends, line lengths, dots.

Takes the octets as they lie in the message file (lines end with LF, or CR LF where a file came that way) and
gives them as a server must get them: every line ends with CR LF, the last one too, and neither a CR nor an LF
stands outside of such a pair.  NULs are left out, a CR that ends no line becomes a blank; `examine` tells
beforehand whether there are any. Everything works piece by piece, so that a body may have any size.  Dots are
doubled by `stuffed` and nowhere else, as the very last step: it sees every octet that goes out, whatever made
it.
Sources: RFC 5321 sections 2.3.8, 4.5.2 and 4.5.3.1.6; RFC 1870 for what counts as the size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

__all__ = [
    "LINE_LIMIT",
    "PIECE",
    "Facts",
    "Source",
    "Whole",
    "crlf",
    "cut",
    "ended",
    "examine",
    "gathered",
    "has_long_line",
    "plain_body",
    "stuffed",
    "wire",
    "wire_pieces",
]

#: Octets of a text line without its CR LF (RFC 5321 section 4.5.3.1.6 says 1000 with it).
LINE_LIMIT = 998

#: Octets of a piece that is passed on, about: pieces from the outside that are larger get cut.
PIECE = 65536

#: Gives the body's pieces as stored; every call starts again at the first octet.
Source = Callable[[], Iterable[bytes]]

_LF = 10


class Facts(NamedTuple):
    """What one look at a body told.

    `octets` is the exact size of what `wire_pieces` gives; `eight_bit`: some octet has its top bit set;
    `long_line`: a line is above 998 octets; `bare_cr`: a CR ends no line; `nul`: there are NULs.
    """

    octets: int
    eight_bit: bool
    long_line: bool
    bare_cr: bool
    nul: bool


def has_long_line(octets: bytes) -> bool:
    """Tell whether a line of `octets` (lines end with LF) is above 998 octets."""
    # Hops of up to 998 octets from line end to line end: 5 steps for 4 KiB, where a split makes 60 objects.
    start = 0
    while len(octets) - start > LINE_LIMIT:
        end = octets.rfind(b"\n", start, start + LINE_LIMIT + 1)
        if end < 0:
            return True
        start = end + 1
    return False


def examine(source: Source) -> Facts:
    """Read a body once and tell what has to be known about it before MAIL can be sent."""
    octets = 0
    eight_bit = long_line = bare_cr = nul = held = False
    run = 0  # octets of the line that the last piece left unfinished
    last = _LF
    for piece in source():
        if b"\0" in piece:
            nul = True
            piece = piece.replace(b"\0", b"")
        if held:
            piece = b"\r" + piece
            held = False
        if b"\r" in piece:
            if piece.endswith(b"\r"):
                held = True
                piece = piece[:-1]
            piece = piece.replace(b"\r\n", b"\n")
            bare_cr = bare_cr or b"\r" in piece
        if not piece:
            continue
        eight_bit = eight_bit or not piece.isascii()
        octets += len(piece) + piece.count(b"\n")
        last = piece[-1]
        if not long_line:
            end = piece.find(b"\n")
            if end < 0:
                run += len(piece)
                long_line = run > LINE_LIMIT
            else:
                long_line = run + end > LINE_LIMIT or has_long_line(piece)
                run = len(piece) - piece.rfind(b"\n") - 1
    if held or last != _LF:
        octets += 2
    return Facts(octets, eight_bit, long_line, bare_cr, nul)


class Whole:
    """A small body that is held in memory: a `Source`, and its form on the wire, which is made once."""

    __slots__ = ("_on_wire", "octets")

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self._on_wire: bytes | None = None

    def __call__(self) -> Iterable[bytes]:
        return (self.octets,)

    def examine(self) -> Facts:
        """Say what `examine` says of it, in a third of the time for plain text."""
        octets = self.octets
        if octets[-1:] != b"\n" or octets.find(b"\r") >= 0 or octets.find(b"\0") >= 0:
            return examine(self)
        self._on_wire = on_wire = octets.replace(b"\n", b"\r\n")
        return Facts(len(on_wire), not octets.isascii(), has_long_line(octets), False, False)

    def on_wire(self) -> tuple[bytes]:
        """Give what `wire_pieces` gives, in one piece."""
        if self._on_wire is None:
            self._on_wire = wire(self.octets)
        return (self._on_wire,)


def wire(octets: bytes) -> bytes:
    """Bring a whole body into the form that `wire_pieces` gives in pieces."""
    if b"\0" in octets:
        octets = octets.replace(b"\0", b"")
    if b"\r" in octets:
        if octets.endswith(b"\r"):  # the line end that is missing is added, and makes this CR half of it
            octets += b"\n"
        octets = octets.replace(b"\r\n", b"\n").replace(b"\r", b" ")
    if octets and octets[-1] != _LF:
        octets += b"\n"
    return octets.replace(b"\n", b"\r\n")


def plain_body(source: Source, octets: int) -> Callable[[], Iterable[bytes]]:
    """Give what makes a body of that size on the wire: in one piece if it is small."""
    if isinstance(source, Whole):
        return source.on_wire
    return partial(_whole if octets <= PIECE else wire_pieces, source)


def _whole(source: Source) -> Iterable[bytes]:
    return (wire(b"".join(source())),)


def wire_pieces(source: Source) -> Iterator[bytes]:
    """Give a body with CR LF at the end of every line; nothing for an empty one, else CR LF comes last."""
    return ended(crlf(source()))


def crlf(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Bring pieces of text into the form of the wire, but add no line end where the last one is missing."""
    held = False
    for piece in cut(pieces):
        if b"\0" in piece:
            piece = piece.replace(b"\0", b"")
        if held:
            piece = b"\r" + piece
            held = False
        if b"\r" in piece:
            if piece.endswith(b"\r"):  # what follows decides
                held = True
                piece = piece[:-1]
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b" ")
        if piece:
            yield piece.replace(b"\n", b"\r\n")
    if held:
        yield b"\r\n"


def ended(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Add the CR LF that the last line may lack."""
    last = _LF
    for piece in pieces:
        if piece:
            last = piece[-1]
            yield piece
    if last != _LF:
        yield b"\r\n"


def stuffed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Double the dots at line starts, over the edges of pieces too and at the very start.

    Source: RFC 5321 section 4.5.2.
    """
    at_start = True
    for piece in pieces:
        if not piece:
            continue
        if piece.rfind(b"\n.") >= 0:  # half the time of `in`
            piece = piece.replace(b"\n.", b"\n..")
        if at_start and piece.startswith(b"."):
            piece = b"." + piece
        at_start = piece[-1] == _LF
        yield piece


def gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Join small pieces, so that what goes to the socket comes in pieces of about 64 KiB."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= PIECE:
            yield b"".join(waiting)
            waiting = []
            size = 0
    if size:
        yield b"".join(waiting)


def cut(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Cut pieces that are larger than 64 KiB."""
    for piece in pieces:
        if len(piece) <= PIECE:
            yield piece
        else:
            yield from (piece[start : start + PIECE] for start in range(0, len(piece), PIECE))
