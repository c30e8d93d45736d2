"""Tests of zsmtp.daemon.lockfile."""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.source import ROOT
from zsmtp.daemon.lockfile import LOCK_FILE, Lock, refuse_scheduler
from zsmtp.errors import ConfigError


class LockTest(SynchronousTestCase):
    """A folder that stands for a spool."""

    def setUp(self) -> None:
        self.office = os.path.abspath(self.mktemp())
        os.mkdir(self.office)


class OneDaemon(LockTest):
    """The lock is held by a process, and by no file."""

    def test_second_one_is_told_who_holds_it(self) -> None:
        lock = Lock(self.office)
        self.addCleanup(lock.release)
        error = self.assertRaises(ConfigError, Lock, self.office)
        self.assertIn(f"process number {os.getpid()} works on {self.office}", str(error))

    def test_released_lock_can_be_taken(self) -> None:
        lock = Lock(self.office)
        lock.release()
        lock.release()
        Lock(self.office).release()

    def test_lock_of_a_killed_process_is_free(self) -> None:
        script = "import os; from zsmtp.daemon.lockfile import Lock; "
        script += f"Lock({self.office!r}); os.kill(os.getpid(), 9)"
        subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
        with open(os.path.join(self.office, LOCK_FILE)) as file:
            self.assertNotEqual(file.read(), "")
        Lock(self.office).release()

    def test_symbolic_link_is_not_followed(self) -> None:
        os.symlink("/etc/passwd", os.path.join(self.office, LOCK_FILE))
        self.assertIn("cannot be opened", str(self.assertRaises(ConfigError, Lock, self.office)))


class NoScheduler(LockTest):
    """Not beside ZMailer's scheduler."""

    def note(self, text: str) -> None:
        with open(os.path.join(self.office, ".pid.scheduler"), "w") as file:
            file.write(text)

    def test_living_process_is_a_reason(self) -> None:
        for number in (os.getpid(), 1):
            self.note(f"{number}\n")
            error = self.assertRaises(ConfigError, refuse_scheduler, self.office)
            self.assertIn(f"process {number} (", str(error))

    def test_nothing_else_is(self) -> None:
        refuse_scheduler(self.office)
        for text in ("", "x\n", "999999\n", "99999999999999999999\n"):
            self.note(text)
            refuse_scheduler(self.office)
