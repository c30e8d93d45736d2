"""Orders of the scheduler, from octets to values."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.feed import LINE_OCTETS, PATH_OCTETS, Feed, FeedReader, Note


class Lines(SynchronousTestCase):
    """What one line means."""

    def read(self, octets: bytes) -> list[Feed | Note]:
        return FeedReader().receive(octets)

    def test_control_file_and_host(self) -> None:
        self.assertEqual(self.read(b"N/R/1031\texample.net\n"), [Feed(b"N/R/1031", b"example.net")])

    def test_control_file_alone(self) -> None:
        self.assertEqual(self.read(b"77\n"), [Feed(b"77", None)])

    def test_empty_host_is_one(self) -> None:
        self.assertEqual(self.read(b"77\t\n"), [Feed(b"77", b"")])

    def test_further_tabs_belong_to_the_host(self) -> None:
        self.assertEqual(self.read(b"77\ta\tb\n"), [Feed(b"77", b"a\tb")])

    def test_idle_is_exactly_one_word(self) -> None:
        self.assertEqual(self.read(b"#idle\n#idle \n#\n"), [Note.IDLE, Note.COMMENT, Note.COMMENT])

    def test_empty_line_and_nul_end_the_orders(self) -> None:
        self.assertEqual(self.read(b"\n\0 77\n"), [Note.END, Note.END])

    def test_line_without_end_is_none(self) -> None:
        self.assertEqual(self.read(b"77\texample.n"), [])

    def test_line_that_can_name_no_file(self) -> None:
        for line in (b"\thost", b"7\x007\thost", b"77\tho\0st", b"9" * (PATH_OCTETS + 1)):
            with self.subTest(line[:10]):
                self.assertEqual(self.read(line + b"\n77\n"), [Note.UNUSABLE, Feed(b"77", None)])

    def test_longest_name(self) -> None:
        self.assertEqual(self.read(b"9" * PATH_OCTETS + b"\n"), [Feed(b"9" * PATH_OCTETS, None)])


class Pieces(SynchronousTestCase):
    """Octets as they arrive."""

    def test_line_without_measure_is_passed_over_in_little_memory(self) -> None:
        reader = FeedReader()
        for _ in range(100):
            self.assertEqual(reader.receive(b"9" * 10_000), [])
            self.assertLessEqual(len(reader._partial), LINE_OCTETS)
        self.assertEqual(reader.receive(b"9\n77\n"), [Note.UNUSABLE, Feed(b"77", None)])

    def test_long_line_at_once(self) -> None:
        self.assertEqual(
            FeedReader().receive(b"7\t" + b"x" * LINE_OCTETS + b"\n#idle\n"), [Note.UNUSABLE, Note.IDLE]
        )

    @settings(deadline=None, max_examples=60)
    @given(
        st.lists(
            st.sampled_from([b"77\th", b"#idle", b"", b"1", b"\t", b"#x", b"\0", b"\xff\r"]), max_size=8
        ),
        st.lists(st.integers(0, 60), max_size=6),
    )
    def test_cuts_make_no_difference(self, lines: list[bytes], cuts: list[int]) -> None:
        octets = b"".join(line + b"\n" for line in lines) + b"rest"
        places = [0, *sorted(min(cut, len(octets)) for cut in cuts), len(octets)]
        reader = FeedReader()
        orders = []
        for start, end in pairwise(places):
            orders += reader.receive(octets[start:end])
        self.assertEqual(orders, FeedReader().receive(octets))
        self.assertEqual(len(orders), len(lines))
