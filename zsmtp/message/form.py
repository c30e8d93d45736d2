"""In which form a message goes to one server: as it is, converted, or not at all.

`choose` is asked once per transaction, with what this server announced, and always starts from the octets of
the spool: nothing that one server needed is left over for the next.  What it gives knows its exact size and
makes the octets anew as often as they are asked for.  Nothing is sent that the server has not announced,
except where the operator asked for it (-8, -H); nothing that is signed, encrypted or marked
`Content-Conversion: prohibited` is changed; and no octet with the top bit is ever sent silently to a server
without 8BITMIME: what cannot be converted is refused with 5.6.3. No field tells of a conversion (neither
X-MIME-Autoconverted nor a note in Received): the log does.
Sources: RFC 6152 section 3, RFC 6531, RFC 5321 sections 2.3.8 and 4.5.3, smtp(8zm) options -7, -8, -H.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from zsmtp.message import header
from zsmtp.message.header import Signed
from zsmtp.message.wire import PIECE, Facts, Source, gathered, has_long_line, stuffed, wire, wire_pieces

__all__ = ["Ability", "Form", "Refusal", "Wishes", "choose"]


class Ability(NamedTuple):
    """What the server announced."""

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
    it, see `notes`); `smtputf8`: MAIL needs SMTPUTF8; `conversion`: the word for the log; `notes`: things to
    log once.
    """

    __slots__ = ("_body", "_header", "_small", "conversion", "eight_bit", "notes", "size", "smtputf8")

    def __init__(
        self,
        head: bytes,
        body: Callable[[], Iterable[bytes]],
        octets: int,
        *,
        eight_bit: bool = False,
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
        self.smtputf8 = smtputf8
        self.conversion = conversion
        self.notes = notes

    def pieces(self, *, stuffed: bool) -> Iterator[bytes]:
        """Give header, empty line and body, dots doubled for DATA, not for BDAT; one piece if it is small."""
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


def choose(
    block: bytes,
    source: Source,
    facts: Facts,
    *,
    ability: Ability,
    wishes: Wishes,
    recipients: Sequence[tuple[bytes, bytes | None]],
) -> Form | Refusal:
    """Decide how a message goes to a server with this ability.

    `block` is the header block of the control file, `facts` what `examine(source)` said, `recipients` the
    user column and ORCPT of each recipient of the transaction.  Never raises for what stands in a message.
    """
    seven = wishes.seven_bit or not ability.eight_bit_mime
    if (
        block.translate(None, header.ORDINARY)
        or facts.long_line
        or facts.bare_cr
        or facts.nul
        or (facts.eight_bit and seven)
        or (len(block) > 998 and has_long_line(block))
    ):
        return _choose_closely(block, source, facts, ability, wishes, recipients)
    # The common case ends here, without any parsing: about 5 us for a header of 1 KiB.
    lower = block.lower()
    if b"dkim-" in lower or b"arc-" in lower or b"content-conversion" in lower or wishes.eight_bit:
        return _choose_closely(block, source, facts, ability, wishes, recipients)
    if block and not block.endswith(b"\n"):
        block += b"\n"
    if wishes.received_for and len(recipients) == 1 and lower.startswith(b"received:"):
        end = header.first_end(block)
        user, orcpt = recipients[0]
        block = header.with_for(block[:end], user, orcpt) + block[end:]
    if wishes.expand_tabs:
        block = block.expandtabs(8)
    head = block.replace(b"\n", b"\r\n") + b"\r\n"
    return Form(head, _body(source, facts), facts.octets, eight_bit=facts.eight_bit)


def _body(source: Source, facts: Facts) -> Callable[[], Iterable[bytes]]:
    """The body as it is, but with the line ends of the wire."""
    return partial(_whole if facts.octets <= PIECE else wire_pieces, source)


def _whole(source: Source) -> Iterable[bytes]:
    return (wire(b"".join(source())),)


def _choose_closely(
    block: bytes,
    source: Source,
    facts: Facts,
    ability: Ability,
    wishes: Wishes,
    recipients: Sequence[tuple[bytes, bytes | None]],
) -> Form | Refusal:
    """Look at the fields."""
    if b"\0" in block:
        at = block.index(b"\0")
        return Refusal(
            b"4.6.0", f"the header block has a NUL at its octet {at}; mend or remove the control file", True
        )
    fields = header.split(header.clean(block))
    signed = Signed(fields)
    notes: list[str] = []
    raw = facts.eight_bit and not ability.eight_bit_mime
    if facts.eight_bit and (wishes.seven_bit or (raw and not wishes.eight_bit)):
        return Refusal(
            b"5.6.3",
            "the body has 8-bit text, the server has no 8BITMIME, and conversion is not possible",
            False,
        )
    if wishes.received_for and len(recipients) == 1 and fields and not signed.present:
        fields[0] = header.with_for(fields[0], *recipients[0])
    if wishes.expand_tabs:
        fields = header.expanded(fields, signed)
    fields = [field if signed.covers(field) else header.folded(field) for field in fields]
    head = b"\n".join([*fields, b"", b""]).replace(b"\n", b"\r\n")
    return Form(
        head, _body(source, facts), facts.octets, eight_bit=facts.eight_bit and not raw, notes=tuple(notes)
    )
