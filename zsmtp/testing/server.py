"""A scripted server on a real socket, for tests of anything that speaks SMTP or LMTP.

    with ScriptedServer(table("+P; R 250, 550")) as server:
        ...                                  # deliver to 127.0.0.1, port server.port
    server.connections[0].messages           # what came
    server.check()                           # fail if a script found something out of place

Each connection is served by the next of the behaviours given, the last one serves all that follow.  One
thread accepts, one serves each connection: nothing depends on the reactor under test, and a child process is
served as well as a test in the same process.  No connection lasts longer than `deadline` seconds.

On a UNIX socket `-- reset` cannot send a reset: the client sees an ordinary end.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
import tempfile
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from zsmtp.testing.certificate import Credentials, certificate
from zsmtp.testing.conversation import Conversation
from zsmtp.testing.peer import Action, Ask, Drip, Flood, Send, Turn, Wait

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from zsmtp.testing.peer import Behaviour, Peer

__all__ = ["ScriptedServer", "unused_port"]

_READ = 1 << 18
_FLOOD = 1 << 16
_DRAINED = 4
_NO_RECORDS = (b"\x17\x03\x03\x00\x40" + bytes(64)) * 400  # more than the longest that may have begun
_LINGER_NOT = struct.pack("ii", 1, 0)


class ScriptedServer:
    """Serves scripts on TCP, or with `path` on a UNIX socket; a context manager that starts and stops it.

    `address` is a loopback address of either family, `port` 0 stands for a free one.  `path=""` makes a
    socket in a temporary folder.
    `receive_buffer` limits the octets that the kernel takes in for a server that does not read.
    `record=False` keeps no octets of the conversations, for large bodies.
    """

    def __init__(
        self,
        *behaviours: Behaviour,
        address: str = "127.0.0.1",
        port: int = 0,
        path: str | None = None,
        deadline: float = 30.0,
        receive_buffer: int | None = None,
        record: bool = True,
        credentials: Credentials | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not behaviours:
            raise ValueError("a server needs at least one script or table")
        self.host = address
        self.port = port
        self.path = path
        self.connections: list[Conversation] = []
        self._behaviours = behaviours
        self.deadline = deadline
        self._receive_buffer = receive_buffer
        self.record = record
        self._credentials = credentials
        self.clock = clock
        self._changed = threading.Condition()
        self.stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._services: set[_Service] = set()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._listening: socket.socket | None = None

    def __enter__(self) -> ScriptedServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen, and serve from now on."""
        if self.path is None:
            family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
            listening = socket.socket(family, socket.SOCK_STREAM)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            if not self.path:
                self._folder = tempfile.TemporaryDirectory(prefix="zsmtp-")
                self.path = os.path.join(self._folder.name, "socket")
            listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if self._receive_buffer is not None:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        listening.bind((self.host, self.port) if self.path is None else self.path)
        listening.listen(128)
        if self.path is None:
            self.port = listening.getsockname()[1]
        self._listening = listening
        self._spawn(self._accept, listening)

    def stop(self) -> None:
        """End all connections and wait for the threads."""
        self.stopping.set()
        if self._listening is not None:
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        with self._changed:
            for service in self._services:
                service.interrupt()
        for thread in list(self._threads):
            thread.join(self.deadline)
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        if self._folder is not None:
            self._folder.cleanup()

    def wait(self, until: Callable[[ScriptedServer], bool], seconds: float | None = None) -> bool:
        """Wait until a condition on this server holds; false if it does not hold in time."""
        with self._changed:
            return self._changed.wait_for(lambda: until(self), seconds or self.deadline)

    def wait_finished(self, connections: int = 1, seconds: float | None = None) -> bool:
        """Wait until so many connections were opened and all of them are over."""
        return self.wait(
            lambda server: (
                len(server.connections) >= connections
                and all(each.is_finished for each in server.connections)
            ),
            seconds,
        )

    @property
    def messages(self) -> list[bytes]:
        """The texts of all messages, connection by connection."""
        return [message.octets for each in self.connections for message in each.messages]

    @property
    def problems(self) -> list[str]:
        """What was out of place on any connection."""
        return [problem for each in self.connections for problem in each.problems]

    def check(self) -> None:
        """Raise AssertionError if anything was out of place, with all conversations."""
        if self.problems:
            raise AssertionError(
                "\n".join([*self.problems, *(f"---\n{each!r}" for each in self.connections)])
            )

    # Threads

    def _spawn(self, function: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listening: socket.socket) -> None:
        while not self.stopping.is_set():
            try:
                connection, client = listening.accept()
            except OSError:
                return  # stopped
            peer = self._behaviours[min(len(self.connections), len(self._behaviours) - 1)].peer()
            conversation = Conversation(peer)
            if self.path is None:
                conversation.client_address = client[:2]
            service = _Service(self, connection, peer, conversation)
            with self._changed:
                self.connections.append(conversation)
                self._services.add(service)
                self._changed.notify_all()
            self._spawn(self._serve, service, conversation)

    def _serve(self, service: _Service, conversation: Conversation) -> None:
        try:
            service.run()
        finally:
            with self._changed:
                self._services.discard(service)
                service.close()
                conversation.is_finished = True
                self._changed.notify_all()

    # For the threads

    def context(self) -> ssl.SSLContext:
        """Return the server's side of TLS."""
        return (self._credentials or certificate()).server_context()

    def notify(self) -> None:
        """Have all look again who wait for something."""
        with self._changed:
            self._changed.notify_all()


class _Service:
    """One connection: reads for a peer and does what the peer says."""

    def __init__(
        self, server: ScriptedServer, connection: socket.socket, peer: Peer, conversation: Conversation
    ) -> None:
        self._server = server
        self._socket = connection
        self._peer = peer
        self._conversation = conversation
        self._until = server.clock() + server.deadline
        self._is_open = True
        self._reads = True
        connection.settimeout(server.deadline)

    def run(self) -> None:
        """Serve until either side has closed."""
        self._perform(self._peer.connected())
        while self._is_open and self._reads:
            try:
                octets = self._socket.recv(_READ)
            except OSError as error:
                self._note("client resets" if isinstance(error, ConnectionResetError) else "server gives up")
                return
            if not octets:
                self._note("client closes")
                self._perform(self._peer.closed())
                return
            self._record("C", octets)
            self._perform(self._peer.receive(octets))
            self._server.notify()
        if self._is_open:
            self._await_departure()

    def interrupt(self) -> None:
        """Wake the thread that reads or writes, from another thread."""
        try:
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except OSError:
            pass  # it is gone already

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _perform(self, actions: list[Action]) -> None:
        queue = deque(actions)
        while queue and self._is_open:
            try:
                queue.extend(self._do(queue.popleft()))
            except ssl.SSLError as error:
                self._note(f"TLS fails: {error.reason}")
                self._is_open = False
            except OSError:
                self._note("client is gone")
                self._is_open = False

    def _do(self, action: Action) -> list[Action]:
        match action:
            case Send():
                self._send(action.octets)
            case Drip():
                for piece in action.pieces:
                    self._sleep(action.seconds)
                    self._send(piece)
            case Flood():
                self._flood(action)
            case Wait():
                self._sleep(action.seconds)
            case Turn.SECURE:
                return self._secure()
            case Turn():
                self._turn(action)
            case Ask():
                pass  # only in memory is there somebody to ask
        return []

    def _send(self, octets: bytes) -> None:
        # recorded first: the client may react before this thread runs again
        self._record("S", octets)
        self._socket.sendall(octets)

    def _flood(self, action: Flood) -> None:
        size = max(1, _FLOOD // len(action.octets))
        left = action.times
        while (left is None or left > 0) and not self._is_late():
            times = size if left is None else min(size, left)
            self._send(action.octets * times)
            left = None if left is None else left - times

    def _sleep(self, seconds: float) -> None:
        if self._server.stopping.wait(min(seconds, max(0.0, self._until - self._server.clock()))):
            raise ConnectionAbortedError("the server is being stopped")

    def _secure(self) -> list[Action]:
        wrapped = self._server.context().wrap_socket(
            self._socket, server_side=True, do_handshake_on_connect=False
        )
        self._socket = wrapped
        wrapped.do_handshake()
        self._conversation.tls = wrapped.version()
        self._note(f"TLS begins: {wrapped.version()}")
        return self._peer.secured()

    def _turn(self, turn: Turn) -> None:
        if turn is not Turn.LEAVE:
            self._note(turn.value)
        match turn:
            case Turn.CLOSE | Turn.LEAVE:
                self._drain()
                self._say_farewell()
                self._is_open = False
            case Turn.CUT:
                self._drain()
                self._is_open = False
            case Turn.ALERT:
                self._drain()
                self._alert()
                self._is_open = False
            case Turn.RESET:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
                self._is_open = False
            case Turn.HALF_CLOSE:
                self._socket.shutdown(socket.SHUT_WR)
            case Turn.STOP_READING:
                self._reads = False

    def _drain(self) -> None:
        """Take what has come: closing on unread octets would reset the connection and lose our reply."""
        self._socket.settimeout(0)
        try:
            for _ in range(_DRAINED):
                octets = self._socket.recv(_READ)
                if not octets:
                    break
                self._record("C", octets)
        except OSError:
            pass  # there is nothing

    def _say_farewell(self) -> None:
        if isinstance(self._socket, ssl.SSLSocket):
            try:
                self._socket.unwrap()
            except OSError:
                pass  # the farewell is sent, that of the client is not waited for

    def _alert(self) -> None:
        """Have our side of TLS read what no client of it can have written: then it sends an alert itself."""
        if not isinstance(self._socket, ssl.SSLSocket):
            return
        ours, theirs = socket.socketpair()
        client = socket.socket(fileno=os.dup(self._socket.fileno()))
        with ours, theirs, client:
            os.dup2(ours.fileno(), self._socket.fileno())
            theirs.sendall(_NO_RECORDS)
            self._socket.settimeout(self._server.deadline)
            try:
                self._socket.recv(1)
            except ssl.SSLError:
                pass  # as it must be
            client.sendall(theirs.recv(_READ))

    def _await_departure(self) -> None:
        """Keep the connection, without reading, until the client leaves."""
        poll = select.poll()
        poll.register(self._socket, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
        while not self._server.stopping.is_set() and not self._is_late():
            if poll.poll(50):
                self._note("client closes")
                return

    def _is_late(self) -> bool:
        return self._server.clock() > self._until

    def _record(self, who: str, octets: bytes) -> None:
        if self._server.record:
            self._conversation.add(who, octets, self._server.clock())

    def _note(self, event: str) -> None:
        self._conversation.note(event, self._server.clock())


def unused_port(address: str = "127.0.0.1") -> int:
    """Return a port on which nothing listens: connecting to it is refused."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])
