"""From a hop to the endpoint that connects to it, and what a connection is called in reports."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectError, TimeoutError, UserError

from zsmtp.destination import Family, Hop
from zsmtp.trouble import Kind, Trouble

if TYPE_CHECKING:
    from twisted.internet.interfaces import IStreamClientEndpoint

__all__ = ["address_text", "connect_trouble", "connected_text", "endpoint_for"]


def endpoint_for(reactor: Any, hop: Hop, *, seconds: float) -> IStreamClientEndpoint:
    """Return the endpoint for `hop`; the attempt fails after `seconds`.  Source: smtp(8zm), option -T
    conn.
    """
    match hop.family:
        case Family.UNIX:
            return UNIXClientEndpoint(reactor, hop.address, timeout=seconds)
        case Family.INET6:
            return TCP6ClientEndpoint(reactor, hop.address, hop.port, timeout=seconds)
        case _:
            return TCP4ClientEndpoint(reactor, hop.address, hop.port, timeout=seconds)


def address_text(hop: Hop) -> bytes:
    """Name the address of a hop as notaries do: `192.0.2.1|25`, `ipv6 2001:db8::1|25`, `UNIX:/path`."""
    match hop.family:
        case Family.UNIX:
            return b"UNIX:" + os.fsencode(hop.address)
        case Family.INET6:
            return b"ipv6 %s|%d" % (hop.address.encode(), hop.port)
        case _:
            return b"%s|%d" % (hop.address.encode(), hop.port)


def connected_text(hop: Hop, host: Any) -> bytes:
    """Name a connection: the peer's address and port, and ours."""
    if hop.family is Family.UNIX:
        return address_text(hop) + b"|UNKNOWN-LOCAL-ADDRESS"
    return address_text(hop) + b"|%s|%d" % (str(host.host).encode(), host.port)


def connect_trouble(hop: Hop, error: BaseException) -> Trouble:
    """Say that a connection could not be opened, and why."""
    if isinstance(error, (TimeoutError, UserError)) or not isinstance(error, ConnectError):
        why = (
            "Connection timed out" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        )
    elif isinstance(error.osError, int):
        why = os.strerror(error.osError)
    else:
        why = str(error.osError or error)
    name = os.fsencode(hop.name) if hop.family is Family.UNIX else hop.name.encode()
    text = b"connect to %s [%s]: %s" % (name, address_text(hop), why.encode(errors="replace"))
    return Trouble(Kind.CONNECT_FAILED, text, remote=hop.remote)
