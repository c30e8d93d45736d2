"""The agent on standard input: what the scheduler starts in place of smtp(8zm).

Reads orders, delivers, and tells: a report line for each recipient, `#resync` for a control file with nothing
in it for us, and one `#hungry` for each order and one at the start.  Works on one destination at a time, in
the order of the feed; when the host changes, connections are closed first.  Everything that is no report
begins with `#`, since standard error is usually the scheduler's socket as well.

Exit status 0 whatever became of the mail; 64 for a wrong command line.  Source: smtp(8zm), section INTERFACE.
"""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from zsmtp.deliver import Delivery, Equipment
from zsmtp.destination import target
from zsmtp.errors import SpoolError
from zsmtp.feed import Feed, FeedReader, Note
from zsmtp.job import Conduct, Job, Settled, open_job

if TYPE_CHECKING:
    from collections.abc import Callable

    from zsmtp.net.transcript import Transcript

__all__ = ["Agent"]

_FAREWELL_SECONDS: Final = 10.0
"""how long servers that do not answer QUIT may hold us up at the end"""


class Agent:
    """The state of one agent.

    `write` sends octets to the scheduler; `ended` is called once, at the end.  `host` is that of the command
    line, `forced` the value of -F.  `conduct` and `equipment` must be given before `begin`.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        pid: int,
        host: bytes | None,
        forced: bytes | None,
        write: Callable[[bytes], None],
        ended: Callable[[], None],
        transcript: Transcript | None = None,
    ) -> None:
        self.reactor = reactor
        self.pid = pid
        self.transcript = transcript
        self.conduct: Conduct | None = None
        self.equipment: Equipment | None = None
        self._forced = forced
        self._write = write
        self._ended = ended
        self._reader = FeedReader()
        self._feed: deque[tuple[bytes, bytes]] = deque()
        self._host = host
        self._delivery: Delivery | None = None
        self._leaving: list[Delivery] = []
        self._current_host = b""
        self._out: list[bytes] = []
        self._is_flush_due = False
        self._is_step_due = False
        self._is_over = False  # no more orders follow
        self._is_stopping = False
        self._has_ended = False

    # Input

    def begin(self) -> None:
        """Say that we are there."""
        self._say(b"#hungry\n")

    def receive(self, data: bytes) -> None:
        """Take octets from the scheduler."""
        for order in self._reader.receive(data):
            if self._is_over:
                return
            self._take(order)
        self._step_soon()

    def end_of_orders(self) -> None:
        """Nothing more will come: finish what was ordered, then end."""
        self._is_over = True
        self._step_soon()

    def stop(self) -> None:
        """End soon: defer what has not been sent, wait for what hangs between sent and answered."""
        if not self._is_stopping:
            self._is_over = self._is_stopping = True
            self._feed.clear()
            if self._delivery is not None:
                self._delivery.stop()
            self._step_soon()

    def _take(self, order: Feed | Note) -> None:
        if self.transcript is not None and isinstance(order, Feed):
            self.transcript.line("#", b"jobspec: " + order.path + b"\t" + (order.host or b""))
        match order:
            case Feed(path, host):
                if host is None and self._host is None:
                    self._say(b"# smtp needs defined host!\n#hungry\n")
                    return
                self._host = self._host if host is None else host
                self._feed.append((path, self._host or b""))
            case Note.END:
                self._is_over = True
            case Note.TOO_LONG:
                self.warn("an order of more than 64 KiB was passed over; look at the scheduler")
                self._say(b"#hungry\n")
            case Note.IDLE | Note.COMMENT:
                self._say(b"#hungry\n")

    # Work

    def _step_soon(self) -> None:
        """Look at everything again when the reactor has finished what it is at."""
        if not self._is_step_due:
            self._is_step_due = True
            self.reactor.callLater(0, self._step)

    def _step(self) -> None:
        self._is_step_due = False
        self._leaving = [one for one in self._leaving if not one.is_over]
        if self._feed and not self._is_stopping:
            self._turn_to(self._feed[0][1])
        delivery = self._delivery
        if delivery is not None:
            delivery.wake()
        if self._is_over and not self._feed and (delivery is None or delivery.is_quiet):
            self._part()
            if not self._leaving:
                self._end()
            elif not self._has_ended:
                self.reactor.callLater(_FAREWELL_SECONDS, self._end)

    def _turn_to(self, host: bytes) -> None:
        """See that the current delivery is for `host`, unless one for another host has still work."""
        if self._delivery is not None:
            if host.lower() == self._current_host or not self._delivery.is_quiet:
                return
            self._part()
        self._current_host = host.lower()
        self._delivery = self._delivery_to(host)

    def _delivery_to(self, host: bytes) -> Delivery:
        assert self.equipment is not None
        found = target(self._forced or host, forced=self._forced is not None)
        return Delivery(
            self.equipment,
            found,
            source=self._next_job,
            waiting=lambda: len(self._feed),
            changed=self._step_soon,
        )

    def _part(self) -> None:
        """Say goodbye to the current destination."""
        if self._delivery is not None:
            self._delivery.leave()
            if not self._delivery.is_over:  # else nothing will come of it that wakes us
                self._leaving.append(self._delivery)
            self._delivery = None

    def _next_job(self) -> Job | None:
        """Return the next job for the current host; answer orders that come to nothing."""
        assert self.conduct is not None
        while self._feed and self._feed[0][1].lower() == self._current_host and not self._is_stopping:
            path, host = self._feed.popleft()
            try:
                job = open_job(os.fsdecode(path), host, self.conduct)
            except SpoolError as error:
                self.warn(str(error))
                job = None
            except Exception as error:  # noqa: BLE001  one control file must not keep the others from delivery
                self.warn(
                    f"{os.fsdecode(path)}: {type(error).__name__}: {error}; please report this error of ours"
                )
                job = None
            if job is None:
                self._say(b"#resync " + path + b"\n#hungry\n")
            elif not job.is_finished:
                return job
        return None

    # Output

    def report(self, settled: Settled) -> None:
        """Tell the scheduler what became of a recipient."""
        self._say(settled.line)
        if self.transcript is not None:
            self.transcript.line("#", b"DIAG: " + settled.line.rstrip(b"\n"))

    def finished(self, job: Job) -> None:
        """All recipients of an order are told."""
        self._say(b"#hungry\n")
        self._step_soon()

    def warn(self, text: str) -> None:
        """Tell the postmaster something, in a form that the scheduler passes over."""
        shown = "".join(char if char.isprintable() else "?" for char in text)
        line = f"# zsmtp:{self.pid}: {shown}\n".encode(errors="backslashreplace")
        if _is_same_file(1, 2):
            self._say(line)
        else:
            try:
                os.write(2, line)
            except OSError:
                pass  # nobody listens
        if self.transcript is not None:
            self.transcript.remark(text)

    def _say(self, octets: bytes) -> None:
        """Send whole lines; those of one turn of the reactor share a write."""
        self._out.append(octets)
        if not self._is_flush_due:
            self._is_flush_due = True
            self.reactor.callLater(0, self._flush)

    def _flush(self) -> None:
        self._is_flush_due = False
        octets = b"".join(self._out)
        self._out.clear()
        if octets:
            self._write(octets)

    def _end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._flush()
            self._ended()


def _is_same_file(one: int, other: int) -> bool:
    try:
        first, second = os.fstat(one), os.fstat(other)
    except OSError:
        return False
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)
