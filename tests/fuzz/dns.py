"""DNS messages: read by ours, followed along their aliases, and made into a route."""

from __future__ import annotations

import re
import struct
from ipaddress import IPv4Address, IPv6Address

from tests.fuzz.target import Target
from zsmtp.destination import (
    ADDRESSES_PER_HOST,
    MailExchanger,
    Name,
    Outcome,
    RouteRules,
    WellKnownServices,
    hosts_to_ask,
)
from zsmtp.net.dnsmessage import (
    Fit,
    Message,
    Type,
    Unreadable,
    fit,
    is_truncated,
    query,
    read,
    readable,
    wire_name,
)
from zsmtp.net.lookup import MAXIMUM_ALIASES, _objection, _Trail

__all__ = ["DNS"]

_NAME = wire_name("d.example")
_QUERIES = {kind: query(_NAME, kind, 0x1234) for kind in (Type.MX, Type.A, Type.AAAA)}
_HOST = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")


def _check(octets: bytes) -> None:
    for kind, sent in _QUERIES.items():
        octets = sent[:2] + octets[2:]
        if fit(sent, octets) is Fit.NO:
            continue
        is_truncated(octets)
        try:
            message = read(octets)
        except Unreadable as error:
            assert str(error).isprintable()
            continue
        _look(message)
        _follow(message, kind)


def _look(message: Message) -> None:
    for record in (*message.answers, *message.authority):
        assert 0 < len(record.owner) <= 255
        assert record.owner[-1] == 0
        text = readable(record.owner)
        assert text in ("", ".") or _HOST.fullmatch(text)
        assert 0 <= record.ttl < 2**31 or record.type == Type.OPT
        match record.value:
            case MailExchanger(preference, host):
                assert 0 <= preference < 65536
                assert host in ("", ".") or (_HOST.fullmatch(host) and len(host) <= 253)
            case IPv4Address() | IPv6Address() | None:
                pass
            case bytes() as target:
                assert target[-1] == 0
                assert len(target) <= 255
            case WellKnownServices(is_tcp, has_smtp):
                assert is_tcp or not has_smtp
            case seconds:
                assert 0 <= seconds < 2**32


def _follow(message: Message, kind: Type) -> None:
    if _objection(message, _NAME, kind):
        return
    trail = _Trail("d.example", kind)
    for _ in range(MAXIMUM_ALIASES + 2):
        trail.follow(message)
        if trail.answer is not None:
            break
    answer = trail.answer
    if answer is None:
        return  # another name is to be asked for
    if answer.outcome is Outcome.NO_SUCH_NAME:
        assert message.code == 3
    if kind is Type.MX:
        hosts = hosts_to_ask(Name("d.example"), answer, RouteRules())
        assert all(_HOST.fullmatch(host) for host in hosts)
    else:
        assert len(answer.values) <= ADDRESSES_PER_HOST


def _reply(kind: Type, *records: bytes, flags: int = 0x8180, authority: int = 0) -> bytes:
    question = _NAME + struct.pack("!HH", kind, 1)
    counts = struct.pack("!HHHHHH", 0x1234, flags, 1, len(records) - authority, authority, 0)
    return counts + question + b"".join(records)


def _record(kind: int, data: bytes, owner: bytes = b"\xc0\x0c", ttl: int = 300) -> bytes:
    return owner + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


_SOA = _record(6, b"\2ns\xc0\x0c\4root\xc0\x0c" + struct.pack("!5I", 1, 2, 3, 4, 5))
_E = wire_name("e.example")
DNS = Target(
    "dns",
    [
        _reply(Type.MX, _record(15, b"\0\x0a\2mx\xc0\x0c"), _record(15, b"\0\x14" + _E)),
        _reply(Type.MX, _record(5, _E), _record(15, b"\0\0\0", _E)),
        _reply(Type.A, _record(1, b"\xc0\0\2\1"), _record(1, b"\xc0\0\2\2")),
        _reply(Type.AAAA, _record(28, b"\x20\x01" + bytes(13) + b"\1"), _record(5, _E)),
        _reply(Type.MX, _SOA, flags=0x8183, authority=1),
        _reply(Type.MX, _SOA, authority=1),
        _reply(Type.MX, flags=0x8182),
        _reply(Type.A, _record(5, _E), _record(5, b"\xc0\x0c", _E), _record(1, b"\x7f\0\0\1", _E)),
        _reply(Type.MX, *[_record(15, struct.pack("!H", n) + b"\1%c\xc0\x0c" % (97 + n)) for n in range(20)]),
    ],
    [
        b"\xc0\x0c",
        b"\xc0\x00",
        b"\xff\xff",
        b"\x3f",
        b"\0\x0f\0\1",
        b"\0\1\0\1",
        _E,
        _SOA,
        b"\0\x29",
        b"\x83\x80",
    ],
    _check,
    longest=2048,
)
