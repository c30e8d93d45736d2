"""Tests of zsmtp.daemon.schedule."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.daemon.schedule import (
    Reason,
    RetryRules,
    after_failure,
    after_refusal,
    asked,
    blocked,
    resumed,
)

DAY = 86400.0
RULES = RetryRules(
    intervals=(60.0, 120.0), first_refusal=10.0, maybe_delivered=300.0, expiry=1000.0, jitter=0.0
)


class AfterARefusal(SynchronousTestCase):
    """A server said "not now" of a message."""

    def wait(
        self, attempts: int, age: float = 0.0, *, maybe: bool = False, draw: float = 0.0
    ) -> tuple[float, str]:
        found = after_refusal(RULES, now=5.0, age=age, attempts=attempts, maybe_delivered=maybe, draw=draw)
        return found.until - 5.0, found.rule

    def test_first_one_is_taken_for_greylisting(self) -> None:
        self.assertEqual(self.wait(1), (10.0, "first-refusal"))

    def test_further_ones_follow_the_list(self) -> None:
        self.assertEqual(
            [self.wait(n) for n in (2, 3, 9)], [(60.0, "retry[0]"), (120.0, "retry[1]"), (120.0, "retry[1]")]
        )

    def test_maybe_delivered_waits_longer(self) -> None:
        self.assertEqual(self.wait(1, maybe=True), (300.0, "maybe-delivered"))

    def test_maybe_delivered_never_waits_shorter_than_others(self) -> None:
        rules = RULES._replace(maybe_delivered=1.0)
        found = after_refusal(rules, now=0.0, age=0.0, attempts=3, maybe_delivered=True, draw=0.0)
        self.assertEqual(found.until, 120.0)

    def test_wait_ends_with_the_time_of_the_message(self) -> None:
        self.assertEqual(self.wait(3, age=950.0), (50.0, "expiry"))

    def test_old_message_is_given_up(self) -> None:
        found = after_refusal(RULES, now=5.0, age=1000.0, attempts=3, maybe_delivered=False, draw=0.0)
        self.assertEqual((found.reason, found.until), (Reason.EXPIRED, 5.0))

    @given(
        some.floats(-DAY, 2000.0),
        some.integers(1, 1000),
        some.booleans(),
        some.floats(0, 1),
        some.floats(0, 1),
    )
    def test_nothing_waits_for_ever(
        self, age: float, attempts: int, maybe: bool, draw: float, jitter: float
    ) -> None:
        rules = RULES._replace(jitter=jitter)
        found = after_refusal(rules, now=7.0, age=age, attempts=attempts, maybe_delivered=maybe, draw=draw)
        self.assertTrue(7.0 <= found.until <= 7.0 + 300.0 * 2)
        self.assertEqual(found.reason is Reason.EXPIRED, age >= rules.expiry)
        if age < rules.expiry and age >= 0:
            self.assertLessEqual(age + found.until - 7.0, rules.expiry + 1e-6)


class AfterAFailure(SynchronousTestCase):
    """No session could be opened."""

    def test_intervals_follow_the_list(self) -> None:
        found = [after_failure(RULES, now=0.0, failures=n, draw=0.0) for n in (1, 2, 3)]
        self.assertEqual([each.until for each in found], [60.0, 120.0, 120.0])
        self.assertEqual({each.reason for each in found}, {Reason.UNREACHABLE})

    def test_chance_adds_a_part(self) -> None:
        rules = RULES._replace(jitter=0.5)
        self.assertEqual(after_failure(rules, now=0.0, failures=1, draw=0.5).until, 75.0)


class Others(SynchronousTestCase):
    """What else decides when something is due."""

    def test_wait_goes_on_after_a_restart(self) -> None:
        self.assertEqual(resumed(RULES, now=3.0, wait=50.0, attempts=4)[2:5], (3.0, 53.0, 4))

    def test_clock_that_jumped_makes_nothing_wait_for_long(self) -> None:
        self.assertEqual(resumed(RULES, now=3.0, wait=1e9, attempts=4).until, 303.0)
        self.assertEqual(resumed(RULES, now=3.0, wait=-1e9, attempts=4).until, 3.0)

    def test_limit_and_wish_are_named(self) -> None:
        self.assertEqual(blocked("messages/smtp", now=1.0, until=2.0)[:2], (Reason.LIMIT, "messages/smtp"))
        self.assertEqual(asked("etrn", now=1.0)[1:4], ("etrn", 1.0, 1.0))

    def test_defaults_are_those_of_the_standard(self) -> None:
        """RFC 5321 4.5.4.1: at least 30 minutes, given up after 4 to 5 days at least."""
        self.assertGreaterEqual(min(RetryRules().intervals), 30 * 60)
        self.assertGreaterEqual(RetryRules().expiry, 4 * DAY)

    def test_decision_can_be_read(self) -> None:
        text = str(after_refusal(RULES, now=0.0, age=7.0, attempts=2, maybe_delivered=False, draw=0.0))
        self.assertEqual(text, "refused for now: wait 60 s (rule retry[0], attempts 2, age 7 s)")
