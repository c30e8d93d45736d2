"""Every weakness of the original that is known by a number has a test that names it."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

TESTS = Path(__file__).resolve().parent.parent

#: How many rows the table of weaknesses has: W1 and so on.
ROWS = 38


class Weaknesses(SynchronousTestCase):
    """Places where the original lost mail, bounced it, hung, or told secrets."""

    def test_each_is_named_by_a_test(self) -> None:
        files = [*TESTS.rglob("test_*.py"), *TESTS.rglob("dialogues/*.txt")]
        text = "\n".join(path.read_text("utf-8") for path in files if path != Path(__file__).resolve())
        named = {int(number) for number in re.findall(r"\bW([0-9]{1,2})\b", text)}
        self.assertEqual(set(range(1, ROWS + 1)) - named, set())
