"""The Twisted service: one spool, watched and delivered from, until it is told to stop.

Assembles the parts and gives them clock, chance and log; decides nothing.  Locks the spool before anything
else, ends only when servers have answered for what was sent completely, or have had a minute for it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from twisted.application.service import Service
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from zsmtp.daemon.attempts import Work
from zsmtp.daemon.dispatch import Dispatcher
from zsmtp.daemon.files import Files
from zsmtp.daemon.finish import Finisher
from zsmtp.daemon.journal import Journal
from zsmtp.daemon.leftovers import look_for_leftovers
from zsmtp.daemon.limits import Key as LimitKey
from zsmtp.daemon.limits import Limits, Rate
from zsmtp.daemon.lockfile import Lock, refuse_scheduler
from zsmtp.daemon.queue import Queue
from zsmtp.daemon.watch import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from zsmtp.daemon.config import Channel, Configuration
    from zsmtp.deliver import Equipment
    from zsmtp.job import Conduct

__all__ = ["JOURNAL_FILE", "Daemon", "System", "limits_of"]

JOURNAL_FILE: Final = ".zsmtp.retry"

_log = Logger()

_FLUSH_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 30.0
_SHOWN: Final = 5


class System(NamedTuple):
    """What the daemon takes from the system.

    `clock` gives seconds since 1970, `draw` a random number from 0 to 1, `token` a random word; `name` is
    what this machine calls itself.  `outfit` makes equipment and conduct for a channel; its third argument
    takes warnings.
    """

    reactor: Any
    clock: Callable[[], float]
    draw: Callable[[], float]
    token: Callable[[], str]
    name: str
    outfit: Callable[[Channel, Configuration, Callable[[str], None]], tuple[Equipment, Conduct]]


class Daemon(Service):
    """The whole daemon for one spool."""

    name = "zsmtp"

    def __init__(self, configuration: Configuration, postoffice: str, system: System) -> None:
        self.queue = Queue()
        self._configuration = configuration
        self._postoffice = postoffice
        self._system = system
        self._lock: Lock | None = None
        self._watcher: Watcher | None = None
        self._calls: list[LoopingCall] = []
        self._has_scanned = False

    def privilegedStartService(self) -> None:
        """Lock the spool.  Raises ConfigError where another daemon, or the scheduler, works on it."""
        if self._lock is None:
            refuse_scheduler(self._postoffice)
            self._lock = Lock(self._postoffice)

    def startService(self) -> None:
        """Begin: what a crash has left is taken up first, then the spool is watched."""
        super().startService()
        self.privilegedStartService()
        os.chdir(os.path.join(self._postoffice, "transport"))
        system = self._system
        configuration = self._configuration
        reactor = system.reactor
        rules = {channel.name.encode(): channel.retry for channel in configuration.channels}
        self.journal = Journal(os.path.join(self._postoffice, JOURNAL_FILE), self._warn)
        finisher = Finisher(
            self._postoffice,
            configuration,
            host=system.name,
            channels=rules,
            clock=system.clock,
            token=system.token,
            warn=self._warn,
        )
        self.dispatcher = Dispatcher(
            reactor,
            self.queue,
            limits_of(configuration),
            self.journal,
            clock=system.clock,
            draw=system.draw,
            tell=self._tell,
            warn=self._warn,
            linger=configuration.linger_seconds,
        )
        self.files = Files(
            self.queue,
            self.journal,
            finisher,
            rules,
            now=reactor.seconds,
            clock=system.clock,
            woken=self.dispatcher.wake_host,
            tell=self._tell,
            warn=self._warn,
        )
        self.dispatcher.attempts.files = self.files
        self.dispatcher.attempts.work = {
            channel.name.encode(): self._work(channel) for channel in configuration.channels
        }
        self._resume_destinations()
        finisher.recover()
        self._watcher = Watcher(
            reactor,
            ".",
            every=configuration.scan_seconds,
            found=self._found,
            scanned=self._scanned,
            warn=self._warn,
        )
        self._watcher.start()
        self._repeat(self.journal.flush, _FLUSH_SECONDS)
        self._repeat(self._look, _LOOK_SECONDS)
        channels = ", ".join(channel.name for channel in configuration.channels)
        _log.info(
            "delivering from {postoffice}, channels {channels}",
            postoffice=self._postoffice,
            channels=channels,
        )

    def stopService(self) -> Deferred[None] | None:
        """End soon; fires when all is over."""
        super().stopService()
        if self._watcher is None:
            self._release()
            return None
        self._watcher.stop()
        for call in self._calls:
            call.stop()
        self._calls.clear()
        stopped = self.dispatcher.stop()
        stopped.addCallback(lambda _: self._release())
        return stopped

    def _release(self) -> None:
        if self._watcher is not None:
            self._watcher = None
            self.journal.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _work(self, channel: Channel) -> Work:
        equipment, conduct = self._system.outfit(channel, self._configuration, self._warn)
        name = channel.name.encode()
        return Work(
            equipment, self.dispatcher.attempts.conduct(name, conduct), channel.retry, channel.settings.forced
        )

    def _resume_destinations(self) -> None:
        """Let destinations wait that waited before a restart."""
        rules = {channel.name.encode(): channel.retry for channel in self._configuration.channels}
        for key, (failures, due) in self.journal.load().items():
            if key.channel in rules:
                self.dispatcher.resume(key, failures, due - self._system.clock(), rules[key.channel])

    def _found(self, path: str) -> None:
        try:
            self.files.found(path)
        except Exception:  # noqa: BLE001  one file must not keep the others from delivery
            _log.failure("reading {path}", path=path)
        self.dispatcher.wake_soon()

    def _scanned(self) -> None:
        """The whole spool has been seen; after the first time it is said what is left in it."""
        self.journal.forget_unclaimed()
        if self._has_scanned:
            return
        self._has_scanned = True
        found = look_for_leftovers(self._postoffice, self._system.clock())
        if found.drafts:
            self._warn(
                f"{len(found.drafts)} files that never became mail were removed: {_some(found.drafts)}"
            )
        if found.orphans:
            self._warn(
                f"{len(found.orphans)} messages have no control file, nothing is done about them: "
                f"{_some(found.orphans)}; look whether they were delivered, then remove them"
            )

    def _look(self) -> None:
        self.dispatcher.renew_leases()
        self.queue.forget_idle(self._system.reactor.seconds())
        self.files.look_again()
        self.dispatcher.wake_soon()

    def _repeat(self, act: Callable[[], None], seconds: float) -> None:
        def guarded() -> None:
            try:
                act()
            except Exception:  # noqa: BLE001  it is tried again
                _log.failure("housekeeping")

        call = LoopingCall(guarded)
        call.clock = self._system.reactor
        call.start(seconds, now=False)
        self._calls.append(call)

    def _tell(self, line: str) -> None:
        _log.info("{line}", line=line)

    def _warn(self, line: str) -> None:
        _log.warn("{line}", line=line)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def limits_of(configuration: Configuration) -> Limits:
    """Return the limits that a configuration asks for."""
    places: dict[LimitKey, int] = {("destinations",): configuration.destinations}
    rates: dict[LimitKey, Rate] = {}
    for channel in configuration.channels:
        places["destinations", channel.name] = channel.destinations
        if channel.rate is not None:
            rates["messages", channel.name] = channel.rate
    return Limits(places, rates)
