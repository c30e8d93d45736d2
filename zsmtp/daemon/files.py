"""The control files that are known: which of them have jobs in the queue, and which are left alone for now.

A file is read when it is found, and becomes one job for each destination that is ours.  What belongs to other
programs, or is being worked on by them, is left alone and looked at again when the file has changed or after
a while; what nobody can use is put aside.  When the last job of a file has ended, the file is finished.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from zsmtp.daemon import intake, logline
from zsmtp.daemon.schedule import NEW, Decision, Reason, resumed
from zsmtp.errors import SpoolError
from zsmtp.spool.layout import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from zsmtp.daemon.finish import Finisher
    from zsmtp.daemon.intake import Arrival
    from zsmtp.daemon.journal import Journal
    from zsmtp.daemon.queue import Queue
    from zsmtp.daemon.schedule import RetryRules
    from zsmtp.spool.records import ControlFile

__all__ = ["Files"]

_LOOK_AGAIN: Final = 32.0
"""seconds after which a file is looked at again that others work on, or that could not be read"""

_TELL_AFTER: Final = 120.0
"""seconds after which senders are told of failures of a message that still waits for other recipients"""

_Stamp = tuple[int, int, int]


class Files:
    """Files of one spool; the current directory is its `transport/`.

    `rules` has the retry rules of each channel that is ours; `now` is the clock of the queue, `clock` gives
    seconds since 1970.  `woken` is called with the hosts of a request to deliver now, `tell` with log lines.
    """

    def __init__(
        self,
        queue: Queue,
        journal: Journal,
        finisher: Finisher,
        rules: Mapping[bytes, RetryRules],
        *,
        now: Callable[[], float],
        clock: Callable[[], float],
        woken: Callable[[bytes], None],
        tell: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        self._queue = queue
        self._journal = journal
        self._finisher = finisher
        self._rules = rules
        self._now = now
        self._clock = clock
        self._woken = woken
        self._tell = tell
        self._warn = warn
        self._jobs: dict[str, int] = {}
        """how many jobs of a file are in the queue"""
        self._aside: dict[str, tuple[_Stamp | None, float]] = {}
        """files that are left alone: how they were, and when to look at them whatever they are"""
        self._untold: dict[str, float] = {}
        """files with jobs in which something is recorded for their senders, and when these are told"""
        self._met_channels: set[bytes] = set()

    def __len__(self) -> int:
        """How many files have jobs in the queue."""
        return len(self._jobs)

    def found(self, path: str) -> None:
        """A control file was seen, maybe not for the first time."""
        if path in self._jobs:
            return
        known = self._aside.get(path)
        if known is not None and self._now() < known[1] and _stamp(path) == known[0]:
            return
        self._aside.pop(path, None)
        self._read(path, NEW)

    def ended(
        self, path: str, name: str = "-", control: ControlFile | None = None, *, in_use: bool = False
    ) -> None:
        """A job of this file has left the queue; `control` is the file as the job knew it, `name` what logs
        call it.

        With `in_use` nothing was done, because others hold its recipients or the file is in trouble: what is
        left of it waits.
        """
        left = self._jobs.get(path, 1) - 1
        if left:
            self._jobs[path] = left
            return
        self._jobs.pop(path, None)
        self._untold.pop(path, None)
        if not in_use and self._finish(path, name, control):
            return
        now = self._now()
        self._read(path, Decision(Reason.IN_USE, "lock", now, now + _LOOK_AGAIN))

    def recorded(self, path: str) -> None:
        """Something was recorded that a sender is to be told: before long, if the file is not finished
        before.
        """
        self._untold.setdefault(path, self._now() + _TELL_AFTER)

    def look_again(self) -> None:
        """Tell senders what is not to wait for the end of a message; look at files that were left alone for a
        while and may be of use now, and forget those that are gone.
        """
        now = self._now()
        for path, due in list(self._untold.items()):
            if due <= now:
                self._tell_sender(path)
        for path, (_, until) in list(self._aside.items()):
            if until <= now:
                self.found(path)
            elif not os.path.lexists(path):
                del self._aside[path]

    def _tell_sender(self, path: str) -> None:
        del self._untold[path]
        try:
            self._finisher.tell(path)
        except SpoolError as error:
            self._warn(str(error))
            self._untold[path] = self._now() + _TELL_AFTER

    def _read(self, path: str, decision: Decision) -> None:
        try:
            arrival = intake.read(path, self._rules)
        except SpoolError as error:
            self._cannot_read(path, error)
            return
        if arrival.turns:
            self._turn(arrival)
        elif arrival.is_finished:
            if not self._finish(path, arrival.name, None):  # others are about to append to it
                self._aside[path] = (_stamp(path), self._now() + _LOOK_AGAIN)
        elif arrival.keys:
            self._enqueue(arrival, decision)
        else:
            self._leave_alone(arrival)

    def _enqueue(self, arrival: Arrival, decision: Decision) -> None:
        now, seen = self._now(), self._clock()
        self._jobs[arrival.path] = len(arrival.keys)
        is_new = True
        for key in arrival.keys:
            memory = self._journal.recall(arrival.path, key, arrival.since)
            attempts = memory.attempts if memory is not None else 0
            then = decision
            if memory is not None and decision is NEW:
                wait = memory.due - seen
                then = resumed(self._rules[key.channel], now=now, wait=wait, attempts=attempts)
            is_new = is_new and then is NEW
            self._queue.add(
                key,
                arrival.path,
                arrival.since,
                seen=seen,
                decision=then,
                attempts=attempts,
                maybe_delivered=memory is not None and memory.maybe_delivered,
            )
        if is_new:
            count = sum(arrival.keys.values())
            self._tell(logline.arrival(arrival.name, arrival.sender, arrival.size, count))

    def _leave_alone(self, arrival: Arrival) -> None:
        """Nothing of a file is for us at present."""
        for channel in arrival.others.keys() - self._met_channels:
            self._met_channels.add(channel)
            self._warn(
                f"{shown(arrival.path)}: channel {ascii(channel)[2:-1]} is not configured; "
                "its recipients, in this file and in others, are left alone"
            )
        until = self._now() + _LOOK_AGAIN if arrival.locked else float("inf")
        self._aside[arrival.path] = (_stamp(arrival.path), until)

    def _cannot_read(self, path: str, error: SpoolError) -> None:
        if isinstance(error.__cause__, FileNotFoundError) and error.temporary:
            return  # finished by somebody else, or removed by the postmaster
        text = str(error)
        if not error.temporary:
            try:
                aside = intake.quarantine(path)
            except SpoolError as second:
                text = f"{text}; {second}"
            else:
                self._warn(f"ALERT: {text}; put aside as {shown(aside)}, nothing of it was removed")
                return
        self._warn(text)
        self._aside[path] = (_stamp(path), self._now() + _LOOK_AGAIN)

    def _finish(self, path: str, name: str, control: ControlFile | None) -> bool:
        """Finish a file if nothing is left to do; true if nothing more is to be done about it now."""
        try:
            done = self._finisher.finish(path, control)
        except SpoolError as error:
            self._cannot_read(path, error)
            return True
        if done:
            self._tell(logline.removal(name))
        return done

    def _turn(self, arrival: Arrival) -> None:
        """Deliver now what waits for the hosts of an ETRN request, and remove the request."""
        try:
            os.unlink(arrival.path)
        except OSError as error:
            self._warn(f"{shown(arrival.path)} cannot be removed: {error.strerror}")
            return
        for host in arrival.turns:
            self._woken(host)


def _stamp(path: str) -> _Stamp | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
