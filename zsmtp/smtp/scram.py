"""SCRAM-SHA-256: client and server prove to each other that they know the secret, and neither tells it.

Without channel binding.  The server's signature is verified, so that a server that accepts whatever it is
told does not pass for the right one.  The number of iterations is the server's choice, within limits: few of
them would make the proof cheap to guess, many would keep us busy.

Source: RFC 5802, RFC 7677; RFC 4013 (SASLprep) for user and secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from typing import Final, NamedTuple, TypeAlias

__all__ = ["MOST_ITERATIONS", "Keys", "ScramSha256", "Unanswerable", "prepared"]

LEAST_ITERATIONS: Final = 4096
"""RFC 7677 4"""
MOST_ITERATIONS: Final = 1_000_000
"""about a third of a second, once for each server and salt"""
_KEYS_KEPT: Final = 16

_HEADER: Final = b"n,,"
_FIRST = re.compile(rb"r=([!-+\--~]{1,512}),s=([A-Za-z0-9+/=]{4,512}),i=([1-9][0-9]{0,9})(?:,.*)?")
_LAST = re.compile(rb"v=([A-Za-z0-9+/=]{4,128})(?:,.*)?")
_ERROR = re.compile(rb"e=([a-z-]{1,60})")


class Unanswerable(ValueError):
    """A challenge that cannot be answered.  The text is for the postmaster and holds no secret."""


class _Pair(NamedTuple):
    """What is derived from a secret: costs as many hashes as the server asks for."""

    client: bytes
    server: bytes

    def __repr__(self) -> str:
        return "_Pair(...)"


Keys: TypeAlias = dict[tuple[bytes, int], _Pair]
"""The keys of one user, by salt and iterations: RFC 5802 5.1 lets a client keep them."""


class ScramSha256:
    """One exchange.  `nonce` is fresh random octets, printable and without a comma; `keys` may be kept
    between exchanges of the same user and secret.
    """

    tells_secret = False
    reads_challenges = True

    def __init__(self, user: bytes, nonce: bytes, keys: Keys | None = None) -> None:
        self.user = user
        self.is_complete = False
        self._nonce = nonce
        self._keys: Keys = {} if keys is None else keys
        self._first = b""
        self._signature = b""

    def getName(self) -> bytes:
        """Return the name under which servers offer it."""
        return b"SCRAM-SHA-256"

    def challengeResponse(self, secret: bytes, chal: bytes) -> bytes:
        """Return the next message; Unanswerable if the server's is malformed or its signature false."""
        if not self._first:
            return self._begin(chal)
        if not self._signature:
            return self._prove(secret, chal)
        if self.is_complete:
            raise Unanswerable("the server goes on after its proof")
        self._verify(chal)
        self.is_complete = True
        return b""

    def _begin(self, chal: bytes) -> bytes:
        if chal:
            raise Unanswerable("the server begins SCRAM, which is the client's to begin")
        user = prepared(self.user).replace(b"=", b"=3D").replace(b",", b"=2C")
        self._first = b"n=" + user + b",r=" + self._nonce
        return _HEADER + self._first

    def _prove(self, secret: bytes, chal: bytes) -> bytes:
        found = _FIRST.fullmatch(chal)
        if found is None:
            raise Unanswerable(_why_not(chal) or "the server's first message of SCRAM is malformed")
        nonce, salt, iterations = found[1], _decoded(found[2]), int(found[3])
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise Unanswerable("the server answers to somebody else's SCRAM")  # a replay
        if not LEAST_ITERATIONS <= iterations <= MOST_ITERATIONS:
            raise Unanswerable(
                f"the server asks for {iterations} iterations of SCRAM, "
                f"which must be {LEAST_ITERATIONS} to {MOST_ITERATIONS}"
            )
        pair = self._pair(secret, salt, iterations)
        last = b"c=" + base64.b64encode(_HEADER) + b",r=" + nonce
        message = self._first + b"," + chal + b"," + last
        stored = hashlib.sha256(pair.client).digest()
        proof = bytes(a ^ b for a, b in zip(pair.client, _mac(stored, message), strict=True))
        self._signature = _mac(pair.server, message)
        return last + b",p=" + base64.b64encode(proof)

    def _verify(self, chal: bytes) -> None:
        found = _LAST.fullmatch(chal)
        if found is None:
            raise Unanswerable(_why_not(chal) or "the server's last message of SCRAM is malformed")
        if not hmac.compare_digest(_decoded(found[1]), self._signature):
            raise Unanswerable("the server's signature is false: it does not know the secret")

    def _pair(self, secret: bytes, salt: bytes, iterations: int) -> _Pair:
        pair = self._keys.get((salt, iterations))
        if pair is None:
            salted = hashlib.pbkdf2_hmac("sha256", prepared(secret), salt, iterations)
            pair = _Pair(_mac(salted, b"Client Key"), _mac(salted, b"Server Key"))
            if len(self._keys) >= _KEYS_KEPT:
                self._keys.clear()
            self._keys[salt, iterations] = pair
        return pair


def prepared(octets: bytes) -> bytes:
    """Prepare a user or secret, so that different spellings of the same text agree.

    Raises Unanswerable for what cannot be prepared.  Source: RFC 4013.
    """
    try:
        text = octets.decode()
        if not (text.isascii() and text.isprintable()):
            from zsmtp.smtp.saslprep import saslprep  # only here: few have need of its tables

            text = saslprep(text)
    except ValueError:
        raise Unanswerable("user or secret has what SCRAM does not allow") from None
    return text.encode()


def _mac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise Unanswerable("the server's message of SCRAM is malformed") from None


def _why_not(chal: bytes) -> str:
    found = _ERROR.fullmatch(chal)
    return f"the server breaks off SCRAM: {found[1].decode()}" if found else ""
