"""Tests of zsmtp.daemon.journal."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from zsmtp.daemon.journal import Journal, Memory
from zsmtp.daemon.queue import Entry, Key, Queue

NET = Key(b"smtp", b"example.net")


class JournalTest(SynchronousTestCase):
    """A journal in a folder of the test."""

    def setUp(self) -> None:
        self.path = self.mktemp()
        self.warnings: list[str] = []
        self.journal = self.open()

    def open(self) -> Journal:
        journal = Journal(self.path, self.warnings.append)
        self.addCleanup(journal.close)
        self.destinations = journal.load()
        return journal

    def again(self) -> Journal:
        """Close and open."""
        self.journal.close()
        self.journal = self.open()
        return self.journal

    def entry(self, path: str = "77", attempts: int = 2, maybe: bool = True) -> Entry:
        return Queue().add(NET, path, 5.0, seen=6.0, attempts=attempts, maybe_delivered=maybe)


class Remembering(JournalTest):
    """What is noted is known after a restart."""

    def test_job(self) -> None:
        self.journal.note(self.entry(), 99.0)
        self.assertEqual(self.again().recall("77", NET, 5.0), Memory(2, 99.0, True))

    def test_latest_word_counts(self) -> None:
        self.journal.note(self.entry(), 99.0)
        self.journal.flush()
        self.journal.note(self.entry(attempts=3), 100.0)
        self.assertEqual(self.again().recall("77", NET, 5.0), Memory(3, 100.0, True))

    def test_other_message_of_the_same_name_is_new(self) -> None:
        self.journal.note(self.entry(), 99.0)
        self.assertIsNone(self.again().recall("77", NET, 5.5))

    def test_finished_job_is_forgotten(self) -> None:
        self.journal.note(self.entry(), 99.0)
        self.journal.flush()
        self.journal.forget("77", NET)
        self.assertIsNone(self.again().recall("77", NET, 5.0))

    def test_job_that_was_never_noted_costs_nothing(self) -> None:
        self.journal.forget("77", NET)
        self.assertEqual(self.journal._jobs, {})

    def test_job_that_nobody_asked_for_is_forgotten(self) -> None:
        self.journal.note(self.entry("1"), 99.0)
        self.journal.note(self.entry("2"), 99.0)
        self.again().recall("1", NET, 5.0)
        self.journal.forget_unclaimed()
        self.again()
        self.assertIsNotNone(self.journal.recall("1", NET, 5.0))
        self.assertIsNone(self.journal.recall("2", NET, 5.0))

    def test_destination(self) -> None:
        destination = self.entry().destination
        destination.failures = 3
        self.journal.note_destination(destination, 50.0)
        self.again()
        self.assertEqual(self.destinations, {NET: (3, 50.0)})
        destination.failures = 0
        self.journal.note_destination(destination, 0.0)
        self.again()
        self.assertEqual(self.destinations, {})


class Broken(JournalTest):
    """A file that is of no use is begun anew; without any, work goes on."""

    def test_file_that_is_no_database(self) -> None:
        self.journal.close()
        with open(self.path, "wb") as file:
            file.write(b"no database at all" * 100)
        self.journal = self.open()
        self.journal.note(self.entry(), 99.0)
        self.assertEqual(self.again().recall("77", NET, 5.0), Memory(2, 99.0, True))
        self.assertIn("begun anew", self.warnings[0])

    def test_file_of_another_version(self) -> None:
        assert self.journal._connection is not None
        self.journal._connection.execute("PRAGMA user_version = 9")
        self.again()
        self.assertIn("version 9 is not known", self.warnings[0])

    def test_folder_that_is_missing(self) -> None:
        journal = Journal(os.path.join(self.path, "no", "where"), self.warnings.append)
        journal.note(self.entry(), 99.0)
        journal.flush()
        self.assertEqual((journal.load(), journal.recall("77", NET, 5.0)), ({}, None))
        self.assertIn("make the folder writable", self.warnings[0])
        journal.close()

    def test_table_that_is_missing(self) -> None:
        assert self.journal._connection is not None
        self.journal._connection.execute("DROP TABLE job")
        self.journal.note(self.entry(), 99.0)
        self.journal.flush()
        self.assertIn("begun anew", self.warnings[0])
        self.journal.note(self.entry(), 99.0)
        self.assertEqual(self.again().recall("77", NET, 5.0), Memory(2, 99.0, True))
