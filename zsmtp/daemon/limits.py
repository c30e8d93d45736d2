"""How much may go on at once, and how fast: one interface for every limit.

`lease` takes a place among those that may be busy at the same time, `acquire` takes from a rate.  Both either
grant or say until when to wait and which limit it is.  A lease ends by itself when it is not renewed in time,
so that a holder that has vanished blocks nobody.  Keys are tuples such as `("channel", "smtp")`; a key
without a limit is unlimited.

Pure: time is an argument.  The state is in memory and may be lost: limits begin anew then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Key", "Lease", "Limits", "Rate", "Wait"]

Key = tuple[str, ...]

_RATES_REMEMBERED: Final = 10_000
_LOOK_AGAIN: Final = 60.0
"""seconds after which a place is asked for again, if nobody gave one back before"""


class Rate(NamedTuple):
    """`messages` in `seconds`, of which all may come at once."""

    messages: int
    seconds: float


class Wait(NamedTuple):
    """Not granted: the limit, and when to ask again."""

    limit: str
    until: float


class Lease(NamedTuple):
    """A granted place, to be given back."""

    number: int
    keys: tuple[Key, ...]


class Limits:
    """The limits of one configuration.

    `places` says how many leases of a key may exist; `rates` how fast keys are used.  A rate is found by the
    first two parts of a key, so that each destination of a channel has its own: `("messages", "smtp",
    "example.org")`.
    """

    def __init__(self, places: Mapping[Key, int], rates: Mapping[Key, Rate]) -> None:
        self._places = places
        self._rates = rates
        self._held: dict[Key, dict[int, float]] = {}
        self._ready: dict[Key, float] = {}  # when the allowance of a key is whole again
        self._number = 0

    def acquire(self, key: Key, cost: int, now: float) -> Wait | None:
        """Take `cost` from the rate of `key`; None if it is granted.  Source: the generic cell rate
        algorithm.
        """
        rate = self._rates.get(key[:2])
        if rate is None:
            return None
        step = rate.seconds / rate.messages
        whole = max(self._ready.get(key, now), now) + step * cost
        at_once = max(
            rate.seconds, step * cost
        )  # what exceeds the whole allowance is granted when it is full
        if whole - now > at_once + step * 1e-6:
            return Wait("/".join(key), whole - at_once)
        if len(self._ready) >= _RATES_REMEMBERED:
            self._ready = {known: at for known, at in self._ready.items() if at > now}
        self._ready[key] = whole
        return None

    def lease(self, keys: Sequence[Key], ttl: float, now: float) -> Lease | Wait:
        """Take one place of each key, or none of any."""
        for key in keys:
            places = self._places.get(key)
            if places is not None and self._busy(key, now) >= places:
                first = min(self._held[key].values(), default=now)
                return Wait("/".join(key), min(first, now + _LOOK_AGAIN))
        self._number += 1
        lease = Lease(self._number, tuple(keys))
        self.renew(lease, ttl, now)
        return lease

    def renew(self, lease: Lease, ttl: float, now: float) -> None:
        """Hold the places of `lease` for another `ttl` seconds."""
        for key in lease.keys:
            self._held.setdefault(key, {})[lease.number] = now + ttl

    def release(self, lease: Lease) -> None:
        """Give the places back; more than once does no harm."""
        for key in lease.keys:
            held = self._held.get(key, {})
            held.pop(lease.number, None)
            if not held:
                self._held.pop(key, None)

    def _busy(self, key: Key, now: float) -> int:
        held = self._held.get(key, {})
        for number in [number for number, until in held.items() if until <= now]:
            del held[number]
        return len(held)
