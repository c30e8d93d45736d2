"""Who we are for which server: the file of option -A, read.

Each line has four words: channel, remote host, user and secret, the last two in base64.  Behind them may
stand words of ours: `cleartext` allows to use them on a connection that anybody can listen to,
`mechanisms=A,B` limits how the secret is used.  The first good line for a channel and host counts.  A line
that is wrong is passed over with a complaint; but mail for a host that only a wrong line names is kept, not
sent without authentication.

Nothing here shows a secret: not a complaint, not a `repr`.
Source: smtp(8zm), section SMTP-AUTH AND SMTP-AUTH-SECRETS.TXT FILE.
"""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from zsmtp.destination import Family, Hop
from zsmtp.smtp.sasl import MECHANISMS, Mechanism, Unanswerable, mechanisms
from zsmtp.smtp.scram import Keys, prepared
from zsmtp.target import Literal, Name, numeric, target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["LARGEST", "LONGEST", "Credentials", "Secrets", "is_private", "read_secrets"]

LARGEST: Final = 1 << 20
"""octets of the file; 10,000 hosts have room"""
LONGEST: Final = 8192
"""octets of a line"""

_CONTROLS = re.compile(rb"[\x00-\x1f\x7f]")


class Credentials:
    """User and secret for one host.  `place` is FILE:LINE; `nonce` gives random octets for SCRAM."""

    __slots__ = ("_allowed", "_keys", "_nonce", "in_clear", "place", "secret", "user")

    def __init__(
        self,
        user: bytes,
        secret: bytes,
        *,
        place: str,
        in_clear: bool = False,
        allowed: tuple[bytes, ...] = MECHANISMS,
        nonce: Callable[[], bytes] | None = None,
    ) -> None:
        self.user = user
        self.secret = secret
        self.place = place
        self.in_clear = in_clear
        self._allowed = allowed
        self._nonce = nonce if _can_be_prepared(user) and _can_be_prepared(secret) else None
        self._keys: Keys = {}

    def __repr__(self) -> str:
        return f"<Credentials of {self.place}>"

    def mechanisms(self) -> list[Mechanism]:
        """Make what one connection may use, the one that tells least first."""
        known = mechanisms(self.user, nonce=self._nonce, keys=self._keys)
        return [one for one in known if one.getName() in self._allowed]


class _Line(NamedTuple):
    """A line that names a host: `channel` None stands for all, `found` is a complaint where it is wrong."""

    number: int
    channel: bytes | None
    found: Credentials | str


class Secrets(NamedTuple):
    """What the file says: lines by host, and the complaints."""

    lines: dict[str, list[_Line]]
    problems: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<Secrets for {len(self.lines)} hosts>"

    def find(self, channel: bytes, hop: Hop) -> Credentials | str | None:
        """Return what a connection to `hop` is to use, a complaint if only wrong lines name it, or None.

        The name counts to which the connection goes, mail exchanger or what that is an alias of, never the
        domain of the mail.
        """
        wrong: str | None = None
        for line in self._lines_for(hop):
            if line.channel is not None and line.channel != channel:
                continue
            if isinstance(line.found, Credentials):
                return line.found
            wrong = wrong or line.found
        return wrong

    def _lines_for(self, hop: Hop) -> list[_Line]:
        found = [line for name in _names(hop) for line in self.lines.get(name, ())]
        return sorted(found, key=lambda line: line.number)


def is_private(hop: Hop) -> bool:
    """Whether a connection to `hop` does not leave this machine."""
    if hop.family is Family.UNIX:
        return True
    address = numeric(hop.address)
    if address is None:
        return False
    return address.is_loopback or bool(
        address.version == 6 and address.ipv4_mapped and address.ipv4_mapped.is_loopback
    )


def read_secrets(octets: bytes, path: str, *, nonce: Callable[[], bytes] | None = None) -> Secrets:
    """Read the text of a secrets file; `path` is what complaints call it."""
    lines: dict[str, list[_Line]] = {}
    problems: list[str] = []
    for number, text in enumerate(octets.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        text = text.strip(b" \t\r")
        if not text or text.startswith(b"#"):
            continue
        words = text[: LONGEST + 1].split()
        place = f"{path}:{number}"
        host = _host(words[1]) if len(words) > 1 else ""
        try:
            if len(text) > LONGEST:
                raise _Wrong(f"the line is longer than {LONGEST} octets; shorten it")
            found: Credentials | str = _credentials(words, host, place, nonce)
        except _Wrong as wrong:
            found = f"{place}: {wrong}"
            problems.append(found)
        else:
            problems += [f"{place}: {remark}" for remark in _remarks(words)]
        if host:
            lines.setdefault(host, []).append(_Line(number, None if words[0] == b"*" else words[0], found))
    return Secrets(lines, tuple(problems))


class _Wrong(ValueError):
    """A line cannot be used.  The text says what is wrong and what to do, and quotes nothing of it."""


def _credentials(words: list[bytes], host: str, place: str, nonce: Callable[[], bytes] | None) -> Credentials:
    if len(words) < 4:
        raise _Wrong(
            f"the line has {len(words)} of the four words channel, host, user and secret; add what is missing"
        )
    if not host:
        raise _Wrong("the second word is no host name, address or UNIX:/path; write one of these")
    user, secret = _decoded(words[2], "third", "user"), _decoded(words[3], "fourth", "secret")
    in_clear, allowed = False, MECHANISMS
    for option in _options(words):
        if option == b"CLEARTEXT":
            in_clear = True
        elif option.startswith(b"MECHANISMS="):
            names = option.removeprefix(b"MECHANISMS=").split(b",")
            allowed = tuple(name for name in MECHANISMS if name in names)
            if len(allowed) != len(set(names)):
                known = b",".join(MECHANISMS).decode()
                raise _Wrong(f"behind mechanisms= stands what is not known here; choose from {known}")
    return Credentials(user, secret, place=place, in_clear=in_clear, allowed=allowed, nonce=nonce)


def _options(words: list[bytes]) -> Iterator[bytes]:
    """The words behind the first four, in capitals, up to a comment."""
    for word in words[4:]:
        if word.startswith(b"#"):
            return
        yield word.upper()


def _remarks(words: list[bytes]) -> Iterator[str]:
    """What is not wrong, and yet not meant.  A word that does not belong there may be part of a secret."""
    for number, option in enumerate(_options(words), 5):
        if option != b"CLEARTEXT" and not option.startswith(b"MECHANISMS="):
            yield f"word {number} is not understood and passed over; cleartext and mechanisms= are known"


def _decoded(word: bytes, which: str, what: str) -> bytes:
    remedy = f"write what printf %s '...' | base64 -w 0 prints for the {what}"
    try:
        octets = binascii.a2b_base64(word, strict_mode=True)
    except binascii.Error:
        raise _Wrong(f"the {which} word, the {what}, is not base64; {remedy}") from None
    if octets.endswith((b"\n", b"\r")):
        raise _Wrong(f"the {what} ends with a line end, as from echo; {remedy}")
    if not octets or _CONTROLS.search(octets):
        raise _Wrong(f"the {what} is empty or has a control character; {remedy}")
    return octets


def _host(word: bytes) -> str:
    """The name under which a line is kept; "" if the word names no host."""
    text = word.decode("utf-8", "surrogateescape")
    if text[:6].upper() == "UNIX:/":
        return "UNIX:" + text[5:].lower()
    address = numeric(text)
    if address is not None:
        return str(address)
    match target(word, forced=False):
        case Literal(address=address):
            return str(address)
        case Name(name):
            return name
        case _:
            return ""


def _names(hop: Hop) -> tuple[str, ...]:
    """What a line may call `hop`."""
    if hop.family is Family.UNIX:
        return ("UNIX:" + hop.address.lower(),)
    if numeric(hop.name) is not None:
        return (str(numeric(hop.address) or hop.address),)
    return tuple(dict.fromkeys((hop.name.lower(), hop.canonical.lower())))


def _can_be_prepared(octets: bytes) -> bool:
    try:
        prepared(octets)
    except Unanswerable:
        return False
    return True
