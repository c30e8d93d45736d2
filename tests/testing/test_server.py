"""Scripts on real sockets: TCP of both families, UNIX, TLS, and every way to end a connection."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import time

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from zsmtp.testing.certificate import Credentials, certificate
from zsmtp.testing.dialogue import Script
from zsmtp.testing.server import ScriptedServer, unused_port
from zsmtp.testing.table import Table, table

TIMEOUT = 10.0


def connect(server: ScriptedServer) -> socket.socket:
    if server.path is not None:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(TIMEOUT)
        client.connect(server.path)
        return client
    return socket.create_connection((server.host, server.port), TIMEOUT)


def heard(client: socket.socket) -> bytes:
    """Everything up to the end of the connection."""
    octets = b""
    while piece := client.recv(65536):
        octets += piece
    return octets


def line(client: socket.socket) -> bytes:
    octets = b""
    while not octets.endswith(b"\n"):
        octets += client.recv(1)
    return octets


class Serving(SynchronousTestCase):
    """A server runs while its context lasts."""

    def serve(self, *behaviours: Script | Table, **options: object) -> ScriptedServer:
        server = ScriptedServer(*behaviours, **options)  # type: ignore[arg-type]
        server.start()
        self.addCleanup(server.stop)
        return server

    def client(self, server: ScriptedServer) -> socket.socket:
        client = connect(server)
        self.addCleanup(client.close)
        return client


class Sockets(Serving):
    """TCP and UNIX."""

    def test_every_family_is_served(self) -> None:
        options: list[dict[str, object]] = [{}, {"address": "::1"}, {"path": ""}]
        for option in options:
            with self.subTest(option):
                server = self.serve(table("+P"), **option)
                client = self.client(server)
                client.sendall(b"MAIL FROM:<a>\r\nRCPT TO:<b>\r\nDATA\r\n")
                self.assertEqual([line(client)[:3] for _ in range(4)], [b"220", b"250", b"250", b"354"])
                client.sendall(b"hello\r\n.\r\nQUIT\r\n")
                self.assertEqual(heard(client)[:3], b"250")
                self.assertTrue(server.wait_finished())
                self.assertEqual(server.messages, [b"hello\r\n"])
                self.assertEqual(server.connections[0].messages[0].recipients, (b"b",))

    def test_socket_folder_is_removed(self) -> None:
        server = self.serve(table(""), path="")
        path = server.path
        assert path is not None
        self.assertTrue(os.path.exists(path))
        server.stop()
        self.assertFalse(os.path.exists(path))

    def test_path_may_be_given(self) -> None:
        path = os.path.join(self.mktemp(), "s")
        os.makedirs(os.path.dirname(path))
        self.serve(table("B 421 a+X"), path=path)
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.connect(path)
        self.assertEqual(heard(client), b"421 a\r\n")

    def test_each_connection_has_the_next_behaviour(self) -> None:
        server = self.serve(table("B 421 a+X"), Script("S: 554 b\n-- close"))
        self.assertEqual(
            [heard(self.client(server)) for _ in range(3)], [b"421 a\r\n", b"554 b\r\n", b"554 b\r\n"]
        )
        server.wait_finished(3)
        self.assertEqual(len(server.connections), 3)

    def test_many_connections_are_served_at_once(self) -> None:
        server = self.serve(table("+P"))
        clients = [self.client(server) for _ in range(20)]
        self.assertEqual({line(client)[:3] for client in clients}, {b"220"})
        for client in clients:
            client.sendall(b"QUIT\r\n")
        self.assertEqual({heard(client)[:3] for client in clients}, {b"221"})

    def test_nobody_listens_on_an_unused_port(self) -> None:
        for address in ("127.0.0.1", "::1"):
            with self.assertRaises(ConnectionRefusedError):
                socket.create_connection((address, unused_port(address)), TIMEOUT)

    def test_server_needs_a_behaviour(self) -> None:
        self.assertRaises(ValueError, ScriptedServer)


class Records(Serving):
    """What was said can be looked at afterwards, and waited for."""

    def test_who_waited_can_be_seen(self) -> None:
        with ScriptedServer(table("+P")) as server:
            client = connect(server)
            line(client)
            for flight in (b"MAIL FROM:<a>\r\nRCPT TO:<b>\r\n", b"QUIT\r\n"):
                client.sendall(flight)
                line(client)
            client.close()
            server.wait_finished()
            self.assertEqual(
                server.connections[0].flights, [b"MAIL FROM:<a>\r\nRCPT TO:<b>\r\n", b"QUIT\r\n"]
            )

    def test_octets_need_not_be_recorded(self) -> None:
        server = self.serve(Table(keep=False), record=False)
        client = self.client(server)
        client.sendall(b"DATA\r\n")
        client.sendall(b"x" * 99998 + b"\r\n.\r\nQUIT\r\n")
        heard(client)
        server.wait_finished()
        (conversation,) = server.connections
        self.assertEqual(
            (conversation.client, conversation.server, conversation.messages[0].size), (b"", b"", 100_000)
        )

    def test_conditions_can_be_waited_for(self) -> None:
        server = self.serve(table(""))
        self.assertFalse(server.wait(lambda server: bool(server.connections), 0.01))
        client = self.client(server)
        self.assertTrue(server.wait(lambda server: bool(server.connections)))
        client.sendall(b"NOOP\r\n")
        self.assertTrue(server.wait(lambda server: b"NOOP" in server.connections[0].client))
        self.assertFalse(server.wait_finished(seconds=0.01))

    def test_problems_fail_the_check(self) -> None:
        server = self.serve(Script("C: QUIT"))
        client = self.client(server)
        client.sendall(b"NOOP\r\n")
        heard(client)
        server.wait_finished()
        self.assertIn("C: b'NOOP", str(self.assertRaises(AssertionError, server.check)))

    def test_check_passes_without_problems(self) -> None:
        self.serve(table("")).check()


class Ends(Serving):
    """Connections end as the script says."""

    def said_and_end(self, text: str, octets: bytes = b"") -> tuple[bytes, str]:
        server = self.serve(Script(text))
        client = self.client(server)
        try:
            client.sendall(octets)
            said = heard(client)
        except ConnectionResetError:
            said = b"reset"
        client.close()
        server.wait_finished()
        return said, " ".join(server.connections[0].events)

    def test_close(self) -> None:
        self.assertEqual(self.said_and_end("S: 421 a\n-- close"), (b"421 a\r\n", "server closes"))

    def test_close_does_not_reset_when_octets_were_left_unread(self) -> None:
        for _ in range(5):
            said, _ = self.said_and_end("C-octets: 1\nS: 552 a\n-- close", b"x" * 100_000)
            self.assertIn(said, (b"552 a\r\n", b"reset"))

    def test_end_of_the_script(self) -> None:
        self.assertEqual(self.said_and_end("S: 421 a"), (b"421 a\r\n", ""))

    def test_reset(self) -> None:
        server = self.serve(Script("C: NOOP\n-- reset"))
        client = self.client(server)
        client.sendall(b"NOOP\r\n")
        self.assertRaises(ConnectionResetError, heard, client)

    def test_half_close_reads_on(self) -> None:
        server = self.serve(Script("S: 220 a\n-- halfclose\nC: QUIT"))
        client = self.client(server)
        self.assertEqual(heard(client), b"220 a\r\n")
        client.sendall(b"QUIT\r\n")
        server.wait_finished()
        self.assertEqual((server.problems, server.connections[0].client), ([], b"QUIT\r\n"))

    def test_silence_lasts_until_the_client_closes(self) -> None:
        server = self.serve(Script("S: 220 a\n-- silence"))
        client = self.client(server)
        client.sendall(b"NOOP\r\n")
        self.assertEqual(line(client), b"220 a\r\n")
        self.assertFalse(server.wait_finished(seconds=0.05))
        client.close()
        self.assertTrue(server.wait_finished())
        self.assertEqual(server.connections[0].events, ["server falls silent", "client closes"])

    def test_client_that_resets_is_noted(self) -> None:
        server = self.serve(Script("S: 220 a\nC: NOOP"))
        client = self.client(server)
        line(client)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        server.wait_finished()
        self.assertEqual(server.connections[0].events, ["client resets"])

    def test_deadline_ends_everything(self) -> None:
        for text in ("S: 220 a\nC: NOOP", "-- stop reading", "-- wait 60\nS: 220 a"):
            server = self.serve(Script(text), deadline=0.1)
            self.client(server)
            self.assertTrue(server.wait_finished(seconds=TIMEOUT), text)

    def test_stopping_ends_everything(self) -> None:
        for text in ("S: 220 a\nC: NOOP", "-- stop reading", "-- wait 60", "-- flood endless lines a"):
            server = self.serve(Script(text))
            self.client(server)
            server.wait(lambda server: bool(server.connections))
            before = time.monotonic()
            server.stop()
            self.assertLess(time.monotonic() - before, 5.0, text)
            self.assertTrue(server.connections[0].is_finished)

    def test_client_that_leaves_is_missed_while_sending(self) -> None:
        server = self.serve(Script("-- flood endless lines a"))
        client = self.client(server)
        line(client)
        client.close()
        self.assertTrue(server.wait_finished())
        self.assertEqual(server.connections[0].events, ["client is gone"])


class Pace(Serving):
    """Slow and fast servers."""

    def test_drip_is_slow(self) -> None:
        server = self.serve(Script("-- drip 0.02 per octet\nS-raw: abc"))
        client = self.client(server)
        before = time.monotonic()
        self.assertEqual(heard(client), b"abc")
        self.assertGreater(time.monotonic() - before, 0.05)

    def test_flood_is_as_long_as_told(self) -> None:
        server = self.serve(Script("-- flood 20000 lines 250-more"))
        self.assertEqual(heard(self.client(server)), b"250-more\r\n" * 20000)

    def test_server_that_does_not_read_lets_the_client_stand(self) -> None:
        server = self.serve(Script("S: 220 a\n-- stop reading\nS: 250 b"), receive_buffer=4096)
        client = self.client(server)
        self.assertEqual((line(client), line(client)), (b"220 a\r\n", b"250 b\r\n"))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client.settimeout(0.2)
        self.assertRaises(TimeoutError, client.sendall, b"x" * 10_000_000)

    def test_client_that_leaves_a_server_that_does_not_read_is_noted(self) -> None:
        server = self.serve(Script("S: 220 a\n-- stop reading"))
        client = self.client(server)
        line(client)
        client.close()
        self.assertTrue(server.wait_finished())
        self.assertEqual(server.connections[0].events, ["server stops reading", "client closes"])


class Tls(Serving):
    """STARTTLS with a certificate made at run time."""

    TALK = "S: 220 a\nC: STARTTLS\nS: 220 go\n-- starttls\nC: EHLO *\nS: 250 b\nC: QUIT\nS: 221 c"

    def secured(self, client: socket.socket, name: str = "mx.example") -> ssl.SSLSocket:
        context = ssl.create_default_context(cadata=certificate().authority.decode())
        client.sendall(b"STARTTLS\r\n")
        self.assertEqual((line(client), line(client)), (b"220 a\r\n", b"220 go\r\n"))
        return context.wrap_socket(client, server_hostname=name)

    def test_client_can_verify_the_server(self) -> None:
        for name in ("mx.example", "127.0.0.1"):
            server = self.serve(Script(self.TALK))
            client = self.secured(self.client(server), name)
            self.addCleanup(client.close)
            client.sendall(b"EHLO c\r\nQUIT\r\n")
            self.assertEqual(heard(client), b"250 b\r\n221 c\r\n")
            server.wait_finished()
            server.check()
            self.assertEqual(server.connections[0].tls, "TLSv1.3")
            self.assertEqual(server.connections[0].commands, [b"STARTTLS", b"EHLO c", b"QUIT"])

    def test_unix_sockets_have_it_too(self) -> None:
        server = self.serve(Script(self.TALK), path="")
        client = self.secured(self.client(server))
        self.addCleanup(client.close)
        client.sendall(b"EHLO c\r\n")
        self.assertEqual(line(client), b"250 b\r\n")

    def test_another_certificate_can_be_used(self) -> None:
        own = certificate("other.example")
        self.assertIsInstance(own, Credentials)
        self.assertIs(own, certificate("other.example"))
        server = self.serve(Script(self.TALK), credentials=own)
        with self.assertRaises(ssl.SSLCertVerificationError):
            self.secured(self.client(server))
        server.wait_finished()
        self.assertIn("TLS fails", server.connections[0].events[0])

    def test_client_that_sends_no_handshake_is_noted(self) -> None:
        server = self.serve(Script(self.TALK))
        client = self.client(server)
        client.sendall(b"STARTTLS\r\n")
        line(client)
        line(client)
        client.sendall(b"EHLO c in clear\r\n")
        server.wait_finished()
        self.assertIn("TLS fails", server.connections[0].events[0])

    def test_stopping_ends_a_secure_connection(self) -> None:
        server = self.serve(Script(self.TALK))
        client = self.secured(self.client(server))
        self.addCleanup(client.close)
        client.sendall(b"EHLO c\r\n")
        line(client)
        before = time.monotonic()
        server.stop()
        self.assertLess(time.monotonic() - before, 5.0)


class WithAReactor(TestCase):
    """The server's threads and the reactor do not disturb each other."""

    async def test_protocol_of_twisted_is_served(self) -> None:
        class Client(Protocol):
            def __init__(self) -> None:
                self.heard = b""
                self.done: Deferred[bytes] = Deferred()

            def dataReceived(self, data: bytes) -> None:
                self.heard += data
                if data.startswith(b"220"):
                    assert self.transport is not None
                    self.transport.write(b"QUIT\r\n")

            def connectionLost(self, reason: Failure | None = None) -> None:
                self.done.callback(self.heard)

        with ScriptedServer(table("Q 221 bye")) as server:
            client = Client()
            endpoint = TCP4ClientEndpoint(reactor, server.host, server.port)
            await connectProtocol(endpoint, client)
            self.assertTrue((await client.done).endswith(b"221 bye\r\n"))
