"""Dialogues as text are read into steps, or refused with the line that is wrong."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zsmtp.testing.peer import Turn
from zsmtp.testing.script import (
    Hear,
    HearChunk,
    HearClose,
    HearData,
    HearOctets,
    Pace,
    Pause,
    Perform,
    Pour,
    Prompt,
    Repeat,
    Say,
    ScriptError,
    Step,
    read,
    unescape,
)


def only(text: str) -> Step:
    (step,) = read(text)
    return step


def matches(pattern: str, line: bytes) -> bool:
    step = only("C: " + pattern)
    assert isinstance(step, Hear)
    return step.pattern.fullmatch(line) is not None


class WhatTheServerSays(SynchronousTestCase):
    """S: lines."""

    def test_line_gets_its_end(self) -> None:
        self.assertEqual(
            read("  S: 220 mx.example\n\n  # nothing\nS:\nS: "),
            (Say(b"220 mx.example\r\n"), *[Say(b"\r\n")] * 2),
        )

    def test_raw_octets_are_sent_as_they_are(self) -> None:
        self.assertEqual(only(r"S-raw: 250 \x00\xff\r\n\101é"), Say(b"250 \x00\xff\r\nA\xc3\xa9"))

    def test_every_escape_is_known_or_refused(self) -> None:
        self.assertEqual(unescape(r"\\\'\"\t\n\r\0"), b"\\'\"\t\n\r\0")
        for text in (r"\q", r"\x1", "end\\"):
            with self.assertRaises(ScriptError):
                unescape(text)


class WhatTheClientSays(SynchronousTestCase):
    """C: lines and their patterns."""

    def test_verb_may_be_in_any_case_and_the_rest_not(self) -> None:
        self.assertTrue(matches("MAIL FROM:<a@x>", b"mail from:<a@x>"))
        self.assertTrue(matches("MAIL From:<a@x>", b"MAIL FROM:<a@x>"))
        self.assertFalse(matches("MAIL FROM:<a@x>", b"MAIL FROM:<A@x>"))
        self.assertFalse(matches("EHLO client", b"ehlo CLIENT"))

    def test_asterisk_is_any_run_of_octets(self) -> None:
        self.assertTrue(matches("EHLO *", b"EHLO a.b"))
        self.assertTrue(matches("RCPT TO:<*@x> NOTIFY=*", b"RCPT TO:<\xff\n@x> NOTIFY="))
        self.assertFalse(matches("EHLO *", b"HELO a"))
        self.assertTrue(matches(r"NOOP \*", b"NOOP *"))
        self.assertFalse(matches(r"NOOP \*", b"NOOP a"))

    def test_dots_at_the_end_are_parameters_or_none(self) -> None:
        self.assertTrue(matches("MAIL FROM:<a@x> ...", b"MAIL FROM:<a@x>"))
        self.assertTrue(matches("MAIL FROM:<a@x> ...", b"MAIL FROM:<a@x> SIZE=1 BODY=8BITMIME"))
        self.assertFalse(matches("MAIL FROM:<a@x> ...", b"MAIL FROM:<a@x>SIZE=1"))

    def test_line_without_a_verb_is_matched_exactly(self) -> None:
        self.assertTrue(matches(".", b"."))
        self.assertTrue(matches("", b""))
        self.assertFalse(matches("", b"a"))

    def test_texts_chunks_octets_and_the_end(self) -> None:
        self.assertEqual(read("C-data:\nC-data: *"), (HearData(None), HearData(None)))
        self.assertEqual(only(r"C-data: a\r\n"), HearData(b"a\r\n"))
        self.assertEqual(only("C-octets: 12"), HearOctets(12))
        self.assertEqual(only("C-close"), HearClose())
        chunk = only("C-bdat: 12 LAST")
        assert isinstance(chunk, HearChunk)
        self.assertTrue(chunk.pattern.fullmatch(b"12 LAST"))
        self.assertIn("text='*'", repr(only("C-bdat:")))


class Directions(SynchronousTestCase):
    """Lines that begin with two dashes."""

    def test_each_is_a_step(self) -> None:
        text = """
            -- close
            -- reset
            -- halfclose
            -- cut
            -- alert
            -- silence
            -- stop reading
            -- starttls
            -- wait 0.5
            -- drip 0.05 per octet
            -- drip 1 per line
            -- drip off
            -- flood 10 lines 250-more
            -- flood endless lines
            -- client begin
        """
        turns = (
            Turn.CLOSE,
            Turn.RESET,
            Turn.HALF_CLOSE,
            Turn.CUT,
            Turn.ALERT,
            Turn.SILENCE,
            Turn.STOP_READING,
            Turn.SECURE,
        )
        self.assertEqual(
            read(text),
            (
                *(Perform(turn) for turn in turns),
                Pause(0.5),
                Pace(0.05, False),
                Pace(1.0, True),
                Pace(0.0, False),
                Pour(b"250-more\r\n", 10),
                Pour(b"250-flood\r\n", None),
                Prompt("begin"),
            ),
        )

    def test_blocks_nest(self) -> None:
        step = only("-- repeat\nC: MAIL *\n-- repeat 3\nS: 250 a\n-- end\n-- end")
        assert isinstance(step, Repeat)
        self.assertIsNone(step.times)
        self.assertEqual(step.steps[1], Repeat(3, (Say(b"250 a\r\n"),)))


class Mistakes(SynchronousTestCase):
    """A script that cannot be read is refused."""

    def refused(self, text: str) -> str:
        return str(self.assertRaises(ScriptError, read, text))

    def test_line_is_named(self) -> None:
        self.assertIn("line 2: 'X: what'", self.refused("S: a\n  X: what"))

    def test_whatever_is_unknown(self) -> None:
        for text, word in (
            ("-- dance", "known directions"),
            ("-- drip 1 per word", "known directions"),
            ("-- wait long", "no number of seconds"),
            ("-- flood many lines", "no number"),
            ("-- repeat often", "no number"),
            ("C-octets: 0", "above 0"),
            ("-- end", "no block"),
            ("-- repeat 2\nS: a", 'no "-- end"'),
            ("-- repeat\nS: a\n-- end", "must begin with"),
            ("-- repeat\n-- end", "must begin with"),
            (r"S-raw: \q", "unknown escape"),
        ):
            self.assertIn(word, self.refused(text), text)
