"""Servers as tables: each stage answers as told, and everything else as usual."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zsmtp.testing.peer import Action, Send, Turn
from zsmtp.testing.table import Reply, Table, TablePeer, recorded, table

ENVELOPE = b"MAIL FROM:<a>\r\nRCPT TO:<b>\r\nRCPT TO:<c>\r\nRCPT TO:<d>\r\n"


def said(actions: list[Action]) -> bytes:
    return b"".join(action.octets for action in actions if isinstance(action, Send))


def codes(actions: list[Action]) -> str:
    """The codes of what is sent, and the turns by name."""
    found: list[str] = []
    for action in actions:
        if isinstance(action, Send):
            found += [line[:3].decode("latin-1") for line in action.octets.splitlines()]
        elif isinstance(action, Turn):
            found.append(action.name)
    return " ".join(found)


def talked(server: Table, *flights: bytes) -> tuple[TablePeer, str]:
    peer = server.peer()
    actions = peer.connected()
    for flight in flights:
        actions += peer.receive(flight)
    return peer, codes(actions)


class TheUsualServer(SynchronousTestCase):
    """A table without entries."""

    def test_message_is_taken(self) -> None:
        peer, heard = talked(Table(), b"EHLO c\r\n", ENVELOPE + b"DATA\r\n", b"one\r\n..\r\n.\r\nQUIT\r\n")
        self.assertEqual(heard, "220 250 250 250 250 250 250 250 250 250 250 354 250 221 LEAVE")
        (message,) = peer.messages
        self.assertEqual((message.octets, message.recipients), (b"one\r\n.\r\n", (b"b", b"c", b"d")))
        self.assertEqual(peer.problems, [])

    def test_text_may_come_in_any_pieces(self) -> None:
        peer, heard = talked(
            Table(), b"HELO c\r\nMAIL FROM:<a>\r\nDA", b"TA\r\n", b"on", b"e\r\n.\r", b"\n", b"QUIT\r\n"
        )
        self.assertEqual(heard, "220 250 250 354 250 221 LEAVE")
        self.assertEqual(peer.messages[0].octets, b"one\r\n")

    def test_chunks_are_counted_in_their_replies(self) -> None:
        peer = Table(announce=["CHUNKING", "PIPELINING"]).peer()
        self.assertEqual(said(peer.receive(b"BDAT 3\r\nabcBDAT")), b"250 2.6.0 3 octets received\r\n")
        self.assertEqual(said(peer.receive(b" 2 LAST\r\nd")), b"")
        self.assertEqual(said(peer.receive(b"eNOOP\r\n")), b"250 2.6.0 2 octets received\r\n250 2.0.0 ok\r\n")
        self.assertEqual([each.octets for each in peer.messages], [b"abcde"])

    def test_empty_chunk_is_answered(self) -> None:
        self.assertEqual(said(Table().peer().receive(b"BDAT 0 LAST\r\n")), b"250 2.6.0 0 octets received\r\n")

    def test_unknown_commands_are_refused(self) -> None:
        self.assertEqual(said(Table().peer().receive(b"WHAT\r\nBDAT x\r\n")), b"500 5.5.2 what?\r\n" * 2)

    def test_texts_can_be_counted_only(self) -> None:
        peer, _ = talked(Table(keep=False), b"DATA\r\none\r\n.\r\n", b"BDAT 3 LAST\r\nabc")
        self.assertEqual([(each.octets, each.size) for each in peer.messages], [(b"", 5), (b"", 3)])

    def test_client_that_closes_is_followed(self) -> None:
        peer, _ = talked(Table())
        self.assertEqual(peer.closed(), [Turn.LEAVE])
        peer, _ = talked(table("B X"))
        self.assertEqual(peer.closed(), [])

    def test_reset_clears_the_envelope(self) -> None:
        peer, _ = talked(Table(), ENVELOPE, b"RSET\r\nMAIL FROM:<e>\r\n", b"DATA\r\n", b".\r\n")
        self.assertEqual((peer.messages[0].sender, peer.messages[0].recipients), (b"e", ()))


class Replies(SynchronousTestCase):
    """What a stage may say."""

    def test_lists_are_used_in_turn_over_all_connections(self) -> None:
        server = Table({"mail": ["450 a", "451 b", "250 c"]})
        heard = [talked(server, b"MAIL FROM:<a>\r\n")[1] for _ in range(4)]
        self.assertEqual(heard, ["220 450", "220 451", "220 250", "220 250"])

    def test_every_kind_of_end(self) -> None:
        for reply, heard in (
            (None, "220 CLOSE"),
            ("X", "220 CLOSE"),
            ("hang", "220 SILENCE"),
            ("-", "220 SILENCE"),
            ("reset", "220 RESET"),
            ("421 bye +X", "220 421 CLOSE"),
        ):
            with self.subTest(reply):
                _, found = talked(Table({"mail": reply}), b"MAIL FROM:<a>\r\n", b"NOOP\r\n")
                self.assertEqual(found, heard)

    def test_octets_are_sent_exactly(self) -> None:
        for reply in (b"25", b"", b"250 no end", b"\xff\x00\n"):
            self.assertEqual(said(Table({"noop": reply}).peer().receive(b"NOOP\r\n")), reply)

    def test_bare_code_gets_a_text(self) -> None:
        self.assertEqual(said(table("N 250").peer().receive(b"NOOP\r\n")), b"250 scripted\r\n")

    def test_reply_may_be_two(self) -> None:
        self.assertEqual(talked(Table({"M": "250 a\r\n250 b"}), b"MAIL FROM:<a>\r\n")[1], "220 250 250")

    def test_data_is_read_only_after_3yz(self) -> None:
        for reply in ("250 ok", b"odd\r\n", "no code"):
            peer, _ = talked(Table({"data": reply}), b"DATA\r\n", b"one\r\n.\r\nNOOP\r\n")
            self.assertEqual(peer.messages, [], reply)

    def test_refused_recipients_are_not_in_the_message(self) -> None:
        peer, _ = talked(table("+P; R 250, 550, 450"), b"EHLO c\r\n", ENVELOPE + b"DATA\r\n", b".\r\n")
        self.assertEqual(peer.messages[0].recipients, (b"b",))

    def test_connection_can_end_in_a_text(self) -> None:
        server = Table(drop_after_lines=2)
        peer, heard = talked(server, b"EHLO c\r\n" + ENVELOPE, b"DATA\r\n", b"a\r\n", b"b\r\nc\r\n.\r\n")
        self.assertTrue(heard.endswith("354 CLOSE"), heard)
        self.assertEqual(peer.messages, [])

    def test_text_that_is_short_enough_is_taken(self) -> None:
        peer, _ = talked(Table(drop_after_lines=2), b"DATA\r\n", b"a\r\n.\r\n")
        self.assertEqual(len(peer.messages), 1)


class Lmtp(SynchronousTestCase):
    """One final reply for each recipient that was accepted."""

    def test_finals_are_told_in_turn(self) -> None:
        server = table("lmtp; +P; R 250, 550, 250; . 250 a, 452 b")
        peer, heard = talked(server, b"LHLO c\r\n", ENVELOPE + b"DATA\r\n", b".\r\n")
        self.assertEqual(heard, "220 250 250 250 250 550 250 354 250 452")
        self.assertEqual(peer.messages[0].recipients, (b"b", b"d"))

    def test_chunks_have_finals_as_well(self) -> None:
        self.assertTrue(
            talked(table("lmtp; +P +C"), ENVELOPE, b"BDAT 1 LAST\r\nx")[1].endswith("250 250 250")
        )

    def test_connection_may_end_between_finals(self) -> None:
        _, heard = talked(table("lmtp; . 250, X"), ENVELOPE, b"DATA\r\n", b".\r\n")
        self.assertTrue(heard.endswith("354 250 CLOSE"), heard)

    def test_nobody_left_means_no_reply(self) -> None:
        _, heard = talked(table("lmtp; R 550"), ENVELOPE, b"DATA\r\n", b".\r\n")
        self.assertTrue(heard.endswith("550 550 550 354"), heard)


class TlsAndAuthentication(SynchronousTestCase):
    """STARTTLS and AUTH."""

    def test_tls_is_offered_once(self) -> None:
        peer = table("+P +T").peer()
        self.assertIn(b"STARTTLS", said(peer.receive(b"EHLO c\r\n")))
        self.assertEqual(codes(peer.receive(b"STARTTLS\r\n")), "220 SECURE")
        self.assertEqual(peer.secured(), [])
        self.assertNotIn(b"STARTTLS", said(peer.receive(b"EHLO c\r\n")))

    def test_tls_can_be_refused(self) -> None:
        self.assertEqual(codes(table("T 454").peer().receive(b"STARTTLS\r\n")), "454")

    def test_challenges_are_answered_by_any_line(self) -> None:
        peer = Table({"auth": ["334 VXNlcg==", "334 UGFzcw==", "235 ok"]}).peer()
        self.assertEqual(codes(peer.receive(b"AUTH LOGIN\r\n")), "334")
        self.assertEqual(codes(peer.receive(b"QUIT\r\n")), "334")
        self.assertEqual(codes(peer.receive(b"eA==\r\n")), "235")
        self.assertEqual(codes(peer.receive(b"NOOP\r\n")), "250")


class Haste(SynchronousTestCase):
    """Commands sent where the client has to wait are a problem."""

    def problems(self, server: Table, *flights: bytes) -> list[str]:
        return talked(server, *flights)[0].problems

    def test_groups_need_pipelining(self) -> None:
        self.assertEqual(len(self.problems(table("+8"), b"EHLO c\r\n", ENVELOPE)), 3)
        self.assertEqual(self.problems(table("+P"), b"EHLO c\r\n", ENVELOPE), [])

    def test_pipelining_must_have_been_seen(self) -> None:
        self.assertEqual(len(self.problems(table("+P"), ENVELOPE)), 3)

    def test_some_commands_end_a_group(self) -> None:
        for line in (b"EHLO c", b"DATA", b"NOOP", b"STARTTLS"):
            self.assertEqual(len(self.problems(table("+P"), b"EHLO c\r\n", line + b"\r\nRSET\r\n")), 1, line)

    def test_lines_need_cr(self) -> None:
        self.assertIn("without CR", self.problems(table(""), b"NOOP\n")[0])


class Notation(SynchronousTestCase):
    """The short notation and the recordings."""

    def test_announcements(self) -> None:
        self.assertEqual(
            table("+P +C +D +S 1000 +8 +N; +T +A; +S").announced,
            ("PIPELINING", "CHUNKING", "DSN", "SIZE 1000", "8BITMIME", "ENHANCEDSTATUSCODES", "STARTTLS",
             "AUTH LOGIN PLAIN", "SIZE"),
        )  # fmt: skip

    def test_no_announcement_is_none(self) -> None:
        self.assertEqual(said(table("").peer().receive(b"EHLO c\r\n")), b"250 fake.example.test\r\n")
        self.assertEqual(said(table("E 502 no").peer().receive(b"EHLO c\r\n")), b"502 no\r\n")

    def test_mistakes_are_refused(self) -> None:
        for text in ("Z 250", "+Z", "+P 7"):
            self.assertRaises(ValueError, table, text)
        empty: list[Reply] = []
        self.assertRaises(ValueError, Table, {"M": empty})

    def test_recording_is_played_as_recorded(self) -> None:
        server = recorded({"lmtp": 1, "mail": [None, "250 ok"], "caps": ["8BITMIME"], "drop_after_lines": 1})
        self.assertEqual(talked(server, b"MAIL FROM:<a>\r\n")[1], "220 CLOSE")
        _, heard = talked(server, ENVELOPE, b"DATA\r\n", b"a\r\n")
        self.assertEqual(heard, "220 250 250 250 250 354 CLOSE")
        self.assertEqual(server.announced, ("8BITMIME",))
