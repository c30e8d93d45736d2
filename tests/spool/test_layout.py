"""Tests of zsmtp.spool.layout."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.errors import Misuse, SpoolError
from zsmtp.spool.layout import file_id, hash_directory, message_path, shown, spool_id


def nanoseconds(*date: int) -> int:
    return int(datetime(*date, tzinfo=UTC).timestamp()) * 1_000_000_000  # type: ignore[arg-type,misc]


class NumberOfAControlFile(SynchronousTestCase):
    """The number stands at the start of the base name."""

    def test_plain_and_hashed_names_have_one(self) -> None:
        self.assertEqual(
            [file_id(path) for path in ("1031", "R/1031", "N/R/1031", "/a/b/77")], [1031, 1031, 1031, 77]
        )

    def test_only_the_leading_digits_count(self) -> None:
        self.assertEqual([file_id("1031-4242"), file_id("77.x"), file_id("9-etrn")], [1031, 77, 9])

    def test_numbers_above_thirty_one_bits_are_whole(self) -> None:
        self.assertEqual(file_id("18446744073709551615"), 2**64 - 1)

    def test_other_names_are_refused(self) -> None:
        for path in (
            "",
            "abc",
            "-1",
            "N/R/",
            "1031/",
            "\u0661\u0662",
            "\u00b2",
            "1" * 21,
            "1" * 5000 + "x",
            "x1",
        ):
            error = self.assertRaises(SpoolError, file_id, path)
            self.assertIn("must begin with its number", str(error))


class HashDirectories(SynchronousTestCase):
    """Where a file lies at each hash level."""

    def test_levels_give_no_one_and_two_letters(self) -> None:
        self.assertEqual([hash_directory(1031, levels) for levels in (0, 1, 2)], ["", "R/", "N/R/"])

    def test_another_level_is_a_mistake_of_ours(self) -> None:
        self.assertRaises(Misuse, hash_directory, 1, 3)


class PathOfTheMessageFile(SynchronousTestCase):
    """The message file lies in the same subdirectory of queue/."""

    def test_row_30_prefix_of_the_control_file(self) -> None:
        self.assertEqual(message_path("N/R/1031", b"1031"), "../queue/N/R/1031")
        self.assertEqual(message_path("A/77", b"77"), "../queue/A/77")
        self.assertEqual(message_path("77", b"77"), "../queue/77")

    def test_the_prefix_ends_within_seven_octets(self) -> None:
        self.assertEqual(message_path("ABCDEFG/77", b"77"), "../queue/77")
        self.assertEqual(message_path("ABCDEF/77", b"77"), "../queue/ABCDEF/77")

    def test_a_path_from_the_root_has_no_prefix(self) -> None:
        self.assertEqual(message_path("/A/77", b"77"), "../queue/77")

    def test_row_54_traversal_is_refused(self) -> None:
        for name in (
            b"../../etc/passwd",
            b"/etc/passwd",
            b"7/../8",
            b"",
            b".",
            b"..",
            b"77\0",
            b"77\n",
            b"a",
            b"-7",
        ):
            error = self.assertRaises(SpoolError, message_path, "77", name)
            self.assertIn("cannot be the name of a message file", str(error))

    def test_traversal_in_the_prefix_is_refused(self) -> None:
        self.assertRaises(SpoolError, message_path, "A/../77", b"77")


class SpoolIds(SynchronousTestCase):
    """The name of a message in all logs."""

    def test_a_whole_second_has_eight_characters(self) -> None:
        self.assertEqual(spool_id(1031, nanoseconds(2025, 4, 1, 10)), "S1031AblDAKAA")

    def test_a_fraction_adds_five(self) -> None:
        self.assertEqual(spool_id(7, nanoseconds(2025, 4, 1, 10) + 1), "S7AblDAKAAAAAAB")
        self.assertEqual(spool_id(7, nanoseconds(2025, 4, 1, 10) + 999_999_999), "S7AblDAKAA7ioj-")

    def test_times_that_nobody_has_are_no_error(self) -> None:
        for time in (-(10**30), -1, 10**30):
            self.assertTrue(spool_id(7, time).startswith(("S7Aau", "S7C2P")))


class NamesForPeople(SynchronousTestCase):
    """A file name cannot forge a line of a log."""

    def test_plain_names_stay(self) -> None:
        self.assertEqual(shown("N/R/1031"), "N/R/1031")

    @settings(deadline=None, max_examples=50)
    @given(st.text())
    def test_others_become_one_line_of_ascii(self, name: str) -> None:
        self.assertTrue(shown(name).isascii() and shown(name).isprintable())
