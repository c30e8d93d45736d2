"""Output in a terminal, and anywhere else."""

from __future__ import annotations

import io
import locale
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from zsmtp.ctl.screen import Cell, Screen, Style


class Stream(io.StringIO):
    """A stream that may be a terminal."""

    encoding = "utf-8"

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def screen(*, terminal: bool = True, **environment: str) -> tuple[Screen, Stream]:
    """A screen and what it writes to."""
    stream = Stream(terminal=terminal)
    return Screen(stream, {"TERM": "xterm", **environment}), stream


def use(screen: Screen) -> None:
    """Do everything once."""
    screen.live("one of two")
    screen.live("two")
    screen.row([Cell("a", 3), Cell("b", 3, Style.GOOD), Cell("c")])
    screen.lines("first\nsecond\n")
    screen.live("gone")
    screen.clear()


class Terminal(SynchronousTestCase):
    """A terminal gets colour and a live line."""

    def test_everything(self) -> None:
        it, stream = screen()
        use(it)
        self.assertEqual(
            stream.getvalue(),
            "\rone of two\rtwo       \r     \ra    \x1b[32mb\x1b[0m    c\nfirst\nsecond\n\rgone\r      \r",
        )

    def test_no_color_leaves_the_live_line(self) -> None:
        it, stream = screen(NO_COLOR="1")
        use(it)
        self.assertIn("\rone of two", stream.getvalue())
        self.assertNotIn("\x1b", stream.getvalue())

    def test_empty_no_color_means_nothing(self) -> None:
        it, _ = screen(NO_COLOR="")
        self.assertTrue(it.has_colour)

    def test_live_line_never_wraps(self) -> None:
        it, stream = screen()
        it.live("x" * 200)
        self.assertEqual(len(stream.getvalue().strip("\r")), 79)


class Plain(SynchronousTestCase):
    """Pipes, files and dumb terminals get lines and nothing else."""

    def check(self, it: Screen, stream: Stream) -> None:
        use(it)
        self.assertEqual(stream.getvalue(), "a    b    c\nfirst\nsecond\n")

    def test_pipe(self) -> None:
        self.check(*screen(terminal=False))

    def test_dumb_terminal(self) -> None:
        self.check(*screen(TERM="dumb"))

    def test_terminal_of_unknown_kind(self) -> None:
        stream = Stream(terminal=True)
        self.check(Screen(stream, {}), stream)


class Letters(SynchronousTestCase):
    """Signs beyond ASCII only where they can be read."""

    def bar(self, encoding: str, of_locale: str) -> str:
        stream = Stream(terminal=True)
        stream.encoding = encoding
        with mock.patch.object(locale, "getencoding", lambda: of_locale):
            return Screen(stream, {}).bar(0.5)

    def test_utf_8(self) -> None:
        self.assertEqual(self.bar("utf-8", "UTF-8"), "█" * 10 + "░" * 10)

    def test_ascii_locale(self) -> None:
        self.assertEqual(self.bar("utf-8", "ANSI_X3.4-1968"), "#" * 10 + "." * 10)

    def test_ascii_stream(self) -> None:
        self.assertEqual(self.bar("ascii", "UTF-8"), "#" * 10 + "." * 10)

    def test_bar_ends_at_its_ends(self) -> None:
        it, _ = screen(terminal=False)
        self.assertEqual({len(it.bar(share)) for share in (-1.0, 0.0, 1.0, 7.0)}, {20})

    def test_what_cannot_be_written_is_written_as_an_escape(self) -> None:
        octets = io.BytesIO()
        stream = io.TextIOWrapper(octets, encoding="ascii")
        Screen(stream, {}).line("/tmp/grün \udcff")
        self.assertEqual(octets.getvalue(), b"/tmp/gr\\xfcn \\udcff\n")
