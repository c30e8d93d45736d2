"""The page about differences from the original: every difference that a recording shows stands there."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.reference.differences import SECTIONS
from tests.reference.rules import RULES
from zsmtp.options import OPTIONS

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/differences.rst").read_text()


def plain(text: str) -> str:
    """Words alone: no line ends, no mark-up, no references in parentheses."""
    return " ".join(re.sub(r"\([^()]*\)|``|\*\*", "", text).split()).replace(" .", ".").replace(" ,", ",")


class ThePage(SynchronousTestCase):
    """docs/differences.rst."""

    def test_has_the_reason_of_every_difference_in_the_recordings(self) -> None:
        reasons = {piece.reason for pieces in SECTIONS.values() for piece in pieces}
        reasons.update(rule.reason for rule in RULES)
        said = plain(PAGE).lower()
        missing = sorted(reason for reason in reasons if plain(reason).removesuffix(".").lower() not in said)
        self.assertEqual(missing, [])

    def test_is_linked_from_the_readme_and_the_manual_page(self) -> None:
        self.assertIn("docs/differences.rst", (ROOT / "README.rst").read_text())
        self.assertIn("docs/differences.rst", (ROOT / "man/zsmtp.8").read_text())

    def test_has_a_line_for_every_option_that_the_manual_page_lists_as_different(self) -> None:
        manual = (ROOT / "man/zsmtp.8").read_text()
        section = manual.partition(".SH DIFFERENCES")[2].partition(".SH ENVIRONMENT")[0]
        heads = [line for line in section.splitlines() if line.startswith(".B")]
        listed = set(re.findall(r"(?<!\w)\\-([A-Za-z0-9])\b", "\n".join(heads)))
        known = {option.letter for option in OPTIONS}
        self.assertEqual(listed - known, set())
        missing = {one for one in listed if re.search(rf"(?<![\w-])-{one}\b", PAGE) is None}
        self.assertEqual(missing, set())

    def test_lines_fit_a_page(self) -> None:
        self.assertEqual([line for line in PAGE.splitlines() if len(line) > 120], [])
