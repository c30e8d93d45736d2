"""The soak in short, and that it finds what is wrong."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.soak.growth import MAXIMUM_FILES, MAXIMUM_MEMORY, Sample, growth, sample
from tests.soak.soak import Outcome, Soak


def soak(*crews: str, seconds: float, lie: str = "") -> Outcome:
    """Run a short soak."""
    with tempfile.TemporaryDirectory(prefix="zsmtp-soak.") as directory:
        command = [sys.executable, "-m", "zsmtp"]
        return Soak(Path(directory), command, seed=11, names=crews, lie=lie).run(seconds)


class ThirtySecondsOfFaults(SynchronousTestCase):
    def test_every_recipient_is_accounted_for(self) -> None:
        crews = ("pipelining", "chunking", "plain", "TLS", "broken TLS", "LMTP")
        outcome = soak(*crews, seconds=15)  # and as long again until stalls are over
        self.assertEqual(outcome.problems, [], str(outcome))
        for name, crew in outcome.crews.items():
            self.assertGreater(crew["counts"]["recipients"], 0, name)
            self.assertGreater(sum(crew["fired"].values()) - crew["fired"]["connections"], 0, name)


class TheBooksAreFalse(SynchronousTestCase):
    """An account that finds nothing wrong with a wrong one proves nothing."""

    def problems(self, lie: str) -> str:
        outcome = soak("chunking", "LMTP", seconds=4, lie=lie)
        return "\n".join(outcome.problems)

    def test_what_was_not_taken_is_found(self) -> None:
        found = self.problems("forgets")
        self.assertIn("reported as delivered, and the server had not said so", found)
        self.assertIn("marked as delivered, and never taken", found)

    def test_what_was_taken_twice_is_found(self) -> None:
        self.assertRegex(self.problems("counts twice"), "taken 2 times, 2 without doubt")

    def test_failures_that_nobody_gave_are_found(self) -> None:
        self.assertIn("reported as failed, and nobody had refused", self.problems("hides refusals"))


class AProcessGrows(SynchronousTestCase):
    def after(self, memory: float, files: float) -> bool:
        """Tell whether a process is flat that grows by so much a second, for a minute."""
        found = growth(
            [Sample(at, 50_000 + int(at * memory), 20 + int(at * files) + at % 3) for at in range(90)]
        )
        assert found is not None
        return found.is_flat

    def test_a_little(self) -> None:
        self.assertTrue(self.after(MAXIMUM_MEMORY / 100, 0))

    def test_in_memory(self) -> None:
        self.assertFalse(self.after(MAXIMUM_MEMORY / 30, 0))

    def test_in_descriptors(self) -> None:
        self.assertFalse(self.after(0, MAXIMUM_FILES / 30))

    def test_for_too_short_a_time_to_tell(self) -> None:
        self.assertIsNone(growth([Sample(at, 1, 1) for at in range(20)]))

    def test_none_is_seen_once_it_has_ended(self) -> None:
        self.assertIsNone(sample(2**22 + 1, 0))
