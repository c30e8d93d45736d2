"""Content transfer encodings: quoted-printable and base64, piece by piece.

Text comes in and goes out in pieces of any size; what is kept between two of them is at most one line.  The
output has CR LF line ends and none after an unfinished last line, so that the next thing that is written
decides what ends it. Quoted-printable lines have at most 74 octets; dots and `From ` at line starts are
encoded as well, for the sake of relays that alter them.  Decoding is strict: text that is not well-formed
quoted-printable, or that would not be text on the wire afterwards, is better left encoded.
Source: RFC 2045 sections 6.7 and 6.8.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator

from zsmtp.message.wire import has_long_line

__all__ = ["Undecodable", "base64", "canonical", "decoded", "quoted_printable", "text"]

#: Octets that quoted-printable text need not encode; `=` is among them because it has its own turn.
_PLAIN = b"\t\n" + bytes(range(32, 127))

_QUOTED = [b"=%02X" % octet for octet in range(256)]

#: An output line is broken before the octet that would start in column 71 or later.
_COLUMN = 71

#: Octets of input that make one base64 line of 76.
_BASE64_LINE = 57

#: Encoded octets that one decoded line may come from; the line itself may have 998.
_PENDING = 16384

_EQUALS = 61
_BLANKS_AT_END = re.compile(rb"[ \t]+\n")
_MALFORMED = re.compile(rb"=(?![0-9A-Fa-f]{2}|\n)")
_ENCODED_LINE_END = re.compile(rb"=0[Dd]=0[Aa]")
_NOT_TEXT = re.compile(rb"=0[0ADad]")


class Undecodable(ValueError):
    """The text is no well-formed quoted-printable, or what it stands for cannot go over the wire as text."""


def text(pieces: Iterable[bytes], *, last: bool = True) -> Iterator[bytes]:
    """Give text with LF line ends, from lines that end with LF or CR LF; other CRs stay, and so do NULs.

    A CR at the very end is half of a line end if this is the `last` text, where the other half will be added.
    """
    held = False
    for piece in pieces:
        if held:
            piece = b"\r" + piece
            held = False
        if piece.endswith(b"\r"):
            held = True
            piece = piece[:-1]
        if piece:
            yield piece.replace(b"\r\n", b"\n")
    if held:
        yield b"\n" if last else b"\r"


def canonical(pieces: Iterable[bytes], *, last: bool = True) -> Iterator[bytes]:
    """Give text with CR LF line ends, the form that base64 encodes; otherwise like `text`."""
    for piece in text(pieces, last=last):
        yield piece.replace(b"\n", b"\r\n")


def quoted_printable(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Encode text that has LF line ends."""
    line = b""  # what the unfinished output line has so far
    held = b""
    for piece in pieces:
        piece = held + piece
        held = b""
        if not piece.endswith(b"\n"):
            held = piece[-1:]  # a blank must be encoded if a line end comes next
            piece = piece[:-1]
        if piece:
            octets = line + _quote(piece)
            end = octets.rfind(b"\n") + 1
            out = _lines(octets[:end])
            *full, line = _broken(octets[end:])
            out += [each + b"\r\n" for each in full]
            yield b"".join(out)
    if held:
        line += _quote(held + b"\n")[:-1]
    if line:
        yield b"\r\n".join(_broken(line))


def base64(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Encode any octets."""
    rest = b""
    gap = b""
    for piece in pieces:
        rest += piece
        size = len(rest) - len(rest) % _BASE64_LINE
        if size:
            yield gap + _base64(rest[:size])
            gap = b"\r\n"
            rest = rest[size:]
    if rest:
        yield gap + _base64(rest)


def decoded(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Decode quoted-printable text; raise Undecodable where that is not possible or not wise.

    Neither NUL nor a CR or LF outside of a line end comes out, and no line above 998 octets.
    """
    line = b""
    soft = b""  # the lines so far that end with a soft line break
    for piece in text(pieces):
        head, end, line = (line + piece).rpartition(b"\n")
        if len(line) > _PENDING:
            raise Undecodable("a line is too long")
        if end:
            octets, soft = _unquote(soft, head + end)
            yield octets
    if line:
        octets, soft = _unquote(soft, line + b"\n")
        yield octets
    if soft:
        yield _unquote(soft, b"\n")[0]


def _quote(octets: bytes) -> bytes:
    """Encode what must be encoded wherever it stands, and blanks at line ends."""
    octets = octets.replace(b"=", b"=3D")
    # One replace for each kind of octet: 3 times as fast as a regular expression, and more where there are
    # few.
    for octet in set(octets.translate(None, _PLAIN)):
        octets = octets.replace(bytes((octet,)), _QUOTED[octet])
    return octets.replace(b" \n", b"=20\n").replace(b"\t\n", b"=09\n")


def _lines(octets: bytes) -> list[bytes]:
    """Break the lines that are too long among whole encoded lines; give all of them with CR LF."""
    # Most lines are short.  So look at line starts as a whole, and hop over as many lines as 71 octets may
    # have.
    octets = (b"\n" + octets).replace(b"\n.", b"\n=2E").replace(b"\nFrom ", b"\n=46rom ")
    out: list[bytes] = []
    done = start = 1
    while len(octets) - start > _COLUMN:
        end = octets.rfind(b"\n", start, start + _COLUMN + 1)
        if end < 0:
            end = octets.index(b"\n", start)
            out.append(octets[done:start].replace(b"\n", b"\r\n"))
            out.append(b"\r\n".join(_broken(octets[start:end])) + b"\r\n")
            done = end + 1
        start = end + 1
    out.append(octets[done:].replace(b"\n", b"\r\n"))
    return out


def _broken(line: bytes) -> list[bytes]:
    """Break an encoded line into short ones; all but the last end with the `=` of a soft break."""
    lines: list[bytes] = []
    start = 0
    while True:
        head = b""
        if line.startswith((b".", b"From "), start):
            head = _QUOTED[line[start]]
            start += 1
        cut = start + _COLUMN - len(head)
        if cut < len(line):
            if line[cut - 1] == _EQUALS:
                cut += 2
            elif line[cut - 2] == _EQUALS:
                cut += 1
        if cut >= len(line):
            lines.append(head + line[start:])
            return lines
        lines.append(head + line[start:cut] + b"=")
        start = cut


def _base64(octets: bytes) -> bytes:
    encoded = binascii.b2a_base64(octets, newline=False)
    return b"\r\n".join([encoded[start : start + 76] for start in range(0, len(encoded), 76)])


def _unquote(soft: bytes, lines: bytes) -> tuple[bytes, bytes]:
    """Decode whole lines after those that ended softly; give the text and the lines that end softly now."""
    if has_long_line(lines):
        raise Undecodable("a line is too long")
    if not lines.isascii():
        raise Undecodable("there are 8-bit octets in it")
    if b" \n" in lines or b"\t\n" in lines:
        lines = _BLANKS_AT_END.sub(b"\n", lines)  # RFC 2045 6.7 rule 3: relays may have added them
    if _MALFORMED.search(lines):
        raise Undecodable("an = stands before something else than two hexadecimal digits or a line end")
    head, end, soft = (soft + lines.replace(b"=\n", b"")).rpartition(b"\n")
    if len(soft) > _PENDING:
        raise Undecodable("a line is too long")
    lines = head + end
    if b"=0" in lines:
        lines = _ENCODED_LINE_END.sub(b"\n", lines)
        if _NOT_TEXT.search(lines):
            raise Undecodable("there are NULs, or CRs or LFs that are no line ends, in it")
    lines = binascii.a2b_qp(lines)
    if has_long_line(lines):
        raise Undecodable("a line would be above 998 octets")
    return lines, soft
