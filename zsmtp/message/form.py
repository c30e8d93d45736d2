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

from collections.abc import Sequence

from zsmtp.message import header
from zsmtp.message.header import Signed
from zsmtp.message.terms import Ability, Form, Refusal, Wishes
from zsmtp.message.wire import LINE_LIMIT, Facts, Source, has_long_line, plain_body

__all__ = ["Ability", "Form", "Refusal", "Wishes", "choose"]


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
    fit_at_once = _fit_at_once(block, source, facts, ability, wishes, recipients)
    if fit_at_once is not None:
        return fit_at_once
    # Only now, because most agents never need it: it takes 5 ms to load.
    from zsmtp.message.fitting import fit

    return fit(block, source, facts, ability=ability, wishes=wishes, recipients=recipients)


def _fit_at_once(
    block: bytes,
    source: Source,
    facts: Facts,
    ability: Ability,
    wishes: Wishes,
    recipients: Sequence[tuple[bytes, bytes | None]],
) -> Form | None:
    """Do the common case with little or no parsing: 5 us for a header of 1 KiB, 15 if it is signed."""
    seven = wishes.seven_bit or not ability.eight_bit_mime
    lower = block.lower()
    if (
        block.translate(None, header.ORDINARY)
        or facts.long_line
        or facts.bare_cr
        or facts.nul
        or (seven and (facts.eight_bit or lower.find(b"8bit") >= 0))
        or (ability.binary and lower.find(b"binary") >= 0)
        or wishes.eight_bit
        or lower.find(b"content-conversion") >= 0
        or block.rfind(b"\n\n") >= 0
        or block.startswith(b"\n")
    ):
        return None
    if block and not block.endswith(b"\n"):
        block += b"\n"
    if lower.find(b"dkim-") >= 0 or lower.find(b"arc-") >= 0:
        fields = header.split(block)
        signed = Signed(fields)
        if wishes.received_for and len(recipients) == 1 and not signed.present:
            fields[0] = header.with_for(fields[0], *recipients[0])
        if wishes.expand_tabs:
            fields = header.expanded(fields, signed)
        block = b"\n".join([*fields, b""])
    else:
        if wishes.received_for and len(recipients) == 1 and lower.startswith(b"received:"):
            end = header.first_end(block)
            user, orcpt = recipients[0]
            block = header.with_for(block[:end], user, orcpt) + block[end:]
        if wishes.expand_tabs:
            block = block.expandtabs(8)
    if len(block) > LINE_LIMIT and has_long_line(block):
        return None
    head = block.replace(b"\n", b"\r\n") + b"\r\n"
    return Form(head, plain_body(source, facts.octets), facts.octets, eight_bit=facts.eight_bit)
