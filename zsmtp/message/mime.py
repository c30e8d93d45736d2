"""Conversion of a body that a server cannot take as it is.

`plan` reads the body once and decides part by part what has to change: parts with 8-bit text (where 8-bit
text is not allowed), with lines above 998 octets, NULs or bare CRs become quoted-printable or base64,
whichever is shorter; short texts become quoted-printable in any case, so that people can read them.
`converted` then makes the octets, as often as they are asked for, without holding more than a piece.
Boundary lines and all parts that need nothing stay as they are. What is signed or encrypted is never touched.
Sources: RFC 6152 section 3, RFC 2045 section 6, RFC 2046 sections 5.1 and 5.2.1, RFC 2049 section 4.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from zsmtp.message import header
from zsmtp.message.content import IDENTITY, Content, content, is_sealed, with_encoding
from zsmtp.message.parts import Delimiter, Reader, Unconvertible
from zsmtp.message.syntax import encoded_fields
from zsmtp.message.transfer import base64, canonical, quoted_printable, text
from zsmtp.message.wire import Facts, Source, crlf, cut, ended, examine
from zsmtp.message.words import charset_label

__all__ = ["Plan", "Step", "Way", "converted", "plan"]

#: Parts that a message may have to be converted, nested ones counted too.
_PARTS = 2_000

#: How deep parts may lie in each other.
_DEPTH = 40

#: Octets up to which a part becomes quoted-printable even where base64 is shorter.
_READABLE = 1024

_SAFE_OCTETS = b"\t\n\r" + bytes(octet for octet in range(32, 127) if octet != 61)
_NO_EIGHT_BIT = bytes(range(128)) + b"?" * 128


class Way(Enum):
    """What becomes of a stretch of the body."""

    AS_IT_IS = "as it is, with the line ends of the wire"
    ASCII = "the same, with ? for 8-bit octets: text that nobody is meant to read"
    REPLACED = "left out; other octets come in its place"
    QUOTED_PRINTABLE = "encoded"
    BASE64_TEXT = "encoded, with CR LF line ends"
    BASE64 = "encoded octet by octet"
    RAW = "octet by octet as stored, for BDAT alone"


class Step(NamedTuple):
    """A stretch of the body: its way, its octets as stored, and the octets in its place if it is REPLACED."""

    way: Way
    octets: int
    replacement: bytes = b""


class Plan(NamedTuple):
    """What a conversion does: the message's new header fields, the steps for its body, things to log.

    `changes` counts what is not left as it is; `raw` what goes as the octets that are stored.
    """

    fields: list[bytes]
    steps: list[Step]
    notes: list[str]
    changes: int
    raw: int = 0


def plan(
    fields: Sequence[bytes],
    source: Source,
    *,
    eight_bit: bool,
    default_charset: bytes,
    binary: bool = False,
) -> Plan:
    """Read a body and plan its conversion; `eight_bit`: no octet may keep its top bit.

    `fields` are those of the message.  `binary`: parts that say so may go as they are stored (BINARYMIME).
    Raises Unconvertible.
    """
    survey = _Survey(Reader(source()), eight_bit, default_charset, binary)
    changed = survey.entity(list(fields), 0, message=True, digest=False)
    return Plan(changed, survey.steps, sorted(survey.notes), survey.changes, survey.raw)


def converted(source: Source, steps: Sequence[Step]) -> Iterator[bytes]:
    """Make the converted body, with the line ends of the wire."""
    made = _made(_Taker(cut(source())), steps)
    return made if steps and steps[-1].way is Way.RAW else ended(made)


class _Survey:
    """One reading of a body."""

    def __init__(self, reader: Reader, eight_bit: bool, default_charset: bytes, binary: bool) -> None:
        self.reader = reader
        self.steps: list[Step] = []
        self.notes: set[str] = set()
        self._eight_bit = eight_bit
        self._default_charset = default_charset
        self._binary = binary
        self._parts = 0
        self.changes = 0
        self.raw = 0

    def entity(self, fields: list[bytes], depth: int, *, message: bool, digest: bool) -> list[bytes]:
        """Read the content that belongs to these fields; give the fields as they have to be now."""
        said = content(fields)
        kind = said.type or (b"message/rfc822" if digest and not said.stated else b"text/plain")
        before = self.changes
        encoding = b""
        charset = b""
        if is_sealed(kind):
            self._sealed(f"a part of type {kind.decode('latin-1')} must not be changed")
        elif said.doubt:
            raise Unconvertible(said.doubt)
        elif said.is_multipart or kind == b"message/rfc822":
            if said.encoding not in IDENTITY:
                raise Unconvertible("a part that consists of others claims to be encoded")
            if said.is_multipart:
                self._multipart(said.boundary, depth, digest=kind == b"multipart/digest")
            else:
                self._message(depth)
            if self.changes > before and self._eight_bit and said.encoding != b"7bit":
                encoding = b"7bit"
        else:
            encoding, charset = self._leaf(said, kind)
        if encoding:
            fields = with_encoding(fields, encoding)
        if charset and not said.stated:
            fields.append(b"Content-Type: text/plain; charset=" + charset)
        if message and self.changes > before and not header.named(fields, b"mime-version"):
            fields.append(b"MIME-Version: 1.0")
        return fields

    def _multipart(self, boundary: bytes, depth: int, *, digest: bool) -> None:
        if depth >= _DEPTH:
            raise Unconvertible(f"its parts lie more than {_DEPTH} deep in each other")
        level = self.reader.enter(boundary)
        delimiter = self._beside()
        while delimiter is not None and delimiter.level == level and not delimiter.last:
            self._add(Step(Way.AS_IT_IS, delimiter.octets))
            self._part(depth, digest=digest)
            delimiter = self.reader.delimiter
        if delimiter is None or delimiter.level != level:
            raise Unconvertible("a multipart has no closing boundary")
        self._add(Step(Way.AS_IT_IS, delimiter.octets))
        self.reader.leave()
        self._beside()

    def _beside(self) -> Delimiter | None:
        """Read what stands before the first or after the last part, which no reader shows."""
        octets, facts = self._opaque()
        ascii_only = facts.eight_bit and self._eight_bit
        if ascii_only:
            self.changes += 1
            self.notes.add("8-bit text outside of the parts of a multipart was replaced by ?")
        self._add(Step(Way.ASCII if ascii_only else Way.AS_IT_IS, octets))
        self._note(facts)
        return self.reader.delimiter

    def _message(self, depth: int) -> None:
        if depth >= _DEPTH:
            raise Unconvertible(f"its parts lie more than {_DEPTH} deep in each other")
        self._headed(depth, message=True, digest=False)

    def _part(self, depth: int, *, digest: bool) -> None:
        self._parts += 1
        if self._parts > _PARTS:
            raise Unconvertible(f"it has more than {_PARTS} parts")
        self._headed(depth, message=False, digest=digest)

    def _headed(self, depth: int, *, message: bool, digest: bool) -> None:
        """Read a header and its content."""
        octets = self.reader.header()
        place = len(self.steps)
        self.steps.append(Step(Way.REPLACED, len(octets)))  # whether it changes is known later
        fields = header.split(header.clean(octets.replace(b"\0", b" ")))
        changed = self.entity(list(fields), depth + 1, message=message, digest=digest)
        if self._eight_bit and not octets.isascii():
            changed, notes, bad = encoded_fields(changed, self._default_charset, header.Signed(()))
            self.notes.update(notes)
            if bad:
                title = bad.decode("latin-1")
                raise Unconvertible(f"the field {title} in the header of a part cannot be brought into ASCII")
        changed = [header.folded(field) for field in changed]
        if changed == fields:
            self.steps[place] = Step(Way.AS_IT_IS, len(octets))
        else:
            self.changes += 1
            new = b"\n".join([*changed, b"", b""]).replace(b"\n", b"\r\n")
            self.steps[place] = Step(Way.REPLACED, len(octets), new)

    def _sealed(self, why: str) -> None:
        octets, facts = self._opaque()
        if facts.eight_bit and self._eight_bit:
            raise Unconvertible(why)
        self._add(Step(Way.AS_IT_IS, octets))
        self._note(facts)

    def _leaf(self, said: Content, kind: bytes) -> tuple[bytes, bytes]:
        """Read the content of a part; give its new encoding, if any, and the character set that it lacks."""
        tally = _Tally(self.reader.content(), check_utf_8=not said.stated and self._eight_bit)
        facts = examine(lambda: tally)
        if self._binary and said.encoding == b"binary" and not kind.startswith((b"text/", b"message/")):
            self.raw += 1
            self._add(Step(Way.RAW, tally.octets))
            return b"", b""
        # A CR in front of the CR LF that belongs to a boundary line ends no line.
        bare_cr = facts.bare_cr or (tally.last == b"\r" and self.reader.delimiter is not None)
        must = facts.eight_bit and self._eight_bit
        if not (must or facts.long_line or facts.nul or bare_cr):
            self._add(Step(Way.AS_IT_IS, tally.octets))
            return b"", b""
        if said.encoding not in IDENTITY or (
            kind.startswith(b"message/") and not kind.startswith(b"message/global")
        ):
            if must:
                coding = said.encoding.decode("latin-1")
                raise Unconvertible(
                    f"a part of type {kind.decode('latin-1')} and encoding {coding} has 8-bit text"
                )
            self._add(Step(Way.AS_IT_IS, tally.octets))
            self._note(facts)
            return b"", b""
        self.changes += 1
        if said.encoding == b"binary" and not kind.startswith(b"text/"):
            way = Way.BASE64
        elif tally.octets > _READABLE and 6 * tally.special > tally.octets:
            way = Way.BASE64_TEXT
        else:
            way = Way.QUOTED_PRINTABLE
        self._add(Step(way, tally.octets))
        charset = b""
        if facts.eight_bit and not said.stated:
            charset = b"utf-8" if tally.is_utf_8 else charset_label(self._default_charset)
        return b"quoted-printable" if way is Way.QUOTED_PRINTABLE else b"base64", charset

    def _opaque(self) -> tuple[int, Facts]:
        tally = _Tally(self.reader.content(), check_utf_8=False)
        facts = examine(lambda: tally)
        return tally.octets, facts

    def _note(self, facts: Facts) -> None:
        if facts.long_line:
            self.notes.add("lines above 998 octets that could not be encoded were sent as they are")
        if facts.bare_cr:
            self.notes.add("CRs without LF that could not be encoded were replaced by blanks")
        if facts.nul:
            self.notes.add("NULs that could not be encoded were left out")

    def _add(self, step: Step) -> None:
        """Add a step, joined to the one before if both leave the octets alone."""
        if not step.octets:
            return
        if step.way is Way.AS_IT_IS and self.steps and self.steps[-1].way is Way.AS_IT_IS:
            step = Step(Way.AS_IT_IS, self.steps.pop().octets + step.octets)
        self.steps.append(step)


class _Tally:
    """Passes pieces on and counts: octets, and those that quoted-printable has to encode."""

    def __init__(self, pieces: Iterable[bytes], *, check_utf_8: bool) -> None:
        self.octets = 0
        self.special = 0
        self.last = b""
        self.is_utf_8 = check_utf_8
        self._pieces = pieces
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.octets += len(piece)
            self.special += len(piece.translate(None, _SAFE_OCTETS))
            self.last = piece[-1:]
            self._look(piece, final=False)
            yield piece
        self._look(b"", final=True)

    def _look(self, piece: bytes, *, final: bool) -> None:
        if self.is_utf_8:
            try:
                self._decoder.decode(piece, final)
            except UnicodeDecodeError:
                self.is_utf_8 = False


class _Taker:
    """Takes stretches of a given length off a stream."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""

    def take(self, octets: int) -> Iterator[bytes]:
        while octets:
            piece = self._rest or next(self._pieces, b"")
            if not piece:
                return
            self._rest = piece[octets:]
            piece = piece[:octets]
            octets -= len(piece)
            yield piece


def _made(taker: _Taker, steps: Sequence[Step]) -> Iterator[bytes]:
    for number, step in enumerate(steps):
        last = number == len(steps) - 1
        pieces = taker.take(step.octets)
        match step.way:
            case Way.AS_IT_IS:
                yield from crlf(pieces)
            case Way.ASCII:
                yield from crlf(piece.translate(_NO_EIGHT_BIT) for piece in pieces)
            case Way.REPLACED:
                for _ in pieces:
                    pass
                yield step.replacement
            case Way.QUOTED_PRINTABLE:
                yield from quoted_printable(text(pieces, last=last))
            case Way.BASE64_TEXT:
                yield from base64(canonical(pieces, last=last))
            case Way.BASE64:
                yield from base64(pieces)
            case Way.RAW:
                yield from pieces
