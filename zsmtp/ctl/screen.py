"""Output for people: colour and a live line in a terminal, plain lines anywhere else.

In a pipe or a file there are neither escape sequences nor carriage returns, so that the output can be kept
and compared.  NO_COLOR (https://no-color.org) and TERM=dumb are honoured.  Signs beyond ASCII are used only
where both the stream and the locale take them; what cannot be written at all is written as an escape.
"""

from __future__ import annotations

import io
import locale
import os
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple, TextIO

__all__ = ["Cell", "Screen", "Style"]

_BAR = 20


class Style(Enum):
    """How a piece of text looks; the value is its SGR parameter (ECMA-48 8.3.117)."""

    PLAIN = ""
    STRONG = "1"
    QUIET = "2"
    GOOD = "32"
    BAD = "31"
    WAITING = "33"


class Cell(NamedTuple):
    """A piece of a table's row, padded to `width` columns."""

    text: str
    width: int = 0
    style: Style = Style.PLAIN


class Screen:
    """Where a command writes what people read; `environment` is that of the process."""

    def __init__(self, stream: TextIO, environment: Mapping[str, str]) -> None:
        self._stream = stream
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        is_terminal = stream.isatty() and environment.get("TERM", "dumb") != "dumb"
        self.is_live = is_terminal
        self.has_colour = is_terminal and not environment.get("NO_COLOR")
        self.has_unicode = all(
            (name or "").lower().startswith("utf") for name in (stream.encoding, locale.getencoding())
        )
        self._live_length = 0

    def line(self, text: str = "") -> None:
        """Write a line; a live line gives way to it."""
        self._write(self._cleared() + text + "\n")

    def lines(self, text: str) -> None:
        """Write a paragraph."""
        for line in text.splitlines():
            self.line(line)

    def row(self, cells: Sequence[Cell]) -> None:
        """Write the row of a table, two columns between the cells."""
        padded = [self.paint(cell.text, cell.style) + " " * (cell.width - len(cell.text)) for cell in cells]
        self.line("  ".join(padded).rstrip())

    def live(self, text: str) -> None:
        """Show a line that the next one replaces; nothing but in a terminal."""
        if self.is_live:
            text = text[: self._columns() - 1]
            self._write("\r" + text + " " * (self._live_length - len(text)))
            self._live_length = len(text)

    def paint(self, text: str, style: Style) -> str:
        """Return a text with its colour."""
        if not self.has_colour or not style.value:
            return text
        return f"\x1b[{style.value}m{text}\x1b[0m"

    def bar(self, done: float) -> str:
        """Return a bar that is filled by the share `done`, from 0 to 1."""
        full = round(max(0.0, min(1.0, done)) * _BAR)
        filled, empty = ("█", "░") if self.has_unicode else ("#", ".")
        return filled * full + empty * (_BAR - full)

    def clear(self) -> None:
        """Take the live line away."""
        self._write(self._cleared())

    def _cleared(self) -> str:
        if not self._live_length:
            return ""
        # The terminal may have added the ^C of its user.
        length = min(self._live_length + len("^C"), self._columns() - 1)
        self._live_length = 0
        return "\r" + " " * length + "\r"

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
