"""Jobs in the hands of the engine: opening them, hearing what became of them, deciding what follows.

What the engine tells of a recipient becomes a log line at once.  When a job has ended, what is left of it
waits as `zsmtp.daemon.schedule` decides, or is given up, which the sender is told of.  A destination with
which no session could be opened waits as a whole.

An error of ours costs a later attempt: every job that was taken out of the queue goes back or leaves it.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Final, NamedTuple

from twisted.logger import Logger

from zsmtp import policy
from zsmtp.daemon import logline
from zsmtp.daemon.queue import Destination, Entry, Key
from zsmtp.daemon.schedule import Decision, Reason, after_failure, after_refusal
from zsmtp.errors import SpoolError
from zsmtp.job import Conduct, Job, Settled, open_job
from zsmtp.policy import Outcome, Verdict, Word
from zsmtp.trouble import Kind, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from zsmtp.daemon.files import Files
    from zsmtp.daemon.journal import Journal
    from zsmtp.daemon.queue import Queue
    from zsmtp.daemon.schedule import RetryRules
    from zsmtp.deliver import Equipment

__all__ = ["Attempts", "Work"]

_log = Logger()

_AT_ONCE: Final = 50
"""messages that are given up before others have a turn"""
_FAULT_SECONDS: Final = 300.0
"""how long a job waits that an error of ours, or a full disk, has kept from its end"""
_NO_SESSION: Final = frozenset({Word.DEFERRED_ALL, Word.RETRY})
_RECORDED: Final = frozenset({Word.FAILED, Word.OK_RECORDED})
_FAULT: Final = Trouble(Kind.INTERNAL, b"internal error; the log of the daemon has more")


class Work(NamedTuple):
    """What a channel is delivered with.  `forced` is the destination that takes the place of the host."""

    equipment: Equipment
    conduct: Conduct
    rules: RetryRules
    forced: bytes | None = None


class _Attempt:
    """One job in the hands of the engine."""

    __slots__ = ("deferred", "entry", "gives_up", "is_answered", "job", "started")

    def __init__(self, entry: Entry, started: float, *, gives_up: bool) -> None:
        self.entry = entry
        self.started = started
        self.gives_up = gives_up
        self.job: Job | None = None
        self.is_answered = False  # whether a server, or the message itself, decided anything
        self.deferred: list[Verdict] = []


class Attempts:
    """All jobs that are out of the queue.

    `files` and `work`, by channel, must be set before the first job is opened.  `now` is the clock of the
    queue, `clock` gives seconds since 1970, `draw` a random number from 0 to 1; `tell` takes log lines,
    `ended` is called with the destination of each job that has ended.
    """

    files: Files

    def __init__(
        self,
        queue: Queue,
        journal: Journal,
        *,
        now: Callable[[], float],
        clock: Callable[[], float],
        draw: Callable[[], float],
        tell: Callable[[str], None],
        warn: Callable[[str], None],
        ended: Callable[[Key], None],
    ) -> None:
        self.work: Mapping[bytes, Work] = {}
        self.is_stopping = False
        self._queue = queue
        self._journal = journal
        self._now = now
        self._clock = clock
        self._draw = draw
        self._tell = tell
        self._warn = warn
        self._ended = ended
        self._attempts: dict[tuple[Key, str], _Attempt] = {}
        self._counts: Counter[Key] = Counter()
        self._too_old: deque[tuple[Entry, Verdict]] = deque()

    def conduct(self, channel: bytes, conduct: Conduct) -> Conduct:
        """Return `conduct` with our ears: for the `Work` of this channel."""
        return conduct._replace(
            report=lambda settled: self._settled(Key(channel, settled.job.host), settled),
            finished=lambda job: self._finished(Key(channel, job.host), job),
        )

    def under_way(self, key: Key) -> int:
        """How many jobs of a destination are in the hands of the engine."""
        return self._counts[key]

    def open(self, entry: Entry, *, gives_up: bool = False) -> Job | None:
        """Open a job that was taken from the queue; None if nothing is to be done in it, which then is
        settled.
        """
        key = entry.destination.key
        name = (key, entry.path)
        self._attempts[name] = attempt = _Attempt(entry, self._clock(), gives_up=gives_up)
        self._counts[key] += 1
        try:
            job = open_job(entry.path, key.host, self.work[key.channel].conduct)
        except SpoolError as error:
            self._warn(str(error))
            job = None
        except Exception:  # noqa: BLE001  one control file must not keep the others from delivery
            _log.failure("opening {path}", path=entry.path)
            job = None
        if job is None:
            self._end(name)
            self._leave_queue(entry, in_use=True)
        elif not job.is_finished:
            attempt.job = job
            return job
        return None

    def give_up_old(self) -> bool:
        """Let senders be told of messages that waited too long, a few at a time; true if more are left."""
        for _ in range(min(len(self._too_old), _AT_ONCE)):
            entry, verdict = self._too_old.popleft()
            job = self.open(entry, gives_up=True)
            if job is not None:
                job.give_up(_expired(verdict, self._clock() - entry.since))
        return bool(self._too_old)

    def settle_forgotten(self, key: Key) -> None:
        """Defer what an error of ours has left locked: nobody else would."""
        for (other, path), attempt in list(self._attempts.items()):
            if other == key and attempt.job is not None:
                self._warn(f"{path}: recipients were left locked; please report this error of ours")
                attempt.job.give_up(policy.judge_trouble(_FAULT))

    # -- what became of them

    def _settled(self, key: Key, settled: Settled) -> None:
        """One recipient is told of."""
        verdict, job = settled.verdict, settled.job
        attempt = self._attempts[key, job.path]
        entry, now = attempt.entry, self._clock()
        prepared = min(job.prepared_at or now, now)
        delays = logline.Delays(
            entry.seen - entry.since, attempt.started - entry.seen, prepared - attempt.started, now - prepared
        )
        self._tell(logline.attempt(job.spool_id, settled.recipient.quad.user, verdict, settled.peer, delays))
        if verdict.outcome is Outcome.DEFERRED:
            attempt.deferred.append(verdict)
        if verdict.word not in _NO_SESSION:
            attempt.is_answered = True
        if verdict.word in _RECORDED:
            self.files.recorded(job.path)

    def _finished(self, key: Key, job: Job) -> None:
        """All recipients of a job are told of."""
        attempt = self._attempts[key, job.path]
        self._end((key, job.path))
        try:
            self._follow(key, attempt, job)
        except Exception:  # noqa: BLE001  an error of ours costs a later attempt
            _log.failure("deciding about {path}", path=job.path)
            now = self._now()
            if attempt.entry.is_taken and not any(entry is attempt.entry for entry, _ in self._too_old):
                self._queue.give_back(
                    attempt.entry, Decision(Reason.FAULT, "fault", now, now + _FAULT_SECONDS)
                )
        self._ended(key)

    def _end(self, name: tuple[Key, str]) -> None:
        del self._attempts[name]
        key = name[0]
        self._counts[key] -= 1
        if not self._counts[key]:
            del self._counts[key]

    def _follow(self, key: Key, attempt: _Attempt, job: Job) -> None:
        """Decide what follows an attempt."""
        entry = attempt.entry
        destination = entry.destination
        if attempt.is_answered and destination.failures:
            destination.failures = 0
            self._journal.note_destination(destination, 0.0)
        if not attempt.deferred or self.is_stopping:
            self._leave_queue(entry, job, in_use=bool(attempt.deferred))
            return
        verdict = next((one for one in attempt.deferred if one.maybe_delivered), attempt.deferred[0])
        entry.maybe_delivered = entry.maybe_delivered or verdict.maybe_delivered
        entry.attempts += 1
        rules = self.work[key.channel].rules
        decision = self._decision(attempt, rules, verdict)
        if decision.reason is Reason.EXPIRED and not attempt.gives_up:
            self._too_old.append((entry, verdict))
        else:
            self._put_back(entry, decision)
        if not attempt.is_answered:
            self._suspend(destination, rules, verdict)

    def _decision(self, attempt: _Attempt, rules: RetryRules, verdict: Verdict) -> Decision:
        """Say how long the job waits."""
        entry, now = attempt.entry, self._now()
        age = self._clock() - entry.since
        if attempt.gives_up:  # that could not be recorded: the disk is full, most likely
            return Decision(Reason.EXPIRED, "record", now, now + _FAULT_SECONDS, entry.attempts, age)
        decision = after_refusal(
            rules,
            now=now,
            age=age,
            attempts=entry.attempts,
            maybe_delivered=verdict.maybe_delivered,
            draw=self._draw(),
        )
        if attempt.is_answered or decision.reason is Reason.EXPIRED:
            return decision
        # the destination waits, and with it all its jobs
        return Decision(Reason.UNREACHABLE, "destination", now, now, entry.attempts, age)

    def _suspend(self, destination: Destination, rules: RetryRules, verdict: Verdict) -> None:
        """No session could be opened: let the destination wait, once for all jobs that met the same."""
        now = self._now()
        if destination.due > now and destination.decision.reason is Reason.UNREACHABLE:
            return
        destination.failures += 1
        decision = after_failure(rules, now=now, failures=destination.failures, draw=self._draw())
        self._queue.wait(destination, decision)
        self._journal.note_destination(destination, self._clock() + decision.until - now)
        self._tell(f"destination {destination.key}: {decision}")
        for entry in self._queue.take_older(destination, self._clock() - rules.expiry):
            self._too_old.append((entry, verdict))

    def _put_back(self, entry: Entry, decision: Decision) -> None:
        self._queue.give_back(entry, decision)
        self._journal.note(entry, self._clock() + decision.until - self._now())
        _log.debug(
            "{path} for {key}: {decision}", path=entry.path, key=entry.destination.key, decision=decision
        )

    def _leave_queue(self, entry: Entry, job: Job | None = None, *, in_use: bool = False) -> None:
        """A job is done with, here at least; with `in_use` something of it is left."""
        if not in_use:
            self._journal.forget(entry.path, entry.destination.key)
        self._queue.done(entry)
        if in_use and self.is_stopping:
            return  # it is found again at the next start
        if job is None:
            self.files.ended(entry.path, in_use=in_use)
        else:
            self.files.ended(entry.path, job.spool_id, job.file.control, in_use=in_use)


def _expired(verdict: Verdict, age: float) -> Verdict:
    """Make of a deferral the failure that is reported when the time is over.  Source: RFC 3463, X.4.7."""
    hours = int(age) // 3600
    days = f"{hours // 24} days {hours % 24} hours" if hours >= 24 else f"{hours} hours"
    shown = days if hours else f"{max(age, 0.0):.0f} seconds"
    maybe = " (it may have been delivered nevertheless)" if verdict.maybe_delivered else ""
    problem = verdict.text if verdict.text.startswith(b"\r") else b"\r" + verdict.text
    return verdict._replace(
        outcome=Outcome.FAILED,
        word=Word.FAILED,
        action=b"failed",
        status=b"4.4.7 (delivery time expired)",
        text=f"given up after {shown}{maybe}; the problem was:".encode() + problem,
        maybe_delivered=False,
    )
