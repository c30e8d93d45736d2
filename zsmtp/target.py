"""The text of a place, read: the host of a job, the value of -F or -L, a name server.

Everything that a host column can hold comes out as a value of its own, or as a `Trouble`: of a name from
outside nothing but letters, digits, hyphen and underscore goes on to the DNS, a log, a report or a command
line.
Deliberately no look-up: a literal is numeric or refused.
Sources: smtp(8zm), options -F and -L; RFC 5321 section 4.1.3; RFC 5890 for names beyond ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple, TypeAlias

from zsmtp.trouble import Kind, Trouble

__all__ = [
    "Address",
    "Anywhere",
    "Identity",
    "Interface",
    "Literal",
    "Name",
    "Target",
    "Unix",
    "host_name",
    "local_identity",
    "name_server",
    "numeric",
    "target",
]

Address: TypeAlias = IPv4Address | IPv6Address

_LONGEST_PATH = 107  # octets: sun_path less its NUL
_LONGEST_NAME = 253  # RFC 1035 3.1, as text without the final dot
_LITERAL = re.compile(rb"\[([^][]*)(?:\](?::([0-9]{1,5}))?)?")
_INET6_TAG = re.compile(r"ipv6[ .:]", re.IGNORECASE)
_INET6_TEXT = re.compile(r"[0-9A-Fa-f:.]+(?:%[0-9A-Za-z_.-]{1,32})?")
_INTERFACE = re.compile(r"iface:(?:v([46]):)?(?!v[46]:)([!-~]{1,63})", re.IGNORECASE)
_SERVER = re.compile(r"\[([^\]]+)\](?::([0-9]{1,5}))?|([0-9.]+):([0-9]{1,5})|([^\[\]]+)")
_HOST = re.compile(rb"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")


class Unix(NamedTuple):
    """A stream socket in the file system."""

    path: str


class Literal(NamedTuple):
    """An address given as such; `text` is what stood between the brackets.

    `forced` says that it comes from -F, so from the postmaster: then it may be an address of this machine.
    """

    address: Address
    port: int | None
    text: str
    forced: bool = False


class Name(NamedTuple):
    """A domain or host: lower case, A-labels, no final dot."""

    name: str


class Anywhere(NamedTuple):
    """No certain address of this machine."""


class Interface(NamedTuple):
    """The address of a network interface; `version` is 4, 6, or None for whichever fits."""

    name: str
    version: int | None


Target: TypeAlias = Unix | Literal | Name
Identity: TypeAlias = Anywhere | Literal | Interface | Name


def target(text: bytes, *, forced: bool) -> Target | Trouble:
    """Read the host of a job or, if `forced`, the value of -F.

    Forms: `[1.2.3.4]`, `[IPv6.addr]` (also with a colon, a blank, or without the tag), each with `:port`, and
    a name; from -F also `UNIX:/path`.
    """
    if forced and text.startswith(b"UNIX:/"):
        return _unix(text[len(b"UNIX:") :])
    if text.startswith(b'"['):
        text = text[1:].removesuffix(b'"')
    return _literal(text, forced) if text.startswith(b"[") else _name(text)


def local_identity(text: str) -> Identity | None:
    """Read the value of -L or of ZENV BINDADDR; None if it is none.

    Forms: `[1.2.3.4]`, `[IPv6.addr]`, `iface:eth0` (also `iface:v4:eth0` and `iface:v6:eth0`), a host name,
    and `any` or `any6`.  Source: smtp(8zm), option -L.
    """
    if text.lower() in ("any", "any6"):
        return Anywhere()
    if text.lower().startswith("iface:"):
        parts = _INTERFACE.fullmatch(text)
        return Interface(parts[2], int(parts[1]) if parts[1] else None) if parts else None
    if not text.isascii() or (":" in text and not text.startswith("[")):
        return None
    place = target(text.encode("ascii"), forced=True)
    if isinstance(place, Literal):
        return place if place.port is None and text.endswith("]") else None
    # Digits and dots are an address without its brackets, or one with a slip of the pen.
    return place if isinstance(place, Name) and not re.fullmatch("[0-9.]+", place.name) else None


def name_server(text: str) -> tuple[str, int] | None:
    """Read ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT; None if it is none.  Without a port it is 53."""
    parts = _SERVER.fullmatch(text)
    if parts is None:
        return None
    address = parts[1] or parts[3] or parts[5]
    port = int(parts[2] or parts[4] or 53)
    return (address, port) if numeric(address) is not None and 1 <= port <= 65535 else None


def _unix(path: bytes) -> Unix | Trouble:
    if len(path) > _LONGEST_PATH or b"\0" in path:
        why = f"the path of a UNIX socket has at most {_LONGEST_PATH} octets and no NUL"
        return Trouble(Kind.INVALID_ADDRESS, f"{why}: UNIX:{_shown(path)}".encode())
    return Unix(path.decode("utf-8", "surrogateescape"))


def _literal(text: bytes, forced: bool) -> Literal | Trouble:
    parts = _LITERAL.fullmatch(text)
    port = int(parts[2]) if parts and parts[2] else None
    if parts and parts[1].isascii() and (port is None or 1 <= port <= 65535):
        inner = parts[1].decode("ascii")
        tag = _INET6_TAG.match(inner)
        address = numeric(inner[tag.end() :] if tag else inner)
        if address is not None and not (tag and address.version == 4):
            return Literal(address, port, inner, forced)
    return Trouble(Kind.BAD_LITERAL, f"bad IP address: {_shown(text)}".encode())


def numeric(text: str) -> Address | None:
    """Read an address in its usual notation, an IPv6 one with or without scope; None if it is none.

    Short and octal forms of IPv4 are refused: programs disagree on what they mean.
    """
    try:
        if ":" in text:
            return IPv6Address(text) if _INET6_TEXT.fullmatch(text) else None
        return IPv4Address(text)
    except ValueError:
        return None


def _name(text: bytes) -> Name | Trouble:
    name, why = text.removesuffix(b".").lower(), ""
    if not name.isascii() and len(name) <= 4 * _LONGEST_NAME:
        import idna  # 14 ms, and few destinations need it

        try:
            name = idna.encode(name.decode("utf-8"), uts46=True)
        except UnicodeError as error:  # as are the errors of idna
            why = f" ({_shown(str(error).encode())})"
    host = host_name(name.split(b"."))
    if host:
        return Name(host)
    return Trouble(Kind.NO_SUCH_DOMAIN, f"not a domain name: {_shown(text)}{why}".encode())


def host_name(labels: Sequence[bytes]) -> str:
    """Join the labels of a name, in lower case, if hosts are named so; else give the empty string."""
    name = b".".join(labels).lower()
    # A dot inside a label would make another name of it.
    good = len(name) <= _LONGEST_NAME and name.count(b".") == len(labels) - 1 and _HOST.fullmatch(name)
    return name.decode("ascii") if good else ""


def _shown(text: bytes) -> str:
    """Make printable what may be anything, and short."""
    shown = "".join(chr(octet) if 0x20 <= octet < 0x7F else "?" for octet in text[:200])
    return shown + "..." if len(text) > 200 else shown
