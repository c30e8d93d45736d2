"""A deadline that moves with every step, over a timer that is seldom touched.

Deadlines change several times for each message and nearly never pass; a timer of the reactor costs more than
the comparison that shows it is not needed.  So the timer is only set when it must fire earlier than it will
anyway; when it fires before the deadline it is set again for the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Deadline"]

_TOLERANCE = 0.001


class Deadline:
    """The deadline of one connection.  `now` gives seconds, `set_timer` sets the timer anew or (None) stops
    it.
    """

    __slots__ = ("_at", "_fires_at", "_now", "_set_timer", "_step")

    def __init__(self, now: Callable[[], float], set_timer: Callable[[float | None], object]) -> None:
        self._now = now
        self._set_timer = set_timer
        self._at: float | None = None
        self._fires_at: float | None = None
        self._step: object = None

    def run(self, seconds: float | None, step: object) -> None:
        """Let `seconds` run for `step`, from now on if they do not run for this step already.

        None: nothing is waited for.
        """
        if seconds is None:
            self._at = None
            return
        if self._at is not None and self._step == step:
            return
        self._at = at = self._now() + seconds
        self._step = step
        if self._fires_at is None or self._fires_at > at:
            self._fires_at = at
            self._set_timer(seconds)

    def has_passed(self) -> bool:
        """Say whether the deadline has passed, now that the timer has fired; else set the timer again."""
        self._fires_at = None
        if self._at is None:
            return False
        left = self._at - self._now()
        if left <= _TOLERANCE:
            return True
        self._fires_at = self._at
        self._set_timer(left)
        return False

    def end(self) -> None:
        """Nothing more will be waited for: leave no timer behind."""
        self._at = self._fires_at = None
        self._set_timer(None)
