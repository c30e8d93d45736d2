"""What this machine says of names by itself: the hosts file and resolv.conf.

Both are read again after a change, at most every few seconds; one that is missing counts as empty, as it
does for the C library.  Of resolv.conf: nameserver, search, domain, and the options timeout, attempts and
ndots.
Sources: hosts(5), resolv.conf(5).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from stat import S_ISREG
from typing import Generic, NamedTuple, TypeVar

from zsmtp.destination import Address
from zsmtp.net.nameserver import NameServer
from zsmtp.target import host_name, numeric

__all__ = ["Hosts", "ResolvConf", "WatchedFile", "read_hosts", "read_resolv_conf"]

_LARGEST = 8 << 20  # octets of such a file that are read
_LOOK_EVERY = 3.0  # seconds
_MAXIMUM_SERVERS = 8
_Contents = TypeVar("_Contents")


class ResolvConf(NamedTuple):
    """Who is asked and how patiently.  `timeout` is in seconds, for one try at one server."""

    servers: tuple[NameServer, ...] = (NameServer("127.0.0.1"),)
    timeout: float = 5.0
    attempts: int = 2
    search: tuple[str, ...] = ()
    ndots: int = 1


class Hosts(NamedTuple):
    """The hosts file: names in lower case, each with its addresses in the order of the file."""

    addresses: dict[str, tuple[Address, ...]]


class WatchedFile(Generic[_Contents]):
    """A file of which `read` makes a value, for as long as it does not change."""

    __slots__ = ("_clock", "_contents", "_look_at", "_path", "_read", "_state")

    def __init__(self, path: str, read: Callable[[bytes], _Contents], clock: Callable[[], float]) -> None:
        self._path = path
        self._read = read
        self._clock = clock
        self._look_at = clock()
        self._state: tuple[int, int, int] | None = None
        self._contents = read(b"")

    def contents(self) -> _Contents:
        """Give the value of the file as it is now, or was a few seconds ago."""
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + _LOOK_EVERY
            self._refresh()
        return self._contents

    def _refresh(self) -> None:
        try:
            facts = os.stat(self._path)
            state = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
            if not S_ISREG(facts.st_mode):  # a FIFO would stop the process
                self._contents, self._state = self._read(b""), None
            elif state != self._state:
                with open(self._path, "rb") as file:
                    self._contents, self._state = self._read(file.read(_LARGEST)), state
        except OSError:
            self._contents, self._state = self._read(b""), None


def read_hosts(octets: bytes) -> Hosts:
    """Read the text of a hosts file; lines that do not have its form are passed over."""
    addresses: dict[str, tuple[Address, ...]] = {}
    for line in octets.splitlines():
        text, *names = line.partition(b"#")[0].decode("ascii", "replace").split() or [""]
        address = numeric(text)
        if address is None:
            continue
        for name in names:
            known = addresses.get(name.lower(), ())
            if address not in known:
                addresses[name.lower()] = (*known, address)
    return Hosts(addresses)


def read_resolv_conf(octets: bytes) -> ResolvConf:
    """Read the text of a resolv.conf; lines that do not have its form are passed over.

    Without a name server in it the one on this machine is asked, as resolv.conf(5) says.
    """
    servers: list[NameServer] = []
    found = ResolvConf()
    for line in octets.decode("utf-8", "replace").splitlines():
        match line.split():
            case ["nameserver", host, *_] if numeric(host):
                servers.append(NameServer(host))
            case [("search" | "domain"), *names]:
                found = found._replace(search=tuple(filter(None, map(_search_name, names)))[:6])
            case ["options", *options]:
                for option in options:
                    found = _with_option(found, option)
    return found._replace(servers=tuple(dict.fromkeys(servers))[:_MAXIMUM_SERVERS]) if servers else found


def _search_name(text: str) -> str:
    return host_name(text.removesuffix(".").encode("utf-8").split(b"."))


def _with_option(found: ResolvConf, option: str) -> ResolvConf:
    name, _, value = option.partition(":")
    number = int(value) if value.isascii() and value.isdigit() and len(value) < 5 else -1
    match name:
        case "timeout" if number > 0:
            return found._replace(timeout=min(number, 30))
        case "attempts" if number > 0:
            return found._replace(attempts=min(number, 5))
        case "ndots" if number >= 0:
            return found._replace(ndots=min(number, 15))
    return found
