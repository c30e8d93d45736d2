"""Endpoints for hops, and the names of addresses and failures in reports."""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.error import (
    ConnectBindError,
    ConnectError,
    ConnectionRefusedError,
    TimeoutError,
    UserError,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.net.network import Network
from zsmtp.destination import Family, Hop
from zsmtp.net.endpoints import address_text, connect_trouble, connected_text, endpoint_for
from zsmtp.testing.server import ScriptedServer, unused_port
from zsmtp.testing.table import table
from zsmtp.trouble import Kind

reactor: Any = the_reactor
INET = Hop("192.0.2.25", 25, Family.INET, "mx.example", b"dns; mx.example", "MX 10", "mx.example")
INET6 = INET._replace(address="2001:db8::25", family=Family.INET6)
PATH = Hop("/run/lmtp", 0, Family.UNIX, "/run/lmtp", b"", "-F", "/run/lmtp")


class Names(SynchronousTestCase):
    """What connections are called."""

    def test_address_as_in_notaries(self) -> None:
        self.assertEqual(address_text(INET), b"192.0.2.25|25")
        self.assertEqual(address_text(INET6), b"ipv6 2001:db8::25|25")
        self.assertEqual(address_text(PATH._replace(address="/run/l\udcfftp")), b"UNIX:/run/l\xfftp")

    def test_connection_has_both_ends(self) -> None:
        ours = IPv4Address("TCP", "192.0.2.1", 40000)
        self.assertEqual(connected_text(INET, ours), b"192.0.2.25|25|192.0.2.1|40000")
        self.assertEqual(connected_text(PATH, UNIXAddress(None)), b"UNIX:/run/lmtp|UNKNOWN-LOCAL-ADDRESS")


class Endpoints(SynchronousTestCase):
    """Which endpoint, and how long it may take."""

    def test_family_decides(self) -> None:
        for hop, kind in (
            (INET, TCP4ClientEndpoint),
            (INET6, TCP6ClientEndpoint),
            (PATH, UNIXClientEndpoint),
        ):
            self.assertIsInstance(endpoint_for(Network(), hop, seconds=1), kind)

    def test_time_of_conn_is_the_endpoints(self) -> None:
        for hop in (INET, INET6, PATH):
            network = Network()
            endpoint_for(network, hop, seconds=17).connect(Factory.forProtocol(Protocol)).addErrback(
                lambda _: None
            )
            (attempt,) = network.attempts
            self.assertEqual((attempt.address, attempt.port, attempt.seconds), (hop.address, hop.port, 17))

    def test_path_that_is_too_long_is_an_error_at_once(self) -> None:
        endpoint_for(Network(), PATH._replace(address="/" + "x" * 106), seconds=1)
        error = self.assertRaises(
            OSError, endpoint_for, Network(), PATH._replace(address="/" + "x" * 107), seconds=1
        )
        self.assertIn(b"File name too long", connect_trouble(PATH, error).text)


class Troubles(SynchronousTestCase):
    """Why there is no connection."""

    def test_reason_is_the_systems(self) -> None:
        for error, why in (
            (ConnectionRefusedError(errno.ECONNREFUSED), b"Connection refused"),
            (ConnectError(errno.EHOSTUNREACH, "whatever"), b"No route to host"),
            (TimeoutError(), b"Connection timed out"),
            (UserError(), b"User aborted connection"),
            (ConnectError("no such thing"), b"no such thing"),
            (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), b"Too many open files"),
            (OSError("odd"), b"odd"),
            (ValueError(), b"ValueError"),
        ):
            trouble = connect_trouble(INET, error)
            self.assertIs(trouble.kind, Kind.CONNECT_FAILED)
            self.assertTrue(trouble.text.startswith(b"connect to mx.example [192.0.2.25|25]: "))
            self.assertIn(why, trouble.text)
            self.assertEqual(trouble.remote, b"dns; mx.example")

    def test_local_address_that_cannot_be_used_is_another_trouble(self) -> None:
        trouble = connect_trouble(INET, ConnectBindError(errno.EADDRNOTAVAIL), ("192.0.2.1", 0))
        self.assertIs(trouble.kind, Kind.BIND_FAILED)
        self.assertIn(b"from 192.0.2.1 port any: Cannot assign requested address", trouble.text)

    def test_socket_that_cannot_be_had_is_no_matter_of_the_local_address(self) -> None:
        trouble = connect_trouble(INET, ConnectBindError(errno.EMFILE))
        self.assertIs(trouble.kind, Kind.CONNECT_FAILED)
        self.assertIn(b"Too many open files", trouble.text)

    def test_path_is_named_as_it_is(self) -> None:
        self.assertTrue(
            connect_trouble(PATH, ConnectError(errno.ENOENT)).text.startswith(
                b"connect to /run/lmtp [UNIX:/run/lmtp]: No such file or directory"
            )
        )


class Real(TestCase):
    """The same on this machine."""

    timeout = 20

    async def trouble(self, hop: Hop) -> bytes:
        """Connect in vain."""
        try:
            await endpoint_for(reactor, hop, seconds=5).connect(Factory.forProtocol(Protocol))
        except Exception as error:  # noqa: BLE001  whatever it is, it is to be put into words
            return connect_trouble(hop, error).text
        raise AssertionError("somebody listens")

    async def test_refused_and_missing(self) -> None:
        port = unused_port()
        local = INET._replace(address="127.0.0.1", port=port)
        self.assertIn(b"[127.0.0.1|%d]: Connection refused" % port, await self.trouble(local))
        where = os.path.abspath(self.mktemp())
        if len(where) < 100:
            missing = PATH._replace(address=where, name=where)
            self.assertIn(b"No such file or directory", await self.trouble(missing))  # N16

    async def test_every_family_connects(self) -> None:
        for address, family in (("127.0.0.1", Family.INET), ("::1", Family.INET6), ("", Family.UNIX)):
            path = "" if family is Family.UNIX else None
            server = ScriptedServer(table(""), address=address or "127.0.0.1", path=path)
            server.start()
            self.addCleanup(server.stop)
            hop = INET._replace(address=server.path or address, port=server.port, family=family)
            protocol: Any = await endpoint_for(reactor, hop, seconds=5).connect(Factory.forProtocol(Protocol))
            text = connected_text(hop, protocol.transport.getHost())
            self.assertTrue(text.startswith(address_text(hop) + b"|"))
            protocol.transport.abortConnection()
