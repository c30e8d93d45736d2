"""A server that wants a second handshake in the middle of a session of TLS 1.2: it does not get one.

The server is pyOpenSSL on an ordinary socket, since Python's own `ssl` cannot ask for that.
Source: RFC 5746; RFC 5246 section 7.2.2, the alert `no_renegotiation`.
"""

from __future__ import annotations

import socket
import threading
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.internet import reactor as the_reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThread

from tests.net.test_tls import MANNER, Mail, TlsTest, message
from zsmtp.net.tls import ClientContexts
from zsmtp.smtp.patience import Timeouts
from zsmtp.testing.certificate import certificate
from zsmtp.trouble import Kind

reactor: Any = the_reactor

_STEPS = ("EHLO", "MAIL", "RCPT", "DATA", "text")
_REPLIES = {
    "EHLO": b"250 mx\r\n",
    "MAIL": b"250 ok\r\n",
    "RCPT": b"250 ok\r\n",
    "DATA": b"354 go\r\n",
    "text": b"250 got it\r\n",
}


class Insistent:
    """Takes one message, and asks for a second handshake before the reply to one step."""

    def __init__(self, step: str) -> None:
        self._step = step
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.has_asked = False
        self.text = b""
        self.errors: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Wait for its end."""
        self._thread.join(20)
        self._listening.close()

    def _run(self) -> None:
        plain, _ = self._listening.accept()
        with plain:
            plain.settimeout(20)
            for said, reply in (
                (b"", b"220 mx\r\n"),
                (b"\n", b"250-mx\r\n250 STARTTLS\r\n"),
                (b"\n", b"220 go\r\n"),
            ):
                if said:
                    plain.recv(1000)
                plain.sendall(reply)
            plain.settimeout(None)
            try:
                self._talk(self._secured(plain))
            except SSL.Error as error:
                self.errors.append(str(error))

    def _secured(self, plain: socket.socket) -> SSL.Connection:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        credentials = certificate()
        context.use_certificate(x509.load_pem_x509_certificate(credentials.certificate))
        key: Any = load_pem_private_key(credentials.key, None)
        context.use_privatekey(key)
        secure = SSL.Connection(context, plain)
        secure.set_accept_state()
        secure.do_handshake()
        return secure

    def _talk(self, secure: SSL.Connection) -> None:
        for step in _STEPS:
            heard = b""
            end = b"\r\n.\r\n" if step == "text" else b"\r\n"
            while not heard.endswith(end):
                heard += secure.recv(65536)
            if step == "text":
                self.text = heard
            if step == self._step:
                self.has_asked = secure.renegotiate()
                secure.do_handshake()
            secure.sendall(_REPLIES[step])
        secure.recv(100)


class Renegotiation(TlsTest):
    """Asked for at each step."""

    async def meet(self, step: str) -> tuple[Insistent, Mail]:
        """Deliver one message to it."""
        server = Insistent(step)
        short = MANNER._replace(timeouts=Timeouts(command=5, data=5, dot=5, write=5))
        mail = Mail(ClientContexts().creator_for("mx.example"), short, message())
        endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", server.port)
        await endpoint.connect(Factory.forProtocol(lambda: mail))
        await mail.gone
        await deferToThread(server.stop)
        return server, mail

    async def test_is_refused_and_success_comes_only_by_a_final_reply(self) -> None:
        for step in _STEPS:
            server, mail = await self.meet(step)
            self.assertTrue(server.has_asked, step)
            # so OpenSSL calls it when the client has answered by the alert that says no
            self.assertEqual(len(server.errors), 1, step)
            self.assertIn("no renegotiation", server.errors[0], step)
            replies = [transaction.final_reply for transaction in mail.finished]
            if step == "text":  # the reply to it was on its way before the refusal
                self.assertEqual(([reply and reply.code for reply in replies], mail.end), ([250], None))
            else:
                self.assertEqual((set(replies) <= {None}, server.text), (True, b""), step)
                assert mail.end is not None
                self.assertIs(mail.end.kind, Kind.HUNG_UP, step)
