"""The command line of zsmtpctl."""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from zsmtp import __version__


def zsmtpctl(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the program."""
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "zsmtp.ctl.main", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def complaint(ran: subprocess.CompletedProcess[str]) -> str:
    """What was written to standard error, without the list of imports."""
    return "".join(
        line for line in ran.stderr.splitlines(keepends=True) if not line.startswith("import time:")
    )


class WrongLines(SynchronousTestCase):
    """Faults of the user: what is wrong, where help is, status 64, no output."""

    def check(self, text: str, *words: str) -> None:
        ran = zsmtpctl(*words)
        self.assertEqual((ran.returncode, ran.stdout), (os.EX_USAGE, ""))
        self.assertIn(text, complaint(ran))
        self.assertIn("--help", complaint(ran))

    def test_no_command(self) -> None:
        self.check("COMMAND")

    def test_unknown_command(self) -> None:
        self.check("dance", "dance")

    def test_unknown_option(self) -> None:
        self.check("--loud", "demo", "--loud")

    def test_keep_and_clean(self) -> None:
        self.check("not allowed with", "demo", "--keep", "--clean")


class Information(SynchronousTestCase):
    """What the program says about itself."""

    def test_version(self) -> None:
        ran = zsmtpctl("--version")
        self.assertEqual((ran.returncode, ran.stdout), (0, f"zsmtpctl (zsmtp {__version__})\n"))

    def test_help_names_the_commands_and_loads_no_twisted(self) -> None:
        ran = zsmtpctl("--help")
        self.assertEqual((ran.returncode, complaint(ran)), (0, ""))
        self.assertIn("demo", ran.stdout)
        self.assertNotIn("twisted", ran.stderr)

    def test_help_of_a_command_fits_a_terminal(self) -> None:
        ran = zsmtpctl("demo", "--help")
        self.assertEqual(ran.returncode, 0)
        for word in ("--directory", "--keep", "--clean", "exit status"):
            self.assertIn(word, ran.stdout)
        self.assertLess(max(map(len, ran.stdout.splitlines())), 80)
