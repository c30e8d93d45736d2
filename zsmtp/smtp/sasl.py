"""Authentication mechanisms for a client: the answer to each challenge, as octets.

Each class is what Twisted calls an IClientAuthentication (`zsmtp.net.stock` declares it): `getName`, and
`challengeResponse` with what the server sent, both without base64.  An object serves one exchange on one
connection.  PLAIN names no authorization identity: the server derives it, and a server that checks the two
against each other has nothing to refuse.

Source: RFC 4616 (PLAIN), RFC 2195 (CRAM-MD5), RFC 4954 section 4; LOGIN has no standard.
"""

from __future__ import annotations

import hashlib
import hmac

__all__ = ["CramMd5", "Login", "Mechanism", "Plain", "mechanisms"]


class Plain:
    """User and secret in one answer."""

    def __init__(self, user: bytes) -> None:
        self.user = user

    def getName(self) -> bytes:
        """Return the name under which servers offer it."""
        return b"PLAIN"

    def challengeResponse(self, secret: bytes, chal: bytes) -> bytes:
        """Return the answer; ValueError if it could be read in two ways."""
        if b"\0" in self.user + secret:
            raise ValueError("a user or secret with NUL cannot be used with PLAIN")
        return b"\0" + self.user + b"\0" + secret


class Login:
    """The user first, then the secret, whatever the server calls them."""

    def __init__(self, user: bytes) -> None:
        self.user = user
        self._answers = 0

    def getName(self) -> bytes:
        """Return the name under which servers offer it."""
        return b"LOGIN"

    def challengeResponse(self, secret: bytes, chal: bytes) -> bytes:
        """Return the next answer; ValueError if the server asks a third time."""
        self._answers += 1
        if self._answers > 2:
            raise ValueError("the server asks for more than user and secret")
        return self.user if self._answers == 1 else secret


class CramMd5:
    """Proof that the secret is known, which does not tell the secret."""

    def __init__(self, user: bytes) -> None:
        self.user = user

    def getName(self) -> bytes:
        """Return the name under which servers offer it."""
        return b"CRAM-MD5"

    def challengeResponse(self, secret: bytes, chal: bytes) -> bytes:
        """Return the user and the keyed digest of the challenge."""
        return self.user + b" " + hmac.new(secret, chal, hashlib.md5).hexdigest().encode()


Mechanism = CramMd5 | Plain | Login


def mechanisms(user: bytes) -> list[Mechanism]:
    """Make fresh mechanisms for one connection, the one that tells least first."""
    return [CramMd5(user), Plain(user), Login(user)]
