"""One query and the socket for it, on a reactor that only notes what is asked of it."""

from __future__ import annotations

import socket
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.net.dnsmessage import Type, query, wire_name
from zsmtp.net.nameserver import NameServer, NoReply, ask

QUERY = query(wire_name("d.example"), Type.MX, 7)
TRUNCATED = QUERY[:2] + b"\x83\x80" + QUERY[4:]
REPLY = QUERY[:2] + b"\x81\x80" + QUERY[4:]


class OneQuery(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.server.close)
        self.server.bind(("127.0.0.1", 0))
        self.server.settimeout(5)
        self.reactor = cast(Any, MemoryReactorClock())
        where = NameServer(*self.server.getsockname())
        self.waiting: Deferred[bytes | NoReply] = Deferred.fromCoroutine(
            ask(self.reactor, self.reactor, where, QUERY, 4.0)
        )
        [self.reader] = self.reactor.getReaders()
        octets, self.client = self.server.recvfrom(512)
        self.assertEqual(octets, QUERY)

    def assert_over(self, expected: bytes | NoReply) -> None:
        self.assertEqual(self.successResultOf(self.waiting), expected)
        self.assertEqual((self.reactor.getReaders(), self.reactor.getDelayedCalls()), ([], []))
        self.assertEqual(self.reader.fileno(), -1)

    def test_the_reply_ends_it(self) -> None:
        self.server.sendto(REPLY, self.client)
        self.reader.doRead()
        self.assert_over(REPLY)

    def test_several_datagrams_in_one_turn(self) -> None:
        for octets in (b"", b"\0\0" + REPLY[2:], REPLY, REPLY):
            self.server.sendto(octets, self.client)
        self.reader.doRead()
        self.assert_over(REPLY)

    def test_a_false_alarm_is_none(self) -> None:
        self.reader.doRead()
        self.assertNoResult(self.waiting)
        self.assertEqual(self.reader.logPrefix(), "DNS")

    def test_a_closed_port_is_told_when_reading(self) -> None:
        self.server.close()
        self.reader._socket.send(QUERY)
        self.reader.doRead()
        self.assert_over(NoReply("Connection refused"))

    def test_or_by_the_reactor(self) -> None:
        self.reader.connectionLost(Failure(ConnectionRefusedError()))
        self.assert_over(NoReply("the connection was refused"))
        self.reader.connectionLost(Failure(ConnectionRefusedError()))

    def test_silence_ends_in_time(self) -> None:
        self.reactor.advance(4)
        self.assert_over(NoReply("no answer within 4 s", timed_out=True))
        self.reader.doRead()

    def truncated(self) -> Any:
        self.server.sendto(TRUNCATED, self.client)
        self.reader.doRead()
        [(host, port, factory, patience, _)] = self.reactor.tcpClients
        self.assertEqual((host, port, patience), (*self.server.getsockname(), 4.0))
        return factory

    def test_a_truncated_reply_leads_to_tcp_to_the_same_place(self) -> None:
        factory = self.truncated()
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        found = self.successResultOf(self.waiting)
        assert isinstance(found, NoReply)
        self.assertTrue(found.text.startswith("over TCP: Connection was refused"))

    def test_silence_over_tcp_closes_the_connection_when_it_ends(self) -> None:
        factory = self.truncated()
        self.reactor.advance(4)
        self.assertEqual(self.successResultOf(self.waiting), NoReply("no answer within 4 s", timed_out=True))
        self.assertEqual(
            self.reactor.connectors[0].stoppedConnecting or self.reactor.connectors[0]._disconnected, True
        )
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))


class WhereItIs(SynchronousTestCase):
    def test_is_written_as_people_do(self) -> None:
        self.assertEqual(str(NameServer("192.0.2.1")), "192.0.2.1:53")
        self.assertEqual(str(NameServer("::1", 5353)), "[::1]:5353")
