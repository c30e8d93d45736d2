"""The transcript of option -l: every command and reply, one line each, in a file that many agents may share.

A line is tag, kind, TAB, text.  The tag begins with the process id; a time, a counter and seconds since the
first line follow, so that sorting the file puts sessions together.  Each line is one write to a file opened
for appending.  Message content is never written, nor is a secret; control characters, which a server can
choose, appear as `\\xNN`.  Source: smtp(8zm), option -l.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Transcript"]

_UNSAFE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Transcript:
    """An open transcript; raises OSError where the file cannot be opened.  `clock` gives seconds since
    1970.
    """

    def __init__(self, path: str, *, pid: int, clock: Callable[[], float]) -> None:
        # not for everybody: envelopes and subjects of refusals stand in it
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._pid = pid
        self._clock = clock
        self._began = int(clock())
        self._count = 0

    def line(self, kind: str, text: bytes) -> None:
        """Write one line: kind `w` for a command, `r` for a reply, `#` for a remark."""
        seconds = int(self._clock()) - self._began
        session = f"{self._pid:05d}{self._began & 0xFFFF:04X}"
        tag = f"{session}-{self._count % 10000:04d}-{seconds % 10000:04d}{kind}\t"
        self._count += 1
        shown = _UNSAFE.sub(lambda found: b"\\x%02x" % found[0][0], text)
        try:
            os.write(self._descriptor, tag.encode() + shown + b"\n")
        except OSError:
            pass  # a full disk must not keep mail from going out

    def remark(self, text: str) -> None:
        """Write a remark."""
        self.line("#", text.encode(errors="replace"))
