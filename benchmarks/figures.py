"""Medians, paired ratios, and the table and JSON that show them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from statistics import median
from typing import Any

__all__ = ["as_json", "as_table", "machine", "paired", "spread"]


def paired(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Give the median of the ratios of runs made one after the other; 0.0 where there is none."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True) if b > 0]
    return median(ratios) if ratios else 0.0


def spread(values: Sequence[float]) -> float:
    """Say how far the runs lie apart: (largest - smallest) / median."""
    middle = median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def as_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows under heads: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = []
    for row in [head, ["-" * width for width in widths], *rows]:
        cells = [row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def machine() -> dict[str, Any]:
    """Name what the figures depend on: cores, kernel, Python, Twisted."""
    try:
        twisted = metadata.version("twisted")
    except metadata.PackageNotFoundError:
        twisted = ""
    return {
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "twisted": twisted,
    }


def as_json(value: Mapping[str, Any]) -> str:
    """Write what goes into the file of `--json`."""
    return json.dumps(value, indent=1) + "\n"
