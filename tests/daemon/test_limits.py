"""Tests of zsmtp.daemon.limits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.daemon.limits import Lease, Limits, Rate, Wait

ALL, SMTP = ("destinations",), ("destinations", "smtp")


class Places(SynchronousTestCase):
    """How many at once."""

    def setUp(self) -> None:
        self.limits = Limits({ALL: 3, SMTP: 2}, {})

    def lease(self, *keys: tuple[str, ...], now: float = 0.0) -> Lease | Wait:
        return self.limits.lease(keys, 100.0, now)

    def granted(self, *keys: tuple[str, ...], now: float = 0.0) -> Lease:
        lease = self.lease(*keys, now=now)
        assert isinstance(lease, Lease)
        return lease

    def test_place_is_free_again_when_it_is_given_back(self) -> None:
        first = self.granted(ALL, SMTP)
        self.granted(ALL, SMTP)
        refused = self.lease(ALL, SMTP)
        assert isinstance(refused, Wait)
        self.assertEqual(refused.limit, "destinations/smtp")
        self.limits.release(first)
        self.limits.release(first)
        self.granted(ALL, SMTP)

    def test_refused_lease_takes_no_place_of_any_key(self) -> None:
        self.granted(ALL, SMTP), self.granted(ALL, SMTP)
        for _ in range(5):
            self.assertIsInstance(self.lease(ALL, SMTP), Wait)
        self.granted(ALL)

    def test_lease_that_nobody_renews_ends(self) -> None:
        first = self.granted(SMTP)
        self.granted(SMTP)
        self.limits.renew(first, 100.0, 90.0)
        self.assertIsInstance(self.lease(SMTP, now=99.0), Wait)
        self.granted(SMTP, now=100.0)
        self.assertIsInstance(self.lease(SMTP, now=100.0), Wait)

    def test_key_without_a_limit_is_unlimited(self) -> None:
        for _ in range(1000):
            self.granted(("other",))


class Rates(SynchronousTestCase):
    """How fast."""

    def test_allowance_may_come_at_once_and_then_as_it_grows(self) -> None:
        limits = Limits({}, {("messages", "smtp"): Rate(3, 30.0)})
        key = ("messages", "smtp", "example.net")
        self.assertEqual([limits.acquire(key, 1, 0.0) for _ in range(3)], [None] * 3)
        refused = limits.acquire(key, 1, 0.0)
        assert refused is not None
        self.assertEqual(refused, Wait("messages/smtp/example.net", 10.0))
        self.assertIsNone(limits.acquire(key, 1, refused.until))
        self.assertIsNotNone(limits.acquire(key, 1, refused.until))

    def test_each_destination_has_its_own(self) -> None:
        limits = Limits({}, {("messages", "smtp"): Rate(1, 60.0)})
        self.assertIsNone(limits.acquire(("messages", "smtp", "a"), 1, 0.0))
        self.assertIsNone(limits.acquire(("messages", "smtp", "b"), 1, 0.0))
        self.assertIsNotNone(limits.acquire(("messages", "smtp", "a"), 1, 0.0))

    @given(some.integers(1, 50), some.floats(1, 1000), some.lists(some.floats(0, 100), max_size=100))
    def test_never_more_than_twice_the_rate_in_its_time(
        self, messages: int, seconds: float, gaps: list[float]
    ) -> None:
        limits = Limits({}, {("m", "c"): Rate(messages, seconds)})
        now, granted = 0.0, []
        for gap in gaps:
            now += gap
            wait = limits.acquire(("m", "c", "d"), 1, now)
            if wait is None:
                granted.append(now)
            else:
                self.assertGreater(wait.until, now)
                # the times are sums of many floats, whose last digits differ by the order of adding
                self.assertLessEqual(wait.until - now, seconds * (1 + 1e-9))
        for start in granted:
            self.assertLessEqual(sum(start <= at < start + seconds for at in granted), 2 * messages)
