"""The transport in memory behaves as Twisted's do, and the link as a network would."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IHandshakeListener,
    IPullProducer,
    ITCPTransport,
    ITLSTransport,
)
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from zsmtp.testing.dialogue import Script
from zsmtp.testing.memory import FakeHandle, FakeTlsHandle, FakeTransport, Link
from zsmtp.testing.table import table


class Recorder(Protocol):
    """Notes what happens to it; `replies` are said in answer to each piece of data."""

    def __init__(self, *replies: bytes) -> None:
        self.replies = list(replies)
        self.heard: list[bytes] = []
        self.times: list[float] = []
        self.clock: Clock | None = None
        self.reason: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.heard.append(data)
        if self.clock is not None:
            self.times.append(self.clock.seconds())
        if self.replies:
            assert self.transport is not None
            self.transport.write(self.replies.pop(0))

    def connectionLost(self, reason: Failure | None = None) -> None:
        assert self.reason is None
        self.reason = reason


@implementer(IPullProducer)
class Puller:
    """Produces pieces one by one."""

    def __init__(self, transport: FakeTransport, *pieces: bytes) -> None:
        self.transport = transport
        self.pieces = list(pieces)
        self.log: list[str] = []

    def resumeProducing(self) -> None:
        self.log.append("resume")
        if self.pieces:
            self.transport.write(self.pieces.pop(0))
        else:
            self.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        self.log.append("pause")

    def stopProducing(self) -> None:
        self.log.append("stop")


class Transport(SynchronousTestCase):
    """What a protocol sees."""

    def test_interfaces_are_complete(self) -> None:
        verifyObject(ITCPTransport, FakeTransport())
        verifyObject(ITLSTransport, FakeTransport())

    def test_written_octets_are_taken_in_order(self) -> None:
        transport = FakeTransport()
        transport.write(b"a")
        transport.writeSequence([b"b", b"c"])
        self.assertEqual((transport.waiting, transport.take(), transport.take()), (3, b"abc", b""))

    def test_only_bytes_are_written(self) -> None:
        wrong: Any = "text"
        self.assertRaises(TypeError, FakeTransport().write, wrong)

    def test_nothing_is_written_after_the_end(self) -> None:
        for close in ("loseConnection", "abortConnection", "loseWriteConnection"):
            transport = FakeTransport()
            getattr(transport, close)()
            transport.write(b"late")
            self.assertEqual(transport.take(), b"", close)

    def test_graceful_end_keeps_what_was_written_and_an_abort_does_not(self) -> None:
        transport = FakeTransport()
        transport.write(b"a")
        transport.loseConnection()
        self.assertEqual((transport.disconnecting, transport.aborted, transport.take()), (True, False, b"a"))
        transport = FakeTransport()
        transport.write(b"a")
        transport.abortConnection()
        self.assertEqual((transport.disconnecting, transport.aborted, transport.take()), (True, True, b""))

    def test_settings_are_remembered(self) -> None:
        transport = FakeTransport()
        self.assertEqual(
            (transport.no_delay, transport.getTcpNoDelay(), transport.getTcpKeepAlive()), (None, False, False)
        )
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        self.assertEqual((transport.getTcpNoDelay(), transport.getTcpKeepAlive()), (True, True))
        self.assertEqual((transport.getPeer().port, transport.getHost().host), (25, "192.0.2.1"))

    def test_protocol_is_told_of_the_end_once(self) -> None:
        protocol = Recorder()
        transport = FakeTransport(protocol)
        transport.disconnect(ConnectionLost())
        transport.disconnect()
        assert protocol.reason is not None
        self.assertIsNotNone(protocol.reason.check(ConnectionLost))
        FakeTransport().disconnect()


class Producers(SynchronousTestCase):
    """Pull producers are pulled, push producers paused."""

    def test_pull_producer_is_asked_at_once_and_whenever_all_is_gone(self) -> None:
        transport = FakeTransport(automatic=False)
        puller = Puller(transport, b"ab", b"cd")
        transport.registerProducer(puller, False)
        self.assertEqual((puller.log, transport.waiting), (["resume"], 2))
        self.assertEqual(transport.accept(1), 1)
        self.assertEqual(puller.log, ["resume"])
        transport.accept()
        transport.accept()
        self.assertEqual((transport.take(), transport.producer), (b"abcd", None))

    def test_automatic_transport_takes_all(self) -> None:
        transport = FakeTransport()
        transport.registerProducer(Puller(transport, b"ab", b"cd"), False)
        self.assertEqual(transport.take(), b"abcd")

    def test_push_producer_is_paused_and_resumed(self) -> None:
        transport = FakeTransport(automatic=False)
        pusher = Puller(transport)
        transport.registerProducer(pusher, True)
        transport.write(b"x" * 70000)
        transport.write(b"x")
        self.assertEqual(pusher.log, ["pause"])
        transport.accept()
        self.assertEqual(pusher.log, ["pause", "resume"])

    def test_one_producer_at_a_time(self) -> None:
        transport = FakeTransport()
        transport.registerProducer(Puller(transport, b"a"), False)
        self.assertRaises(RuntimeError, transport.registerProducer, Puller(transport), False)

    def test_producer_is_stopped_by_the_end(self) -> None:
        transport = FakeTransport(automatic=False)
        puller, late = Puller(transport, b"a"), Puller(transport, b"b")
        transport.registerProducer(puller, False)
        transport.disconnect()
        transport.registerProducer(late, False)
        self.assertEqual((puller.log, late.log), (["resume", "stop"], ["stop"]))


class Handles(SynchronousTestCase):
    """Direct sends go to the same place, in the same order."""

    def handle(self, transport: FakeTransport) -> FakeHandle:
        handle = transport.getHandle()
        assert isinstance(handle, FakeHandle)
        return handle

    def test_direct_sends_are_taken(self) -> None:
        transport = FakeTransport()
        self.assertEqual(self.handle(transport).send(b"abc"), 3)
        self.assertEqual(transport.take(), b"abc")

    def test_room_limits_what_is_sent(self) -> None:
        transport = FakeTransport()
        handle = self.handle(transport)
        handle.room = 2
        self.assertEqual(handle.send(memoryview(b"abc")), 2)
        self.assertRaises(BlockingIOError, handle.send, b"c")

    def test_errors_are_raised(self) -> None:
        handle = self.handle(FakeTransport())
        handle.error = BrokenPipeError()
        self.assertRaises(BrokenPipeError, handle.send, b"c")

    def test_direct_send_must_not_overtake(self) -> None:
        transport = FakeTransport()
        transport.write(b"a")
        self.assertRaises(AssertionError, self.handle(transport).send, b"b")

    def test_direct_send_must_not_go_past_tls(self) -> None:
        transport = FakeTransport()
        handle = self.handle(transport)
        transport.startTLS(object())
        transport.secure()
        self.assertRaises(AssertionError, handle.send, b"b")
        self.assertIsInstance(transport.getHandle(), FakeTlsHandle)

    def test_handle_may_be_absent(self) -> None:
        self.assertIsNone(FakeTransport(handle=False).getHandle())

    def test_options_are_remembered(self) -> None:
        handle = self.handle(FakeTransport())
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.assertEqual(handle.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF), 4096)
        self.assertEqual(handle.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF), 0)
        self.assertEqual(handle.family, socket.AF_INET)

    def test_tls_has_a_version_and_a_cipher(self) -> None:
        handle = FakeTlsHandle()
        self.assertEqual(handle.get_protocol_version_name(), "TLSv1.3")
        self.assertTrue(handle.get_cipher_name())
        handle.get_peer_certificate()

    def test_handshake_needs_a_beginning(self) -> None:
        self.assertRaises(AssertionError, FakeTransport().secure)


class Links(SynchronousTestCase):
    """A protocol and a scripted peer."""

    def link(self, text: str, *replies: bytes) -> tuple[Link, Recorder]:
        protocol = Recorder(*replies)
        link = Link(protocol, Script(text))
        protocol.clock = link.clock
        link.run()
        return link, protocol

    def test_both_sides_are_carried_and_recorded(self) -> None:
        link, protocol = self.link(
            "S: 220 a\nC: EHLO c\nS: 250 b\nC: QUIT\nS: 221 c", b"EHLO c\r\n", b"QUIT\r\n"
        )
        self.assertEqual(protocol.heard, [b"220 a\r\n", b"250 b\r\n", b"221 c\r\n"])
        self.assertEqual(link.conversation.commands, [b"EHLO c", b"QUIT"])
        assert protocol.reason is not None
        self.assertIsNotNone(protocol.reason.check(ConnectionDone))
        self.assertEqual(link.conversation.problems, [])

    def test_connection_is_lost_by_reset(self) -> None:
        link, protocol = self.link("S: 421 a\n-- reset\nS: never")
        assert protocol.reason is not None
        self.assertIsNotNone(protocol.reason.check(ConnectionLost))
        self.assertEqual((protocol.heard, link.conversation.events), ([b"421 a\r\n"], ["server resets"]))

    def test_client_that_closes_is_noted(self) -> None:
        link, protocol = self.link("S: 220 a\nC: QUIT")
        assert protocol.transport is not None
        protocol.transport.loseConnection()
        link.run()
        self.assertEqual(link.conversation.events, ["client closes"])
        self.assertIn("closed the connection", link.conversation.problems[0])

    def test_client_that_aborts_is_told_so(self) -> None:
        link, protocol = self.link("S: 220 a\nC: QUIT")
        link.transport.abortConnection()
        link.run()
        assert protocol.reason is not None
        self.assertIsNotNone(protocol.reason.check(ConnectionAborted))

    def test_time_passes_by_the_clock(self) -> None:
        _, protocol = self.link("-- wait 5\nS: 220 a\n-- drip 1 per octet\nS-raw: bc\nC: QUIT")
        self.assertEqual((protocol.heard, protocol.times), ([b"220 a\r\n", b"b", b"c"], [5.0, 6.0, 7.0]))

    def test_advance_carries_what_follows(self) -> None:
        link, protocol = self.link("S: 220 a\nC: NOOP\nS: 250 b\nC: QUIT")
        assert protocol.transport is not None
        link.clock.callLater(3, protocol.transport.write, b"NOOP\r\n")
        link.advance(3)
        self.assertEqual(protocol.heard[-1], b"250 b\r\n")

    def test_flood_ends_when_the_client_closes(self) -> None:
        class Impatient(Recorder):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                assert self.transport is not None
                self.transport.loseConnection()

        protocol = Impatient()
        Link(protocol, Script("-- flood endless lines x\nS: more")).run()
        self.assertEqual(len(protocol.heard), 1)
        _, patient = self.link("-- flood 1200 lines x\nC: QUIT")
        self.assertEqual(b"".join(patient.heard), b"x\r\n" * 1200)

    def test_prompts_are_called(self) -> None:
        asked: list[str] = []
        Link(Recorder(), Script("-- client go"), prompts={"go": lambda: asked.append("gone")}).run()
        self.assertEqual(asked, ["gone"])

    def test_server_that_stops_reading_leaves_no_room(self) -> None:
        link, protocol = self.link("S: 220 a\n-- stop reading\nS: 250 b", b"EHLO c\r\n")
        handle = link.transport.getHandle()
        assert isinstance(handle, FakeHandle)
        self.assertRaises((AssertionError, BlockingIOError), handle.send, b"x")
        self.assertEqual(protocol.heard, [b"220 a\r\n", b"250 b\r\n"])

    def test_half_closed_connection_is_the_end_unless_the_protocol_knows(self) -> None:
        @implementer(IHalfCloseableProtocol)
        class Halves(Recorder):
            halves = ""

            def readConnectionLost(self) -> None:
                self.halves += "read"

            def writeConnectionLost(self) -> None:
                self.halves += "write"

        knowing = Halves()
        Link(knowing, Script("-- halfclose\nC: QUIT")).run()
        self.assertEqual((knowing.halves, knowing.reason), ("read", None))
        _, protocol = self.link("-- halfclose\nC: QUIT")
        self.assertIsNotNone(protocol.reason)

    def test_handshake_is_completed(self) -> None:
        @implementer(IHandshakeListener)
        class Secured(Recorder):
            secured = False

            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                if data.startswith(b"220 go"):
                    assert isinstance(self.transport, FakeTransport)
                    self.transport.startTLS("context")

            def handshakeCompleted(self) -> None:
                self.secured = True

        protocol = Secured(b"STARTTLS\r\n")
        link = Link(protocol, Script("S: 220 a\nC: STARTTLS\nS: 220 go\n-- starttls\nS: 250 b\nC: QUIT"))
        link.run()
        self.assertTrue(protocol.secured)
        self.assertEqual((link.transport.tls_contexts, link.conversation.tls), (["context"], "TLSv1.3"))
        self.assertEqual(protocol.heard[-1], b"250 b\r\n")

    def test_client_that_does_not_begin_tls_is_a_problem(self) -> None:
        link, _ = self.link("S: 220 a\nC: STARTTLS\nS: 220 go\n-- starttls", b"STARTTLS\r\n")
        self.assertEqual(link.conversation.problems, ["the client did not begin TLS"])

    def test_table_serves_as_well(self) -> None:
        protocol = Recorder(b"EHLO c\r\n", b"QUIT\r\n")
        link = Link(protocol, table("+P"), clock=Clock(), transport=FakeTransport(handle=False))
        link.run()
        self.assertEqual([data[:3] for data in protocol.heard], [b"220", b"250", b"221"])
        self.assertEqual(link.conversation.flights, [b"EHLO c\r\n", b"QUIT\r\n"])
