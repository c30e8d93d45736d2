"""Programs started for one test: bounded in time, in a process group of their own, gone afterwards.

A program dies with the test (`stop`), with the process that started it, however that ends, and at the latest
when its time is over.  What it writes goes to a file.  Nothing here waits without a limit.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

__all__ = ["Program", "ProgramFailed", "is_alive"]

LIFE = 600
"""Seconds after which a forgotten program is ended."""

GRACE = 5.0
"""Seconds between the polite and the final signal."""


class ProgramFailed(Exception):
    """A program ended, or did not do in time what it was started for.  The text has the end of its output."""


class Program:
    """One child process with everything that it starts itself."""

    def __init__(
        self, arguments: Sequence[str], output: Path, *, environment: Mapping[str, str] | None = None
    ) -> None:
        self.output = output
        # The first word ends the second one when our process is gone; that one passes signals on.
        bound = ["setpriv", "--pdeathsig", "TERM", "timeout", f"--kill-after={GRACE}", str(LIFE)]
        with output.open("ab") as stream:
            self._process = subprocess.Popen(
                [*bound, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=output.parent,
                env=environment,
                start_new_session=True,
            )

    @property
    def group(self) -> int:
        """The process group of the program and of all that it starts."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Tell whether the program has not ended yet."""
        return self._process.poll() is None

    def wait_until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Return as soon as `condition` holds; raise ProgramFailed when the program ends or time is over."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise ProgramFailed(f"{what}: not within {seconds} s\n{self._last_output()}")
            try:
                status = self._process.wait(timeout=0.02)
            except subprocess.TimeoutExpired:
                continue
            raise ProgramFailed(f"{what}: the program ended with status {status}\n{self._last_output()}")

    def wait_for_end(self, seconds: float) -> None:
        """Return when the program has ended by itself; raise ProgramFailed if it does not in time."""
        try:
            self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise ProgramFailed(f"still running after {seconds} s\n{self._last_output()}") from None

    def stop(self) -> None:
        """End the program and all that it started."""
        self._signal_group(signal.SIGTERM)
        try:
            self._process.wait(timeout=GRACE)
        except subprocess.TimeoutExpired:
            pass
        self._signal_group(signal.SIGKILL)
        self._process.wait(timeout=GRACE)
        end = time.monotonic() + GRACE
        while is_alive(self.group) and time.monotonic() < end:
            os.sched_yield()  # the last ones are dying: nothing can stop that, and nothing tells us

    def _signal_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.group, number)
        except ProcessLookupError:
            pass  # all of them are gone

    def _last_output(self) -> str:
        return self.output.read_text(errors="replace")[-4000:]


def is_alive(group: int) -> bool:
    """Tell whether a process group has a living member; one that only waits for its parent's look is dead."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                # The second field is the program's name in parentheses, which may contain anything.
                state, _, its_group = Path(entry.path, "stat").read_text().rpartition(")")[2].split()[:3]
            except OSError:
                continue  # it has gone
            if int(its_group) == group and state not in ("Z", "X"):
                return True
    return False
