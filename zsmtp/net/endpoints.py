"""From a hop to the endpoint that connects to it, and what a connection is called in reports."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectBindError, ConnectError, TimeoutError

from zsmtp.destination import Family, Hop
from zsmtp.trouble import Kind, Trouble

if TYPE_CHECKING:
    from twisted.internet.interfaces import IStreamClientEndpoint

__all__ = ["address_text", "connect_trouble", "connected_text", "endpoint_for"]

_LONGEST_PATH: Final = 107
"""octets of a path in Linux' sockaddr_un"""


def endpoint_for(
    reactor: Any, hop: Hop, *, seconds: float, bind: tuple[str, int] | None = None
) -> IStreamClientEndpoint:
    """Return the endpoint for `hop`; the attempt fails after `seconds`.

    `bind` is the local address and port.  Source: smtp(8zm), options -T conn, -L and -r.

    Raises OSError for a path that no UNIX socket can have: Twisted would wait for it until the end.
    """
    match hop.family:
        case Family.UNIX:
            if len(os.fsencode(hop.address)) > _LONGEST_PATH:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
            return UNIXClientEndpoint(reactor, hop.address, timeout=seconds)
        case Family.INET6:
            return TCP6ClientEndpoint(reactor, hop.address, hop.port, timeout=seconds, bindAddress=bind)
        case _:
            return TCP4ClientEndpoint(reactor, hop.address, hop.port, timeout=seconds, bindAddress=bind)


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


def connect_trouble(hop: Hop, error: BaseException, bind: tuple[str, int] | None = None) -> Trouble:
    """Say that a connection could not be opened, and why; `bind` is the local address and port."""
    # Twisted calls it so, too, where there is no socket to be had.
    is_bound = bind is not None and isinstance(error, ConnectBindError)
    kind = Kind.BIND_FAILED if is_bound else Kind.CONNECT_FAILED
    if isinstance(error, TimeoutError):
        why = os.strerror(errno.ETIMEDOUT)
    elif isinstance(error, OSError) and error.strerror:
        why = error.strerror
    elif isinstance(error, ConnectError) and isinstance(error.osError, int):
        why = os.strerror(error.osError)
    elif isinstance(error, ConnectError) and error.osError is not None:
        why = str(error.osError)
    else:
        why = str(error) or type(error).__name__
    if is_bound and bind is not None:
        why = f"from {bind[0]} port {bind[1] or 'any'}: {why}"
    name = os.fsencode(hop.name) if hop.family is Family.UNIX else hop.name.encode()
    text = b"connect to %s [%s]: %s" % (name, address_text(hop), why.encode(errors="replace"))
    return Trouble(kind, text, remote=hop.remote)
