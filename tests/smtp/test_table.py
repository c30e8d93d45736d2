"""The table of transitions is the one that docs/session.rst shows."""

from __future__ import annotations

import re
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from tests.source import ROOT
from zsmtp.smtp.patience import QUIT_SECONDS, RSET_SECONDS, Awaits, Timeouts, patience
from zsmtp.smtp.session import Session, State

BREAKS = "-"


def tables(text: str) -> Iterator[list[list[str]]]:
    """The simple tables of a page, head lines included."""
    rule = r"={3,}(?:  +={3,})+\n"
    for found in re.finditer(f"{rule}(.+)\n{rule}((?:.+\n)+?){rule}", text):
        yield [re.split(r"  +", line.strip()) for line in [found[1], *found[2].splitlines()]]


class ThePage(SynchronousTestCase):
    """What people read is what the program does."""

    def setUp(self) -> None:
        self.text = (ROOT / "docs/session.rst").read_text()
        self.tables = {rows[0][0] + " " + rows[0][-1]: rows for rows in tables(self.text)}

    def test_states(self) -> None:
        rows = self.tables["State The session is ..."][1:]
        self.assertEqual(rows, [[state.name, state.value] for state in State])

    def test_times(self) -> None:
        times = Timeouts(command=1.0, data=2.0, dot=3.0, write=4.0)
        names = {1.0: "command", 2.0: "data", 3.0: "dot", RSET_SECONDS: "30 s", QUIT_SECONDS: "5 s"}
        rows = self.tables["Awaited Time"][1:]
        self.assertEqual(
            {awaited: time for awaited, _, time in rows},
            {awaited.name: names[patience(awaited, times)] for awaited in Awaits},
        )
        self.assertEqual(len(rows), len(Awaits))

    def test_transitions(self) -> None:
        rows = self.tables["Awaited 5yz"]
        self.assertEqual(rows[0][1:], ["2yz", "3yz", "4yz", "5yz"])
        drawn = {
            (Awaits[awaited], digit): cell
            for awaited, *cells in rows[1:]
            for digit, cell in enumerate(cells, 2)
            if cell != BREAKS
        }
        real = {key: handler.__name__.strip("_").replace("_", " ") for key, handler in Session.table.items()}
        self.assertEqual(drawn, real)
        self.assertEqual(len(rows) - 1, len(Awaits))

    def test_everything_that_may_follow_is_explained(self) -> None:
        explained = set()
        for line in re.findall(r"^([a-z][a-z, ]+)\n    ", self.text, re.MULTILINE):
            explained |= set(line.split(", "))
        cells = {cell for row in self.tables["Awaited 5yz"][1:] for cell in row[1:]} - {BREAKS}
        self.assertEqual(cells, explained)


class TheTable(SynchronousTestCase):
    """Rules that hold for all of it."""

    def test_success_and_permission_are_never_confused(self) -> None:
        """Weakness W1: only DATA and a challenge have 3yz, and nothing has 1yz, 0yz or 6yz."""
        self.assertEqual(
            {awaited for awaited, digit in Session.table if digit == 3}, {Awaits.DATA, Awaits.AUTH}
        )
        self.assertEqual({digit for _, digit in Session.table}, {2, 3, 4, 5})
        self.assertNotIn((Awaits.DATA, 2), Session.table)

    def test_everything_can_be_refused(self) -> None:
        for awaited in Awaits:
            self.assertIn((awaited, 4), Session.table)
            self.assertIn((awaited, 5), Session.table)
