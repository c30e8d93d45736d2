"""What a title says of an agent, and what it never says."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.net.progress import Progress
from zsmtp.trouble import Kind, Peer

PEER = Peer(b"dns; mx.example.org", b"192.0.2.25|25|198.51.100.3|40112")
SHORT = Peer(b"dns; mx.example.org", b"192.0.2.25|25")


class Titles(SynchronousTestCase):
    """From the first to the last moment of a connection."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.shown: list[bytes] = []
        self.progress = Progress(self.shown.append, lambda show: self.clock.callLater(0, show))

    def title(self) -> bytes:
        """End the turn; return what is shown, without the name of the program."""
        self.clock.advance(0)
        self.assertTrue(self.shown[-1].startswith(b"zsmtp >"))
        return self.shown[-1].removeprefix(b"zsmtp ")

    def test_before_there_is_work(self) -> None:
        self.progress.say(b"#hungry")
        self.assertEqual(self.title(), b">[] (nil) #hungry")

    def test_way_to_a_connection(self) -> None:
        self.progress.looking_up(b"example.org", use_mx=True)
        self.assertEqual(self.title(), b">[] example.org MX-lookup: example.org")
        self.progress.looking_up(b"example.org", use_mx=False)
        self.assertEqual(self.title(), b">[] example.org lookup: example.org")
        self.progress.connecting(SHORT)
        self.assertEqual(self.title(), b">[192.0.2.25|25] mx.example.org connecting to [192.0.2.25|25]")
        self.progress.failed(Kind.CONNECT_FAILED.value)
        self.assertEqual(
            self.title(), b">[192.0.2.25|25] mx.example.org " + Kind.CONNECT_FAILED.value.encode()
        )
        self.progress.parted(b"example.org")
        self.assertEqual(self.title(), b">[] example.org NewDomain: example.org")

    def test_lines_of_a_session(self) -> None:
        heard = self.progress.witness(PEER)
        for kind, line, shown in (
            ("w", b"EHLO me.example", b"EHLO wait"),
            ("w", b"AUTH LOGIN", b"AUTH wait"),
            ("w", b"RSET", b"RSET wait"),
            ("r", b"250 2.0.0 flushed", b"RSET rc=250"),
            ("w", b"MAIL From:<a@example.org>", b"MAIL wait"),
            ("w", b"DATA", b"DATA-flush (wait)"),
            ("p", b"65536/200000", b"DATA 65536/200000 (32%)"),
            ("w", b".", b"DATA-dot wait"),
            ("r", b"250 2.0.0 ok", b"DATA-dot; rc=250"),
            ("w", b"BDAT 700", b"BDAT 700 wait"),
            ("p", b"65536/131072", b"DATA 65536/131072 (50%)"),
            ("w", b"BDAT 65536", b"BDAT 65536/131072 (50%)"),
            ("w", b"BDAT 65536 LAST", b"BDAT 65536 LAST wait"),
            ("r", b"452 4.3.1 full", b"BDAT; rc=452"),
            ("w", b"NOOP", b"#idle NOOP"),
            ("w", b"QUIT", b"QUIT wait"),
        ):
            heard(kind, line)
            self.assertEqual(self.title(), b">192.0.2.25|25|198.51.100.3|401 mx.example.org " + shown)
        self.progress.say(b"#idle")
        self.assertEqual(self.title(), b">192.0.2.25|25|198.51.100.3|401 mx.example.org #idle")

    def test_neither_secrets_nor_words_of_the_server_are_shown(self) -> None:
        heard = self.progress.witness(PEER)
        for kind, line in (
            ("w", b"EHLO me.example"),
            ("r", b"250-\x1b[2J hello"),
            ("w", b"AUTH PLAIN"),
            ("w", b"***"),
            ("r", b"334 c2VjcmV0"),
            ("w", b"MAIL From:<secret@example.org>"),
            ("w", b"RCPT To:<secret@example.net>"),
            ("w", b"DATA"),
            ("w", b"."),
            ("r", b"250-first"),
            ("r", b"250 \x1b[2J secret"),
        ):
            heard(kind, line)
            self.title()
        self.assertEqual(len(self.shown), 7)
        for shown in self.shown:
            self.assertNotRegex(shown, b"secret|c2Vj|[^ -~]")

    def test_names_of_others_cannot_hurt_a_terminal(self) -> None:
        self.progress.connecting(Peer(b"dns; a\x1b[2J \n" + b"x" * 100, b"UNIX:/\x80" + b"y" * 100))
        title = self.title()
        self.assertNotRegex(title, b"[^ -~]")
        self.assertLess(len(title), 120)

    def test_only_the_last_thing_of_a_turn_is_shown_and_nothing_twice(self) -> None:
        for _ in range(3):
            for what in (b"one", b"two"):
                self.progress.say(what)
            self.title()
        self.assertEqual(len(self.shown), 1)

    def test_title_that_cannot_be_set_is_no_trouble(self) -> None:
        def fail(title: bytes) -> None:
            raise OSError

        progress = Progress(fail, lambda show: show())
        progress.say(b"#hungry")
