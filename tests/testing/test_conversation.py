"""The record of a connection."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zsmtp.testing.conversation import Conversation, Piece
from zsmtp.testing.table import Table


class Records(SynchronousTestCase):
    """Pieces are merged by side, so that waiting can be seen."""

    def setUp(self) -> None:
        self.conversation = Conversation(Table().peer())
        for who, octets in (
            ("S", b"220 a\r\n"),
            ("C", b"MAIL\r\n"),
            ("C", b"RCPT\r\n"),
            ("S", b"250\r\n"),
            ("C", b"\xff"),
        ):
            self.conversation.add(who, octets, 1.5)
        self.conversation.note("client closes", 2.0)
        self.conversation.note("server closes", 2.0)

    def test_neighbours_are_merged(self) -> None:
        self.assertEqual(self.conversation.flights, [b"MAIL\r\nRCPT\r\n", b"\xff"])
        self.assertEqual(self.conversation.server, b"220 a\r\n250\r\n")
        self.assertEqual(self.conversation.client, b"MAIL\r\nRCPT\r\n\xff")
        self.assertEqual(self.conversation.commands, [b"MAIL", b"RCPT", b"\xff"])

    def test_events_are_not_merged(self) -> None:
        self.assertEqual(self.conversation.events, ["client closes", "server closes"])
        self.assertEqual(self.conversation.pieces[-1], Piece("-", b"server closes", 2.0))

    def test_form_of_the_recordings_has_a_character_for_each_octet(self) -> None:
        self.assertEqual(self.conversation.recording()[3], ["C", "\xff"])

    def test_people_can_read_it(self) -> None:
        self.assertIn("\nC: b'MAIL\\r\\nRCPT\\r\\n'\n", repr(self.conversation))

    def test_what_the_peer_found_is_part_of_it(self) -> None:
        self.assertEqual((self.conversation.messages, self.conversation.problems), ([], []))
        self.assertFalse(self.conversation.is_finished)
