"""When a message is tried again, and when it is given up: policy as values.

Every step of the queue that makes something wait is a `Decision`: its reason, the rule of the configuration
that it follows, what it was based on, and until when it holds.  Nothing waits without one, none waits for
ever, and the age of the message is looked at in each of them: a message is given up at the first attempt that
fails after `expiry`, and one that waits is tried at that time at the latest.

Two kinds of trouble are kept apart.  Where no session could be opened the whole destination waits, so that a
dead host costs one attempt for each interval and not one for each message; what a server said of one message
makes only this message wait.  A first refusal for now is likely to be greylisting and is tried again soon.
*Maybe delivered* (the connection was lost between the last octet and the reply) is a state of its own with a
longer wait, since a second copy may be the price of the next attempt.

All times are seconds; `now` is that of the caller's clock, `age` that of the message, `draw` a random number
from 0 to 1.  Sources: RFC 5321 section 4.5.4.1, RFC 1047 for the lost reply.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

__all__ = [
    "NEW",
    "Decision",
    "Reason",
    "RetryRules",
    "after_failure",
    "after_refusal",
    "asked",
    "blocked",
    "resumed",
]

_MINUTE: Final = 60.0
_HOUR: Final = 3600.0
_DAY: Final = 86400.0


class Reason(Enum):
    """Why something waits, or waits no longer."""

    NEW = "new"
    RESUMED = "known from before the restart"
    REFUSED = "refused for now"
    MAYBE_DELIVERED = "maybe delivered"
    UNREACHABLE = "no session with any host"
    LIMIT = "limit reached"
    IN_USE = "in use by another process"
    FAULT = "an error of ours"
    ASKED = "asked for"
    EXPIRED = "expired"


class RetryRules(NamedTuple):
    """The rules of one channel.

    `intervals` are the waits after the first, second and further attempt, of which the last one repeats;
    `first_refusal` takes the place of the first one where a server said 4yz; `maybe_delivered` is the
    shortest wait after a lost reply.  `jitter` is the part of an interval that chance may add to it.
    """

    intervals: tuple[float, ...] = (30 * _MINUTE, 30 * _MINUTE, _HOUR, 2 * _HOUR, 3 * _HOUR)
    first_refusal: float = 5 * _MINUTE
    maybe_delivered: float = 2 * _HOUR
    expiry: float = 5 * _DAY
    jitter: float = 0.1


class Decision(NamedTuple):
    """One step of policy: why, by which rule, from what, until when.

    `rule` names the key of the configuration, or the limit.  `attempts` are those of the message, or the
    failures of the destination in a row; `age` is that of the message, 0 for a destination.
    """

    reason: Reason
    rule: str
    at: float
    until: float
    attempts: int = 0
    age: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.reason.value}: wait {max(self.until - self.at, 0.0):.0f} s "
            f"(rule {self.rule}, attempts {self.attempts}, age {self.age:.0f} s)"
        )


NEW: Final = Decision(Reason.NEW, "new", 0.0, 0.0)
"""What holds for a message that was never tried."""


def after_refusal(
    rules: RetryRules, *, now: float, age: float, attempts: int, maybe_delivered: bool, draw: float
) -> Decision:
    """Decide what follows an attempt that ended without success or failure for some recipients.

    `attempts` counts this one.  The reason is EXPIRED where the message is to be given up.
    """
    if age >= rules.expiry:
        return Decision(Reason.EXPIRED, "expiry", now, now, attempts, age)
    if maybe_delivered:
        reason, rule = Reason.MAYBE_DELIVERED, "maybe-delivered"
        wait = max(rules.maybe_delivered, _interval(rules, attempts)[1])
    elif attempts == 1:
        reason, rule, wait = Reason.REFUSED, "first-refusal", rules.first_refusal
    else:
        reason = Reason.REFUSED
        rule, wait = _interval(rules, attempts - 1)
    wait *= 1 + rules.jitter * draw
    if age + wait > rules.expiry:
        rule, wait = "expiry", rules.expiry - max(age, 0.0)
    return Decision(reason, rule, now, now + wait, attempts, age)


def after_failure(rules: RetryRules, *, now: float, failures: int, draw: float) -> Decision:
    """Decide how long a destination is left alone with which no session could be opened, now `failures`
    times.
    """
    rule, wait = _interval(rules, failures)
    return Decision(Reason.UNREACHABLE, rule, now, now + wait * (1 + rules.jitter * draw), failures)


def resumed(rules: RetryRules, *, now: float, wait: float, attempts: int) -> Decision:
    """Decide how long something waits that waited before a restart; `wait` is what was left of it.

    Clocks may have jumped meanwhile: it is never longer than the rules could ever have made it.
    """
    longest = max(*rules.intervals, rules.first_refusal, rules.maybe_delivered) * (1 + rules.jitter)
    return Decision(Reason.RESUMED, "journal", now, now + min(max(wait, 0.0), longest), attempts)


def asked(who: str, *, now: float) -> Decision:
    """Decide that something is tried now because somebody wants it so."""
    return Decision(Reason.ASKED, who, now, now)


def blocked(limit: str, *, now: float, until: float) -> Decision:
    """Decide that something waits because a limit is reached."""
    return Decision(Reason.LIMIT, limit, now, until)


def _interval(rules: RetryRules, number: int) -> tuple[str, float]:
    """Return the interval after the attempt with this number, from 1 on, and the name of its rule."""
    index = min(max(number, 1), len(rules.intervals)) - 1
    return f"retry[{index}]", rules.intervals[index]
