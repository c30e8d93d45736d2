"""DNS messages, between octets and values: queries out, answers in.

Reads what finding a host needs (A, AAAA, CNAME, MX, SOA) and nothing more, from octets that may have been
written to harm: names are at most 255 octets, compression pointers lead backwards and only so often, a
record that does not fit its type has no value, a message that does not hold together is `Unreadable`.
Written by hand since the time to read 64 KiB of the worst kind has to be bounded: 0.2 s here, 11 s with
dnspython, during which no connection of this process would get an answer.
Sends and judges nothing.
Sources: RFC 1035 section 4, RFC 2308 section 5, RFC 6840 section 5.7, RFC 6891 section 6.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from struct import error as StructError
from typing import NamedTuple, TypeAlias

from zsmtp.destination import Address, MailExchanger, WellKnownServices
from zsmtp.target import host_name

__all__ = [
    "Fit",
    "Message",
    "Record",
    "Type",
    "Unreadable",
    "fit",
    "is_truncated",
    "query",
    "read",
    "readable",
    "wire_name",
]

UDP_SIZE = 1232  # octets: what passes every network unfragmented (DNS flag day 2020)
_HEADER = Struct("!HHHHHH")
_FIXED_PART = Struct("!HHIH")  # of a record: type, class, TTL, length of the data
_OPT_PART = Struct("!BHHIH")
_RESPONSE, _OPCODE, _AUTHORITATIVE, _TRUNCATED = 0x8000, 0x7800, 0x0400, 0x0200
_RECURSION_DESIRED, _RECURSION_AVAILABLE, _AUTHENTIC = 0x0100, 0x0080, 0x0020
_INTERNET = 1
_TCP, _SMTP = 6, 25
_NO_ERROR, _NO_SUCH_NAME = 0, 3
_MAXIMUM_POINTERS = 10  # in one name; name servers write one


class Type(IntEnum):
    """The types of record that are understood."""

    A = 1
    CNAME = 5
    SOA = 6
    WKS = 11
    MX = 15
    AAAA = 28
    OPT = 41


class Unreadable(ValueError):
    """The octets are no DNS message.  The text says why and holds nothing of them."""


Value: TypeAlias = Address | MailExchanger | WellKnownServices | bytes | int | None


class Record(NamedTuple):
    """One record of class IN.  `owner` is a name in wire form, lower case.

    `value` is an address, a MailExchanger, WellKnownServices, for CNAME the target as a name in wire form,
    for SOA the seconds that a negative answer holds, and None for what does not fit its type or is not
    understood.
    """

    owner: bytes
    type: int
    ttl: int
    value: Value


class Message(NamedTuple):
    """A reply, as far as it is of use; `code` is the response code, with the upper bits from EDNS."""

    code: int
    authoritative: bool
    truncated: bool
    recursion_available: bool
    authentic: bool
    answers: tuple[Record, ...]
    authority: tuple[Record, ...]


class Fit(Enum):
    """How a datagram compares with the query that it claims to answer."""

    NO = "another question"
    CASE_LOST = "the question with its letters in another case"
    YES = "the question"


def wire_name(name: str) -> bytes:
    """Write a name that `host_name` accepts in wire form."""
    return b"".join(bytes((len(label),)) + label for label in name.encode("ascii").split(b".")) + b"\0"


def readable(name: bytes) -> str:
    """Give the text of a name in wire form, "" if it is not one of a host and "." for the root."""
    labels, at = [], 0
    while name[at]:
        labels.append(name[at + 1 : at + 1 + name[at]])
        at += 1 + name[at]
    return host_name(labels) if labels else "."


def query(
    name: bytes,
    record_type: Type,
    identity: int,
    *,
    case: int = 0,
    edns: bool = True,
    authentic: bool = False,
) -> bytes:
    """Write the query for a name in wire form.

    The bits of `case` say which octets of the name become upper case.  An answer has to repeat them: that
    makes it harder to forge than the 16 bits of the identity alone.  `authentic` asks to be told what was
    validated.
    Source: draft-vixie-dnsext-dns0x20; RFC 6840 section 5.7.
    """
    upper = name.upper()
    spelled = bytes((upper if case >> place & 1 else name)[place] for place in range(len(name)))
    flags = _RECURSION_DESIRED | (_AUTHENTIC if authentic else 0)
    header = _HEADER.pack(identity, flags, 1, 0, 0, 1 if edns else 0)
    option = _OPT_PART.pack(0, Type.OPT, UDP_SIZE, 0, 0) if edns else b""
    return header + spelled + record_type.to_bytes(2, "big") + _INTERNET.to_bytes(2, "big") + option


def fit(sent: bytes, received: bytes) -> Fit:
    """Tell whether a reply belongs to a query: identity, opcode, question.

    A server that does not understand the query may answer with a header alone.  That says at most that it
    failed: no name comes with it, so that nobody can say in this way that a name does not exist.
    """
    if len(received) < _HEADER.size or received[:2] != sent[:2]:
        return Fit.NO
    flags, questions = _HEADER.unpack_from(received)[1:3]
    if not flags & _RESPONSE or flags & _OPCODE:
        return Fit.NO
    if not questions:
        return Fit.NO if flags & 0xF in (_NO_ERROR, _NO_SUCH_NAME) else Fit.YES
    start, end = _HEADER.size, sent.index(b"\0", _HEADER.size) + 5
    asked, answered = sent[start:end], received[start:end]
    if questions != 1 or asked[-4:] != answered[-4:] or asked.lower() != answered.lower():
        return Fit.NO
    return Fit.YES if asked == answered else Fit.CASE_LOST


def is_truncated(reply: bytes) -> bool:
    """Tell whether a reply that `fit` its query says that there is more of it."""
    return bool(reply[2] & _TRUNCATED >> 8)


def read(octets: bytes) -> Message:
    """Read a reply that `fit` found to belong to its query; raises Unreadable."""
    try:
        return _Reader(octets).message()
    except (IndexError, StructError):
        raise Unreadable("it ends too early") from None


def _well_known_services(octets: bytes) -> WellKnownServices | None:
    """Read an address, a protocol, and a bit for each port."""
    if len(octets) < 5:
        return None
    is_tcp = octets[4] == _TCP
    bits = octets[5:]
    byte, bit = divmod(_SMTP, 8)
    return WellKnownServices(is_tcp, is_tcp and len(bits) > byte and bool(bits[byte] & 0x80 >> bit))


class _Reader:
    """Walks once through a message; remembers names, since compression repeats them."""

    __slots__ = ("_at", "_names", "_octets")

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = _HEADER.size
        self._names: dict[int, bytes] = {}

    def message(self) -> Message:
        _, flags, questions, answers, authority, additional = _HEADER.unpack_from(self._octets)
        for _ in range(questions):
            self._at = self._name(self._at)[1] + 4
        # A truncated answer may end in the middle of a record, and is not used anyway.
        whole = not flags & _TRUNCATED
        sections = [self._section(count) if whole else () for count in (answers, authority, additional)]
        if answers and whole and not sections[0]:
            # Taken for an empty answer it would mean that there is no such record.
            raise Unreadable("it has records of another class only")
        options = [record for record in sections[2] if record.type == Type.OPT]
        return Message(
            code=(flags & 0xF) | (options[0].ttl >> 24 << 4 if options else 0),
            authoritative=bool(flags & _AUTHORITATIVE),
            truncated=not whole,
            recursion_available=bool(flags & _RECURSION_AVAILABLE),
            authentic=bool(flags & _AUTHENTIC),
            answers=sections[0],
            authority=sections[1],
        )

    def _section(self, count: int) -> tuple[Record, ...]:
        records = []
        for _ in range(count):
            owner, at = self._name(self._at)
            record_type, record_class, ttl, size = _FIXED_PART.unpack_from(self._octets, at)
            start = at + _FIXED_PART.size
            self._at = start + size
            if self._at > len(self._octets):
                raise Unreadable("it ends too early")
            if record_class == _INTERNET:
                # RFC 2181 8: a TTL with the highest bit set counts as 0.
                seconds = ttl if ttl < 0x80000000 else 0
                records.append(Record(owner, record_type, seconds, self._value(record_type, start, seconds)))
            elif record_type == Type.OPT:
                records.append(Record(owner, record_type, ttl, None))
        return tuple(records)

    def _value(self, record_type: int, start: int, ttl: int) -> Value:
        octets, end = self._octets, self._at
        try:
            match record_type:
                case Type.A:
                    return IPv4Address(octets[start:end])
                case Type.AAAA:
                    return IPv6Address(octets[start:end])
                case Type.MX:
                    return self._mail_exchanger(start, end)
                case Type.WKS:
                    return _well_known_services(octets[start:end])
                case Type.CNAME:
                    name, after = self._name(start)
                    return name if after == end else None
                case Type.SOA:
                    after = self._name(self._name(start)[1])[1]
                    minimum = int.from_bytes(octets[end - 4 : end], "big")
                    return min(ttl, minimum) if after + 20 == end else None
        except (IndexError, ValueError):
            pass
        return None

    def _mail_exchanger(self, start: int, end: int) -> MailExchanger:
        """A name that cannot be read is still a mail exchanger: the domain has one."""
        preference = int.from_bytes(self._octets[start : min(start + 2, end)], "big")
        try:
            name, after = self._name(start + 2)
        except (IndexError, Unreadable):
            return MailExchanger(preference, "")
        return MailExchanger(preference, readable(name) if after == end else "")

    def _name(self, start: int) -> tuple[bytes, int]:
        """Give the name that begins here, uncompressed and in lower case, and the place after it."""
        octets = self._octets
        labels: list[bytes] = []
        entered = [(start, 0)]  # places that a pointer may lead to, each with the number of labels before it
        at, after = start, 0
        while size := octets[at]:
            if size < 0x40:
                at += 1 + size
                labels.append(octets[at - 1 - size : at])
                if len(labels) > 127:
                    raise Unreadable("it has a name of more than 255 octets")
                continue
            target = (size & 0x3F) << 8 | octets[at + 1]
            # Compression loops: each pointer leads to before the place from which the last one was followed.
            if size < 0xC0 or target >= entered[-1][0] or len(entered) > _MAXIMUM_POINTERS:
                raise Unreadable("it has a name that is compressed in a wrong way")
            after = after or at + 2
            known = self._names.get(target)
            if known is not None:
                labels.append(known)
                break
            entered.append((target, len(labels)))
            at = target
        else:
            after = after or at + 1
            labels.append(b"\0")
        if sum(map(len, labels)) > 255:
            raise Unreadable("it has a name of more than 255 octets")
        for place, before in entered:
            self._names[place] = b"".join(labels[before:]).lower()
        return self._names[start], after
