"""Agents as child processes, and the scheduler's side of them.

`AgentCase.scheduler` makes ZMailer's scheduler (`zsmtp.testing.scheduler`), which feeds jobs and fails at the
first mistake.  `RawAgent` is for tests that send octets of their own: it only checks that every line that
comes back has a form that the scheduler knows.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

import zsmtp
from zsmtp.testing.report import read_line
from zsmtp.testing.scheduler import SchedulerStandIn
from zsmtp.testing.server import ScriptedServer
from zsmtp.testing.spool import SpoolMaker
from zsmtp.testing.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zsmtp.testing.peer import Behaviour

__all__ = ["DEADLINE", "AgentCase", "RawAgent", "command", "measured", "status_of"]

DEADLINE = 60.0
"""seconds after which anything has gone wrong; a start takes half a second, on a busy machine many"""


def command(*words: str) -> list[str]:
    """Return the command line of an agent."""
    return [sys.executable, "-m", "zsmtp", "-h", "client.example", "-O", "syslog=none", *words]


def measured() -> dict[str, str]:
    """Return the variables by which processes that tests start find the code that is under test, and coverage
    finds them.
    """
    coverage = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    return {"PYTHONPATH": os.path.dirname(os.path.dirname(zsmtp.__file__)), **coverage}


class RawAgent:
    """One agent, fed by hand.

    `streams` says what its descriptors 0, 1 and 2 are: `socket` for one stream socket, `pipes` for three
    pipes, `files` for regular files (`fed` is what the first one holds).  `ignored` are signals that its
    parent ignores.
    """

    def __init__(
        self,
        argv: Sequence[str],
        folder: str,
        *,
        streams: str = "socket",
        fed: bytes = b"",
        environment: dict[str, str] | None = None,
        ignored: Sequence[int] = (),
    ) -> None:
        self.lines: list[bytes] = []
        self.errors = b""
        self._unread = b""
        self._is_file = streams == "files"
        inner: list[int]
        self._errors: int | None = None
        self._input: int | None
        self._output: int
        if streams == "socket":
            ours, theirs = socket.socketpair()
            self._input = self._output = ours.detach()
            inner = [theirs.detach()] * 3
        elif streams == "pipes":
            child_in, self._input = os.pipe()
            self._output, child_out = os.pipe()
            self._errors, child_errors = os.pipe()
            inner = [child_in, child_out, child_errors]
        else:
            with open(os.path.join(folder, "fed"), "wb") as file:
                file.write(fed)
            self._input = None
            child_in = os.open(os.path.join(folder, "fed"), os.O_RDONLY)
            child_out = os.open(os.path.join(folder, "told"), os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            self._output = os.open(os.path.join(folder, "told"), os.O_RDONLY)
            inner = [child_in, child_out, child_out]

        def ignore() -> None:
            for number in ignored:
                signal.signal(number, signal.SIG_IGN)

        self.process = subprocess.Popen(
            argv,
            stdin=inner[0],
            stdout=inner[1],
            stderr=inner[2],
            cwd=folder,
            env={"PATH": os.defpath, **measured(), **(environment or {})},
            preexec_fn=ignore if ignored else None,
            restore_signals=False,
        )
        for descriptor in set(inner):
            os.close(descriptor)

    def send(self, octets: bytes) -> None:
        """Write octets."""
        assert self._input is not None
        while octets:
            octets = octets[os.write(self._input, octets) :]

    def until_hungry(self, times: int = 1) -> list[bytes]:
        """Read until so many `#hungry` have come; return these lines, which are checked."""
        found: list[bytes] = []
        limit = time.monotonic() + DEADLINE
        while times:
            if b"\n" not in self._unread and not self._read(limit):
                raise AssertionError(f"{times} #hungry are missing after {found}, {self.errors!r}")
            line, end, rest = self._unread.partition(b"\n")
            if end:
                self._unread = rest
                read_line(line)
                found.append(line)
                times -= line == b"#hungry"
        self.lines += found
        return found

    def rest(self, *, end_input: bool = True) -> list[bytes]:
        """End the input, read to the end, and return the lines of it, which are checked."""
        if end_input:
            self.end_input()
        limit = time.monotonic() + DEADLINE
        if self._is_file:
            self.process.wait(DEADLINE)  # a file has an end at any time
        while self._read(limit):
            pass
        self.process.wait(DEADLINE)
        *found, partial = self._unread.split(b"\n")
        self._unread = b""
        assert not partial, partial
        for line in found:
            read_line(line)
        self.lines += found
        return found

    def is_silent(self, seconds: float = 0.2) -> bool:
        """Whether nothing comes for so long."""
        return not self._unread and not select.select([self._output], [], [], seconds)[0]

    def end_input(self) -> None:
        """Send nothing more; the other direction stays open."""
        if self._input is None:
            return
        if self._input == self._output:
            with socket.socket(fileno=os.dup(self._output)) as ours:
                try:
                    ours.shutdown(socket.SHUT_WR)
                except OSError:
                    pass  # the agent has gone already
        else:
            os.close(self._input)
        self._input = None

    def close(self) -> None:
        """Kill it, if it still lives."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for descriptor in {self._input, self._output, self._errors} - {None, -1}:
            assert descriptor is not None
            os.close(descriptor)
        self._input, self._output, self._errors = None, -1, None

    def _read(self, limit: float) -> bool:
        """Wait for output; false at its end.  What comes on a standard error of its own is kept."""
        wanted = [self._output] if self._errors is None else [self._output, self._errors]
        while True:
            ready, _, _ = select.select(wanted, [], [], max(0.0, limit - time.monotonic()))
            if not ready:
                raise AssertionError(f"nothing came in {DEADLINE} seconds after {self._unread!r}")
            if self._errors in ready:
                assert self._errors is not None
                piece = os.read(self._errors, 65536)
                self.errors += piece
                if not piece:
                    wanted.remove(self._errors)
            if self._output in ready:
                try:
                    piece = os.read(self._output, 65536)
                except ConnectionResetError:
                    piece = b""  # it has ended and left something unread
                self._unread += piece
                return bool(piece)


class AgentCase(SynchronousTestCase):
    """A spool, servers and agents, all of which end with the test."""

    def setUp(self) -> None:
        self.spool = SpoolMaker()
        self.addCleanup(self.spool.remove)

    def server(self, *behaviours: Behaviour, **options: object) -> ScriptedServer:
        """Start a server; without a behaviour an ordinary one that takes everything."""
        server = ScriptedServer(*(behaviours or (Table(),)), **options)  # type: ignore[arg-type]
        server.start()
        self.addCleanup(server.stop)
        return server

    def scheduler(
        self,
        *words: str,
        server: ScriptedServer | None = None,
        program: list[str] | None = None,
        **options: object,
    ) -> SchedulerStandIn:
        """Make a scheduler whose agent delivers to `server`; `words` and `options` are those of both."""
        where = ("-F", f"[{server.host}]:{server.port}") if server is not None else ()
        options.setdefault("deadline", DEADLINE)
        options["environment"] = {**measured(), **options.get("environment", {})}  # type: ignore[dict-item]
        stand_in = SchedulerStandIn(
            [*(program or command()), *where, *words],
            self.spool.postoffice,
            **options,  # type: ignore[arg-type]
        )
        self.addCleanup(stand_in.stop)
        return stand_in

    def raw(self, *words: str, server: ScriptedServer | None = None, **options: object) -> RawAgent:
        """Start an agent that is fed by hand."""
        where = ("-F", f"[{server.host}]:{server.port}") if server is not None else ()
        agent = RawAgent(command(*where, *words), self.spool.transport, **options)  # type: ignore[arg-type]
        self.addCleanup(agent.close)
        return agent

    def eventually(self, condition: Callable[[], object], what: str = "it") -> None:
        """Wait for something that another process does."""
        limit = time.monotonic() + DEADLINE
        while not condition():
            if time.monotonic() > limit:
                raise AssertionError(f"{what} did not happen in {DEADLINE} seconds")
            time.sleep(0.01)


def status_of(pid: int, name: str) -> int:
    """Return a number from /proc/PID/status, such as VmHWM in KiB."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name + ":"))
