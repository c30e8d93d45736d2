"""aiosmtpd as a peer; the server itself is `aiosmtpd_server`."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

from tests.real.peer import Delivered, Peer
from tests.real.process import Program

__all__ = ["Aiosmtpd"]


class Aiosmtpd(Peer):
    """aiosmtpd: SMTP on a port, with STARTTLS and SMTPUTF8, without PIPELINING; keeps every octet.

    `seven`: neither 8BITMIME nor SMTPUTF8, and what is not ASCII is refused.  `user` are name and secret of
    the only one from whom it takes mail, if any.
    """

    def __init__(self, *user: str, seven: bool = False) -> None:
        self._words = ["7" if seven else "8", *user]

    @classmethod
    def missing(cls) -> str | None:
        """Look for the module."""
        found = importlib.util.find_spec("aiosmtpd")
        return None if found else "aiosmtpd is not installed (it comes with zsmtp[test])"

    def _launch(self, output: Path) -> Program:
        files = self.certify("aiosmtpd.example")
        script = Path(__file__).with_name("aiosmtpd_server.py")
        words = [sys.executable, "-P", str(script), str(self.mail), *map(str, files), *self._words]
        program = Program(words, output)
        chosen = self.mail / "port"
        program.wait_until(chosen.exists, 15.0, "the port of aiosmtpd")
        self.port = int(chosen.read_text())
        chosen.unlink()
        return program

    def delivered(self) -> list[Delivered]:
        """Read the messages, whose first line is the envelope as JSON."""
        found = []
        for path in self._files():
            first, _, wire = path.read_bytes().partition(b"\n")
            facts = json.loads(first)
            recipients = tuple(_octets(recipient) for recipient in facts["recipients"])
            message = wire.replace(b"\r\n", b"\n")
            found.append(Delivered(_octets(facts["sender"]), recipients, facts["protocol"], message, wire))
        return found


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
