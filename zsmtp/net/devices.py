"""The addresses of each network interface, for option -L iface:eth0.

Asked from the kernel anew each time, over netlink: that is one system call that never waits, and knows both
families, alias labels such as eth0:1, and whether an interface is up.  Where the kernel does not answer there
are no interfaces, and whoever needs one says so.
Source: rtnetlink(7), netdevice(7).
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address
from struct import Struct, unpack_from
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zsmtp.target import Address

__all__ = ["Device", "device_addresses", "read_dump"]

_HEADER = Struct("=IHHII")  # length, type, flags, sequence, port
_LINK = Struct("=BxHiII")  # family, type, index, flags, change
_OF_ADDRESS = Struct("=BBBBI")  # family, length of prefix, flags, scope, index
_ATTRIBUTE = Struct("=HH")
_REQUEST_DUMP = 0x301
_NEW_LINK, _GET_LINK, _NEW_ADDRESS, _GET_ADDRESS, _DONE, _ERROR = 16, 18, 20, 22, 3, 2
_IFLA_IFNAME = 3
_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL = 1, 2, 3
_IS_UP = 1
_UNUSABLE = 0x20 | 0x40 | 0x08  # deprecated, tentative, failed duplicate address detection
_MOST_PIECES = 4096
_LARGEST = 1 << 18


class Device(NamedTuple):
    """One address of an interface that is up.  `label` differs from `name` for an alias such as eth0:1."""

    name: str
    label: str
    address: Address


def device_addresses() -> tuple[Device, ...]:
    """Return the addresses of all interfaces that are up, in the kernel's order."""
    try:
        return read_dump(_ask(_GET_LINK), _ask(_GET_ADDRESS))
    except OSError:
        return ()


def read_dump(links: bytes, addresses: bytes) -> tuple[Device, ...]:
    """Read what the kernel answered to requests for its links and its addresses."""
    names: dict[int, str] = {}
    for kind, body in _messages(links):
        if kind == _NEW_LINK and len(body) >= _LINK.size:
            _, _, index, flags, _ = _LINK.unpack_from(body)
            name = _text(_attributes(body[_LINK.size :]).get(_IFLA_IFNAME, b""))
            if flags & _IS_UP and name:
                names[index] = name
    found = []
    for kind, body in _messages(addresses):
        if kind != _NEW_ADDRESS or len(body) < _OF_ADDRESS.size:
            continue
        family, _, flags, _, index = _OF_ADDRESS.unpack_from(body)
        parts = _attributes(body[_OF_ADDRESS.size :])
        # of a point-to-point link _IFA_ADDRESS is the other end
        octets = parts.get(_IFA_LOCAL, parts.get(_IFA_ADDRESS, b""))
        address = _address(family, octets)
        if address is not None and index in names and not flags & _UNUSABLE:
            found.append(Device(names[index], _text(parts.get(_IFA_LABEL, b"")) or names[index], address))
    return tuple(found)


def _ask(kind: int) -> bytes:
    """Ask for everything of a kind; the answer of the kernel is there at once."""
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    ) as asked:
        asked.bind((0, 0))
        asked.settimeout(1.0)
        body = bytes(16)
        asked.sendto(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST_DUMP, 1, 0) + body, (0, 0))
        answer = b""
        for _ in range(_MOST_PIECES):
            piece = asked.recv(_LARGEST)
            answer += piece
            if any(found in (_DONE, _ERROR) for found, _ in _messages(piece)):
                break
        return answer


def _messages(octets: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(octets):
        length, kind = unpack_from("=IH", octets, at)
        if length < _HEADER.size:
            return
        yield kind, octets[at + _HEADER.size : at + length]
        at += length + 3 & ~3


def _attributes(octets: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(octets):
        length, kind = _ATTRIBUTE.unpack_from(octets, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind] = octets[at + _ATTRIBUTE.size : at + length]
        at += length + 3 & ~3
    return found


def _text(octets: bytes) -> str:
    return octets.rstrip(b"\0").decode("ascii", "replace")


def _address(family: int, octets: bytes) -> Address | None:
    if family == socket.AF_INET and len(octets) == 4:
        return IPv4Address(octets)
    if family == socket.AF_INET6 and len(octets) == 16:
        return IPv6Address(octets)
    return None
