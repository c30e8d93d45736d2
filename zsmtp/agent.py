"""The agent on standard input: what the scheduler starts in place of smtp(8zm).

Reads orders, delivers, and tells: a report line for each recipient, `#resync` for a control file with nothing
in it for us, and one `#hungry` for each order and one at the start.  Works on one destination at a time, in
the order of the feed; when the host changes, connections are closed first.  Everything that is no report
begins with `#`, since standard error is usually the scheduler's socket as well.

A fault of ours costs a second attempt, never a message: whatever is locked is deferred and told before the
agent ends.  Exit status 0 whatever became of the mail; 64 for a wrong command line, 70 after a fault of ours.
Source: smtp(8zm), section INTERFACE.
"""

from __future__ import annotations

import os
from collections import deque
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger

from zsmtp import policy
from zsmtp.deliver import Delivery, Equipment
from zsmtp.errors import SpoolError
from zsmtp.feed import Feed, FeedReader, Note
from zsmtp.job import Conduct, Job, Served, Settled, open_job
from zsmtp.spool.layout import file_id
from zsmtp.spool.report import notary
from zsmtp.spool.verbose import append, diagnosis
from zsmtp.target import target
from zsmtp.trouble import Kind, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from zsmtp.net.progress import Progress
    from zsmtp.net.transcript import Transcript
    from zsmtp.selection import Selector

__all__ = ["Agent"]

_log = Logger()

MOST_ORDERS: Final = 4096
"""orders that may wait; a scheduler overfeeds by a few hundred at most"""
_FEW_ORDERS: Final = MOST_ORDERS // 4
_MOST_CONNECTIONS: Final = 100
_FAREWELL_SECONDS: Final = 10.0
"""how long servers that do not answer QUIT may hold us up at the end"""
_FAULT_SECONDS: Final = 30.0
"""how long after a fault of ours deliveries that were not concerned may take to end"""
_LONGEST_COMMENT: Final = 1000
_LONGEST_SHOWN: Final = 250
_MOST_COMPLAINTS: Final = 3

_FAULT: Final = Trouble(Kind.INTERNAL, b"internal error; the log of the scheduler has more")


class Agent:
    """The state of one agent.

    `write` sends octets to the scheduler, `write_comment` those for the postmaster (None: the same way);
    `hold` is told whether there are orders enough for now; `ended` is called once, at the end.  `host` is
    that of the command line, `forced` the value of -F.  `conduct` and `equipment` must be given before
    `begin`.
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
        write_comment: Callable[[bytes], None] | None = None,
        hold: Callable[[bool], None] = lambda _: None,
        transcript: Transcript | None = None,
        progress: Progress | None = None,
        debug: int = 0,
    ) -> None:
        self.reactor = reactor
        self.pid = pid
        self.transcript = transcript
        self.log: Callable[[Settled], None] | None = None
        """Told of each recipient as well."""
        self.progress = progress
        self.conduct: Conduct | None = None
        self.equipment: Equipment | None = None
        self.selector: Selector | None = None
        """option -e"""
        self.exit_status = os.EX_OK
        self._debug = debug
        self._forced = forced
        self._write = write
        self._write_comment = write_comment or self._say
        self._hold = hold
        self._ended = ended
        self._reader = FeedReader()
        self._feed: deque[Feed | Note] = deque()
        self._host = host
        self._complaints: list[str] | None = None  # while a control file is opened
        self._jobs: set[Job] = set()
        """whose recipients are not all settled"""
        self._delivery: Delivery | None = None
        self._leaving: list[Delivery] = []
        self._current_host = b""
        self._out: list[bytes] = []
        self._is_flush_due = False
        self._is_step_due = False
        self._is_farewell_due = False
        self._rest = b"#hungry"  # what we are at when everything is done
        self._is_over = False  # no more orders follow
        self._is_stopping = False
        self._has_ended = False

    # Input

    def begin(self) -> None:
        """Say that we are there."""
        if self.progress is not None:
            self.progress.say(b"#hungry")
        self._say(b"#hungry\n")

    def receive(self, data: bytes) -> None:
        """Take octets from the scheduler."""
        for order in self._reader.receive(data):
            if self._is_over:
                break
            self._take(order)
        self._step_soon()

    def end_of_orders(self) -> None:
        """Nothing more will come: finish what was ordered, then end."""
        self._is_over = True
        self._step_soon()

    def wake(self) -> None:
        """Something that an order waited for is there."""
        self._step_soon()

    def stop(self) -> None:
        """End soon: defer what has not been sent, wait for what hangs between sent and answered."""
        if not self._is_stopping:
            self._is_over = self._is_stopping = True
            self._feed.clear()
            if self.selector is not None:
                self.selector.stop()
            for delivery in (self._delivery, *self._leaving):
                if delivery is not None:
                    delivery.stop()
            self._step_soon()

    def fail(self) -> None:
        """End soon, because something happened that nobody had thought of: what we know may be wrong."""
        if self.exit_status == os.EX_OK:
            self.exit_status = os.EX_SOFTWARE
            self.reactor.callLater(_FAULT_SECONDS, self._end)
            self.stop()

    def _take(self, order: Feed | Note) -> None:
        self._rest = b"#idle" if order is Note.IDLE else b"#hungry"
        match order:
            case Note.END:
                self._is_over = True
            case Feed(path, None):
                self._feed.append(Feed(path, self._host))
            case Feed(_, host):
                self._host = host or self._host
                self._feed.append(order)
            case _:
                self._feed.append(order)

    # Work

    def _step_soon(self) -> None:
        """Look at everything again when the reactor has finished what it is at."""
        if not self._is_step_due:
            self._is_step_due = True
            self.reactor.callLater(0, self._step)

    def _step(self) -> None:
        self._is_step_due = False
        try:
            self._go_on()
        except Exception:  # noqa: BLE001  whatever it is: the scheduler must not wait for us for ever
            _log.failure("the agent is out of step")
            self.fail()

    def _go_on(self) -> None:
        self._leaving = [one for one in self._leaving if not one.is_over]
        self._answer_notes()
        if self._feed and isinstance(order := self._feed[0], Feed):
            self._turn_to(order.host or b"")
        delivery = self._delivery
        if delivery is not None:
            delivery.wake()
        if len(self._feed) >= MOST_ORDERS:
            self._hold(True)
        elif len(self._feed) < _FEW_ORDERS:
            self._hold(False)
        is_quiet = delivery is None or delivery.is_quiet
        if is_quiet and self._jobs:
            self._settle_forgotten()
        if is_quiet and self.progress is not None and not self._feed:
            self.progress.say(self._rest)
        if is_quiet and self._is_over and not self._feed:
            self._part("final close")
            if not self._leaving:
                self._end()
            elif not self._is_farewell_due:
                self._is_farewell_due = True
                self.reactor.callLater(_FAREWELL_SECONDS, self._end)

    def _answer_notes(self) -> None:
        """Answer orders that name no file, when all before them are answered."""
        while self._feed and not self._jobs:
            match self._feed[0]:
                case Feed(path, None):
                    self._say(b"# smtp needs defined host!\n#hungry\n")
                    self.remark(f"{os.fsdecode(path)}: the order names no host, nor does the command line")
                case Note.UNUSABLE as note:
                    self.warn(f"an order was passed over: {note.value}; look at the scheduler")
                    self._say(b"#hungry\n")
                case Note():
                    self._say(b"#hungry\n")
                case _:
                    return
            self._feed.popleft()

    def _turn_to(self, host: bytes) -> None:
        """See that the current delivery is for `host`, unless one for another host has still work."""
        if self._delivery is not None:
            if host.lower() == self._current_host or not self._delivery.is_quiet:
                return
            if self.progress is not None:
                self.progress.parted(self._current_host)
            self._part("new host")
        self._current_host = host.lower()
        self._delivery = self._delivery_to(host)

    def _delivery_to(self, host: bytes) -> Delivery:
        assert self.equipment is not None
        found = target(self._forced or host, forced=self._forced is not None)
        return Delivery(
            self.equipment,
            found,
            source=self._next_job,
            waiting=lambda: sum(1 for _ in islice(takewhile(self._is_next, self._feed), _MOST_CONNECTIONS)),
            changed=self._step_soon,
        )

    def _part(self, why: str) -> None:
        """Say goodbye to the current destination."""
        delivery, self._delivery = self._delivery, None
        if delivery is not None and not delivery.is_over:
            delivery.leave()
            self.remark(f"(closed SMTP channel - {why})")
            if not delivery.is_over:  # else nothing will come of it that wakes us
                self._leaving.append(delivery)

    def _is_next(self, order: Feed | Note) -> bool:
        """Whether this order is for the current destination."""
        return isinstance(order, Feed) and order.host is not None and order.host.lower() == self._current_host

    def _next_job(self) -> Job | None:
        """Return the next job for the current host; answer orders that come to nothing."""
        while self._feed and self._is_next(self._feed[0]) and not self._is_stopping:
            order = self._feed[0]
            assert isinstance(order, Feed)
            served = self._served(order) if self.selector is not None else {}
            if served is None:
                return None  # the selector wakes us
            self._feed.popleft()
            job = self._open(order.path, order.host or b"", served)
            if job is None:
                self._say(b"#resync " + order.path + b"\n#hungry\n")
                self._step_soon()  # the order behind it may be for another host
            elif not job.is_finished:
                self._jobs.add(job)
                return job
        return None

    def _served(self, order: Feed) -> Served | None:
        """Say which other hosts of an order are served here; None while they are looked up."""
        assert self.selector is not None
        assert self._delivery is not None
        destination, connected = self._delivery.target, self._delivery.connected
        try:
            return self.selector.served(os.fsdecode(order.path), order.host or b"", destination, connected)
        except Exception:  # noqa: BLE001  as below; recipients of other hosts have their own turn
            _log.failure("selecting by mail exchanger")
            return {}

    def _open(self, path: bytes, host: bytes, served: Served) -> Job | None:
        assert self.conduct is not None
        name = os.fsdecode(path)
        if self.remarks:
            self._note_order(path, host)
        job = None
        self._complaints = []
        try:
            job = open_job(name, host, self.conduct, served)
        except SpoolError as error:
            self.complain(str(error))
        except Exception:  # noqa: BLE001  one control file must not keep the others from delivery
            _log.failure("{name}: please report this error of ours", name=name)
        self._warn_of_complaints()
        self._complaints = None
        if self.remarks:
            self.remark(
                f"{name}: {_shown(job.log_identity)}"
                if job is not None
                else f"c='{_shown(self.conduct.channel)}' h='{_shown(host)}' #resync {name}"
            )
        return job

    # Output

    def report(self, settled: Settled) -> None:
        """Tell the scheduler what became of a recipient."""
        self._warn_of_complaints()
        self._say(settled.line)
        if self.log is not None:
            self.log(settled)
        file = settled.job.file
        verbose = file.control.verbose
        if self.transcript is None and verbose is None:
            return
        line = self._diagnosis(settled)
        if self.transcript is not None:
            self.transcript.line("#", line)
        if verbose is not None:
            try:
                append(verbose, line, owner=file.uid)
            except SpoolError as error:
                self.remark(str(error))

    def _diagnosis(self, settled: Settled) -> bytes:
        """What became of a recipient, as logs show it."""
        assert self.conduct is not None
        verdict, peer, user = settled.verdict, settled.peer, settled.recipient.quad.user
        return diagnosis(
            settled.recipient,
            number=file_id(settled.job.path),
            word=verdict.word.value,
            notary=notary(
                user,
                verdict.action,
                verdict.status,
                verdict.diagnostic,
                peer.remote,
                peer.address,
                self.conduct.agent,
            ),
            remote=peer.remote,
            text=verdict.text,
        )

    def finished(self, job: Job) -> None:
        """All recipients of an order are told."""
        self._jobs.discard(job)
        self._say(b"#hungry\n")
        self._step_soon()

    def warn(self, text: str) -> None:
        """Tell the postmaster something, in a form that the scheduler passes over."""
        self._comment(text)
        if self.transcript is not None:
            self.transcript.remark(text)

    def complain(self, text: str) -> None:
        """Warn of something in a control file.  All that is found while one is opened becomes one line."""
        if self._complaints is None:
            self.warn(text)
        else:
            self._complaints.append(text)

    def _warn_of_complaints(self) -> None:
        if not self._complaints:
            return
        complaints, self._complaints = self._complaints, []
        left = len(complaints) - _MOST_COMPLAINTS
        more = [f"and {left} more; option -d lists them"] if left > 0 else []
        self.warn(" | ".join(complaints[:_MOST_COMPLAINTS] + more))
        for text in complaints[_MOST_COMPLAINTS:]:
            self.remark(text)

    def remark(self, text: str) -> None:
        """Note something for whoever looks closely: in the transcript, with -d as a comment, too."""
        if self.transcript is not None:
            self.transcript.remark(text)
        if self._debug:
            self._comment(text)

    @property
    def remarks(self) -> bool:
        """Whether anybody sees remarks."""
        return self.transcript is not None or self._debug > 0

    def _note_order(self, path: bytes, host: bytes) -> None:
        if self.transcript is not None:
            self.transcript.line("#", b"jobspec: " + path + b"\t" + host)
        if self._debug > 1:
            text = f"(fdcnt={_open_files()}, file:{_shown(path)}, host:{_shown(host)})"
            self._write_comment(f"# {text}\n".encode())

    def _comment(self, text: str) -> None:
        shown = "".join(char if char.isprintable() else "?" for char in text[:_LONGEST_COMMENT])
        self._write_comment(f"# zsmtp:{self.pid}: {shown}\n".encode(errors="backslashreplace"))

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

    # The end

    def _end(self) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        self._settle_forgotten()
        self._flush()
        self._ended()

    def _settle_forgotten(self) -> None:
        """Defer what an error of ours has left locked: nobody else would ever tell of it."""
        verdict = policy.judge_trouble(_FAULT)
        for job in list(self._jobs):
            self.warn(f"{job.path}: recipients were left locked; please report this error of ours")
            try:
                job.give_up(verdict)
            except Exception:  # noqa: BLE001  the scheduler clears locks when this process has ended
                _log.failure("{path} cannot be given up", path=job.path)
            if job in self._jobs:
                self.finished(job)


def _shown(octets: bytes) -> str:
    return octets[:_LONGEST_SHOWN].decode("ascii", "backslashreplace")


def _open_files() -> int:
    try:
        return len(os.listdir("/dev/fd")) - 1
    except OSError:
        return -1
