"""A stand-in for ZMailer's scheduler: runs an agent, feeds it, and fails at its first mistake.

    stand_in = SchedulerStandIn([sys.executable, "-m", "zsmtp", "-c", "smtp"], spool.postoffice,
    jobs=[Job(mail.name)]) result = stand_in.run() result.words                            # {(1000001,
    112): "ok3"}

The agent gets what the scheduler gives it: one stream socket as its descriptors 0, 1 and 2 (or, with
`pipes`, two pipes), the folder `transport/`, three environment variables, SIGPIPE ignored, a soft limit of
32 open files.  For more than one round use `start`, `pump`, `add`, `signal` and `finish`.

Every call blocks and ends by its deadline, with a `Violation` that shows what was exchanged; the agent is
killed then.  Threads of the test's own, such as a scripted server's, are not disturbed.

Source: how the scheduler starts and ends its agents; for the protocol see `zsmtp.testing.feeding`.
"""

from __future__ import annotations

import os
import resource
import selectors
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

from zsmtp.testing.feeding import Feeding, Job
from zsmtp.testing.report import Report, Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["Event", "Job", "Result", "SchedulerStandIn"]

_READ = 1 << 16
_SHOWN = 60
_FILES = 32


class Event(NamedTuple):
    """One line in either direction (`>` to the agent, `<` from it) or something that happened (`-`).

    `at` is in seconds since the start.
    """

    at: float
    way: str
    octets: bytes


class Result(NamedTuple):
    """How a run went.

    `exit_status` is negative for a signal.  `unfed` are jobs of threads that ended early, `unanswered`
    those that were fed and never answered, `left_locked` recipients (file, offset) that the dead agent
    still holds.
    """

    reports: list[Report]
    comments: list[bytes]
    resyncs: list[bytes]
    events: list[Event]
    exit_status: int
    fed: list[Job]
    unfed: list[Job]
    unanswered: list[Job]
    left_locked: list[tuple[str, int]]
    pid: int

    @property
    def words(self) -> dict[tuple[int, int], str]:
        """The status word of every recipient, by file number and offset."""
        return {(report.number, report.offset): report.word for report in self.reports}

    @property
    def output(self) -> bytes:
        """All that the agent wrote."""
        return b"".join(event.octets + b"\n" for event in self.events if event.way == "<")


class SchedulerStandIn:
    """One agent and its scheduler.

    `argv` is the agent's command; `environment` is added to ZCONFIG, PATH and TZ.  `deadline` limits the
    whole life of the agent, `patience` each wait for a line of it.  `reads` can be set to False for a
    scheduler that does not read.  The other arguments are those of `Feeding`.
    """

    def __init__(
        self,
        argv: Sequence[str],
        postoffice: str,
        *,
        jobs: Iterable[Job] = (),
        overfeed: int = 0,
        channel: bytes = b"smtp",
        host: bytes | None = None,
        pipes: bool = False,
        environment: Mapping[str, str] | None = None,
        zconfig: str | None = None,
        deadline: float = 30.0,
        patience: float | None = None,
        checks_marks: bool = True,
        heeds_retryat: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.transport = os.path.join(postoffice, "transport")
        self.reads = True
        self.events: list[Event] = []
        self.feeding = Feeding(
            jobs,
            read=self._control_file,
            overfeed=overfeed,
            channel=channel,
            host=host,
            checks_marks=checks_marks,
            heeds_retryat=heeds_retryat,
        )
        self._argv = list(argv)
        self._environment = {
            "ZCONFIG": zconfig or os.path.join(postoffice, "zmailer.conf"),
            "PATH": os.environ.get("PATH", os.defpath),
            "TZ": os.environ.get("TZ", "UTC"),
            **(environment or {}),
        }
        self._pipes = pipes
        self._deadline = deadline
        self._patience = deadline if patience is None else patience
        self._clock = clock
        self._started = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._output: int | None = None  # where we read
        self._input: int | None = None  # where we write; the same descriptor for a socket
        self._unread = b""
        self._unwritten = b""

    # The life of an agent

    def run(self, end: str = "newline", *, settle: float = 0.05, exit_status: int | None = 0) -> Result:
        """Start the agent, feed it everything, wait until it is idle, and end it; return the result.

        `settle` is how long an idle agent is watched for octets that nobody asked for.  Another exit status
        than `exit_status` is a violation, as is a lock that is left behind.
        """
        self.start()
        self.pump(lambda: self.feeding.is_idle)
        self.watch(settle)
        result = self.finish(end)
        if exit_status is not None and result.exit_status != exit_status:
            raise self._violation(f"the agent ended with {result.exit_status}, not {exit_status}")
        if result.left_locked:
            raise self._violation(f"locks were left behind: {result.left_locked}")
        return result

    def start(self) -> None:
        """Start the agent; nothing is read or written yet."""
        if self._pipes:
            child_in, self._input = os.pipe()
            self._output, child_out = os.pipe()
        else:
            ours, theirs = socket.socketpair()
            self._input = self._output = ours.detach()
            child_in = child_out = theirs.detach()
        self._started = self._clock()
        try:
            self._process = subprocess.Popen(
                self._argv,
                stdin=child_in,
                stdout=child_out,
                stderr=child_out,
                cwd=self.transport,
                env=self._environment,
                umask=0o022,
                restore_signals=False,  # SIGPIPE stays ignored, as Python has it and the scheduler too
            )
        except BaseException:
            self._close_ours()
            raise
        finally:
            for descriptor in {child_in, child_out}:
                os.close(descriptor)
        # The scheduler sets this before the exec; here it comes right after, long before an agent can look.
        resource.prlimit(self._process.pid, resource.RLIMIT_NOFILE, (_FILES, _hard_limit()))
        for descriptor in {self._input, self._output}:
            os.set_blocking(descriptor, False)
        self._note("-", b"started")

    @property
    def pid(self) -> int:
        """The agent's process id."""
        return self._running().pid

    def add(self, job: Job) -> None:
        """Give the agent more work."""
        self._send(self.feeding.add(job))

    def signal(self, number: int) -> None:
        """Send the agent a signal."""
        self._note("-", signal.Signals(number).name.encode())
        self._running().send_signal(number)

    def pump(self, until: Callable[[], bool], seconds: float | None = None) -> None:
        """Exchange lines until a condition holds; a violation if the agent ends or time runs out first."""
        limit = None if seconds is None else self._clock() + seconds
        quiet_since = self._clock()
        while not until():
            now = self._clock()
            if self._output is None:
                raise self._violation("the agent ended early")
            if limit is not None and now > limit:
                raise self._violation(f"what was waited for did not happen in {seconds} seconds")
            if now - quiet_since > self._patience and self.feeding.overfed and self.reads:
                due = self.feeding.overfed
                raise self._violation(f"no #hungry for {self._patience} seconds, and {due} are due")
            if self._once(0.05):
                quiet_since = self._clock()

    def watch(self, seconds: float) -> None:
        """Exchange lines for some time, whatever comes."""
        until = self._clock() + seconds
        while self._output is not None and self._clock() < until:
            self._once(0.01)

    def send(self, octets: bytes, *, lines: int = 0) -> None:
        """Write octets of the test's own; the agent owes a `#hungry` for so many lines in them."""
        self.feeding.expect(lines)
        self._unwritten += octets
        self._note(">", octets)

    def finish(self, end: str = "newline") -> Result:
        """End the agent and wait for it; return the result.

        `newline` sends an empty line and closes our side after it, `line` sends it and keeps the
        connection, `eof` only closes our side, `fragment` does so in the middle of a line, `close` closes
        both sides, `kill` kills, `wait` does nothing.
        """
        match end:
            case "newline" | "line":
                self.send(b"\n")
            case "fragment":
                while self._unwritten and self._output is not None:
                    self._once(0.05)
                self.send(b"1/nowhere\tincomplete.exa")
                self.reads = False  # a #hungry heard now would be answered by the rest of a line
            case "kill":
                self.signal(signal.SIGKILL)
            case "eof" | "close" | "wait":
                pass
            case _:
                raise ValueError(f"end={end!r}")
        while self._unwritten and self._output is not None:
            self._once(0.05)
        self.reads = self.reads or end == "fragment"
        if end == "close":
            self._close_ours()
        elif end in ("newline", "eof", "fragment"):
            self._close_input()
        process = self._running()
        while self._output is not None or process.poll() is None:
            if self._output is not None:
                self._once(0.02)
            else:
                self._wait(process)
        self._note("-", b"exit %d" % process.returncode)
        feeding = self.feeding
        return Result(
            reports=feeding.reports,
            comments=feeding.comments,
            resyncs=feeding.resyncs,
            events=self.events,
            exit_status=process.returncode,
            fed=feeding.fed,
            unfed=feeding.unfed,
            unanswered=feeding.unanswered,
            left_locked=feeding.left_locked(process.pid),
            pid=process.pid,
        )

    def stop(self) -> None:
        """Kill the agent if it lives, and close everything; for clean-ups."""
        self._close_ours()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    # Lines

    def _once(self, seconds: float) -> bool:
        """Wait so long for something to read or write, and do it; whether the agent was heard."""
        self._check_deadline()
        with selectors.DefaultSelector() as selector:
            wants: dict[int, int] = {}
            if self._output is not None and self.reads:
                wants[self._output] = selectors.EVENT_READ
            if self._input is not None and self._unwritten:
                wants[self._input] = wants.get(self._input, 0) | selectors.EVENT_WRITE
            for descriptor, events in wants.items():
                selector.register(descriptor, events)
            ready = selector.select(seconds)
        heard = False
        for key, events in ready:
            if events & selectors.EVENT_WRITE and self._input is not None:  # reading may have found the end
                self._write()
            if events & selectors.EVENT_READ and key.fd == self._output:
                self._read()
                heard = True
        return heard

    def _read(self) -> None:
        assert self._output is not None
        try:
            octets = os.read(self._output, _READ)
        except ConnectionResetError:
            octets = b""
        if not octets:
            self._close_ours()
            if self._unread:
                raise self._violation(f"the last line has no end: {self._unread!r}")
            return
        *lines, self._unread = (self._unread + octets).split(b"\n")
        for line in lines:
            self._note("<", line)
            try:
                self._send(self.feeding.receive(line))
            except Violation as error:
                raise self._violation(str(error)) from None

    def _send(self, lines: list[bytes]) -> None:
        for line in lines:
            self.send(line)

    def _write(self) -> None:
        assert self._input is not None
        try:
            written = os.write(self._input, self._unwritten)
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):
            self._unwritten = b""
            return
        self._unwritten = self._unwritten[written:]

    # Ends

    def _close_input(self) -> None:
        if self._input is None:
            return
        if self._pipes:
            os.close(self._input)
        else:
            with socket.socket(fileno=os.dup(self._input)) as ours:
                try:
                    ours.shutdown(socket.SHUT_WR)
                except OSError:
                    pass  # the agent has closed already
        self._input = None

    def _close_ours(self) -> None:
        for descriptor in {self._input, self._output} - {None}:
            assert descriptor is not None
            os.close(descriptor)
        self._input = self._output = None
        self._unwritten = b""

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            self._check_deadline()

    def _check_deadline(self) -> None:
        if self._clock() - self._started > self._deadline:
            raise self._violation(f"the agent did not end in {self._deadline} seconds")

    def _violation(self, text: str) -> Violation:
        """Kill the agent; return the violation, with the last of what was exchanged."""
        self.stop()
        lines = [f"{event.at:8.3f} {event.way} {event.octets!r}" for event in self.events[-_SHOWN:]]
        return Violation("\n".join([text, *lines]))

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ValueError("the agent was not started")
        return self._process

    def _note(self, way: str, octets: bytes) -> None:
        self.events.append(Event(self._clock() - self._started, way, octets.removesuffix(b"\n")))

    def _control_file(self, path: str) -> bytes | None:
        try:
            with open(os.path.join(self.transport, path), "rb") as file:
                return file.read()
        except OSError:
            return None


def _hard_limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]
