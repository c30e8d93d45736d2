"""Control files, from octets to values and back.

Cuts the file into records exactly as the scheduler does, since reports name recipients by the offset of
their record; even the oddity that an empty line hides the record after it is kept, and told.  A file that
cannot be trusted as a whole is a SpoolError; a single record that cannot be used is a `Problem`, and a
recipient that must not be sent says why.  Never guesses, never lets half an address pass.

How it works: what the router writes nearly always is read by `zsmtp.spool.routine`.  For all else
`read_records` finds where records begin and end; `_RECORDS` says which method of `_Reader` reads which type;
what only the whole file can show (no header block, no body offset) is judged in `finish`.

Source: control files as router, scheduler and agents of ZMailer 3 understand them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from zsmtp.errors import SpoolError
from zsmtp.spool.compose import compose
from zsmtp.spool.layout import MESSAGE_NAME, file_id, shown
from zsmtp.spool.quad import LONGEST_USER, Quad, recipient_flaw, sender_flaw, split
from zsmtp.spool.records import (
    DELIVER_BY_FLAGS,
    DELIVERED,
    FAILED,
    KNOWN_FORMATS,
    LOCKED,
    TO_DO,
    ControlFile,
    Diagnostic,
    HeaderBlock,
    Notify,
    Problem,
    Recipient,
    Sender,
    notify_flags,
)
from zsmtp.spool.routine import read_routine

__all__ = [
    "DELIVERED",
    "FAILED",
    "LOCKED",
    "TO_DO",
    "ControlFile",
    "Diagnostic",
    "HeaderBlock",
    "Notify",
    "Problem",
    "Quad",
    "Recipient",
    "Sender",
    "compose",
    "parse",
    "read_records",
]

# Limits that a router never comes near; they bound time and memory for files that nobody would write.
_MOST_RECORDS = 4_000_000
_MOST_RECIPIENTS = 1_000_000
_MOST_PROBLEMS = 100

_FEWEST_RECORDS = 4  # @ i s r: the original takes a file with fewer for a cut one
_SHORTEST_RECIPIENT = 12
_DELAY_FIELD = 2
_NEWLINE = 0x0A
_BLOCKS = b"mM"

_TEXT = rb'([^\x00-\x20\x7f"\\]+)'
_QUAD = rb" ".join([_TEXT, _TEXT, _TEXT, rb"(-?[0-9]+)"])
# What a router writes for nearly all mail; 1 us where taking a record to pieces takes 6 us.
_PLAIN_RECIPIENT = re.compile(rb"r([ ~+-])([ 0-9]{6}) {4}" + _QUAD)
_PLAIN_SENDER = re.compile(rb"s " + _QUAD)
_ROUTER_FORMAT = b"@ 0x%08x" % KNOWN_FORMATS
_FORMAT = re.compile(rb"[ \t]*([+-]?)(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))")
_BODY_OFFSET = re.compile(rb"[ \t]*\+?([0-9]{1,18})(?![0-9])[ \t]*")
_DELIVER_BY = re.compile(rb"(-?[0-9]{1,18});([NRT]*)", re.IGNORECASE)
_DIAGNOSTIC = re.compile(
    rb"d(.)(-?[0-9]{1,18}):(-?[0-9]{1,18}):(-?[0-9]{1,18}):[^:\t]*:([0-9]{1,18})\t([^\t]*)\t(.*)", re.DOTALL
)


def parse(octets: bytes, name: str) -> ControlFile:
    """Read the content of the control file `name`.

    Raises SpoolError, naming file, line and remedy, where the file as a whole is unusable: cut, foreign, of
    an unknown format, without a trustworthy message file name.
    """
    return read_routine(octets, name) or read_records(octets, name)


def read_records(octets: bytes, name: str) -> ControlFile:
    """Read any control file record by record.  See `parse`."""
    reader = _Reader(octets, name)
    find = octets.find
    size = len(octets)
    start = last = records = 0
    while start < size:
        kind = octets[start]
        if kind in _BLOCKS and start:
            end = find(b"\n\n", start) + 1
            if not end:
                raise reader.unusable(start, "the header block has no end, the file is cut")
        else:
            # The first octet of a record is never taken for its end, except at the start of the file.
            end = find(b"\n", start + 1 if start else 0)
            if end < 0:
                end = size
        records += 1
        if not records & 0xFFFF:
            reader.bound(start, records)
        read = _RECORDS.get(kind)
        if read is not None:
            read(reader, start, end)
        last = start
        start = end + 1
    return reader.finish(records, size if start == size else last)


class _Reader:
    """Everything that is remembered from one record to the next."""

    __slots__ = (
        "control",
        "counted",
        "current",
        "format",
        "line",
        "octets",
        "offset_flaw",
        "sender",
        "sender_flaw",
        "turns",
        "waiting",
    )

    def __init__(self, octets: bytes, name: str) -> None:
        self.octets = octets
        self.control = ControlFile(name, file_id(name), size=len(octets))
        self.format = 0
        self.sender: Sender | None = None
        self.sender_flaw: str | None = None
        self.current: Recipient | None = None  # whose N record may come
        self.waiting: list[Recipient] = []  # for their header block
        self.offset_flaw: str | None = None
        self.turns = 0
        self.line = 1  # the line of octet `counted`, so that lines of rising offsets are counted once
        self.counted = 0

    # -- telling what is wrong

    def place(self, offset: int) -> int:
        """Return the line, from 1, in which octet `offset` stands."""
        if offset < self.counted:
            self.line, self.counted = 1, 0
        self.line += self.octets.count(b"\n", self.counted, offset)
        self.counted = offset
        return self.line

    def note(self, offset: int, text: str) -> str:
        """Record a problem and return its text with file and line."""
        line = self.place(offset)
        problems = self.control.problems
        if len(problems) < _MOST_PROBLEMS:
            problems.append(Problem(line, offset, text))
        elif len(problems) == _MOST_PROBLEMS:
            problems.append(Problem(line, offset, "all further problems are not listed; repair these first"))
        return f"{shown(self.control.name)}:{line}: {text}"

    def unusable(self, offset: int, text: str) -> SpoolError:
        """Return the error that rejects the whole file."""
        remedy = "move control and message file out of the spool and submit the message again"
        return SpoolError(f"{shown(self.control.name)}:{self.place(offset)}: {text}; {remedy}")

    def bound(self, offset: int, records: int) -> None:
        """Refuse a file before it takes all memory."""
        if records > _MOST_RECORDS or len(self.control.recipients) > _MOST_RECIPIENTS:
            raise self.unusable(
                offset, f"the file has more than {_MOST_RECIPIENTS} recipients or far more records"
            )

    # -- records

    def value(self, start: int, end: int) -> bytes:
        """Return what follows type and tag; as for all readers, a NUL ends it."""
        return self.octets[start + 2 : end].partition(b"\0")[0]

    def format_record(self, start: int, end: int) -> None:
        if self.octets[start:end] == _ROUTER_FORMAT:
            self.format = KNOWN_FORMATS
            return
        found = _FORMAT.match(self.value(start, end))
        if found is None:
            self.format = 0
            return
        sign, hexadecimal, octal, decimal = found.groups()
        digits = hexadecimal or octal or decimal
        base = 16 if hexadecimal else 8 if octal else 10
        # Without the limit a long decimal number would be a ValueError.
        bits = int(sign + digits, base) if len(digits) <= 16 else -1
        if bits & ~KNOWN_FORMATS:
            raise self.unusable(start, f"the format {found[0]!a} has flags that are not known here")
        self.format = bits

    def message_record(self, start: int, end: int) -> None:
        name = self.octets[start + 2 : end]
        if MESSAGE_NAME.fullmatch(name) is None:
            raise self.unusable(start, f"{name[:100]!a} cannot be the name of a message file in the queue")
        self.control.message_name = name

    def offset_record(self, start: int, end: int) -> None:
        value = self.octets[start + 2 : end]
        if value.isdigit() and len(value) <= 18:
            self.control.body_offset = int(value)
            return
        found = _BODY_OFFSET.match(value)
        if found is None or b"\0" in value:
            self.control.body_offset = None
            self.offset_flaw = self.note(start, "the body offset is no number; submit the message again")
            return
        self.control.body_offset = int(found[1])
        if found.end() < len(value):
            self.note(start, "text after the body offset is ignored; look whether the file was damaged")

    def identity_record(self, start: int, end: int) -> None:
        self.control.log_identity = self.value(start, end)

    def verbose_record(self, start: int, end: int) -> None:
        self.control.verbose = self.value(start, end)

    def envelope_record(self, start: int, end: int) -> None:
        self.control.envelope_id = self.value(start, end)

    def return_record(self, start: int, end: int) -> None:
        self.control.ret = self.value(start, end)

    def turn_record(self, start: int, end: int) -> None:
        self.turns += 1

    def sender_record(self, start: int, end: int) -> None:
        self.current = None
        self.sender_flaw = None
        found = _PLAIN_SENDER.fullmatch(self.octets, start, end)
        if found is not None:
            quad = Quad._make(found.groups())
            balanced = True
        else:
            quad, balanced = split(self.octets[start + 2 : end])
        # A plain sender longer than "<>" has nothing wrong but its length.
        if found is None or not 2 < len(quad.user) <= LONGEST_USER:
            flaw = sender_flaw(quad, balanced)
            if flaw is not None:
                self.sender_flaw = self.note(start, flaw.text)
        self.sender = Sender(start, quad)
        self.control.senders.append(self.sender)

    def recipient_record(self, start: int, end: int) -> None:
        octets = self.octets
        found = _PLAIN_RECIPIENT.fullmatch(octets, start, end)
        if found is None or end == len(octets):
            self.odd_recipient(start, end)
            return
        tag, owner, channel, host, user, privilege = found.groups()
        sender = self.sender
        recipient = Recipient(start, tag[0], owner, Quad(channel, host, user, privilege), sender)
        suspect = len(user) > LONGEST_USER or user == b"-" or host.startswith(b"((")
        if suspect or sender is None or self.sender_flaw is not None:
            self.judge(recipient, True)
        self.current = recipient
        self.waiting.append(recipient)
        self.control.recipients.append(recipient)

    def odd_recipient(self, start: int, end: int) -> None:
        """Read a recipient that is not as the router writes most of them."""
        octets = self.octets
        self.current = None
        tag = octets[start + 1 : start + 2]
        if end == len(octets):
            self.overlook(start, tag, "the file ends within this recipient; submit the message again")
            return
        if end - start < _SHORTEST_RECIPIENT:
            self.overlook(start, tag, "the recipient is too short to be one; submit the message again")
            return
        owner = octets[start + 2 : start + 8]
        # Marks would overwrite the address itself.
        if tag == b" " and owner.strip(b" 0123456789"):
            self.overlook(start, tag, "the recipient has no room for a lock; route the message again")
            return
        begin = start + 8
        if self.format & _DELAY_FIELD or octets[begin] in b" 0123456789":
            begin += 4
        quad, balanced = split(octets[begin:end])
        recipient = Recipient(start, tag[0], owner, quad, self.sender)
        self.judge(recipient, balanced)
        if tag not in (b" ", b"~", b"+", b"-"):
            self.overlook(start, tag, "the tag of the recipient is none of blank ~ + -; correct it")
        self.current = recipient
        self.waiting.append(recipient)
        self.control.recipients.append(recipient)

    def judge(self, recipient: Recipient, balanced: bool) -> None:
        flaw = recipient_flaw(recipient.quad, balanced)
        if flaw is not None:
            recipient.problem = self.note(recipient.offset, flaw.text)
            recipient.problem_is_permanent = flaw.permanent
        elif self.sender is None:
            recipient.problem = self.sender_flaw or self.note(
                recipient.offset, "no sender stands before the recipient; submit the message again"
            )
        else:
            recipient.problem = self.sender_flaw

    def overlook(self, offset: int, tag: bytes, text: str) -> None:
        """Note a record that means a recipient but gives none; finished ones need nobody's care."""
        if tag not in (b"+", b"-"):
            self.control.overlooked += 1
        self.note(offset, text)

    def alternative_record(self, start: int, end: int) -> None:
        self.current = None  # its N record is not the one of the recipient before
        tag = self.octets[start + 1 : start + 2]
        self.overlook(start, tag, "alternative recipients (X) are not supported; route the message again")

    def notary_record(self, start: int, end: int) -> None:
        recipient = self.current
        if recipient is None:
            return
        if recipient.notary_offset >= 0:
            self.note(start, "a second N record for one recipient is ignored; remove it")
            return
        recipient.notary_offset = start
        for token in self.value(start, end).replace(b"\t", b" ").split(b" "):
            keyword, equals, text = token.partition(b"=")
            if not equals:
                continue
            match keyword.upper():
                case b"NOTIFY":
                    recipient.notify = notify_flags(text)
                case b"ORCPT":
                    recipient.orcpt = text
                case b"INRCPT":
                    recipient.inrcpt = text
                case b"INFROM":
                    recipient.infrom = text
                case b"EZMLM":
                    recipient.ezmlm = text
                case b"BY":
                    recipient.deliver_by = _deliver_by(text)

    def structure_record(self, start: int, end: int) -> None:
        self.current = None
        if not start:  # nobody takes it for a block there, so its lines would be read as records
            raise self.unusable(start, "the file begins with a header block")

    def header_record(self, start: int, end: int) -> None:
        self.structure_record(start, end)
        flaw = None
        nul = self.octets.find(b"\0", start, end)
        if self.octets[start + 1] != _NEWLINE:
            flaw = self.note(start, "text follows the m of a header block; submit the message again")
        elif nul >= 0:
            flaw = self.note(nul, f"the header holds a NUL at offset {nul}; submit the message without it")
        block = HeaderBlock(start + 2, self.octets[start + 2 : end])
        self.control.blocks.append(block)
        for recipient in self.waiting:
            recipient.headers = block
            if flaw is not None and recipient.problem is None:
                recipient.problem = flaw
        self.waiting = []

    def diagnostic_record(self, start: int, end: int) -> None:
        found = _DIAGNOSTIC.fullmatch(self.octets, start, end)
        if found is None or end == len(self.octets):
            self.note(start, "the diagnostic is malformed and will not be reported; look at it")
            return
        tag, *numbers, notary, text = found.groups()
        recipient, header, notary_offset, when = map(int, numbers)
        self.control.diagnostics.append(
            Diagnostic(start, tag[0], recipient, header, notary_offset, when, notary, text)
        )

    def hidden_record(self, start: int, end: int) -> None:
        """Tell of an empty line: the record after it does not exist for scheduler and agents."""
        if end <= start + 1:
            return
        self.current = None
        hidden = self.octets[start + 1 : start + 2]
        text = f"an empty line hides the record after it ({ascii(hidden)[1:]}); remove the empty line"
        match hidden:
            case b"m" | b"M":
                # Header fields would be read as records and recipients would get the header of another group.
                raise self.unusable(start, "an empty line hides a header block")
            case b"r" | b"X":
                self.overlook(start, self.octets[start + 2 : start + 3], text)
            case b"s":
                self.sender = None
                self.sender_flaw = self.note(start, text)
            case _:
                self.note(start, text)

    # -- the end

    def finish(self, records: int, boundary: int) -> ControlFile:
        """Judge what only the whole file shows."""
        control = self.control
        control.boundary = boundary
        if self.turns and self.turns == records:
            control.is_turn = True
            return control
        if records < _FEWEST_RECORDS:
            raise self.unusable(0, f"the file has only {records} records, it is cut or no control file")
        if control.message_name is None:
            raise self.unusable(0, "the file does not name its message file (no i record)")
        for recipient in self.waiting:
            if recipient.problem is None:
                recipient.problem = self.note(
                    recipient.offset, "no header block follows the recipient; submit the message again"
                )
        if control.body_offset is None:
            flaw = self.offset_flaw
            if flaw is None:
                flaw = self.note(0, "the file has no body offset (o record); submit the message again")
            for recipient in control.recipients:
                recipient.problem = recipient.problem or flaw
        return control


_RECORDS: dict[int, Callable[[_Reader, int, int], None]] = {
    ord("@"): _Reader.format_record,
    ord("v"): _Reader.verbose_record,
    ord("i"): _Reader.message_record,
    ord("o"): _Reader.offset_record,
    ord("l"): _Reader.identity_record,
    ord("T"): _Reader.turn_record,
    ord("s"): _Reader.sender_record,
    ord("r"): _Reader.recipient_record,
    ord("X"): _Reader.alternative_record,
    ord("N"): _Reader.notary_record,
    ord("R"): _Reader.return_record,
    ord("n"): _Reader.envelope_record,
    ord("m"): _Reader.header_record,
    ord("M"): _Reader.structure_record,
    ord("d"): _Reader.diagnostic_record,
    _NEWLINE: _Reader.hidden_record,
}
# The types e, x, b and all unknown ones say nothing to an agent.


def _deliver_by(text: bytes) -> tuple[int, int] | None:
    found = _DELIVER_BY.match(text)
    if found is None:
        return None
    flags = 0
    for letter in set(found[2].upper()):
        flags |= DELIVER_BY_FLAGS[bytes((letter,))]
    return int(found[1]), flags
