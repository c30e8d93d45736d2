"""Octets on their way out: straight to the socket, or as the peer takes them, and few at a time."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any

from twisted.internet.interfaces import IPullProducer, ISSLTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides
from zope.interface.verify import verifyObject

from tests.net.network import Octets
from tests.smtp.sample import go_through
from zsmtp.net.outlet import Outlet
from zsmtp.smtp.event import Broken, Event
from zsmtp.smtp.session import Manner, Session
from zsmtp.smtp.transaction import Recipient, Transaction
from zsmtp.testing.memory import FakeHandle, FakeTransport
from zsmtp.trouble import Kind

PIECE = b"y" * 65534 + b"\r\n"


class Counted:
    """A message that is only counted: as many pieces as wanted, none of them kept."""

    def __init__(self, pieces: int) -> None:
        self.size = pieces * len(PIECE)
        self.given = 0

    def pieces(self, *, stuffed: bool) -> Iterator[bytes]:
        """Give the same piece over and over."""
        for _ in range(self.size // len(PIECE)):
            self.given += len(PIECE)
            yield PIECE


class CountingTransport(FakeTransport):
    """Keeps no octets; `most` is how many of them were here at once."""

    def __init__(self) -> None:
        super().__init__(automatic=False)
        self.taken = 0
        self.most = 0
        self.held = 0

    def write(self, data: bytes) -> None:
        """Count."""
        self.held += len(data)
        self.most = max(self.most, self.held)

    def sent_directly(self, octets: bytes) -> None:
        """Count."""
        self.taken += len(octets)

    def accept(self, limit: int | None = None) -> int:
        """Take all, and ask for more as a reactor does."""
        taken, self.held = self.held, 0
        self.taken += taken
        if self.producer is not None:
            self.producer.resumeProducing()
        return taken


class OutletTest(SynchronousTestCase):
    """An outlet of a session that is ready, over a transport in memory."""

    def ready(
        self,
        transport: FakeTransport,
        caps: bytes = b"250-mx\r\n250 PIPELINING\r\n",
        *,
        in_step: bool = False,
    ) -> Outlet:
        """Open a session; with `in_step` a message has gone through already."""
        self.transport = transport
        self.progress = 0
        self.session = Session(Manner())
        self.outlet = Outlet(self.session, transport, self.progressed)
        self.hear(b"220 mx\r\n")
        self.hear(caps)
        if in_step:
            go_through(self.session)
        self.transport._taken.clear()
        self.transport._buffer.clear()
        return self.outlet

    def progressed(self) -> None:
        """Count."""
        self.progress += 1

    def hear(self, octets: bytes) -> list[Event]:
        """The server says something."""
        events = self.session.receive(octets)
        self.outlet.send()
        return events

    def begin(self, content: Any) -> Transaction:
        """Announce a message, and let the server permit its data."""
        transaction = Transaction(b"a@x.example", [Recipient(b"b@y.example")], content)
        self.session.begin(transaction)
        self.outlet.send()
        return transaction

    @property
    def handle(self) -> FakeHandle:
        """The socket."""
        handle = self.transport.handle
        assert handle is not None
        return handle

    def drain(self, limit: int | None = None) -> bytes:
        """Let the peer take everything, `limit` octets at a time."""
        found = b""
        while octets := self.transport.accept(limit) or self.transport.take():
            found += self.transport.take()
            self.assertLess(self.transport.waiting, 3 * 65536, octets)
        return found


class Direct(OutletTest):
    """Where the socket takes it, nothing waits."""

    def test_group_goes_straight_to_the_socket(self) -> None:
        self.ready(FakeTransport())
        self.begin(Octets(b"hello\r\n"))
        self.assertEqual(bytes(self.transport._taken).count(b"\r\n"), 3)
        self.assertEqual((self.outlet.is_sending, self.progress, self.transport.producer), (False, 0, None))
        verifyObject(IPullProducer, self.outlet)

    def test_body_goes_straight_to_the_socket(self) -> None:
        self.ready(FakeTransport())
        self.begin(Octets(*[PIECE] * 5))
        self.hear(b"250 a\r\n250 b\r\n354 c\r\n")
        self.assertTrue(self.transport.take().endswith(PIECE + b".\r\n"))
        self.assertFalse(self.outlet.is_sending)

    def test_reactor_has_a_turn_after_a_mebibyte(self) -> None:
        content = Counted(100)
        self.ready(CountingTransport())
        self.begin(content)
        self.hear(b"250 a\r\n250 b\r\n354 c\r\n")
        self.assertLessEqual(content.given, 18 * 65536)
        self.assertTrue(self.outlet.is_sending)

    def test_nothing_to_send_is_nothing_sent(self) -> None:
        self.ready(FakeTransport())
        self.outlet.send()
        self.assertEqual(self.transport.take(), b"")


class Waiting(OutletTest):
    """What the socket does not take follows in order."""

    def test_partial_send_is_completed(self) -> None:
        for room in (0, 1, 7, 50):
            self.ready(FakeTransport(automatic=False))
            self.handle.room = room
            self.begin(Octets(b"hello\r\n"))
            self.assertTrue(self.outlet.is_sending)
            self.outlet.send()  # nothing may overtake
            said = self.transport.take() + self.drain(5)
            self.assertEqual(
                said, b"MAIL From:<a@x.example>\r\nRCPT To:<b@y.example>\r\nDATA\r\n", f"room for {room}"
            )
            self.assertEqual((self.outlet.is_sending, self.transport.producer), (False, None))
            self.assertGreaterEqual(self.progress, 2)

    def test_direct_sends_go_on_afterwards(self) -> None:
        self.ready(FakeTransport(automatic=False))
        self.handle.room = 3
        self.begin(Octets(b"hello\r\n"))
        self.drain()
        self.handle.room = None
        self.hear(b"250 a\r\n250 b\r\n354 c\r\n")
        self.assertEqual((self.transport.take(), self.transport.waiting), (b"hello\r\n.\r\n", 0))

    def test_error_of_the_socket_loses_no_octet(self) -> None:
        # with ENOBUFS the transport tries again; with EPIPE it finds out, and the connection ends
        for number in (errno.ENOBUFS, errno.EPIPE, errno.EINTR):
            self.ready(FakeTransport(automatic=False))
            self.handle.error = OSError(number, os.strerror(number))
            transaction = self.begin(Octets(b"hello\r\n"))
            self.assertEqual(self.drain().count(b"\r\n"), 3)
            self.hear(b"250 a\r\n250 b\r\n354 c\r\n")
            self.assertEqual(self.drain(), b"hello\r\n.\r\n")
            self.hear(b"250 thanks\r\n")
            self.assertIsNone(transaction.trouble)
            self.assertIsNotNone(transaction.final_reply)

    def test_early_reply_is_seen_as_such_while_octets_wait(self) -> None:
        self.ready(FakeTransport(automatic=False))
        transaction = self.begin(Octets(b"hello\r\n"))
        self.handle.room = 4
        self.hear(b"250 a\r\n250 b\r\n354 c\r\n")
        (_, broken) = self.hear(b"250 thanks\r\n")
        self.assertIsInstance(broken, Broken)
        self.assertIsNotNone(transaction.trouble)

    def test_reply_is_believed_when_the_last_octet_has_gone(self) -> None:
        self.ready(FakeTransport(automatic=False))
        transaction = self.begin(Octets(b"hello\r\n"))
        self.handle.room = 4
        self.hear(b"250 a\r\n250 b\r\n354 c\r\n")
        self.drain()
        self.hear(b"250 thanks\r\n")
        self.assertIsNone(transaction.trouble)

    def test_what_is_queued_meanwhile_follows(self) -> None:
        self.ready(FakeTransport(automatic=False), in_step=True)
        self.handle.room = 5
        self.begin(Octets(b"1\r\n"))
        events = self.session.receive(b"")
        self.assertEqual(events, [])
        self.drain()
        self.handle.room = 0
        self.hear(b"250 a\r\n250 b\r\n354 c\r\n")
        self.begin(Octets(b"2\r\n"))
        self.assertEqual(
            self.drain(3), b"1\r\n.\r\nMAIL From:<a@x.example>\r\nRCPT To:<b@y.example>\r\nDATA\r\n"
        )

    def test_end_of_the_connection_throws_away_what_waits(self) -> None:
        self.ready(FakeTransport(automatic=False))
        self.handle.room = 5
        self.begin(Octets(b"hello\r\n"))
        self.transport.disconnect()
        self.assertEqual((self.outlet.is_sending, self.transport.take()), (False, b"MAIL "))

    def test_transport_without_a_socket_is_written_to(self) -> None:
        self.ready(FakeTransport(handle=False))
        self.begin(Octets(b"hello\r\n"))
        self.assertEqual(self.transport.take().count(b"\r\n"), 3)


class Secure(OutletTest):
    """Past TLS nothing goes to the socket."""

    def test_everything_is_written_from_then_on(self) -> None:
        self.ready(FakeTransport())
        self.transport.is_secure = True  # the handle of a test refuses octets now
        self.outlet.leave_socket()
        self.begin(Octets(b"hello\r\n"))
        self.assertEqual(self.transport.take().count(b"\r\n"), 3)

    def test_transport_that_is_secure_from_the_beginning_is_known(self) -> None:
        transport = FakeTransport()
        alsoProvides(transport, ISSLTransport)
        transport.is_secure = True
        self.ready(transport)
        self.begin(Octets(b"hello\r\n"))
        self.assertEqual(self.transport.take().count(b"\r\n"), 3)

    def test_peer_that_does_not_read_gets_two_pieces_and_one(self) -> None:
        content = Counted(100)
        self.ready(CountingTransport())
        self.outlet.leave_socket()
        self.transport.accept()
        self.begin(content)
        self.hear(b"250 a\r\n250 b\r\n354 c\r\n")
        self.assertLessEqual(content.given, 4 * 65536)
        self.assertTrue(self.outlet.is_sending)


class Large(OutletTest):
    """A message of any size needs the memory of a few pieces."""

    def test_gibibyte_streams_through_a_few_pieces(self) -> None:
        for secure in (False, True):
            for caps in (b"250-mx\r\n250 PIPELINING\r\n", b"250-mx\r\n250-CHUNKING\r\n250 PIPELINING\r\n"):
                content = Counted(16384)
                transport = CountingTransport()
                self.ready(transport, caps, in_step=True)
                if secure:
                    self.outlet.leave_socket()
                self.begin(content)
                self.handle.room = 0
                self.hear(
                    b"250 a\r\n250 b\r\n354 c\r\n" if b"CHUNKING" not in caps else b"250 a\r\n250 b\r\n"
                )
                most = 0
                while transport.producer is not None:
                    transport.accept()
                    most = max(most, content.given - transport.taken)
                    if b"CHUNKING" in caps:
                        awaited = len(self.session._awaited)
                        if awaited > 1:
                            self.session.receive(b"250 ok\r\n" * (awaited - 1))
                self.assertEqual(content.given, 1 << 30)
                self.assertGreater(transport.taken, 1 << 30)
                self.assertLess(max(most, transport.most), 6 * 65536)

    def test_content_that_fails_stops_the_flow(self) -> None:
        self.ready(FakeTransport(automatic=False))
        self.begin(Octets(*[PIECE] * 3, size=10**6, error=OSError("disk error")))
        self.handle.room = 0
        self.hear(b"250 a\r\n250 b\r\n354 c\r\n")
        self.drain()
        events = self.session.poll()
        self.assertEqual([type(event).__name__ for event in events], ["TransactionFinished", "Broken"])
        assert isinstance(events[-1], Broken)
        self.assertIs(events[-1].trouble.kind, Kind.CONTENT_UNREADABLE)
        self.assertIsNone(self.transport.producer)
