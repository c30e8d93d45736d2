"""Daemons killed at random moments lose nothing, claim nothing, and repeat only what was in flight.

ZSMTP_DAEMON_CRASH_ROUNDS is how many kills there are (default 5), ZSMTP_CRASH_SEED where the chance starts;
with one of them set, the account is printed.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.real.daemoncrash import DaemonCrashLoop

ROUNDS = int(os.environ.get("ZSMTP_DAEMON_CRASH_ROUNDS", "5"))
SEED = int(os.environ.get("ZSMTP_CRASH_SEED", "1"))


class TheDaemonKilledUnderLoad(SynchronousTestCase):
    """`twistd zsmtp` with submitters and a server that refuses some."""

    timeout = 60 + 20 * ROUNDS

    def test_nothing_is_lost_and_no_report_is_doubled(self) -> None:
        with tempfile.TemporaryDirectory(prefix="zsmtp-crash.") as folder:
            account = DaemonCrashLoop(Path(folder), seed=SEED).run(ROUNDS)
        if os.environ.keys() & {"ZSMTP_DAEMON_CRASH_ROUNDS", "ZSMTP_CRASH_SEED"}:
            sys.stdout.write(f"\n{account}\n")
        self.assertEqual((account.lost, account.unexcused, account.damaged), ([], [], []), str(account))
        self.assertGreater(account.reports, 0)
        self.assertNotIn("Traceback", account.tail)
