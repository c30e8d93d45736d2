"""Tests of zsmtp.daemon.leftovers."""

from __future__ import annotations

import os
import time

from twisted.trial.unittest import SynchronousTestCase

from zsmtp.daemon.leftovers import look_for_leftovers
from zsmtp.testing.spool import SpoolMaker

DAY = 86400.0


class Leftovers(SynchronousTestCase):
    """Old enough, and nobody's."""

    def setUp(self) -> None:
        self.spool = SpoolMaker(hash_levels=1)
        self.addCleanup(self.spool.remove)
        self.now = time.time()

    def touch(self, *parts: str, octets: bytes = b"") -> None:
        path = os.path.join(self.spool.postoffice, *parts)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(octets)

    def test_drafts_are_removed_when_they_are_a_day_old(self) -> None:
        self.touch("transport", ".d2xiojl5")
        self.touch("queue", ".abc_1234")
        self.touch("transport", ".report.1.2.3")
        self.touch("transport", ".other")
        self.assertEqual(look_for_leftovers(self.spool.postoffice, self.now + DAY - 60).drafts, [])
        found = look_for_leftovers(self.spool.postoffice, self.now + DAY + 60)
        self.assertEqual(sorted(found.drafts), ["queue/.abc_1234", "transport/.d2xiojl5"])
        self.assertEqual(sorted(os.listdir(self.spool.transport)), [".other", ".report.1.2.3"])

    def test_message_without_control_file_is_told_and_kept(self) -> None:
        mail = self.spool.add()
        orphan = self.spool.add()
        os.unlink(orphan.control_path)
        self.assertEqual(look_for_leftovers(self.spool.postoffice, self.now + 60).orphans, [])
        found = look_for_leftovers(self.spool.postoffice, self.now + 2 * 3600)
        self.assertEqual(found.orphans, [os.path.relpath(orphan.message_path, self.spool.postoffice)])
        self.assertTrue(os.path.exists(orphan.message_path) and os.path.exists(mail.message_path))

    def test_message_of_a_file_put_aside_or_of_a_report_is_no_orphan(self) -> None:
        aside, report = self.spool.add(), self.spool.add()
        os.rename(
            aside.control_path, os.path.join(os.path.dirname(aside.control_path), f"bad-{aside.number}")
        )
        os.rename(report.control_path, os.path.join(self.spool.transport, ".report.1.2.3"))
        self.assertEqual(look_for_leftovers(self.spool.postoffice, self.now + 2 * 3600).orphans, [])

    def test_spool_that_is_gone_has_none(self) -> None:
        self.assertEqual(look_for_leftovers("/nonexistent", self.now), ([], []))
