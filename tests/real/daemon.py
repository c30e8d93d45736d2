"""`twistd zsmtp` as a program, on a spool of the test."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tests.real.process import Program
from zsmtp.spool.submit import Addressee, Submitted, make_postoffice, submit

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase

__all__ = ["ROOT", "TWISTD", "RunningDaemon"]

ROOT = Path(__file__).resolve().parent.parent.parent
TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile="]


class RunningDaemon:
    """A daemon and its spool below `folder`; it is ended with the test."""

    def __init__(self, case: SynchronousTestCase, folder: Path, text: str, *, hash_levels: int = 0) -> None:
        self.folder = folder
        self.postoffice = folder / "office"
        self.hash_levels = hash_levels
        make_postoffice(str(self.postoffice), hash_levels)
        self.configuration = folder / "zsmtp.toml"
        self.configure(text)
        self.log = folder / "log"
        self.program: Program | None = None
        case.addCleanup(self.stop)

    def configure(self, text: str) -> None:
        """Write the configuration."""
        head = (
            f'postoffice = "{self.postoffice}"\nhash-levels = {self.hash_levels}\nhello-name = "me.example"\n'
        )
        self.configuration.write_text(head + text)

    def start(self) -> None:
        """Start it and wait until it watches."""
        before = self.read().count("delivering from")
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        words = [*TWISTD, "zsmtp", "--config", str(self.configuration)]
        self.program = Program(words, self.log, environment=environment)
        self.wait(lambda: self.read().count("delivering from") > before, "its start")

    def stop(self) -> None:
        """End it as init does, and wait."""
        if self.program is not None:
            if self.program.running:
                self._signal(signal.SIGTERM)
                # not the whole group at once: a second signal would find twistd stopping
                self.program.wait_for_end(30.0)
            self.program.stop()
            self.program = None

    def kill(self) -> None:
        """End it without a chance to say anything."""
        assert self.program is not None
        self._signal(signal.SIGKILL)
        self.program.wait_for_end(30.0)
        self.program.stop()
        self.program = None

    def _signal(self, number: signal.Signals) -> None:
        os.kill(int((self.postoffice / ".pid.zsmtp").read_text()), number)

    def submit(
        self, *recipients: Addressee, sender: bytes = b"alice@sender.example", text: bytes = b"hello\n"
    ) -> Submitted:
        """Put a message into the spool."""
        return submit(
            str(self.postoffice),
            sender=sender,
            recipients=recipients,
            message=b"From: alice\nSubject: test\nMessage-ID: <m@sender.example>\n\n" + text,
            hash_levels=self.hash_levels,
        )

    def read(self) -> str:
        """What it has logged."""
        return self.log.read_text() if self.log.exists() else ""

    def statuses(self) -> list[str]:
        """The status of each attempt."""
        return re.findall(r"status=(\w+)", self.read())

    def files(self) -> list[str]:
        """All files of messages in the spool."""
        return [
            os.path.join(where, name)
            for top in ("transport", "queue")
            for where, _, names in os.walk(self.postoffice / top)
            for name in names
        ]

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
        """Wait until something holds."""
        assert self.program is not None
        self.program.wait_until(condition, seconds, what)

    def wait_empty(self, seconds: float = 30.0) -> None:
        """Wait until nothing is left in the spool."""
        self.wait(lambda: not self.files(), f"an empty spool; left are {self.files()}", seconds)
