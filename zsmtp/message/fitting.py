"""How a message that cannot go as it is, or that has to be looked at closely, is made fit for a server.

The fields first: what is not printable ASCII goes by SMTPUTF8 or is encoded.  Then the body: it is converted
where the server could not take it, decoded where the operator wishes that, or left alone.  Reading and
encoding are the business of `syntax`, `content` and `mime`; here is decided what happens.
Sources: RFC 6152 section 3, RFC 6531 section 3.6, RFC 1428, smtp(8zm) options -7, -8, -H.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from zsmtp.message import header, syntax
from zsmtp.message.content import Content, content, first_word, is_sealed, with_encoding
from zsmtp.message.header import Signed
from zsmtp.message.mime import converted, plan
from zsmtp.message.parts import Unconvertible
from zsmtp.message.terms import Ability, Form, Refusal, Wishes
from zsmtp.message.transfer import Undecodable, decoded
from zsmtp.message.wire import Facts, Source, crlf, cut, ended, has_long_line, plain_body

__all__ = ["CONVERTIBLE", "fit"]

#: Octets of a body up to which it is converted: the time that this takes is taken from all other deliveries.
CONVERTIBLE = 64 << 20

#: Octets of a converted body that is kept from the look at its size; a larger one is made anew for each use.
_KEPT = 256 << 10

#: Octets of fields with 8-bit text that a header may have to be converted.
_HEADER_LIMIT = 128 << 10

#: Octets of a header that is looked at closely.
_BLOCK_LIMIT = 1 << 20

_CONTROLS = bytes(octet if octet in b"\t\n" or (octet >= 32 and octet != 127) else 32 for octet in range(256))


def fit(
    block: bytes,
    source: Source,
    facts: Facts,
    *,
    ability: Ability,
    wishes: Wishes,
    recipients: Sequence[tuple[bytes, bytes | None]],
) -> Form | Refusal:
    """Do what `choose` does, for any message."""
    if b"\0" in block:
        # What the field was meant to say is not known, and the fields behind might be another message's.
        at = block.index(b"\0")
        return Refusal(
            b"4.6.0", f"octet {at} of the header block is a NUL; mend or remove the control file", True
        )
    if len(block) > _BLOCK_LIMIT:
        return Refusal(
            b"5.3.4", f"the header has {len(block)} octets, too many to make it fit for this server", False
        )
    fields = header.split(header.clean(block))
    signed = Signed(fields)
    wish = b""
    for field in header.named(fields, b"content-conversion")[:1]:
        wish = first_word(header.value(field))
    seven = wishes.seven_bit or not ability.eight_bit_mime or wish == b"forced-qp"
    head = _header(fields, signed, wishes, utf_8=ability.smtputf8 and not seven)
    if isinstance(head, Refusal):
        return head
    fields, smtputf8, notes = head
    said = content(fields)
    sealed = _seal(said, signed, wish)
    binary = ability.binary and not seven
    body = _converted_body(fields, source, facts, wishes, said, sealed, seven=seven, binary=binary)
    if isinstance(body, Refusal):
        return body
    notes += body.notes
    fields = body.fields
    if wishes.received_for and len(recipients) == 1 and fields and not signed.present:
        fields[0] = header.with_for(fields[0], *recipients[0])
    if wishes.expand_tabs:
        fields = header.expanded(fields, signed)
    fields = [field if signed.covers(field) else header.folded(field) for field in fields]
    octets = b"\n".join([*fields, b"", b""])
    if has_long_line(octets):
        notes.append("header lines above 998 octets were sent as they are")
    eight_bit = body.eight_bit or not octets.isascii()
    if body.eight_bit and not ability.eight_bit_mime:
        notes.append("8-bit text was sent to a server without 8BITMIME, as option -8 asks for")
    return Form(
        octets.replace(b"\n", b"\r\n"),
        body.pieces,
        body.octets,
        eight_bit=eight_bit and not seven,
        binary=body.binary,
        smtputf8=smtputf8,
        conversion=body.conversion,
        notes=tuple(notes),
    )


def _header(
    fields: list[bytes], signed: Signed, wishes: Wishes, *, utf_8: bool
) -> tuple[list[bytes], bool, list[str]] | Refusal:
    """Bring the fields into a form that the server takes; tell if that needs SMTPUTF8, and what to log."""
    odd = [field for field in fields if field.translate(None, header.ORDINARY)]
    if not odd:
        return fields, False, []
    if utf_8 and not all(map(bytes.isascii, odd)) and _is_utf_8(b"\n".join(odd)):
        proper = [field for field in fields if signed.present or syntax.well_named(field)]
        notes = [] if len(proper) == len(fields) else ["a header field without a proper name was left out"]
        return (
            [field if signed.covers(field) else field.translate(_CONTROLS) for field in proper],
            True,
            notes,
        )
    if wishes.raw_headers:
        return fields, False, []
    if sum(map(len, odd)) > _HEADER_LIMIT:
        return Refusal(b"5.6.3", "the header has too much 8-bit text to be converted for this server", False)
    fields, notes, bad = syntax.encoded_fields(fields, wishes.default_charset, signed)
    if bad:
        title = bad.decode("latin-1")
        if bad in syntax.ADDRESSES and not signed.covers(bad + b":"):
            return Refusal(
                b"5.6.7", f"the field {title} has an 8-bit address and the server no SMTPUTF8", False
            )
        return Refusal(
            b"5.6.3", f"the field {title} has 8-bit text that must not or cannot be encoded", False
        )
    return fields, False, notes


def _is_utf_8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


def _seal(said: Content, signed: Signed, wish: bytes) -> str:
    """Why the content must not be changed, or nothing."""
    if signed.present:
        return "it has a DKIM or ARC signature"
    if wish == b"prohibited":
        return "its header says Content-Conversion: prohibited"
    if is_sealed(said.type):
        return f"its type {said.type.decode('latin-1')} means that it is signed or encrypted"
    return ""


class _Body(NamedTuple):
    """The body as it goes out, and the fields that belong to it."""

    fields: list[bytes]
    pieces: Callable[[], Iterable[bytes]]
    octets: int
    eight_bit: bool
    conversion: bytes
    notes: list[str]
    binary: bool = False


def _converted_body(
    fields: list[bytes],
    source: Source,
    facts: Facts,
    wishes: Wishes,
    said: Content,
    sealed: str,
    *,
    seven: bool,
    binary: bool,
) -> _Body | Refusal:
    """Convert the body if that is necessary and possible, or decode it if that is wished."""
    raw = wishes.eight_bit and not wishes.seven_bit
    must = facts.eight_bit and seven and not raw
    bad = facts.long_line or facts.bare_cr or facts.nul
    versioned = bool(header.named(fields, b"mime-version"))
    binary = binary and said.encoding == b"binary"
    if must or ((bad or binary) and versioned and not sealed):
        trouble = sealed
        if not trouble and facts.octets > CONVERTIBLE:
            trouble = f"it is larger than {CONVERTIBLE >> 20} MiB"
        if not trouble:
            try:
                made = plan(
                    fields, source, eight_bit=must, default_charset=wishes.default_charset, binary=binary
                )
            except Unconvertible as reason:
                trouble = str(reason)
            else:
                if made.changes or made.raw:
                    word = b"UNKNOWN" if not versioned else b"MPQP" if said.has_parts else b"QP"
                    if not made.changes:
                        word = b"NONE"
                    pieces = partial(converted, source, made.steps)
                    kept, octets, eight_bit = _kept(pieces)
                    return _Body(made.fields, kept, octets, eight_bit, word, made.notes, made.raw > 0)
        if must:
            text = "the body has 8-bit text, the server no 8BITMIME, and it cannot be converted: "
            return Refusal(b"5.6.3", text + trouble, False)
    if (
        raw
        and not (sealed or bad or facts.eight_bit or said.doubt)
        and versioned
        and (said.type, said.encoding) == (b"text/plain", b"quoted-printable")
        and facts.octets <= CONVERTIBLE
    ):
        try:
            kept, octets, eight_bit = _kept(lambda: ended(crlf(decoded(cut(source())))))
        except Undecodable as reason:
            notes = [f"the body was not decoded, as option -8 asks for: {reason}"]
            return _Body(fields, plain_body(source, facts.octets), facts.octets, False, b"NONE", notes)
        return _Body(with_encoding(fields, b"8bit"), kept, octets, eight_bit, b"8BIT", [])
    if (
        seven
        and not (raw or sealed or facts.eight_bit or said.doubt or said.has_parts)
        and versioned
        and said.encoding == b"8bit"
    ):
        # What is said to have 8 bits has no place on a channel of 7, even where it has none.
        fields = with_encoding(fields, b"7bit")
    return _Body(
        fields, plain_body(source, facts.octets), facts.octets, facts.eight_bit, b"NONE", _passed(facts)
    )


def _kept(pieces: Callable[[], Iterable[bytes]]) -> tuple[Callable[[], Iterable[bytes]], int, bool]:
    """Make a converted body once, to know its size and whether it has 8-bit octets; keep a small one."""
    octets = 0
    eight_bit = False
    kept: list[bytes] = []
    for piece in pieces():
        octets += len(piece)
        eight_bit = eight_bit or not piece.isascii()
        if octets <= _KEPT:
            kept.append(piece)
        else:
            kept = []
    if octets > _KEPT:
        return pieces, octets, eight_bit
    whole = (b"".join(kept),)
    return lambda: whole, octets, eight_bit


def _passed(facts: Facts) -> list[str]:
    """What is to be logged about a body that is not converted."""
    notes: list[str] = []
    if facts.long_line:
        notes.append("lines above 998 octets in the body were sent as they are")
    if facts.bare_cr:
        notes.append("CRs without LF in the body were replaced by blanks")
    if facts.nul:
        notes.append("NULs in the body were left out")
    return notes
