"""From valid samples to octets that nobody would write: a mutator that a seed makes repeatable."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

__all__ = ["MUTATIONS", "mutated"]

_INTERESTING = (0, 1, 9, 10, 13, 31, 32, 34, 43, 45, 46, 58, 64, 92, 126, 127, 128, 192, 255)
_NUMBERS = (b"0", b"-1", b"127", b"255", b"65535", b"65536", b"4294967295", b"9" * 19, b"00", b"+1", b"1e9")


def mutated(seeds: Sequence[bytes], tokens: Sequence[bytes], random: Random, longest: int) -> bytes:
    """Make an input: one of the samples with one to a few dozen changes, or none at times."""
    data = bytearray(random.choice(seeds))
    for _ in range(random.choice((0, 1, 1, 1, 2, 2, 3, 4, 6, 10, 20))):
        MUTATIONS[random.randrange(len(MUTATIONS))](data, random, seeds, tokens)
        if len(data) > longest:
            del data[longest:]
    return bytes(data)


def _span(data: bytearray, random: Random) -> tuple[int, int]:
    start = random.randint(0, len(data))
    return start, min(len(data), start + random.choice((1, 1, 2, 3, 5, 8, 20, 100)))


def _flip(data: bytearray, random: Random, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _put(data: bytearray, random: Random, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] = random.choice(_INTERESTING)


def _insert(data: bytearray, random: Random, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    at = random.randint(0, len(data))
    data[at:at] = bytes([random.choice(_INTERESTING)]) * random.choice((1, 1, 1, 2, 10, 300))


def _delete(data: bytearray, random: Random, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    start, end = _span(data, random)
    del data[start:end]


def _repeat(data: bytearray, random: Random, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    start, end = _span(data, random)
    data[start:end] = data[start:end] * random.choice((2, 2, 3, 10, 60))


def _copy(data: bytearray, random: Random, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    start, end = _span(data, random)
    at = random.randint(0, len(data))
    data[at:at] = data[start:end]


def _token(data: bytearray, random: Random, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    at = random.randint(0, len(data))
    end = at if random.random() < 0.5 else min(len(data), at + random.randint(1, 10))
    data[at:end] = random.choice(tokens) if tokens else b""


def _number(data: bytearray, random: Random, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    places = [at for at, octet in enumerate(data) if 48 <= octet <= 57]
    if places:
        at = end = random.choice(places)
        while end < len(data) and 48 <= data[end] <= 57:
            end += 1
        data[at:end] = random.choice(_NUMBERS)


def _cut(data: bytearray, random: Random, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    del data[random.randint(0, len(data)) :]


def _splice(data: bytearray, random: Random, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    other = random.choice(seeds)
    at, start = random.randint(0, len(data)), random.randint(0, len(other))
    data[at:] = other[start:]


def _line(data: bytearray, random: Random, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    """Leave a line out, double it, or move it."""
    lines = bytes(data).splitlines(keepends=True)
    if not lines:
        return
    line = lines.pop(random.randrange(len(lines)))
    for _ in range(random.choice((0, 1, 2))):
        lines.insert(random.randint(0, len(lines)), line)
    data[:] = b"".join(lines)


MUTATIONS = (_flip, _put, _insert, _delete, _repeat, _copy, _token, _token, _number, _cut, _splice, _line)
