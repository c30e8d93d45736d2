"""The scheduler's side of the protocol as a state machine: lines in, lines out.

Plays what ZMailer's scheduler does with one agent: the first job alone, then batches of up to `overfeed` +
1, each after all of the batch before was answered; `#idle` when there is nothing more; new work for an idle
agent at once.  Jobs of one host are a thread; a thread ends when its jobs do, or at a report of `retryat`
or `deferall`.

Keeps books meanwhile.  A `#hungry` must stand for one line that was sent, and for a line to be answered,
every recipient in its control file for its channel and host must have been reported exactly once; the marks
and diagnostics in the file must agree with the report, and nothing else in the file may have changed.

Source: the scheduler's feeding state machine, and its treatment of reports.
"""

from __future__ import annotations

from collections import Counter, deque
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from zsmtp.testing import marks
from zsmtp.testing.report import Comment, Hungry, Report, Resync, Violation, read_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Feeding", "Job", "State"]

_WITH_DIAGNOSTIC = frozenset({"ok2", "error2"})


class Job(NamedTuple):
    """A line to feed: a control file (path relative to `transport/`) for a host.

    `host` None: the line names none, since the agent's command line does.  `is_checked` False: the file is
    not in order, and any answer will do that breaks no other rule.  `served` are hosts, in lower case, whose
    recipients may go along (-e).
    """

    path: str
    host: bytes | None = b"example.net"
    is_checked: bool = True
    served: frozenset[bytes] = frozenset()

    def line(self) -> bytes:
        """Return the octets that feed it."""
        return self.path.encode() + (b"\t" + self.host if self.host is not None else b"") + b"\n"

    @property
    def number(self) -> int:
        """The number by which reports name the file."""
        name = self.path.rpartition("/")[2]
        digits = name[: next((index for index, octet in enumerate(name) if not octet.isdecimal()), len(name))]
        return int(digits or "-1")


class State(Enum):
    """The agent is ..."""

    LARVA = "just started"
    STUFFING = "being fed"
    FINISHING = "to finish what it has"
    IDLE = "idle, or told to be"


class _Outstanding:
    """A job that was fed: what has to be reported, and what was."""

    def __init__(self, job: Job, before: bytes | None, wanted: set[int], allowed: set[int]) -> None:
        self.job = job
        self.before = before
        self.wanted = wanted  # recipients that must be reported
        self.allowed = allowed  # recipients that may be
        self.reported: dict[int, Report] = {}
        self.is_resynced = False

    @property
    def is_answered(self) -> bool:
        return self.is_resynced or self.wanted <= self.reported.keys()


class Feeding:
    """The books about one agent.

    `read` returns the octets of a control file, or None if there is none.  `host` is the one on the agent's
    command line.  `checks_marks` False is for agents that mark after they report.  `heeds_retryat` False
    feeds a thread to its end whatever is reported.
    """

    def __init__(
        self,
        jobs: Iterable[Job],
        *,
        read: Callable[[str], bytes | None],
        overfeed: int = 0,
        channel: bytes = b"smtp",
        host: bytes | None = None,
        checks_marks: bool = True,
        heeds_retryat: bool = True,
    ) -> None:
        self.state = State.LARVA
        self.overfed = 1  # lines whose #hungry is outstanding; the start counts as one
        self.reports: list[Report] = []
        self.comments: list[bytes] = []
        self.resyncs: list[bytes] = []
        self.fed: list[Job] = []
        self.unfed: list[Job] = []
        self._read = read
        self._overfeed = overfeed
        self._channel = channel
        self._host = host
        self._checks_marks = checks_marks
        self._heeds_retryat = heeds_retryat
        self._threads: dict[bytes, deque[Job]] = {}
        self._thread: bytes | None = None
        self._batch: list[_Outstanding] = []
        for job in jobs:
            self._queue(job)

    @property
    def is_idle(self) -> bool:
        """Whether the agent has answered everything, `#idle` included, and there is nothing to feed."""
        return self.state is State.IDLE and not self.overfed and not self._threads

    @property
    def unanswered(self) -> list[Job]:
        """The jobs that were fed and not answered."""
        return [each.job for each in self._batch if not each.is_answered]

    def add(self, job: Job) -> list[bytes]:
        """Take new work; return the lines that are to be sent now."""
        self._queue(job)
        if self.state is State.IDLE and not self.overfed:
            return self._next_thread()
        return []

    def expect(self, lines: int) -> None:
        """Note lines that were sent and are no jobs: each must be answered by a `#hungry`."""
        self.overfed += lines

    def receive(self, line: bytes) -> list[bytes]:
        """Take a line of the agent, without its NL; return the lines that are to be sent now."""
        match read_line(line):
            case Hungry():
                return self._hungry()
            case Resync() as resync:
                self._resync(resync.path)
            case Comment() as comment:
                self.comments.append(comment.text)
            case Report() as report:
                self._report(report)
        return []

    def left_locked(self, pid: int) -> list[tuple[str, int]]:
        """Return the recipients in files that were fed that carry a lock of this process."""
        owner = b"%6d" % pid
        return [
            (path, line.offset)
            for path in dict.fromkeys(job.path for job in self.fed)
            for line in marks.recipients(self._read(path) or b"")
            if line.tag == b"~" and line.owner == owner[:6]
        ]

    # Feeding

    def _queue(self, job: Job) -> None:
        self._threads.setdefault(job.host or b"", deque()).append(job)

    def _hungry(self) -> list[bytes]:
        if not self.overfed:
            raise Violation("#hungry, and no line was waiting for it")
        self.overfed -= 1
        self._account()
        match self.state:
            case State.LARVA:
                return self._next_thread()
            case State.STUFFING:
                return [] if self.overfed else self._stuff()
            case State.FINISHING:
                return [] if self.overfed else self._next_thread()
            case State.IDLE:
                return self._next_thread() if self._threads else []

    def _next_thread(self) -> list[bytes]:
        """Begin a thread with its first job alone, or say that there is none."""
        self._drop_thread()
        if not self._threads:
            self.state = State.IDLE
            self.overfed += 1
            return [b"#idle\n"]
        self._thread = next(iter(self._threads))
        self.state = State.STUFFING
        return [self._feed(self._threads[self._thread])]

    def _stuff(self) -> list[bytes]:
        jobs = self._threads.get(self._thread or b"")
        if not jobs:
            self.state = State.FINISHING
            return self._next_thread()
        lines: list[bytes] = []
        while jobs and self.overfed <= self._overfeed:
            lines.append(self._feed(jobs))
        return lines

    def _feed(self, jobs: deque[Job]) -> bytes:
        job = jobs.popleft()
        self.overfed += 1
        self.fed.append(job)
        before = self._read(job.path)
        host = (job.host if job.host is not None else self._host or b"").lower()
        wanted: set[int] = set()
        allowed: set[int] = set()
        for line in marks.recipients(before or b""):
            if line.channel and (line.channel.lower() != self._channel or line.host.lower() != host):
                if line.channel.lower() == self._channel and line.host.lower() in job.served:
                    allowed.add(line.offset)
                continue
            allowed.add(line.offset)
            if line.channel and line.tag == b" " and job.is_checked:
                wanted.add(line.offset)
        self._batch.append(_Outstanding(job, before, wanted, allowed))
        return job.line()

    def _drop_thread(self) -> None:
        if self._thread is not None:
            jobs = self._threads.pop(self._thread, deque())
            self.unfed += jobs
            self._thread = None

    # Books

    def _account(self) -> None:
        """Compare the lines that are said to be done with those that are."""
        if self.state in (State.LARVA, State.IDLE):
            return
        done = len(self._batch) - self.overfed
        answered = sum(each.is_answered for each in self._batch)
        if answered < done:
            missing = "; ".join(
                f"{each.job.path}: {sorted(each.wanted - each.reported.keys())}"
                for each in self._batch
                if not each.is_answered
            )
            raise Violation(f"#hungry for {done} lines, and {answered} are answered; not reported: {missing}")
        if not self.overfed:
            for each in self._batch:
                self._settle(each)
            self._batch.clear()

    def _report(self, report: Report) -> None:
        mine = [each for each in self._batch if each.job.number == report.number]
        if not mine:
            raise Violation(f"a report for a file that is not being worked on: {report}")
        possible = [each for each in mine if report.offset in each.allowed]
        if not possible:
            raise Violation(f"a report for no recipient of the job: {report}")
        if any(report.offset in each.reported for each in possible):
            raise Violation(f"reported twice: {report}")
        for each in possible:
            each.reported[report.offset] = report
        if self._checks_marks:
            self._check_mark(possible[0], report)
        self.reports.append(report)
        if self._heeds_retryat and report.word in ("retryat", "deferall") and self.state is State.STUFFING:
            self.state = State.FINISHING

    def _resync(self, path: bytes) -> None:
        mine = [each for each in self._batch if each.job.path.encode() == path and not each.is_resynced]
        if not mine:
            raise Violation(f"#resync for a file that is not being worked on: {path!r}")
        self.resyncs.append(path)
        each = mine[0]
        each.is_resynced = True
        now = {line.offset: line.tag for line in marks.recipients(self._read(each.job.path) or b"")}
        untouched = [offset for offset in each.wanted - each.reported.keys() if now.get(offset) == b" "]
        if untouched:
            raise Violation(f"#resync {path!r}, and {sorted(untouched)} can be delivered")

    def _settle(self, each: _Outstanding) -> None:
        """A batch is done: the file must be as the reports say."""
        after = self._read(each.job.path)
        if after is None or each.before is None:
            return
        problems = marks.changes(each.before, after)
        if problems:
            raise Violation(f"{each.job.path}: " + "; ".join(problems))
        if not self._checks_marks:
            return
        tags = {line.offset: line.tag for line in marks.recipients(after)}
        told = Counter(line.recipient for line in marks.diagnostics(after))
        told.subtract(line.recipient for line in marks.diagnostics(each.before))
        for report in each.reported.values():
            if tags.get(report.offset) != _final_tag(report):
                raise Violation(f"the tag of the recipient is {tags.get(report.offset)!r} after {report}")
            if told[report.offset] != (report.word in _WITH_DIAGNOSTIC):
                raise Violation(f"{told[report.offset]} diagnostic lines were written for {report}")

    def _check_mark(self, each: _Outstanding, report: Report) -> None:
        """Check what must be in the file before a report: the mark of a success, a diagnostic line."""
        after = self._read(each.job.path)
        if after is None or each.before is None:
            return
        tag = after[report.offset + 1 : report.offset + 2]
        expected = (b"+",) if report.word.startswith("ok") else (b"~", _final_tag(report))
        if tag not in expected:
            raise Violation(f"the tag of the recipient is {tag!r} at {report}")
        if report.word in _WITH_DIAGNOSTIC:
            line = b"\nd %d:" % report.offset
            if line not in after[len(each.before) - 1 :]:
                raise Violation(f"no diagnostic line was written before {report}")


def _final_tag(report: Report) -> bytes:
    if report.is_deferral:
        return b" "
    return b"+" if report.word.startswith("ok") else b"-"
