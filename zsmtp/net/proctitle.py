"""The process title: what ps(1) shows of a process, which on Linux are octets in its own memory.

The kernel reads the command line from where it has put the arguments at the start, and lets it grow into the
environment behind them.  Both can be written to through `/proc/self/mem`: neither a library nor ctypes is
needed, and one title costs one system call of 2 us.  Before the environment is written over, all of it is
moved away, so that `getenv` of any library still finds what it looks for.

What else the area is good for nobody knows better than the kernel: where `/proc` does not show exactly the
arguments of this process there, nothing is touched.  Source: proc(5), `/proc/pid/cmdline` and `stat`.
"""

from __future__ import annotations

import errno
import os
from typing import Final, Self

__all__ = ["TitleArea"]

_LONGEST: Final = 4095
"""the kernel shows at most a page"""
_ARG_START: Final = 45
"""fields of `stat` behind the name of the program: start and end of the arguments, then of the environment"""


class TitleArea:
    """Where the title of this process lies.  `room` is what it can hold, in octets."""

    __slots__ = ("_memory", "_shown", "_start", "room")

    def __init__(self, memory: int, start: int, room: int, arguments: int) -> None:
        self._memory = memory
        self._start = start
        self._shown = arguments
        self.room = room

    @classmethod
    def open(cls) -> Self:
        """Find the title of this process; raises OSError where it is not to be had."""
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        with open("/proc/self/cmdline", "rb") as file:
            arguments = file.read()
        start, end, environment, environment_end = map(int, fields[_ARG_START : _ARG_START + 4])
        memory = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)
        try:
            if not arguments or not start or os.pread(memory, end - start, start) != arguments:
                raise OSError(errno.ENOTSUP, "the arguments of this process are not where /proc says")
            if environment == end:  # nothing lies between, as in every process that was not tampered with
                for name, value in os.environb.items():
                    os.putenv(name, value)
                end = max(end, environment_end)
            os.pwrite(memory, bytes(min(end - start, _LONGEST + 1)), start)
        except BaseException:
            os.close(memory)
            raise
        return cls(memory, start, min(end - start - 1, _LONGEST), 0)

    def show(self, title: bytes) -> None:
        """Let ps(1) show `title`, or as much of it as there is room for."""
        title = title[: self.room]
        padded = title.ljust(self._shown, b"\0")  # what is left of the title before must go
        self._shown = len(title)
        os.pwrite(self._memory, padded, self._start)

    def close(self) -> None:
        """Close what the memory is written through; the title stays."""
        os.close(self._memory)
