"""Option -e: which other hosts of a control file the server that we are connected to serves as well.

Before a control file is opened for delivery the hosts of its other recipients are looked up, all at once and
for a limited time.  A host counts as served if each way that our mail can take right now leads to one of its
mail exchangers: the machines that are connected or, as long as none is, every one of the route.  What is not
known in time is left alone: those recipients are delivered when it is their host's turn.

Locks and marks nothing, and holds no file open while it waits.
Source: smtp(8zm), option -e; RFC 5321 section 5.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredSemaphore, ensureDeferred
from twisted.logger import Logger

from zsmtp import plan
from zsmtp.destination import Name, Route, hosts_to_ask
from zsmtp.errors import SpoolError
from zsmtp.spool.mark import OpenControlFile
from zsmtp.target import target

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from typing import Any

    from zsmtp.destination import Answer, MailExchanger, RouteRules, Target
    from zsmtp.job import Served
    from zsmtp.net.approach import Equipment
    from zsmtp.trouble import Trouble

__all__ = ["MOST_HOSTS", "PATIENCE", "Selector", "other_hosts"]

_log = Logger()

MOST_HOSTS: Final = 1000
"""hosts of one control file that are looked up"""
PATIENCE: Final = 15.0
"""seconds that one control file waits for all its look-ups"""
_AT_ONCE: Final = 32

_Names: TypeAlias = "frozenset[str]"


def other_hosts(path: str, channel: bytes, host: bytes) -> list[bytes]:
    """Return the hosts, in lower case, of recipients of this channel that are to be done, other than `host`.

    A control file that is of no use has none: whoever opens it for delivery will say why.
    """
    try:
        file = OpenControlFile.open(path)
    except SpoolError:
        return []
    try:
        recipients = plan.select(file.control, channel, host, lambda _: True)
    finally:
        file.close()
    found = dict.fromkeys(recipient.quad.host.lower() for recipient in recipients)
    found.pop(host.lower(), None)
    return list(found)[:MOST_HOSTS]


class Selector:
    """Looks up the hosts of one control file at a time.

    `exchangers` gives the MX records of a domain; `changed` is called when an answer of `served` is ready.
    """

    def __init__(
        self,
        equipment: Equipment,
        channel: bytes,
        exchangers: Callable[[str], Deferred[Answer[MailExchanger]]],
        changed: Callable[[], object],
    ) -> None:
        self._equipment = equipment
        self._channel = channel
        self._exchangers = exchangers
        self._changed = changed
        self._order: tuple[str, bytes] | None = None
        self._work: Deferred[None] | None = None
        self._servers: dict[bytes, _Names] = {}
        """the mail exchangers of each host"""
        self._route: _Names = frozenset()

    def served(
        self, path: str, host: bytes, destination: Target | Trouble, connected: Collection[str]
    ) -> Served | None:
        """Say which other hosts are served, each with its mail exchangers; None while that is looked up.

        `destination` is where mail for `host` goes, `connected` names the machines that are connected.
        """
        if self._order != (path, host):
            self.stop()
            self._order = (path, host)
            self._start(path, host, destination, frozenset(connected))
        if self._work is not None:
            return None
        self._order = None
        wanted = frozenset(connected) or self._route
        found, self._servers = self._servers, {}
        return {one: names for one, names in found.items() if wanted and wanted <= names}

    def stop(self) -> None:
        """Look for nothing more."""
        self._order = None
        if self._work is not None:
            self._work.cancel()

    def _start(self, path: str, host: bytes, destination: Target | Trouble, connected: _Names) -> None:
        self._servers, self._route = {}, frozenset()
        names = {one: target(one, forced=False) for one in other_hosts(path, self._channel, host)}
        domains = {one: name for one, name in names.items() if isinstance(name, Name)}
        if not domains or not isinstance(destination, Name):  # no literal and no socket is anybody's MX
            return
        work = ensureDeferred(self._look_up(destination, domains, connected, self._servers))
        work.addTimeout(PATIENCE, self._equipment.reactor, lambda *_: None)
        work.addErrback(_told)
        if not work.called:
            self._work = work
            work.addCallback(self._ended)

    def _ended(self, _: object) -> None:
        self._work = None
        self._changed()

    async def _look_up(
        self,
        destination: Name,
        domains: Mapping[bytes, Name],
        connected: _Names,
        into: dict[bytes, _Names],
    ) -> None:
        rules = self._equipment.rules()
        self._route = _names(await self._equipment.find(destination, rules))
        near = self._route | connected
        slots = DeferredSemaphore(_AT_ONCE)

        async def one(host: bytes, name: Name) -> None:
            try:
                async with slots:
                    servers = await self._servers_of(name, rules, near)
            except CancelledError:
                return
            except Exception:  # noqa: BLE001  an error of ours costs nothing: its recipients have their own turn
                _log.failure("looking up a host of a control file")
                return
            if servers:
                into[host] = servers

        waits = [ensureDeferred(one(host, name)) for host, name in domains.items()]
        await DeferredList(waits, consumeErrors=True)

    async def _servers_of(self, name: Name, rules: RouteRules, near: _Names) -> _Names:
        """Name the mail exchangers of a host, if one of those that are near is among them."""
        asked = await self._exchangers(name.name) if rules.use_mx else None
        if near.isdisjoint(hosts_to_ask(name, asked, rules)):
            return frozenset()
        # The whole way, so that no server gets mail that would be worse than we are ourselves.
        return _names(await self._equipment.find(name, rules))


def _names(found: Route | Trouble) -> _Names:
    return frozenset(hop.name for hop in found.hops) if isinstance(found, Route) else frozenset()


def _told(failure: Any) -> None:
    if not failure.check(CancelledError):
        _log.failure("looking up the hosts of a control file", failure)
