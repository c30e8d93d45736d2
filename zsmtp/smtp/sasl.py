"""Authentication mechanisms for a client: the answer to each challenge, as octets.

Each class is what Twisted calls an IClientAuthentication (`zsmtp.net.stock` declares it): `getName`, and
`challengeResponse` with what the server sent, both without base64.  An object serves one exchange on one
connection.  PLAIN names no authorization identity: the server derives it, and a server that checks the two
against each other has nothing to refuse.

Beyond that interface a class says whether it tells the secret to the server (`tells_secret`), whether what
the server sends matters (`reads_challenges`), and an object when everything is said (`is_complete`): success
that is claimed before is none.  `Unanswerable` is why an exchange is given up.

Source: RFC 4616 (PLAIN), RFC 2195 (CRAM-MD5), RFC 7677 (SCRAM-SHA-256), RFC 4954 section 4; LOGIN has no
standard.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from zsmtp.smtp.scram import Keys, ScramSha256, Unanswerable

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MECHANISMS", "CramMd5", "Login", "Mechanism", "Plain", "Unanswerable", "mechanisms"]


class Plain:
    """User and secret in one answer."""

    tells_secret = True
    reads_challenges = True

    def __init__(self, user: bytes) -> None:
        self.user = user
        self.is_complete = False

    def getName(self) -> bytes:
        """Return the name under which servers offer it."""
        return b"PLAIN"

    def challengeResponse(self, secret: bytes, chal: bytes) -> bytes:
        """Return the answer; Unanswerable if it could be read in two ways."""
        if b"\0" in self.user + secret:
            raise Unanswerable("a user or secret with NUL cannot be used with PLAIN")
        if self.is_complete:
            raise Unanswerable("the server asks for more than user and secret")
        self.is_complete = True
        return b"\0" + self.user + b"\0" + secret


class Login:
    """The user first, then the secret, whatever the server calls them.

    The prompts that smtp(8zm) shows are not even base64.
    """

    tells_secret = True
    reads_challenges = False

    def __init__(self, user: bytes) -> None:
        self.user = user
        self._answers = 0

    @property
    def is_complete(self) -> bool:
        """Whether both were said."""
        return self._answers == 2

    def getName(self) -> bytes:
        """Return the name under which servers offer it."""
        return b"LOGIN"

    def challengeResponse(self, secret: bytes, chal: bytes) -> bytes:
        """Return the next answer; Unanswerable if the server asks a third time."""
        if self._answers == 2:
            raise Unanswerable("the server asks for more than user and secret")
        self._answers += 1
        return self.user if self._answers == 1 else secret


class CramMd5:
    """Proof that the secret is known, which does not tell the secret."""

    tells_secret = False
    reads_challenges = True

    def __init__(self, user: bytes) -> None:
        self.user = user
        self.is_complete = False

    def getName(self) -> bytes:
        """Return the name under which servers offer it."""
        return b"CRAM-MD5"

    def challengeResponse(self, secret: bytes, chal: bytes) -> bytes:
        """Return the user and the keyed digest of the challenge; Unanswerable for a second one."""
        if self.is_complete or not chal:
            # a digest of nothing is the same every time
            raise Unanswerable("the server's challenges are not those of CRAM-MD5")
        self.is_complete = True
        return self.user + b" " + hmac.new(secret, chal, hashlib.md5).hexdigest().encode()


Mechanism = ScramSha256 | CramMd5 | Plain | Login

MECHANISMS: tuple[bytes, ...] = (b"SCRAM-SHA-256", b"CRAM-MD5", b"PLAIN", b"LOGIN")
"""All that are known here, the one that tells least first."""


def mechanisms(
    user: bytes, *, nonce: Callable[[], bytes] | None = None, keys: Keys | None = None
) -> list[Mechanism]:
    """Make fresh mechanisms for one connection, in the order of `MECHANISMS`.

    SCRAM is among them only with a source of random octets, printable and without a comma.
    """
    known: list[Mechanism] = [CramMd5(user), Plain(user), Login(user)]
    return known if nonce is None else [ScramSha256(user, nonce(), keys), *known]
