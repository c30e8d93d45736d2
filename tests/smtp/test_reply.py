"""Replies are read by the grammar, in any pieces, within bounds."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.smtp.sample import reply
from zsmtp.smtp.reply import LINE_KEPT, LINES_IN_REPLY, UNREAD_KEPT, Reply, ReplyReader


def read(*data: bytes) -> tuple[list[Reply], ReplyReader]:
    """Read octets in these pieces."""
    reader = ReplyReader()
    return [one for piece in data for one in reader.receive(piece)], reader


class ProperReplies(SynchronousTestCase):
    """What RFC 5321 section 4.2 allows, and what servers send nearly so."""

    def test_one_line(self) -> None:
        replies, reader = read(b"250 ok\r\n")
        self.assertEqual(replies, [Reply(250, (b"250 ok",))])
        self.assertTrue(reader.is_empty)

    def test_many_lines(self) -> None:
        replies, _ = read(b"250-a\r\n250-\r\n250 b\r\n")
        self.assertEqual(replies, [Reply(250, (b"250-a", b"250-", b"250 b"))])

    def test_code_alone_ends_a_reply(self) -> None:
        """Row 124."""
        replies, _ = read(b"550-\r\n550\r\n250\r\n")
        self.assertEqual(
            [(one.code, one.lines) for one in replies], [(550, (b"550-", b"550")), (250, (b"250",))]
        )

    def test_bare_lf_ends_a_line(self) -> None:
        """Row 124; defect 10 of the stock class."""
        self.assertEqual(read(b"550 nocr\n")[0], [Reply(550, (b"550 nocr",))])

    def test_several_in_one_packet(self) -> None:
        self.assertEqual([one.code for one in read(b"250 a\r\n550 b\r\n354 c\r\n")[0]], [250, 550, 354])

    def test_octets_of_any_kind_are_text(self) -> None:
        """Rows 125 and 126: reports clean them, framing does not suffer."""
        self.assertEqual(read(b"550 a\0b\tc\x01\xff\r\n")[0], [Reply(550, (b"550 a\0b\tc\x01\xff",))])

    def test_absurd_codes_are_read_so_that_they_can_be_quoted(self) -> None:
        self.assertEqual(
            [one.code for one in read(b"000 a\r\n199 b\r\n650 c\r\n999 d\r\n")[0]], [0, 199, 650, 999]
        )

    def test_nothing_is_said_before_the_last_line_is_whole(self) -> None:
        replies, reader = read(b"250-a\r\n", b"250 b\r")
        self.assertEqual(replies, [])
        self.assertFalse(reader.is_empty)
        self.assertEqual(reader.unfinished, (b"250-a", b"250 b\r"))

    def test_replies_are_compared_by_what_they_say(self) -> None:
        self.assertEqual(reply("250 a"), reply("250 a"))
        self.assertNotEqual(reply("250 a"), reply("250 b"))
        self.assertNotEqual(reply("250 a"), "250 a")
        self.assertEqual(len({reply("250 a"), reply("250 a")}), 1)
        self.assertEqual(repr(reply("250-a|250 b")), "<Reply 250 b'b'>")


class WhatIsNoReply(SynchronousTestCase):
    """The reader stops for good: whatever comes behind cannot be understood."""

    def problem(self, *data: bytes) -> str:
        replies, reader = read(*data)
        self.assertEqual(replies, [])
        self.assertEqual(reader.receive(b"250 ok\r\n"), [], "nothing is read behind it")
        assert reader.problem is not None
        return reader.problem

    def test_no_code(self) -> None:
        for line in (
            b"",
            b"hello",
            b"25 ok",
            b"2_0 x",
            b" 22 x",
            b"2500 x",
            b"250hi",
            b"250\tx",
            b"250\0x",
            b"\xff\xfe",
        ):
            self.assertIn("not a reply", self.problem(line + b"\r\n"), line)

    def test_other_code_in_the_last_line(self) -> None:
        """Row 121; defect 9 of the stock class."""
        self.assertIn("different codes, b'250' and b'550'", self.problem(b"250-ok\r\n550 x\r\n"))

    def test_other_code_in_a_line_between(self) -> None:
        self.assertIn("different codes", self.problem(b"250-ok\r\n251-x\r\n250 y\r\n"))

    def test_replies_before_it_count(self) -> None:
        replies, reader = read(b"250 ok\r\nhello\r\n250 no\r\n")
        self.assertEqual([one.code for one in replies], [250])
        self.assertEqual(reader.unfinished, (b"hello",))

    def test_line_without_end(self) -> None:
        self.assertIn("longer than", self.problem(b"250 " + b"x" * UNREAD_KEPT))
        self.assertIn("longer than", self.problem(*[b"x" * 1000] * 66))

    def test_line_that_is_too_long_is_so_in_one_piece_too(self) -> None:
        self.assertIn("longer than", self.problem(b"250 " + b"x" * UNREAD_KEPT + b"\r\n"))

    def test_flood_of_lines(self) -> None:
        """Row 129; defect 11 of the stock class, weakness W17."""
        self.assertIn(f"more than {LINES_IN_REPLY} lines", self.problem(b"250-x\r\n" * 101))

    def test_flood_of_text(self) -> None:
        self.assertIn("longer than", self.problem((b"250-" + b"x" * 4000 + b"\r\n") * 17))


class LongLines(SynchronousTestCase):
    """Row 127: they are cut, not believed to end."""

    def test_only_the_beginning_is_kept(self) -> None:
        ((one,), _) = read(b"550 " + b"x" * 20000 + b"\r\n")
        self.assertEqual((one.code, len(one.lines[0])), (550, LINE_KEPT))

    def test_unfinished_line_is_cut_as_well(self) -> None:
        self.assertEqual(len(read(b"550 " + b"x" * 20000)[1].unfinished[0]), LINE_KEPT)


class StatusCodes(SynchronousTestCase):
    """RFC 2034: the code stands before the text, whether the server has announced it or not."""

    def test_code_and_text_are_told_apart(self) -> None:
        one = reply("550 5.1.1 no such user")
        self.assertEqual((one.enhanced, one.text), (b"5.1.1", b"no such user"))

    def test_last_line_counts(self) -> None:
        one = reply("550-5.7.1 go away|550 5.1.1 no such user")
        self.assertEqual((one.enhanced, one.text), (b"5.1.1", b"no such user"))

    def test_code_without_text(self) -> None:
        self.assertEqual((reply("250 2.0.0").enhanced, reply("250 2.0.0").text), (b"2.0.0", b""))

    def test_no_code(self) -> None:
        """Rows 122 and 123, and codes of another class than the reply's."""
        for text in (
            "550 No such (user)",
            "550 127.0.0.1.22.33 x",
            "550 2.0.0 fine",
            "550 5.1 x",
            "550 5.1.1234 x",
            "550",
        ):
            self.assertIsNone(reply(text).enhanced, text)
            self.assertEqual(reply(text).text, text[4:].encode(), text)


class AnyOctets(SynchronousTestCase):
    """Whatever a server sends, in whatever pieces."""

    octets = st.lists(
        st.one_of(
            st.sampled_from(
                [
                    b"250 ok\r\n",
                    b"250-a\r\n",
                    b"250 \r\n",
                    b"550 5.1.1 x\n",
                    b"250",
                    b"\r",
                    b"\n",
                    b"2",
                    b"x\r\n",
                    b"354 ",
                ]
            ),
            st.binary(max_size=8),
            st.integers(0, 70).map(lambda times: b"250-" + b"y" * times * 1000),
        ),
        max_size=12,
    ).map(b"".join)

    @settings(max_examples=150, deadline=None)
    @given(octets, st.lists(st.integers(0, 80000), max_size=6))
    def test_pieces_do_not_matter(self, octets: bytes, cuts: list[int]) -> None:
        whole, one = read(octets)
        places = sorted({min(cut, len(octets)) for cut in cuts})
        pieces = [octets[a:b] for a, b in zip([0, *places], [*places, len(octets)], strict=True)]
        replies, other = read(*pieces)
        self.assertEqual(replies, whole)
        self.assertEqual(other.problem, one.problem)
        if one.problem is None:
            self.assertEqual((other.unfinished, other.is_empty), (one.unfinished, one.is_empty))

    @settings(max_examples=100, deadline=None)
    @given(st.lists(octets, max_size=10))
    def test_memory_is_bounded(self, pieces: list[bytes]) -> None:
        reader = ReplyReader()
        for piece in pieces:
            reader.receive(piece)
            self.assertLessEqual(sum(map(len, reader.unfinished)), UNREAD_KEPT + 2 * LINE_KEPT)
            self.assertLessEqual(len(reader.unfinished), LINES_IN_REPLY + 2)
