"""Scripts are played: the peer's side, its patience with the client, and its complaints."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.testing.dialogue import Script, ScriptPeer
from zsmtp.testing.peer import Action, Ask, Drip, Flood, Send, Turn, Wait

ORDINARY = """
    S: 220 mx.example ESMTP
    C: EHLO *
    S: 250 mx.example
    -- repeat
    C: MAIL FROM:<*> ...
    S: 250 sender
    -- repeat
    C: RCPT TO:<*> ...
    S: 250 recipient
    -- end
    C: DATA
    S: 354 go on
    C-data:
    S: 250 thanks
    -- end
    C: QUIT
    S: 221 bye
"""
CLIENT = (
    b"EHLO c\r\nMAIL FROM:<a@x> SIZE=9\r\nRCPT TO:<b@y>\r\nRCPT TO:<c@y>\r\nDATA\r\none\r\n..\r\n.\r\n"
    b"MAIL FROM:<>\r\nRCPT TO:<b@y>\r\nDATA\r\n.\r\nQUIT\r\n"
)


def playing(text: str, *, strict: bool = False, keep: bool = True) -> tuple[ScriptPeer, list[Action]]:
    peer = Script(text, strict=strict, keep=keep).peer()
    return peer, peer.connected()


class AnOrdinarySession(SynchronousTestCase):
    """Greeting to farewell, two messages."""

    @settings(deadline=None, max_examples=60)
    @given(st.integers(1, 200))
    def test_any_split_of_the_client_gives_the_same(self, size: int) -> None:
        peer, actions = playing(ORDINARY)
        for index in range(0, len(CLIENT), size):
            actions += peer.receive(CLIENT[index : index + size])
        said = b"".join(action.octets for action in actions if isinstance(action, Send))
        codes = [line[:3] for line in said.splitlines()]
        self.assertEqual(b" ".join(codes), b"220 250 250 250 250 354 250 250 250 354 250 221")
        self.assertEqual(actions[-1], Turn.LEAVE)
        self.assertEqual([each.octets for each in peer.messages], [b"one\r\n.\r\n", b""])
        self.assertEqual([each.recipients for each in peer.messages], [(b"b@y", b"c@y"), (b"b@y",)])
        self.assertEqual((peer.problems, peer.is_over, peer.awaiting), ([], True, ""))

    def test_texts_can_be_counted_only(self) -> None:
        peer, _ = playing(ORDINARY, keep=False)
        peer.receive(CLIENT)
        self.assertEqual([(each.octets, each.size) for each in peer.messages], [(b"", 8), (b"", 0)])

    def test_what_is_awaited_can_be_seen(self) -> None:
        peer, _ = playing(ORDINARY)
        self.assertEqual(peer.awaiting, "C: EHLO *")
        peer.receive(b"EHLO c\r\nMAIL FROM:<a>\r\nRCPT TO:<b>\r\nDATA\r\n")
        self.assertEqual(peer.awaiting, "C-data:")

    def test_blocks_are_played_as_often_as_they_say(self) -> None:
        peer, actions = playing("-- repeat 3\nC: NOOP\nS: 250 a\n-- end\nS: 221 b")
        actions += peer.receive(b"NOOP\r\n" * 3)
        self.assertEqual(actions, [Send(b"250 a\r\n" * 3 + b"221 b\r\n"), Turn.LEAVE])

    def test_open_block_ends_with_the_client(self) -> None:
        peer, _ = playing("-- repeat\nC: NOOP\nS: 250 a\n-- end")
        peer.receive(b"NOOP\r\n")
        self.assertEqual((peer.closed(), peer.problems), ([Turn.LEAVE], []))


class Chunks(SynchronousTestCase):
    """BDAT."""

    def test_chunks_make_a_message(self) -> None:
        peer, _ = playing("-- repeat\nC-bdat:\nS: 250 ok\n-- end\nC: QUIT")
        actions = (
            peer.receive(b"BDAT 5\r\nab\r\nc")
            + peer.receive(b"BDAT 3 LAST\r\nd\r")
            + peer.receive(b"\nQUIT\r\n")
        )
        self.assertEqual(actions[-1], Turn.LEAVE)
        self.assertEqual([each.octets for each in peer.messages], [b"ab\r\ncd\r\n"])

    def test_size_can_be_demanded(self) -> None:
        peer, _ = playing("C-bdat: 3 LAST")
        peer.receive(b"BDAT 4 LAST\r\n")
        self.assertIn("'C-bdat: 3 LAST' was expected, the client sent b'BDAT 4 LAST'", peer.problems[0])

    def test_other_commands_are_none(self) -> None:
        peer, _ = playing("C-bdat:")
        self.assertEqual(peer.receive(b"DATA\r\n"), [Turn.CLOSE])
        self.assertEqual(len(peer.problems), 1)

    def test_texts_can_be_counted_only(self) -> None:
        peer, _ = playing("C-bdat: *", keep=False)
        peer.receive(b"BDAT 4 LAST\r\nabcd")
        self.assertEqual((peer.messages[0].octets, peer.messages[0].size), (b"", 4))


class Directions(SynchronousTestCase):
    """What the peer asks its runner to do."""

    def test_ends_of_a_connection(self) -> None:
        for word, turn in (("close", Turn.CLOSE), ("reset", Turn.RESET)):
            peer, actions = playing(f"S: 421 a\n-- {word}")
            self.assertEqual(actions, [Send(b"421 a\r\n"), turn, Turn.LEAVE])
            self.assertEqual((peer.receive(b"more"), peer.problems), ([], []))

    def test_half_closed_connection_goes_on(self) -> None:
        peer, actions = playing("-- halfclose\nC: QUIT")
        self.assertEqual(actions, [Turn.HALF_CLOSE])
        self.assertEqual(peer.receive(b"QUIT\r\n"), [Turn.LEAVE])

    def test_silence_hears_and_says_nothing(self) -> None:
        peer, actions = playing("-- silence\nS: never")
        self.assertEqual((actions, peer.receive(b"x"), peer.closed()), ([Turn.SILENCE], [], []))
        self.assertEqual((peer.awaiting, peer.problems), ("", []))

    def test_pauses_prompts_and_floods_are_passed_on(self) -> None:
        _, actions = playing("-- wait 1\n-- client go\n-- flood 3 lines x\n-- stop reading\nC: NOOP")
        self.assertEqual(actions, [Wait(1.0), Ask("go"), Flood(b"x\r\n", 3), Turn.STOP_READING])

    def test_dripping_is_by_octet_or_line_until_it_ends(self) -> None:
        _, actions = playing(
            "-- drip 2 per octet\nS: a\n-- drip 3 per line\nS-raw: a\\r\\nb\\r\\n\n-- drip off\nS: c\nC: NOOP"
        )
        self.assertEqual(
            actions,
            [Drip((b"a", b"\r", b"\n"), 2.0), Drip((b"a\r\n", b"b\r\n"), 3.0), Send(b"c\r\n")],
        )

    def test_server_that_has_stopped_reading_keeps_the_connection(self) -> None:
        peer, actions = playing("-- stop reading\nS: 220 a")
        self.assertEqual((actions, peer.is_over), ([Turn.STOP_READING, Send(b"220 a\r\n")], True))

    def test_handshake_is_waited_for(self) -> None:
        peer, actions = playing("S: 220 go\n-- starttls\nC: EHLO *\nS: 250 a\nC: QUIT")
        self.assertEqual(actions, [Send(b"220 go\r\n"), Turn.SECURE])
        self.assertEqual(peer.receive(b"EHLO c\r\n"), [])
        self.assertEqual(peer.awaiting, "the TLS handshake")
        self.assertEqual(peer.secured(), [Send(b"250 a\r\n")])

    def test_octets_in_clear_before_the_handshake_are_a_problem(self) -> None:
        peer, _ = playing("C: STARTTLS\nS: 220 go\n-- starttls")
        self.assertEqual(peer.receive(b"STARTTLS\r\nEHLO c\r\n"), [Send(b"220 go\r\n"), Turn.CLOSE])
        self.assertIn("should begin TLS", peer.problems[0])

    def test_octets_of_any_kind_can_be_waited_for(self) -> None:
        peer, _ = playing("C-octets: 10\nS: 552 enough\n-- close", strict=True)
        self.assertEqual(peer.receive(b"12345"), [])
        self.assertEqual(peer.receive(b"678901234")[0], Send(b"552 enough\r\n"))


class ClientsOutOfStep(SynchronousTestCase):
    """What is not in the script is a problem, and the peer closes."""

    def problem(self, text: str, octets: bytes, *, strict: bool = False, closes: bool = False) -> str:
        peer, _ = playing(text, strict=strict)
        peer.receive(octets)
        if closes:
            peer.closed()
        self.assertEqual(len(peer.problems), 1, peer.problems)
        self.assertTrue(peer.is_over)
        return peer.problems[0]

    def test_another_line(self) -> None:
        self.assertIn("'C: QUIT' was expected, the client sent b'RSET'", self.problem("C: QUIT", b"RSET\r\n"))

    def test_a_line_without_cr(self) -> None:
        self.assertIn("without CR", self.problem("C: QUIT", b"QUIT\n"))

    def test_another_text(self) -> None:
        problem = self.problem(r"C-data: a\r\n", b"b\r\n.\r\n")
        self.assertIn(r"the text b'a\r\n' was expected, the client sent b'b\r\n'", problem)

    def test_octets_after_the_end(self) -> None:
        self.assertIn("after the end of the script", self.problem("C: QUIT", b"QUIT\r\nNOOP\r\n"))

    def test_long_lines_are_shown_short(self) -> None:
        self.assertLess(len(self.problem("C: QUIT", b"x" * 9999 + b"\r\n")), 500)

    def test_client_that_closes_too_early(self) -> None:
        self.assertIn("closed the connection where 'C: QUIT'", self.problem("C: QUIT", b"QU", closes=True))

    def test_client_that_should_close(self) -> None:
        self.assertIn("where it should close", self.problem("C-close", b"x"))
        peer, _ = playing("C-close")
        self.assertEqual((peer.closed(), peer.problems), ([Turn.LEAVE], []))

    def test_strict_peer_wants_nothing_ahead(self) -> None:
        text, octets = "C: MAIL *\nS: 250 a\nC: RCPT *\nS: 250 b", b"MAIL a\r\nRCPT b\r\n"
        self.assertIn("should wait for b'250 a", self.problem(text, octets, strict=True))
        peer, _ = playing(text)
        peer.receive(octets)
        self.assertEqual(peer.problems, [])

    def test_strict_peer_takes_groups_as_written(self) -> None:
        peer, _ = playing("C: MAIL *\nC: RCPT *\nS: 250 a\nS: 250 b", strict=True)
        peer.receive(b"MAIL a\r\nRCPT b\r\n")
        self.assertEqual(peer.problems, [])

    def test_client_that_talks_first(self) -> None:
        peer = Script("S: 220 a\nC: EHLO *", strict=True).peer()
        self.assertEqual(peer.receive(b"EHLO c\r\n"), [])
        self.assertEqual(peer.connected(), [Turn.CLOSE])
        self.assertEqual(len(peer.problems), 1)
