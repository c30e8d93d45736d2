"""Whether a process grows: resident memory and open descriptors, sampled from /proc."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
from typing import NamedTuple

__all__ = ["MAXIMUM_FILES", "MAXIMUM_MEMORY", "Growth", "Sample", "growth", "sample"]

MAXIMUM_MEMORY = 4096.0
"""KiB that an agent's memory may rise after the warm-up: arenas of the allocator, caches that fill."""

MAXIMUM_FILES = 5
"""Descriptors that the quietest moments of the last third may have more than those of the first: connections
that wait for the next message, and a file.  Thousands have come and gone meanwhile.
"""

_WARM_UP = 0.25
_FEWEST = 20  # samples after the warm-up, below which nothing can be said


class Sample(NamedTuple):
    """`at` in seconds, `memory` in KiB."""

    at: float
    memory: int
    files: int


class Growth(NamedTuple):
    """What became of a process after its warm-up: KiB by the slope and by medians, and descriptors."""

    memory: float
    medians: float
    files: int

    @property
    def is_flat(self) -> bool:
        """Tell whether all this is within bounds."""
        return min(self.memory, self.medians) <= MAXIMUM_MEMORY and self.files <= MAXIMUM_FILES


def sample(pid: int, at: float) -> Sample | None:
    """Look at a process; None if it has ended."""
    try:
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
        return Sample(at, resident, len(os.listdir(f"/proc/{pid}/fd")))
    except (OSError, IndexError):
        return None


def growth(samples: Sequence[Sample]) -> Growth | None:
    """Say how much a process grew; None if it was not looked at for long enough."""
    kept = samples[int(len(samples) * _WARM_UP) :]
    if len(kept) < _FEWEST:
        return None
    third = len(kept) // 3
    times, memory = [each.at for each in kept], [each.memory for each in kept]
    middle, level = fmean(times), fmean(memory)
    spread = sum((at - middle) ** 2 for at in times)
    slope = sum((at - middle) * (kib - level) for at, kib in zip(times, memory, strict=True)) / spread
    files = [each.files for each in kept]
    return Growth(
        memory=slope * (times[-1] - times[0]),
        medians=median(memory[-third:]) - median(memory[:third]),
        files=min(files[-third:]) - min(files[:third]),
    )
