"""The loop: mutate, check, and keep what broke a promise, made small and with the command to repeat it."""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.fuzz.mutate import mutated
from tests.fuzz.target import Target

__all__ = ["Failure", "fuzz", "minimized"]

_TRIALS = 400  # attempts to make a failing input smaller
_SLOW = 5.0  # seconds of CPU for one input, above which it is a failure


class Failure(NamedTuple):
    """An input that broke a promise; `kind` names where, so that each place is told of once."""

    target: str
    kind: str
    octets: bytes
    text: str

    def save(self, folder: Path) -> Path:
        """Write the input down; the name is that of its content."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.target}-{hashlib.sha256(self.octets).hexdigest()[:12]}"
        path.write_bytes(self.octets)
        return path


def fuzz(
    target: Target,
    seed: int,
    *,
    seconds: float,
    most: int = 1 << 60,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[int, list[Failure]]:
    """Check inputs for so long, or so many; return how many there were, and the failures."""
    random = Random(f"{seed} {target.name}")
    found: dict[str, Failure] = {}
    for sample in target.seeds:
        _note(target, sample, found)
    end = clock() + seconds
    count = 0
    while count < most and clock() < end:
        _note(target, mutated(target.seeds, target.tokens, random, target.longest), found)
        count += 1
    return count, list(found.values())


def _note(target: Target, octets: bytes, found: dict[str, Failure]) -> None:
    failure = _failure(target, octets)
    if failure is not None and failure.kind not in found:
        small = minimized(octets, lambda smaller: _kind(target, smaller) == failure.kind)
        found[failure.kind] = _failure(target, small) or failure


def _failure(target: Target, octets: bytes) -> Failure | None:
    begun = time.process_time()
    try:
        target.check(octets)
    except Exception as error:  # noqa: BLE001  whatever is raised is what we are looking for
        frames = traceback.extract_tb(error.__traceback__)
        at = frames[-1]
        kind = f"{type(error).__name__} at {Path(at.filename).name}:{at.lineno}"
        return Failure(target.name, kind, octets, "".join(traceback.format_exception(error)))
    took = time.process_time() - begun
    if took > _SLOW:
        return Failure(target.name, "too slow", octets, f"{took:.1f} s of CPU")
    return None


def _kind(target: Target, octets: bytes) -> str:
    failure = _failure(target, octets)
    return failure.kind if failure is not None else ""


def minimized(octets: bytes, still_fails: Callable[[bytes], bool], trials: int = _TRIALS) -> bytes:
    """Leave parts out, large ones first, for as long as it still fails."""
    size = max(1, len(octets) // 2)
    while trials > 0:
        at = 0
        while at < len(octets) and trials > 0:
            shorter = octets[:at] + octets[at + size :]
            trials -= 1
            if still_fails(shorter):
                octets = shorter
            else:
                at += size
        if size == 1:
            break
        size //= 2
    return octets


def names(targets: Sequence[Target]) -> str:
    """List what can be asked for."""
    return ", ".join(target.name for target in targets)
