"""Tests of zsmtp.message.parts."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.message import parts, wire
from zsmtp.message.parts import Delimiter, Reader, Unconvertible


def content(reader: Reader) -> bytes:
    """The whole next content."""
    return b"".join(reader.content())


class Contents(SynchronousTestCase):
    """Between boundary lines."""

    def test_without_a_boundary_everything_is_content(self) -> None:
        reader = Reader([b"--b\n", b"text"])
        self.assertEqual(content(reader), b"--b\ntext")
        self.assertIsNone(reader.delimiter)

    def test_the_line_end_belongs_to_the_boundary(self) -> None:
        reader = Reader([b"pre\n--b\none\r\n--b--  \r\npost"])
        reader.enter(b"b")
        self.assertEqual(content(reader), b"pre")
        self.assertEqual(reader.delimiter, Delimiter(0, False, 5))
        self.assertEqual(content(reader), b"one")
        self.assertEqual(reader.delimiter, Delimiter(0, True, 11))
        reader.leave()
        self.assertEqual(content(reader), b"post")
        self.assertIsNone(reader.delimiter)

    def test_a_boundary_line_may_come_at_once_and_at_the_very_end(self) -> None:
        reader = Reader([b"--b\n--b--"])
        reader.enter(b"b")
        self.assertEqual(content(reader), b"")
        self.assertEqual(reader.delimiter, Delimiter(0, False, 4))
        self.assertEqual(content(reader), b"")
        self.assertEqual(reader.delimiter, Delimiter(0, True, 5))

    def test_only_whole_lines_count(self) -> None:
        text = b"a\n--bb\n--b-\n --b\nx--b\n--b x"
        reader = Reader([text])
        reader.enter(b"b")
        self.assertEqual(content(reader), text)

    def test_a_very_long_line_is_no_boundary(self) -> None:
        text = b"a\n--b" + b" " * 2000 + b"\nb"
        reader = Reader([text])
        reader.enter(b"b")
        self.assertEqual(content(reader), text)

    def test_an_outer_boundary_ends_what_is_inside(self) -> None:
        reader = Reader([b"x\n--outer--\n"])
        self.assertEqual(reader.enter(b"outer"), 0)
        self.assertEqual(reader.enter(b"inner"), 1)
        self.assertEqual(content(reader), b"x")
        self.assertEqual(reader.delimiter, Delimiter(0, True, 11))

    def test_the_same_boundary_twice(self) -> None:
        reader = Reader([])
        reader.enter(b"b")
        self.assertRaises(Unconvertible, reader.enter, b"b")
        reader.enter(b"c--")
        self.assertRaises(Unconvertible, reader.enter, b"c")

    def test_lines_that_look_like_a_boundary_are_counted(self) -> None:
        reader = Reader([b"--bx\n" * 10_010])
        reader.enter(b"b")
        self.assertRaises(Unconvertible, content, reader)

    def test_a_large_content_comes_in_pieces(self) -> None:
        reader = Reader([b"x" * 60_000] * 10 + [b"\r", b"\n-", b"-b--\n"])
        reader.enter(b"b")
        pieces = list(reader.content())
        self.assertEqual(b"".join(pieces), b"x" * 600_000)
        self.assertLess(max(map(len, pieces)), 200_000)
        self.assertEqual(reader.delimiter, Delimiter(0, True, 8))

    @settings(deadline=None, max_examples=200)
    @given(
        st.lists(st.sampled_from([b"\n", b"\r\n", b"--b", b"--", b"-", b"x", b" ", b"--bb", b"\r"])).map(
            b"".join
        ),
        st.lists(st.integers(0, 60), max_size=8),
    )
    def test_the_cut_into_pieces_makes_no_difference(self, text: bytes, cuts: list[int]) -> None:
        self.patch(wire, "PIECE", 1)  # so that the reader does not join them
        edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]

        def walk(pieces: list[bytes]) -> list[tuple[bytes, Delimiter | None]]:
            reader = Reader(pieces)
            reader.enter(b"b")
            out: list[tuple[bytes, Delimiter | None]] = []
            while not out or reader.delimiter is not None:
                octets = content(reader)
                out.append((octets, reader.delimiter))
            return out

        whole = walk([text])
        self.assertEqual(walk([text[start:end] for start, end in pairwise(edges)]), whole)
        self.assertEqual(sum(len(octets) + (each.octets if each else 0) for octets, each in whole), len(text))


class HeadersOfParts(SynchronousTestCase):
    """Up to the empty line."""

    def test_a_header_ends_with_an_empty_line(self) -> None:
        for end in (b"\n", b"\r\n"):
            reader = Reader([b"A: 1", end + end[:1], end[1:] + b"text"])
            self.assertEqual(reader.header(), b"A: 1" + end + end)
            self.assertEqual(content(reader), b"text")

    def test_an_empty_header(self) -> None:
        reader = Reader([b"\ntext"])
        self.assertEqual(reader.header(), b"\n")

    def test_a_header_that_does_not_end(self) -> None:
        for text in (b"A: 1\n", b"A: 1\n--b\n\n", b"x" * 70_000 + b"\n\n", b"--b--\n\n"):
            reader = Reader([text])
            reader.enter(b"b")
            self.assertRaises(Unconvertible, reader.header)

    def test_memory_is_bounded(self) -> None:
        taken = []

        def endless() -> object:
            while True:
                taken.append(1)
                yield b"x" * parts._HEADER_LIMIT

        self.assertRaises(Unconvertible, Reader(endless()).header)  # type: ignore[arg-type]
        self.assertLess(len(taken), 4)
