"""aiosmtpd as a program of its own: takes mail on a loopback port and writes each message into a folder.

Started by `tests.real.peers` as ``aiosmtpd_server.py FOLDER CERTIFICATE KEY 8|7 [USER SECRET]``; with ``7``
it takes seven bits only: no 8BITMIME, no SMTPUTF8, and a message that is not ASCII is refused.  With a user
it takes mail only from him, who authenticates inside TLS, with PLAIN or LOGIN.  The port is chosen by the
system and written to FOLDER/port.  A message is a file ``N.mail``: one line of JSON with the envelope, then
the octets as they came over the wire, without the doubled dots.  It appears under that name when it is
complete and before the client is told so.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import ssl
import sys
from pathlib import Path

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

__all__ = ["Keeper", "main"]


class Keeper:
    """Handler for aiosmtpd that keeps what it gets."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Write the message down, then accept it."""
        facts = {
            "sender": envelope.mail_from,
            "recipients": envelope.rcpt_tos,
            "protocol": ("ESMTP" if session.extended_smtp else "SMTP") + ("S" if session.ssl else ""),
        }
        content = envelope.original_content or b""
        hidden = self._folder / ".incomplete"
        hidden.write_bytes(json.dumps(facts).encode() + b"\n" + content)
        os.rename(hidden, self._folder / f"{next(self._numbers)}.mail")
        return "250 2.0.0 Kept"


async def main(folder: Path, certificate: str, key: str, width: str, *user: str) -> None:
    """Serve until the process is ended."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    keeper = Keeper(folder)

    def check(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object) -> AuthResult:
        """See whether it is the one user."""
        ours = LoginPassword(*map(str.encode, user))
        return AuthResult(success=data == ours, handled=False)

    def connection() -> SMTP:
        return SMTP(
            keeper,
            data_size_limit=1 << 28,
            enable_SMTPUTF8=width != "7",
            decode_data=width == "7",
            hostname="aiosmtpd.example",
            tls_context=context,
            authenticator=check if user else None,
            auth_required=bool(user),
        )

    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
    (folder / "port.new").write_text(str(server.sockets[0].getsockname()[1]))
    os.rename(folder / "port.new", folder / "port")
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
