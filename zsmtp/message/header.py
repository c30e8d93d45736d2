"""The header block of a control file, without looking at what the fields mean.

Cuts the block into fields, finds out which of them a DKIM or ARC signature covers, and makes the changes that
any message may need: TABs become blanks, the top Received field names the only recipient, line ends and
control characters are put right, lines above 998 octets are folded.  A field that a signature lists is left
as it is; only a CR goes from there too. Fields are octets: folding LFs stay inside, the LF at the end does
not belong to them.
Sources: spool format B.10; RFC 5321 sections 4.4 and 7.2; RFC 5322 sections 2.1.1 and 2.2.3; RFC 6376 section
3.5.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from zsmtp.message.wire import LINE_LIMIT, has_long_line

__all__ = [
    "ORDINARY",
    "Signed",
    "clean",
    "expanded",
    "first_end",
    "folded",
    "name",
    "named",
    "split",
    "value",
    "with_for",
]

#: Octets that may stand in a header block without anyone looking closer: printable ASCII, TAB, and LF as line
#: end.
ORDINARY = b"\t\n" + bytes(range(32, 127))

#: Columns that a line with a Received clause may have, TABs counted to the next multiple of 8.
_COLUMNS = 78

_BLANKS = re.compile(rb"[ \t]*")
_FIELD_END = re.compile(rb"\n(?![ \t])")
_LEADING_CR = re.compile(rb"^[\r]+", re.MULTILINE)
_EMPTY_LINES = re.compile(rb"\n{2,}")
_LISTED = re.compile(rb"(?:^|;)[ \t\n]*h[ \t\n]*=([^;]*)")
_ADDRESS = re.compile(rb"[!-;=?-~]{1,320}")
_ORCPT = re.compile(rb"[!-'*-;=?-\[\]-~]{1,500}")
_XTEXT = re.compile(rb"\+([0-9A-F]{2})")


def split(block: bytes) -> list[bytes]:
    """Cut a block at every LF that is not followed by SPACE or TAB."""
    fields = _FIELD_END.split(block)
    if not fields[-1]:
        fields.pop()
    return fields


def name(field: bytes) -> bytes:
    """Give a field's name in lower case, or nothing if this is not a field (no colon in its first line)."""
    head, colon, _ = field.partition(b":")
    if not colon or b"\n" in head:
        return b""
    return head.rstrip(b" \t").lower()


def value(field: bytes) -> bytes:
    """Give what follows the colon, unfolded and without blanks around it."""
    return field.partition(b":")[2].replace(b"\n", b"").strip(b" \t")


def named(fields: Sequence[bytes], wanted: bytes) -> list[bytes]:
    """Give the fields of that (lower-case) name in their order."""
    return [field for field in fields if name(field) == wanted]


class Signed:
    """The names of the fields that DKIM or ARC signatures of a header cover, the signatures' own among them.

    A signature whose list cannot be read covers everything: who breaks it by mistake cannot mend it.
    """

    __slots__ = ("_names", "everything", "present")

    _OWN = frozenset(
        (b"dkim-signature", b"arc-seal", b"arc-message-signature", b"arc-authentication-results")
    )

    def __init__(self, fields: Sequence[bytes]) -> None:
        self.present = False
        self.everything = False
        names = set(self._OWN)
        for field in fields:
            # Without the quick look at the first letter every field would be cut at its colon.
            if field[:1] not in b"dDaA" or (title := name(field)) not in self._OWN:
                continue
            self.present = True
            if title in (b"dkim-signature", b"arc-message-signature"):
                listed = _LISTED.search(field.partition(b":")[2])
                if listed is None:
                    self.everything = True
                else:
                    names.update(one.strip(b" \t\n").lower() for one in listed[1].split(b":"))
        self._names = frozenset(names) if self.present else frozenset()

    def covers(self, field: bytes) -> bool:
        """Tell whether a change of this field would break a signature."""
        return self.present and (self.everything or name(field) in self._names)


def clean(block: bytes) -> bytes:
    """Put the line ends of a block right: CR LF is one, any other CR a blank, and no line is left empty.

    An empty line would end the header before its time, so that fields became body.
    """
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n")
        if block.endswith(b"\r"):
            block = block[:-1]
        # At the start of a line a blank would glue the field to the one before.
        block = _LEADING_CR.sub(b"", block).replace(b"\r", b" ")
    if b"\n\n" in block:
        block = _EMPTY_LINES.sub(b"\n", block)
    block = block.lstrip(b"\n")
    if block and not block.endswith(b"\n"):
        block += b"\n"
    return block


def expanded(fields: Sequence[bytes], signed: Signed) -> list[bytes]:
    """Turn TABs into blanks up to the next multiple of 8, counted from 0 in each line; not in signed fields.

    Source: ZENV RFC822TABS.
    """
    return [field if b"\t" not in field or signed.covers(field) else field.expandtabs(8) for field in fields]


def folded(field: bytes) -> bytes:
    """Fold lines above 998 octets at blanks that are there; a line without one stays as it is."""
    if not has_long_line(field):
        return field
    lines: list[bytes] = []
    for line in field.split(b"\n"):
        last = len(line.rstrip(b" \t"))  # a line of blanks would be taken for the end of the header
        start = 0
        least = field.find(b":") + 1 if not lines else _BLANKS.match(line).end()  # type: ignore[union-attr]
        while len(line) - start > LINE_LIMIT:
            at = max(
                line.rfind(b" ", least, start + LINE_LIMIT + 1),
                line.rfind(b"\t", least, start + LINE_LIMIT + 1),
            )
            while at > least and line[at - 1 : at] in (b" ", b"\t"):
                at -= 1
            if at <= least or at >= last:
                break
            lines.append(line[start:at])
            start = at
            least = _BLANKS.match(line, at).end()  # type: ignore[union-attr]
        lines.append(line[start:])
    return b"\n".join(lines)


def first_end(block: bytes) -> int:
    """Give the offset of the LF that ends the first field of a block, or the block's length."""
    end = block.find(b"\n")
    while end >= 0:
        if block[end + 1 : end + 2] not in (b" ", b"\t"):
            return end
        end = block.find(b"\n", end + 1)
    return len(block)


def with_for(field: bytes, user: bytes, orcpt: bytes | None) -> bytes:
    """Name the recipient in a Received field: `for <user>`, or `(ORCPT <type;address>)` where one was given.

    The field comes back as it was if it is none, has such a clause already, or if the address has anything
    that cannot stand there safely.  Source: RFC 5321 section 4.4, RFC 3461 section 4.2.
    """
    find = field.find  # a third of `in`
    if (
        field[:9].lower() != b"received:"
        or find(b" for ") >= 0
        or find(b"\tfor ") >= 0
        or find(b"(ORCPT ") >= 0
    ):
        return field
    if orcpt is None:
        if _ADDRESS.fullmatch(user) is None:
            return field
        clause = b"for <%b>" % user
    else:
        original = orcpt
        if orcpt.find(b"+") >= 0:
            original = _XTEXT.sub(lambda found: bytes.fromhex(found[1].decode("ascii")), orcpt)
        if _ORCPT.fullmatch(original) is None:
            return field
        clause = b"(ORCPT <%b>)" % original
    head, semicolon, date = field.rpartition(b";")
    if not semicolon:
        head, date = field, b""
    head = head.rstrip(b" \t\n")
    column = len(head[head.rfind(b"\n") + 1 :].expandtabs(8))
    if column + len(clause) + 2 <= _COLUMNS:
        head += b" " + clause
        column += len(clause) + 2
    else:
        head += b"\n\t" + clause
        column = 8 + len(clause) + 1
    if not semicolon:
        return head
    date = date.strip(b" \t\n")
    gap = b" " if column + 1 + len(date) <= _COLUMNS and b"\n" not in date else b"\n\t"
    return head + b";" + gap + date if date else head + b";"
