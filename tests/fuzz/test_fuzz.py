"""The fuzzer repeats itself, finds what is broken and makes it small; every target stands a first volley."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.__main__ import TARGETS, main
from tests.fuzz.harness import fuzz, minimized
from tests.fuzz.target import Target

COUNT = 150


def target(check: Callable[[bytes], None]) -> Target:
    """Make a target of a check."""
    return Target("sample", [b"From: a@b\n"], [b"\0", b"\n"], check)


def refuses_nul(octets: bytes) -> None:
    """Break a promise."""
    if b"\0" in octets:
        raise KeyError("a secret of the parser")


class TheFuzzer(SynchronousTestCase):
    def test_makes_the_same_inputs_from_the_same_seed(self) -> None:
        runs: list[list[bytes]] = [[], [], []]
        for run, seed in zip(runs, (1, 1, 2), strict=True):
            fuzz(target(run.append), seed, seconds=60, most=50)
        self.assertEqual(runs[0], runs[1])
        self.assertNotEqual(runs[0], runs[2])

    def test_tells_of_each_place_once_and_makes_the_input_small(self) -> None:
        count, failures = fuzz(target(refuses_nul), 1, seconds=60, most=300)
        self.assertEqual((count, [failure.octets for failure in failures]), (300, [b"\0"]))
        self.assertIn("refuses_nul", failures[0].text)
        self.assertIn("KeyError at test_fuzz.py", failures[0].kind)
        path = failures[0].save(Path(self.mktemp()))
        self.assertEqual(path.read_bytes(), b"\0")

    def test_making_small_has_an_end(self) -> None:
        tried: list[bytes] = []

        def fails(octets: bytes) -> bool:
            tried.append(octets)
            return octets.count(b"x") >= 2

        self.assertEqual(minimized(b"abxcd" * 3, fails), b"xx")
        tried.clear()
        minimized(b"x" * 5000, lambda octets: not fails(octets), trials=30)
        self.assertEqual(len(tried), 30)

    def test_repeats_one_input(self) -> None:
        path = Path(self.mktemp())
        path.write_bytes(b"#idle\n")
        self.patch(sys, "stdout", io.StringIO())
        self.assertEqual(main(["feed", "--input", str(path)]), 0)


class EveryTarget(SynchronousTestCase):
    """With an own test for each."""


def _test(one: Target) -> Callable[[EveryTarget], None]:
    def test(self: EveryTarget) -> None:
        count, failures = fuzz(one, 4, seconds=60, most=COUNT)
        self.assertEqual([failure.text for failure in failures], [])
        self.assertEqual(count, COUNT)

    return test


for _target in TARGETS:
    setattr(EveryTarget, f"test_{_target.name}_keeps_its_promises", _test(_target))
