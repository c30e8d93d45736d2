"""Agents killed at random moments lose nothing, claim nothing, and repeat only what was in flight.

ZSMTP_CRASH_ROUNDS is how many kills there are in all (default 24, shared by the ways of delivering),
ZSMTP_CRASH_SEED where the chance starts; with one of them set, the accounts are printed.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.real.crashloop import WAYS, Account, CrashLoop

ROUNDS = int(os.environ.get("ZSMTP_CRASH_ROUNDS", "24"))
SEED = int(os.environ.get("ZSMTP_CRASH_SEED", "1"))
SHARES = {"pipelining": 0.3, "chunking": 0.3, "lmtp": 0.3, "one command at a time": 0.1}


class CrashCase(SynchronousTestCase):
    """Runs a loop in a folder of its own, with a name short enough for a UNIX socket."""

    def loop(self, way: str, command: list[str], rounds: int, *, load: int = 120) -> Account:
        with tempfile.TemporaryDirectory(prefix="zsmtp-crash.") as directory:
            return CrashLoop(Path(directory), WAYS[way], command, seed=SEED, load=load).run(rounds)


class TheAgentKilledUnderLoad(CrashCase):
    """`python -m zsmtp` itself."""

    def killed(self, way: str) -> None:
        rounds = max(1, round(ROUNDS * SHARES[way]))
        account = self.loop(way, [sys.executable, "-m", "zsmtp"], rounds)
        if os.environ.keys() & {"ZSMTP_CRASH_ROUNDS", "ZSMTP_CRASH_SEED"}:
            sys.stdout.write(f"\n{way}: {account}\n")
        self.assertEqual((account.lost, account.lies, account.unexcused), ([], [], []), str(account))
        self.assertTrue(account.repeated <= account.in_flight, str(account))

    def test_with_pipelining_nothing_is_lost(self) -> None:
        self.killed("pipelining")

    def test_with_chunking_nothing_is_lost(self) -> None:
        self.killed("chunking")

    def test_by_lmtp_nothing_is_lost(self) -> None:
        self.killed("lmtp")

    def test_one_command_at_a_time_nothing_is_lost(self) -> None:
        self.killed("one command at a time")


class TheHarnessWithAFakeAgent(CrashCase):
    """A loop that finds nothing wrong with a wrong agent proves nothing."""

    def killed(self, habit: str, *, way: str = "pipelining", rounds: int = 6) -> Account:
        fake = Path(__file__).with_name("fakeagent.py")
        return self.loop(way, [sys.executable, "-S", "-E", str(fake), habit], rounds, load=20)

    def test_an_honest_agent_passes(self) -> None:
        account = self.killed("honest")
        self.assertEqual((account.lost, account.lies, account.unexcused), ([], [], []), str(account))

    def test_an_honest_agent_passes_by_lmtp(self) -> None:
        account = self.killed("honest", way="lmtp")
        self.assertEqual((account.lost, account.lies, account.unexcused), ([], [], []), str(account))

    def test_marks_before_sending_are_found(self) -> None:
        account = self.killed("marks-early", rounds=12)
        self.assertTrue(account.lies, str(account))
        self.assertTrue(account.lost, str(account))

    def test_reports_before_the_final_reply_are_found(self) -> None:
        account = self.killed("reports-early")
        self.assertIn("reported before the server had answered", "".join(account.lies))

    def test_marks_long_after_the_final_reply_are_found(self) -> None:
        account = self.killed("marks-late")
        self.assertTrue(account.unexcused, str(account))

    def test_reports_without_a_mark_are_found(self) -> None:
        account = self.killed("never-marks", rounds=2)
        self.assertIn("but marked b' '", "".join(account.lies))

    def test_failures_made_of_deferrals_are_found(self) -> None:
        account = self.killed("gives-up", rounds=3)
        self.assertIn("reported as failed, not refused", "".join(account.lies))
