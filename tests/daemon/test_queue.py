"""Tests of zsmtp.daemon.queue."""

from __future__ import annotations

import sys
import tracemalloc

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.daemon.queue import Key, Queue
from zsmtp.daemon.schedule import Decision, Reason, asked
from zsmtp.errors import Misuse

NET, ORG = Key(b"smtp", b"example.net"), Key(b"smtp", b"example.org")


def until(time: float) -> Decision:
    """A decision to wait."""
    return Decision(Reason.REFUSED, "retry[0]", 0.0, time)


class QueueTest(SynchronousTestCase):
    """A queue and its time."""

    def setUp(self) -> None:
        self.queue = Queue()
        self.number = 0

    def add(self, key: Key, due: float = 0.0, since: float = 0.0) -> str:
        """Add a job."""
        self.number += 1
        path = str(self.number)
        self.queue.add(key, path, since, seen=0.0, decision=until(due))
        return path

    def take_all(self, now: float) -> list[str]:
        """Take everything that is due."""
        taken = []
        while (destination := self.queue.take_due(now)) is not None:
            while (entry := self.queue.take(destination, now)) is not None:
                taken.append(entry.path)
                self.queue.done(entry)
        return taken


class Order(QueueTest):
    """Who comes first."""

    def test_jobs_come_when_they_are_due(self) -> None:
        late, soon, now = self.add(NET, 9.0), self.add(NET, 5.0), self.add(ORG)
        self.assertEqual(self.take_all(0.0), [now])
        self.assertEqual(self.queue.next_due(), 5.0)
        self.assertEqual(self.take_all(6.0), [soon])
        self.assertEqual(self.take_all(9.0), [late])
        self.assertEqual((self.queue.next_due(), len(self.queue), list(self.queue)), (float("inf"), 0, []))

    def test_destination_is_given_out_once(self) -> None:
        self.add(NET)
        first = self.queue.take_due(0.0)
        self.assertIsNotNone(first)
        self.assertIsNone(self.queue.take_due(0.0))
        assert first is not None
        self.queue.look(first)
        self.assertIs(self.queue.take_due(0.0), first)

    def test_new_job_lets_it_be_given_out_again(self) -> None:
        self.add(NET)
        self.queue.take_due(0.0)
        self.add(NET)
        self.assertIsNotNone(self.queue.take_due(0.0))

    def test_waiting_destination_holds_its_jobs(self) -> None:
        self.add(NET)
        destination = self.queue.destination(NET)
        self.queue.wait(destination, until(30.0))
        self.assertEqual((self.queue.next_due(), self.queue.waiting(destination, 29.0)), (30.0, 0))
        self.assertIsNone(self.queue.take(destination, 29.0))
        self.assertEqual(self.queue.waiting(destination, 30.0), 1)

    def test_given_back_job_waits(self) -> None:
        self.add(NET)
        destination = self.queue.destination(NET)
        entry = self.queue.take(destination, 0.0)
        assert entry is not None
        self.queue.give_back(entry, until(7.0))
        self.assertEqual(
            (entry.due, entry.decision.reason, self.queue.next_due()), (7.0, Reason.REFUSED, 7.0)
        )

    def test_hastened_destination_is_due_with_all_its_jobs(self) -> None:
        self.add(NET, 100.0), self.add(NET, 50.0)
        destination = self.queue.destination(NET)
        self.queue.wait(destination, until(30.0))
        self.queue.hasten(destination, asked("etrn", now=2.0))
        self.assertEqual(sorted(self.take_all(2.0)), ["1", "2"])

    @given(some.lists(some.tuples(some.sampled_from([NET, ORG]), some.integers(0, 20)), max_size=30))
    def test_nothing_is_early_late_or_forgotten(self, jobs: list[tuple[Key, int]]) -> None:
        queue = Queue()
        for number, (key, due) in enumerate(jobs):
            queue.add(key, str(number), 0.0, seen=0.0, decision=until(due))
        taken = []
        for now in range(21):
            while (destination := queue.take_due(now)) is not None:
                while (entry := queue.take(destination, now)) is not None:
                    taken.append((int(entry.path), now))
                    queue.done(entry)
        self.assertEqual(sorted(taken), [(number, due) for number, (_, due) in enumerate(jobs)])


class Books(QueueTest):
    """What is taken is counted, and comes back once."""

    def test_old_jobs_are_taken_whether_due_or_not(self) -> None:
        old = self.add(NET, 100.0, since=1.0)
        self.add(NET, 100.0, since=5.0)
        destination = self.queue.destination(NET)
        self.assertEqual([each.path for each in self.queue.take_older(destination, 1.0)], [old])
        self.assertEqual((destination.taken, len(destination.jobs)), (1, 1))

    def test_job_ends_once(self) -> None:
        self.add(NET)
        entry = self.queue.take(self.queue.destination(NET), 0.0)
        assert entry is not None
        self.queue.done(entry)
        self.assertRaises(Misuse, self.queue.done, entry)
        self.assertRaises(Misuse, self.queue.give_back, entry, until(1.0))

    def test_failed_destination_is_remembered_until_its_wait_is_over(self) -> None:
        self.add(NET)
        destination = self.queue.destination(NET)
        destination.failures = 1
        self.queue.wait(destination, until(30.0))
        for entry in self.queue.take_older(destination, 0.0):
            self.queue.done(entry)
        self.queue.forget_idle(29.0)
        self.assertIs(self.queue.find(NET), destination)
        self.queue.forget_idle(30.0)
        self.assertIsNone(self.queue.find(NET))

    def test_waiting_message_takes_little_memory(self) -> None:
        paths = [f"A/B/{number}" for number in range(10_000)]
        tracemalloc.start()
        try:
            for path in paths:
                self.queue.add(NET, path, float(len(path)), seen=1.0)
            taken = tracemalloc.get_traced_memory()[0] / len(paths)
        finally:
            tracemalloc.stop()
        self.assertLess(taken + sys.getsizeof(paths[0]), 260)
