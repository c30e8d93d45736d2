"""An agent under measurement, fed over the protocol of the scheduler.

The feeder is the scheduler's state machine (one job, then batches of `overfeed` + 1, each when all of the
one before is answered) without everything else that a scheduler does: it costs a few milliseconds for ten
thousand jobs.  CPU is what `wait4` says, less what the start had cost when the first `#hungry` came, which
the kernel's clock of that process tells to the nanosecond.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

__all__ = ["Agent", "AgentRun", "drain"]

_HUNGRY = b"#hungry"


class AgentRun(NamedTuple):
    """What one run cost and said.  Times in seconds, memory in KiB.

    `wall` is from the first job fed to the last job answered, `cpu` the CPU after the first `#hungry`,
    `start_cpu` before it; `reports` are the lines that are neither `#hungry` nor remarks, `remarks` the
    others.
    """

    wall: float
    cpu: float
    start_cpu: float
    peak: int
    reports: list[bytes]
    remarks: list[bytes]
    exit_status: int


class Agent:
    """A child on a socketpair that is its fd 0, 1 and 2; a context manager that ends it."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        directory: Path,
        environment: Mapping[str, str],
        silence: float = 120.0,
    ) -> None:
        """Start it in `directory`; `silence` is how many seconds without a line are taken for a hang."""
        ours, theirs = socket.socketpair()
        with theirs:
            end = theirs.fileno()
            self._process = subprocess.Popen(
                command, stdin=end, stdout=end, stderr=end, cwd=directory, env=environment
            )
        self.started = time.monotonic()
        self.pid = self._process.pid
        self._socket = ours
        self._socket.setblocking(False)
        self._silence = silence
        self._poll = select.poll()
        self._unsent = b""
        self._tail = b""
        self.ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()
        if self._process.returncode is None:
            self._process.kill()
            self.wait()

    def write(self, data: bytes) -> None:
        """Feed; what does not fit leaves during `read`."""
        self._unsent += data
        self._push()

    def finish(self) -> None:
        """Close our direction: the agent is to end when it is done."""
        self._socket.shutdown(socket.SHUT_WR)

    def read(self) -> list[bytes]:
        """Wait for lines and give them without their NL; none when the agent closed.

        Raises TimeoutError if nothing comes for too long.
        """
        while True:
            self._poll.register(self._socket, select.POLLIN | (select.POLLOUT if self._unsent else 0))
            ready = self._poll.poll(self._silence * 1000)
            if not ready:
                raise TimeoutError(f"the agent, process {self.pid}, was silent for {self._silence:.0f} s")
            if ready[0][1] & select.POLLOUT:
                self._push()
            if not ready[0][1] & ~select.POLLOUT:
                continue
            try:
                data = self._socket.recv(1 << 18)
            except ConnectionResetError:
                data = b""
            if not data:
                self.ended = True
                return []
            *lines, self._tail = (self._tail + data).split(b"\n")
            if lines:
                return lines

    def cpu(self) -> float:
        """Read the CPU seconds that the running process has used so far, to the nanosecond."""
        # the clock that clock_getcpuclockid(3) gives for a process; Linux only, like /proc below
        return time.clock_gettime(~self.pid << 3 | 2)

    def memory(self, name: str) -> int:
        """Read a figure of /proc/PID/status such as VmRSS or VmHWM, in KiB.

        (`ru_maxrss` of wait4 is of no use: it starts with what the parent had at the time of exec.)
        """
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1])
        return 0

    def wait(self) -> tuple[int, float]:
        """Wait for its end: exit status (negative: signal) and CPU seconds, children included."""
        _, status, usage = os.wait4(self.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        return self._process.returncode, usage.ru_utime + usage.ru_stime

    def kill(self) -> None:
        """Kill it, as -9 does."""
        os.kill(self.pid, signal.SIGKILL)

    def _push(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):
            sent = len(self._unsent)  # it died: reading will say so
        self._unsent = self._unsent[sent:]


def drain(agent: Agent, jobs: Sequence[bytes], *, overfeed: int = 1000) -> AgentRun:
    """Feed all jobs, read all answers, let the agent end."""
    reports: list[bytes] = []
    remarks: list[bytes] = []
    fed = 0
    unanswered = 1  # the first #hungry answers the start itself
    begin = start_cpu = 0.0
    while unanswered > 0:
        lines = agent.read()
        if agent.ended:
            break
        unanswered -= lines.count(_HUNGRY)
        for line in lines:
            if line != _HUNGRY:
                (remarks if line.startswith(b"#") or not line else reports).append(line)
        if fed == 0 and unanswered == 0:
            start_cpu = agent.cpu()
            begin = time.monotonic()
        if unanswered == 0 and fed < len(jobs):
            batch = jobs[fed : fed + (overfeed + 1 if fed else 1)]
            fed += len(batch)
            unanswered = len(batch)
            agent.write(b"".join(batch))
    wall = time.monotonic() - begin
    peak = 0 if agent.ended else agent.memory("VmHWM")
    agent.finish()
    while not agent.ended:
        remarks += agent.read()
    status, cpu = agent.wait()
    return AgentRun(wall, cpu - start_cpu, start_cpu, peak, reports, remarks, status)
