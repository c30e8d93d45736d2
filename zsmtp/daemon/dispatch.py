"""From the queue to the delivery engine, as limits allow.

Due destinations get a `Delivery` each, which pulls their jobs one by one when a connection can take them.  A
destination that did not answer last time gets one job, whatever waits for it, until a server answers.
Connections without work are kept for a moment, and given back at once where others wait for their place.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from zsmtp.daemon.attempts import Attempts
from zsmtp.daemon.limits import Lease, Wait
from zsmtp.daemon.queue import Destination, Key
from zsmtp.daemon.schedule import Decision, Reason, asked, blocked, resumed
from zsmtp.deliver import Delivery
from zsmtp.target import target

if TYPE_CHECKING:
    from collections.abc import Callable

    from zsmtp.daemon.journal import Journal
    from zsmtp.daemon.limits import Limits
    from zsmtp.daemon.queue import Queue
    from zsmtp.daemon.schedule import RetryRules
    from zsmtp.job import Job

__all__ = ["Dispatcher"]

_log = Logger()

_LEASE_SECONDS: Final = 300.0
_STOP_SECONDS: Final = 60.0
"""how long at the end servers may take to answer for what was sent completely"""
_LOOK_SECONDS: Final = 1.0
"""how often all that are active are looked at, whether anything has changed or not"""
_FAULT_SECONDS: Final = 300.0
_AT_ONCE: Final = 50
"""jobs that come to nothing before others have a turn"""


class _Active:
    """A destination that is being delivered to."""

    __slots__ = ("delivery", "key", "lease", "quiet_since")

    def __init__(self, key: Key, lease: Lease) -> None:
        self.key = key
        self.lease = lease
        self.delivery: Any = None
        self.quiet_since: float | None = None


class Dispatcher:
    """The deliveries of one daemon.

    `clock` gives seconds since 1970, `draw` a random number from 0 to 1, `tell` takes log lines.  Connections
    of a destination without work are kept for `linger` seconds.
    """

    def __init__(
        self,
        reactor: Any,
        queue: Queue,
        limits: Limits,
        journal: Journal,
        *,
        clock: Callable[[], float],
        draw: Callable[[], float],
        tell: Callable[[str], None],
        warn: Callable[[str], None],
        linger: float,
    ) -> None:
        self.attempts = Attempts(
            queue,
            journal,
            now=reactor.seconds,
            clock=clock,
            draw=draw,
            tell=tell,
            warn=warn,
            ended=self._job_ended,
        )
        self._reactor = reactor
        self._queue = queue
        self._limits = limits
        self._linger = linger
        self._active: dict[Key, _Active] = {}
        self._changed: dict[Key, _Active] = {}
        """where something has happened since the last step"""
        self._look_at = 0.0
        self._blocked: deque[Key] = deque()
        self._call: Any = None
        self._stopped: Deferred[None] | None = None

    def __len__(self) -> int:
        """How many destinations are being delivered to, idle connections included."""
        return len(self._active)

    # -- time

    def wake_soon(self) -> None:
        """Something may be due: look when the reactor has finished what it is at."""
        self._set_timer(0.0)

    def wake_host(self, host: bytes) -> None:
        """Try what waits for this host now, on all channels."""
        for destination in self._queue:
            if destination.key.host == host:
                self._queue.hasten(destination, asked("etrn", now=self._reactor.seconds()))
        self.wake_soon()

    def resume(self, key: Key, failures: int, wait: float, rules: RetryRules) -> None:
        """Let a destination wait that waited before a restart."""
        destination = self._queue.destination(key)
        destination.failures = failures
        now = self._reactor.seconds()
        self._queue.wait(destination, resumed(rules, now=now, wait=wait, attempts=failures))

    def renew_leases(self) -> None:
        """Hold on to what is in use."""
        for active in self._active.values():
            self._limits.renew(active.lease, _LEASE_SECONDS, self._reactor.seconds())

    def stop(self) -> Deferred[None]:
        """End soon: fires when nothing is under way any more, or when servers have had their time."""
        if self._stopped is None:
            self._stopped = Deferred()
            self.attempts.is_stopping = True
            late = self._reactor.callLater(_STOP_SECONDS, self._has_stopped)
            self._stopped.addBoth(lambda _: late.cancel() if late.active() else None)
            for active in list(self._active.values()):
                active.delivery.stop()
            self.wake_soon()
        return self._stopped

    def _has_stopped(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        if self._stopped is not None and not self._stopped.called:
            self._stopped.callback(None)

    def _set_timer(self, seconds: float) -> None:
        at = self._reactor.seconds() + seconds
        if self._call is not None and self._call.active():
            if self._call.getTime() <= at:
                return
            self._call.cancel()
        self._call = self._reactor.callLater(seconds, self._step)

    def _step(self) -> None:
        """Give due destinations to deliveries, and look after those that are active."""
        try:
            if self._stopped is None:
                if self.attempts.give_up_old():
                    self.wake_soon()
                self._begin_due()
            self._look_after()
        except Exception:  # noqa: BLE001  whatever it is: the queue must go on
            _log.failure("the dispatcher is out of step")
            self._set_timer(_LOOK_SECONDS)
        if self._stopped is not None:
            if not self._active:
                self._has_stopped()
            return
        due = self._queue.next_due()
        if due != float("inf"):
            self._set_timer(max(due - self._reactor.seconds(), 0.0))

    # -- deliveries

    def _begin_due(self) -> None:
        now = self._reactor.seconds()
        while (destination := self._queue.take_due(now)) is not None:
            active = self._active.get(destination.key) or self._try_to_begin(destination, now)
            if active is not None:
                active.quiet_since = None
                self._changed[active.key] = active

    def _try_to_begin(self, destination: Destination, now: float) -> _Active | None:
        try:
            return self._begin(destination, now)
        except Exception:  # noqa: BLE001  one destination must not keep the others from delivery
            _log.failure("beginning with {key}", key=destination.key)
            self._queue.wait(destination, Decision(Reason.FAULT, "fault", now, now + _FAULT_SECONDS))
            return None

    def _begin(self, destination: Destination, now: float) -> _Active | None:
        """Make a destination active, if limits allow."""
        key = destination.key
        lease = self._limits.lease(
            [("destinations",), ("destinations", _text(key.channel))], _LEASE_SECONDS, now
        )
        if isinstance(lease, Wait):
            self._queue.wait(destination, blocked(lease.limit, now=now, until=lease.until))
            self._blocked.append(key)
            for other, idle in self._active.items():
                if not self.attempts.under_way(other):
                    _part_with(idle.delivery)
            return None
        work = self.attempts.work[key.channel]
        active = _Active(key, lease)
        self._active[key] = active
        active.delivery = Delivery(
            work.equipment,
            target(work.forced or key.host, forced=work.forced is not None),
            source=lambda: self._next_job(active),
            waiting=lambda: self._waiting(active),
            changed=lambda: self._has_changed(active),
        )
        return active

    def _waiting(self, active: _Active) -> int:
        destination = self._queue.find(active.key)
        if destination is None or destination.failures:
            return 0  # one attempt shows whether it is worth more
        return self._queue.waiting(destination, self._reactor.seconds())

    def _next_job(self, active: _Active) -> Job | None:
        """Open the next due job of a destination."""
        key = active.key
        for _ in range(_AT_ONCE):
            destination = self._queue.find(key)
            now = self._reactor.seconds()
            if self._stopped is not None or destination is None or not self._queue.waiting(destination, now):
                return None
            if destination.failures and self.attempts.under_way(key):
                return None  # the attempt under way shows whether it is worth more
            wait = self._limits.acquire(("messages", _text(key.channel), _text(key.host)), 1, now)
            if wait is not None:
                self._queue.wait(destination, blocked(wait.limit, now=now, until=wait.until))
                return None
            entry = self._queue.take(destination, now)
            assert entry is not None
            job = self.attempts.open(entry)
            if job is not None:
                return job
        self._has_changed(active)
        return None

    def _look_after(self) -> None:
        """Wake deliveries where something has changed, part with those without work, end what is over."""
        now = self._reactor.seconds()
        changed, self._changed = self._changed, {}
        if now >= self._look_at or self._stopped is not None:
            self._look_at = now + _LOOK_SECONDS
            changed = dict(self._active)
        for key, active in changed.items():
            delivery = active.delivery
            if self._stopped is None:
                delivery.wake()
            if delivery.is_quiet and self.attempts.under_way(key):
                self.attempts.settle_forgotten(key)
            if delivery.is_over:
                if self._active.get(key) is active:
                    self._end(active)
            elif self.attempts.under_way(key):
                active.quiet_since = None
            elif active.quiet_since is None:
                active.quiet_since = now
            elif now - active.quiet_since >= self._linger:
                _part_with(delivery)
        if self._active:
            self._set_timer(_LOOK_SECONDS)

    def _job_ended(self, key: Key) -> None:
        active = self._active.get(key)
        if active is not None:
            self._has_changed(active)
        else:
            self.wake_soon()

    def _has_changed(self, active: _Active) -> None:
        self._changed[active.key] = active
        self.wake_soon()

    def _end(self, active: _Active) -> None:
        """A delivery is over: its place is free for another one."""
        del self._active[active.key]
        self._limits.release(active.lease)
        destination = self._queue.find(active.key)
        if destination is not None:
            self._queue.look(destination)
        while self._blocked:
            first = self._queue.find(self._blocked.popleft())
            if first is not None and first.decision.reason is Reason.LIMIT:
                now = self._reactor.seconds()
                self._queue.wait(first, blocked(first.decision.rule, now=now, until=now))
                break
        self.wake_soon()


def _part_with(delivery: Delivery) -> None:
    """Give back the connections of a delivery without work, and those that are still being opened: a server
    that lets no more in would hold up others that want to go there.
    """
    if delivery.is_quiet:
        delivery.leave()
    else:
        delivery.stop()


def _text(octets: bytes) -> str:
    return octets.decode("latin-1")
