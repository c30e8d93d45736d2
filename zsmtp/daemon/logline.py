"""Log lines in the words that Postfix made common, so that existing tools and eyes can read them.

    S1031AblDAKAA: from=<alice@example.com>, size=603, nrcpt=2 (queue active)
    S1031AblDAKAA: to=<bob@example.net>, relay=mx.example.net[192.0.2.25]:25, delay=0.3, delays=0.1/0/0.1/0.1,
        dsn=2.0.0, status=sent (250 2.0.0 accepted)
    S1031AblDAKAA: removed

`delays` are the seconds before the daemon saw the message, in its queue, for the connection, and for the
dialogue. Pure; everything that others wrote is cleaned, a line is a line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from zsmtp.policy import Outcome
from zsmtp.spool.report import clean

if TYPE_CHECKING:
    from zsmtp.policy import Verdict
    from zsmtp.trouble import Peer

__all__ = ["Delays", "arrival", "attempt", "removal"]

_LONGEST: Final = 800
_WORDS: Final = {Outcome.DELIVERED: "sent", Outcome.DEFERRED: "deferred", Outcome.FAILED: "bounced"}


class Delays(NamedTuple):
    """Where the time went, in seconds."""

    before: float
    queue: float
    connection: float
    dialogue: float

    def __str__(self) -> str:
        return "/".join(_seconds(each) for each in self)


def arrival(name: str, sender: bytes, size: int, recipients: int) -> str:
    """Say that a message has been taken into the queue."""
    return f"{name}: from=<{_text(sender)}>, size={size}, nrcpt={recipients} (queue active)"


def attempt(name: str, address: bytes, verdict: Verdict, peer: Peer, delays: Delays) -> str:
    """Say what became of one recipient in one attempt."""
    status = verdict.status.partition(b" ")[0]
    said = verdict.diagnostic
    kind, _, reply = said.partition(b"; ")
    # What has become too old was a deferral until now.
    given_up = verdict.outcome is Outcome.FAILED and status == b"4.4.7"
    deferred = given_up or verdict.outcome is Outcome.DEFERRED
    text = _text(_unwrapped(reply, deferred=deferred) if kind in (b"smtp", b"local") else said)
    if given_up:
        text = f"too old, given up: {text}"
    if verdict.maybe_delivered:
        last = verdict.text.rpartition(b"\r")[2]
        text = f"maybe delivered: {_text(last)}"
    return (
        f"{name}: to=<{_text(address)}>, relay={_relay(peer)}, "
        f"delay={_seconds(sum(delays))}, delays={delays}, dsn={_text(status)}, "
        f"status={_WORDS[verdict.outcome]} ({text})"
    )


def removal(name: str) -> str:
    """Say that nothing is left to be done."""
    return f"{name}: removed"


def _relay(peer: Peer) -> str:
    """Make `mx.example[192.0.2.1]:25` of what a notary holds."""
    kind, semicolon, name = peer.remote.partition(b"; ")
    host = _text(name if semicolon else kind)
    if peer.address.startswith(b"UNIX:"):
        path = _text(peer.address[5:].partition(b"|")[0])
        return f"{host if host and not host.startswith('/') else 'unix'}[{path}]"
    host = host.removeprefix("[").removesuffix("]")
    address, _, port = peer.address.removeprefix(b"ipv6 ").partition(b"|")
    if not address:
        return host or "none"
    return f"{host or _text(address)}[{_text(address)}]:{_text(port.partition(b'|')[0])}"


def _unwrapped(reply: bytes, *, deferred: bool) -> bytes:
    """Turn `250 (text)` of a notary into `250 text`; a code that no server said is left out."""
    code, _, text = reply.partition(b" ")
    if not (text.startswith(b"(") and text.endswith(b")")):
        return reply
    if code == b"466" or (deferred and code == b"500"):
        return text[1:-1]
    return code + b" " + text[1:-1]


def _seconds(value: float) -> str:
    value = max(value, 0.0)
    if value < 0.01:
        return "0"
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def _text(octets: bytes) -> str:
    return clean(octets[:_LONGEST]).decode("ascii", "backslashreplace")
