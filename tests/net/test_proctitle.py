"""The title of a process: seen by ps(1), and nobody's environment is lost for it."""

from __future__ import annotations

import builtins
import io
import os
import shutil
import subprocess
import sys
from typing import Any
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

import zsmtp
from zsmtp.net.proctitle import TitleArea

ROOT = os.path.dirname(os.path.dirname(zsmtp.__file__))

CHILD = """
import subprocess, sys
from zsmtp.net.proctitle import TitleArea
area = TitleArea.open()
print(area.room, flush=True)
for line in sys.stdin.buffer:
    if line == b"environment\\n":
        subprocess.run(["env"])  # gets what the C library finds
        print("end")
    else:
        area.show(line[:-1])
        print("shown")
    sys.stdout.flush()
"""


def title_of(pid: int) -> str:
    """What ps shows of a process."""
    if shutil.which("ps") is None:
        raise SkipTest("ps is not installed (Debian: procps)")
    words = ["ps", "-ww", "-o", "args=", "-p", str(pid)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.rstrip("\n")


class Titles(SynchronousTestCase):
    """A process that sets its title."""

    def setUp(self) -> None:
        self.environment = {"PATH": os.defpath, "PYTHONPATH": ROOT, "LAST": "last value"}
        self.child = subprocess.Popen(
            [sys.executable, "-c", CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self.environment,
        )
        self.addCleanup(self.child.communicate, timeout=60)
        self.room = int(self.said())

    def said(self) -> bytes:
        """Read a line of the child."""
        assert self.child.stdout is not None
        return self.child.stdout.readline().rstrip(b"\n")

    def tell(self, text: bytes) -> None:
        """Write a line to the child."""
        assert self.child.stdin is not None
        self.child.stdin.write(text + b"\n")
        self.child.stdin.flush()

    def show(self, title: bytes) -> str:
        """Let the child show a title, and see what ps says."""
        self.tell(title)
        self.assertEqual(self.said(), b"shown")
        return title_of(self.child.pid).rstrip(" ")

    def test_ps_shows_each_title_and_nothing_of_the_one_before(self) -> None:
        for title in ("zsmtp >[] (nil) #hungry", "x" * 200, "short", "zsmtp " + "y" * 90):
            self.assertEqual(self.show(title.encode()), title)

    def test_title_longer_than_its_room_is_cut(self) -> None:
        self.assertGreater(self.room, 200)
        self.assertEqual(self.show(b"z" * 5000), "z" * self.room)

    def test_environment_stays_what_it_was(self) -> None:
        self.show(b"t" * self.room)
        self.tell(b"environment")
        found = set(iter(self.said, b"end"))
        self.assertLessEqual({f"{name}={value}".encode() for name, value in self.environment.items()}, found)


class Absent(SynchronousTestCase):
    """Systems where a title cannot be had, or not safely."""

    def pretend(self, **files: bytes) -> None:
        """Let files of /proc/self hold something else."""
        real = builtins.open

        def read(path: Any, *rest: Any, **options: Any) -> Any:
            name = str(path).rpartition("/")[2]
            return io.BytesIO(files[name]) if name in files else real(path, *rest, **options)

        self.patch(builtins, "open", read)

    def test_arguments_that_lie_elsewhere_are_not_written_over(self) -> None:
        self.pretend(cmdline=b"something\0else\0")
        error = self.assertRaises(OSError, TitleArea.open)
        self.assertIn("not where /proc says", str(error))

    def test_addresses_that_are_hidden_are_not_guessed(self) -> None:
        self.pretend(stat=b"1 (a b) c) S " + b"0 " * 60)
        self.assertRaises(OSError, TitleArea.open)
