"""What is to be delivered, ordered by when: destinations by due time, and their jobs.

A job is one control file at one destination.  A destination is due when its earliest job is and nothing makes
the destination itself wait.  `take_due` gives out destinations, `take` their jobs; a job that was taken comes
back by `give_back` or ends by `done`.  When something is due is changed by `wait` alone, and only by a
`Decision`, which stays with it.

Pure: no clock, no files.  A job holds only what decides when it is tried; recipients, addresses and replies
are in the spool.  A waiting job that was never tried takes about 250 octets.
"""

from __future__ import annotations

import heapq
from itertools import count
from typing import TYPE_CHECKING, Final, NamedTuple

from zsmtp.daemon.schedule import NEW, Decision
from zsmtp.errors import Misuse

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Destination", "Entry", "Key", "Queue"]

_NEVER: Final = float("inf")


class Key(NamedTuple):
    """Channel and host (in lower case) that recipients ask for."""

    channel: bytes
    host: bytes

    def __str__(self) -> str:
        return f"{_text(self.channel)}/{_text(self.host)}"


class Entry:
    """A job in the queue.  `since` is the time of its message, `seen` when we met it, in seconds since
    1970.
    """

    __slots__ = (
        "attempts",
        "decision",
        "destination",
        "due",
        "is_taken",
        "maybe_delivered",
        "path",
        "seen",
        "since",
    )

    def __init__(self, destination: Destination, path: str, since: float, seen: float) -> None:
        self.destination = destination
        self.path = path
        self.since = since
        self.seen = seen
        self.due = 0.0
        self.decision = NEW
        self.attempts = 0
        self.maybe_delivered = False
        self.is_taken = False

    def __lt__(self, other: Entry) -> bool:
        return self.due < other.due

    def __repr__(self) -> str:
        return f"<{self.path} for {self.destination.key}: {self.decision}>"


class Destination:
    """A destination with its jobs.  `failures` counts attempts in a row that opened no session."""

    __slots__ = ("decision", "due", "failures", "jobs", "key", "scheduled", "taken")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.due = 0.0
        self.decision = NEW
        self.failures = 0
        self.jobs: list[Entry] = []
        """those that wait, as a heap"""
        self.taken = 0
        self.scheduled = _NEVER

    @property
    def wakes_at(self) -> float:
        """When the next job may be taken; infinity if none waits."""
        return max(self.due, self.jobs[0].due) if self.jobs else _NEVER

    def __repr__(self) -> str:
        return f"<{self.key}: {len(self.jobs)} waiting, {self.taken} taken, {self.decision}>"


class Queue:
    """All destinations and their jobs."""

    def __init__(self) -> None:
        self._destinations: dict[Key, Destination] = {}
        self._heap: list[tuple[float, int, Destination]] = []
        self._numbers = count()
        self._jobs = 0

    def __len__(self) -> int:
        """How many jobs there are, waiting or taken."""
        return self._jobs

    def __iter__(self) -> Iterator[Destination]:
        return iter(list(self._destinations.values()))

    def find(self, key: Key) -> Destination | None:
        """Return the destination with this key, if there is one."""
        return self._destinations.get(key)

    def destination(self, key: Key) -> Destination:
        """Return the destination with this key; it is remembered as long as it has jobs or waits."""
        found = self._destinations.get(key)
        if found is None:
            found = self._destinations[key] = Destination(key)
        return found

    def add(
        self,
        key: Key,
        path: str,
        since: float,
        *,
        seen: float,
        decision: Decision = NEW,
        attempts: int = 0,
        maybe_delivered: bool = False,
    ) -> Entry:
        """Put a job into the queue."""
        destination = self.destination(key)
        entry = Entry(destination, path, since, seen)
        entry.attempts = attempts
        entry.maybe_delivered = maybe_delivered
        self.wait(entry, decision)
        self._jobs += 1
        heapq.heappush(destination.jobs, entry)
        self._schedule(destination)
        return entry

    def wait(self, thing: Entry | Destination, decision: Decision) -> None:
        """Let a job that is not in the heap, or a destination, wait as decided: the only change of a due
        time.
        """
        thing.due = decision.until
        thing.decision = decision
        if isinstance(thing, Destination):
            self._schedule(thing)

    def hasten(self, destination: Destination, decision: Decision) -> None:
        """Let a destination and all its waiting jobs be due as decided, whatever held before."""
        for entry in destination.jobs:
            self.wait(entry, decision)
        self.wait(destination, decision)

    def next_due(self) -> float:
        """When the next destination is due; infinity if nothing waits."""
        while self._heap and self._heap[0][2].scheduled != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else _NEVER

    def take_due(self, now: float) -> Destination | None:
        """Return a destination that is due, once: it is given out again when `look` or a change puts it
        back.
        """
        if self.next_due() > now:
            return None
        destination = heapq.heappop(self._heap)[2]
        destination.scheduled = _NEVER
        return destination

    def look(self, destination: Destination) -> None:
        """Let a destination be given out again when its next job is due; forget one that has nothing to
        say.
        """
        self._schedule(destination)
        if not destination.jobs and not destination.taken and not destination.failures:
            self._destinations.pop(destination.key, None)

    def forget_idle(self, now: float) -> None:
        """Forget destinations that only remember a failure whose wait is over."""
        for destination in self:
            if not destination.jobs and not destination.taken and destination.due <= now:
                del self._destinations[destination.key]

    def take(self, destination: Destination, now: float) -> Entry | None:
        """Take the next due job of a destination."""
        if destination.wakes_at > now:
            return None
        destination.taken += 1
        entry = heapq.heappop(destination.jobs)
        entry.is_taken = True
        return entry

    def waiting(self, destination: Destination, now: float) -> int:
        """How many jobs of a destination may be taken now: all that wait, if the first one is due."""
        return len(destination.jobs) if destination.wakes_at <= now else 0

    def give_back(self, entry: Entry, decision: Decision) -> None:
        """Let a job that was taken wait."""
        destination = self._returned(entry)
        self.wait(entry, decision)
        heapq.heappush(destination.jobs, entry)
        self._schedule(destination)

    def done(self, entry: Entry) -> None:
        """Forget a job that was taken."""
        destination = self._returned(entry)
        self._jobs -= 1
        self.look(destination)

    def take_older(self, destination: Destination, since: float) -> list[Entry]:
        """Take all waiting jobs whose message is at least as old as `since`, due or not."""
        older = [entry for entry in destination.jobs if entry.since <= since]
        if older:
            destination.jobs = [entry for entry in destination.jobs if entry.since > since]
            heapq.heapify(destination.jobs)
            destination.taken += len(older)
            for entry in older:
                entry.is_taken = True
            self._schedule(destination)
        return older

    @staticmethod
    def _returned(entry: Entry) -> Destination:
        if not entry.is_taken:
            raise Misuse(f"{entry!r} was not taken")
        entry.is_taken = False
        entry.destination.taken -= 1
        return entry.destination

    def _schedule(self, destination: Destination) -> None:
        at = destination.wakes_at
        if at != destination.scheduled:
            destination.scheduled = at
            if at != _NEVER:
                heapq.heappush(self._heap, (at, next(self._numbers), destination))


def _text(octets: bytes) -> str:
    return octets[:250].decode("ascii", "backslashreplace")
