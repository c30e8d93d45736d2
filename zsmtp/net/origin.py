"""Where our connections come from: the local address of -L or ZENV BINDADDR, and the port of -r.

The address is found anew for each connection, since an agent lives for days and addresses come and go.  Mail
never leaves from another address than the one asked for: where none fits, or it cannot be used, that is a
trouble of this hop alone, and a later attempt may do better.
A port is looked for downwards from a random place, so that many agents do not meet at the same one, and each
of the 512 is tried once.  Who may not use such ports gets an ordinary one, and the postmaster a warning.
Sources: smtp(8zm), options -L and -r; spool format, variable BINDADDR.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from twisted.internet.error import ConnectBindError, ConnectError

from zsmtp.destination import Family, Outcome
from zsmtp.net.devices import device_addresses
from zsmtp.net.dnsmessage import Type
from zsmtp.net.endpoints import address_text, connect_trouble, endpoint_for
from zsmtp.target import Anywhere, Interface, Literal, Name
from zsmtp.trouble import Kind, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted.internet.defer import Deferred

    from zsmtp.destination import Answer, Hop
    from zsmtp.net.devices import Device
    from zsmtp.target import Address, Identity

__all__ = ["HIGHEST_PORT", "LOWEST_PORT", "Origin", "Ports"]

LOWEST_PORT: Final = 512
HIGHEST_PORT: Final = 1023
_PORTS: Final = HIGHEST_PORT - LOWEST_PORT + 1
_MOST_ADDRESSES: Final = 8
_WILDCARD: Final = {Family.INET: "0.0.0.0", Family.INET6: "::"}
_VERSION: Final = {Family.INET: 4, Family.INET6: 6}
_NEXT_PORT: Final = frozenset({errno.EADDRINUSE, errno.EADDRNOTAVAIL})
_NO_PRIVILEGE: Final = frozenset({errno.EACCES, errno.EPERM})


class Origin(NamedTuple):
    """How connections begin.

    `identity` is None for the kernel's choice.  `is_strict` says that a hop whose family has no address of
    the identity is not connected at all (-L); else it gets the kernel's choice (BINDADDR may be for one
    family alone).  `ports` is there with -r.  `addresses` looks a host up; `devices` gives the interfaces.
    """

    identity: Identity | None
    ports: Ports | None
    addresses: Callable[[str, Type], Deferred[Answer[Address]]]
    is_strict: bool = True
    devices: Callable[[], tuple[Device, ...]] = device_addresses

    async def connect(self, reactor: Any, hop: Hop, factory: Any, *, seconds: float) -> Trouble | None:
        """Connect a protocol of `factory`, or say why that is not possible; raises what connecting raises.

        A UNIX socket has neither address nor port.
        """
        if hop.family is Family.UNIX:
            await endpoint_for(reactor, hop, seconds=seconds).connect(factory)
            return None
        found = await self._local_addresses(hop)
        if isinstance(found, str):
            return _trouble(hop, found)
        trouble = None
        for address in found:
            trouble = await self._connect_from(address, reactor, hop, factory, seconds)
            if trouble is None or trouble.kind is not Kind.BIND_FAILED:
                break  # another address of ours would not help
        return trouble

    async def _connect_from(
        self, address: str, reactor: Any, hop: Hop, factory: Any, seconds: float
    ) -> Trouble | None:
        for port in self.ports.in_turn() if self.ports is not None else (0,):
            bind = (address or _WILDCARD[hop.family], port) if address or port else None
            try:
                await endpoint_for(reactor, hop, seconds=seconds, bind=bind).connect(factory)
            except ConnectError as error:
                if port and error.osError in _NEXT_PORT and not self._is_absent(error, address):
                    continue
                if port and isinstance(error, ConnectBindError) and error.osError in _NO_PRIVILEGE:
                    assert self.ports is not None
                    self.ports.give_up(str(error))
                    continue  # with the last one, which is none
                return connect_trouble(hop, error, bind)
            return None
        return _trouble(hop, f"too many busy ports: none from {LOWEST_PORT} to {HIGHEST_PORT} is free")

    def _is_absent(self, error: ConnectError, address: str) -> bool:
        """Whether it is the address that is not there, and no port would help."""
        return bool(address) and isinstance(error, ConnectBindError) and error.osError == errno.EADDRNOTAVAIL

    async def _local_addresses(self, hop: Hop) -> tuple[str, ...] | str:
        """Give the addresses to try, "" for the kernel's choice, or say why there is none."""
        if self.identity is None or isinstance(self.identity, Anywhere):
            return ("",)
        found = await self._known_addresses(hop)
        if isinstance(found, str) or found:
            return found
        if not self.is_strict:
            return ("",)
        return f"{_shown(self.identity)} has no {hop.family.value} address"

    async def _known_addresses(self, hop: Hop) -> tuple[str, ...] | str:
        version = _VERSION[hop.family]
        match self.identity:
            case Literal(address):
                return (str(address),) if address.version == version else ()
            case Interface(name, wanted):
                return self._of_device(name, hop) if wanted in (None, version) else ()
            case Name(name):
                answer = await self.addresses(name, Type.A if version == 4 else Type.AAAA)
                if answer.outcome is Outcome.UNAVAILABLE:
                    return f"the address of {name} cannot be looked up: {answer.text}"
                return tuple(str(one) for one in answer.values[:_MOST_ADDRESSES])
        return ()

    def _of_device(self, name: str, hop: Hop) -> tuple[str, ...]:
        """Give the first address of an interface that reaches as far as the hop."""
        is_near = hop.family is Family.INET6 and hop.address.lower().startswith("fe80:")
        for device in self.devices():
            if name.lower() not in (device.label.lower(), device.name.lower()):
                continue
            if device.address.version == _VERSION[hop.family] and device.address.is_link_local == is_near:
                return (f"{device.address}%{device.name}" if is_near else str(device.address),)
        return ()


class Ports:
    """The source ports of -r, each once; `start` says where to begin.  `warn` is called once."""

    __slots__ = ("_are_ours", "_next", "_warn")

    def __init__(self, start: int, warn: Callable[[str], None]) -> None:
        self._next = start
        self._warn = warn
        self._are_ours = True

    def in_turn(self) -> Iterator[int]:
        """Give the ports to try, from the one below the last that was given; 0 where none may be used."""
        for _ in range(_PORTS):
            if not self._are_ours:
                break
            port = self._next
            self._next = port - 1 if port > LOWEST_PORT else HIGHEST_PORT
            yield port
        if not self._are_ours:
            yield 0

    def give_up(self, why: str) -> None:
        """Ports below 1024 are not for us."""
        self._are_ours = False
        self._warn(f"-r: ports below 1024 cannot be used ({why}); connecting from ordinary ones; run as root")


def _trouble(hop: Hop, why: str) -> Trouble:
    name = hop.name.encode(errors="replace")
    text = b"connect to %s [%s]: %s" % (name, address_text(hop), why.encode(errors="replace"))
    return Trouble(Kind.BIND_FAILED, text, remote=hop.remote)


def _shown(identity: Identity) -> str:
    match identity:
        case Interface(name, _):
            return f"the interface {name}"
        case Literal():
            return f"the local identity [{identity.text}]"
        case Name(name):
            return f"the local identity {name}"
    return "the local identity"
