"""What all scripted peers share: envelopes, and the text after DATA."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.testing.peer import Action, DataReader, Envelope, Send, Turn, append

LINES = st.lists(st.text(".a\r\n", max_size=6).map(str.encode), max_size=8)


def stuffed(text: bytes) -> bytes:
    """Make the wire form of a text whose line ends are CRLF."""
    lines = text.split(b"\r\n")
    return b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines)


def fed(reader: DataReader, octets: bytes, size: int) -> bytes | None:
    rest = None
    for index in range(0, len(octets), size):
        rest = reader.feed(octets[index : index + size])
        if rest is not None:
            return rest + octets[index + size :]
    return rest


class TextAfterData(SynchronousTestCase):
    """DataReader finds the lone dot and undoes the stuffing."""

    @settings(deadline=None, max_examples=150)
    @given(LINES, st.integers(1, 7))
    def test_any_split_gives_the_text_and_what_follows(self, lines: list[bytes], size: int) -> None:
        text = b"".join(line.replace(b"\r\n", b"") + b"\r\n" for line in lines)
        reader = DataReader()
        rest = fed(reader, stuffed(text) + b".\r\nMAIL", size)
        self.assertEqual((reader.text, rest), (text, b"MAIL"))
        self.assertEqual(reader.size, len(text))

    def test_empty_text_is_a_dot_alone(self) -> None:
        reader = DataReader()
        self.assertEqual((reader.feed(b".\r\nQUIT"), reader.text, reader.lines), (b"QUIT", b"", 0))

    def test_other_line_ends_do_not_end_the_text(self) -> None:
        reader = DataReader()
        self.assertIsNone(reader.feed(b"a\n.\nb\r.\r\n.\nc\r\n"))
        self.assertEqual(reader.feed(b".\r\n"), b"")
        self.assertEqual(reader.text, b"a\n.\nb\r.\r\n\nc\r\n")

    def test_lines_are_counted(self) -> None:
        reader = DataReader()
        reader.feed(b"a\r\nb\r")
        self.assertEqual(reader.lines, 1)
        reader.feed(b"\nc\r\n.\r\nnot\r\nthese\r\n")
        self.assertEqual(reader.lines, 3)

    def test_text_can_be_counted_without_being_kept(self) -> None:
        reader = DataReader(keep=False)
        reader.feed(b"..a\r\n" * 1000 + b".\r\n")
        self.assertEqual((reader.text, reader.size), (b"", 4000))


class Envelopes(SynchronousTestCase):
    """Envelope collects MAIL and RCPT in whatever spelling."""

    def test_paths_are_taken_without_brackets_and_parameters(self) -> None:
        envelope = Envelope()
        for line in (
            b"MAIL From:<a@x> SIZE=3",
            b'rcpt to: <"b>c"@y> NOTIFY=NEVER',
            b"RCPT TO:<>",
            b"NOOP <z>",
        ):
            envelope.note(line)
        self.assertEqual(envelope.recipients, 2)
        message = envelope.message(b"text", 4)
        self.assertEqual((message.sender, message.recipients), (b"a@x", (b'"b>c"@y', b"")))
        self.assertEqual(message.commands[0], b"MAIL From:<a@x> SIZE=3")
        self.assertEqual(envelope.message(b"", 0).recipients, ())

    def test_mail_and_rset_begin_anew(self) -> None:
        envelope = Envelope()
        for line in (b"MAIL FROM:<a>", b"RCPT TO:<b>", b"MAIL FROM:<c>"):
            envelope.note(line)
        self.assertEqual(envelope.recipients, 0)
        envelope.note(b"RCPT TO:<b>")
        envelope.note(b"rset")
        self.assertEqual(envelope.message(b"", 0).sender, b"")


class Actions(SynchronousTestCase):
    """What is to be sent at one time is one action."""

    def test_octets_are_joined_up_to_another_action(self) -> None:
        actions: list[Action] = []
        for octets in (b"a", b"b"):
            append(actions, octets)
        actions.append(Turn.SILENCE)
        append(actions, b"c")
        self.assertEqual(actions, [Send(b"ab"), Turn.SILENCE, Send(b"c")])
