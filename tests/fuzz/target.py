"""What is fuzzed: samples, words of its language, and a check that raises where a promise is broken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

__all__ = ["Target"]


class Target(NamedTuple):
    """`check` takes an input and raises, whatever exception, if something is wrong.

    An input that is refused as the code promises to refuse it is all right.  `longest` is the most octets
    that an input has.
    """

    name: str
    seeds: Sequence[bytes]
    tokens: Sequence[bytes]
    check: Callable[[bytes], None]
    longest: int = 4096
