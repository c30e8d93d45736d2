"""``openssl s_server`` as a peer: OpenSSL's own program does the TLS, a script does the SMTP around it.

s_server knows nothing of SMTP.  A relay plays the session up to STARTTLS, then passes the client's octets on
to s_server; what s_server decrypts arrives on its standard output and is answered on its standard input.  One
connection at a time, as s_server has it.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

from tests.real.peer import free_port
from zsmtp.testing.authority import Credentials
from zsmtp.testing.conversation import Conversation
from zsmtp.testing.peer import Behaviour, Send, Turn

__all__ = ["OpensslServer"]

SECONDS = 30.0


class OpensslServer:
    """Shows `credentials`; `words` are further options of s_server.  A context manager.

    `connections` are what was said, in clear and under TLS alike; `handshakes` is what s_server notes of the
    messages of TLS, from which one sees that a session was resumed.
    """

    def __init__(self, behaviour: Behaviour, folder: Path, credentials: Credentials, *words: str) -> None:
        self._behaviour = behaviour
        self._folder = folder
        self._credentials = credentials
        self._words = words
        self.connections: list[Conversation] = []
        self.problems: list[str] = []

    @staticmethod
    def missing() -> str | None:
        """Look for the program."""
        return None if shutil.which("openssl") else "openssl is not installed (Debian: openssl)"

    def __enter__(self) -> OpensslServer:
        certificates, key = self._folder / "server.pem", self._folder / "server-key.pem"
        certificates.write_bytes(self._credentials.certificate)
        key.write_bytes(self._credentials.key)
        self._messages = self._folder / "messages"
        self._inner_port = free_port()
        self._plain, theirs = socket.socketpair()
        command = [
            *("openssl", "s_server", "-quiet", "-accept", f"127.0.0.1:{self._inner_port}"),
            *("-cert_chain", str(certificates), "-cert", str(certificates), "-key", str(key)),
            *("-msg", "-msgfile", str(self._messages), "-cipher", "DEFAULT:@SECLEVEL=0", *self._words),
        ]
        with open(self._folder / "s_server.err", "wb") as errors:
            self._process = subprocess.Popen(
                command, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=errors, start_new_session=True
            )
        theirs.close()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(SECONDS)
        self._listening.close()
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(SECONDS)
        self._plain.close()

    @property
    def handshakes(self) -> list[str]:
        """The messages of TLS in order, such as `>>> TLS 1.3, Handshake [length 0002], ServerHello`."""
        lines = self._messages.read_text(errors="replace").splitlines()
        return [line for line in lines if line.startswith((">>>", "<<<"))]

    @property
    def messages(self) -> list[bytes]:
        """The mails."""
        return [message.octets for each in self.connections for message in each.messages]

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            with client:
                client.settimeout(SECONDS)
                try:
                    self._serve(client)
                except OSError as error:
                    self.problems.append(repr(error))

    def _serve(self, client: socket.socket) -> None:
        """Play the session in clear; at STARTTLS bring in s_server."""
        peer = self._behaviour.peer()
        conversation = Conversation(peer)
        self.connections.append(conversation)
        actions = peer.connected()
        while True:
            for action in actions:
                if isinstance(action, Send):
                    conversation.add("S", action.octets, 0.0)
                    client.sendall(action.octets)
                elif action is Turn.SECURE:
                    self._relay(client, peer, conversation)
                    return
                else:
                    return
            octets = client.recv(65536)
            if not octets:
                return
            conversation.add("C", octets, 0.0)
            actions = peer.receive(octets)

    def _relay(self, client: socket.socket, peer: Any, conversation: Conversation) -> None:
        with self._inner() as inner:
            self._answer(peer.secured(), conversation)
            waited = [client, inner, self._plain]
            while not self._stopped.is_set():
                ready, _, _ = select.select(waited, [], [], 0.1)
                for source in ready:
                    octets = source.recv(65536)
                    if source is self._plain:
                        conversation.add("C", octets, 0.0)
                        self._answer(peer.receive(octets), conversation)
                    elif not octets:
                        return
                    elif source is client:
                        inner.sendall(octets)
                    else:
                        client.sendall(octets)

    def _inner(self) -> socket.socket:
        """Connect to s_server, which may not have begun to listen."""
        for _ in range(int(SECONDS / 0.05)):
            try:
                return socket.create_connection(("127.0.0.1", self._inner_port), SECONDS)
            except ConnectionRefusedError:
                self._stopped.wait(0.05)
        raise ConnectionRefusedError(
            "s_server does not listen: " + (self._folder / "s_server.err").read_text()
        )

    def _answer(self, actions: list[Any], conversation: Conversation) -> None:
        for action in actions:
            if isinstance(action, Send):
                conversation.add("S", action.octets, 0.0)
                self._plain.sendall(action.octets)
