"""Address quads: channel, host, user, privilege, as control files hold them.

Splits exactly as the router's quoting demands and judges what may not be sent.  Quotes and backslashes stay
in the values: they belong to the address.  Judging is about the record only; whether an address is good is
the server's business.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["LONGEST_USER", "Flaw", "Quad", "quote", "recipient_flaw", "sender_flaw", "split"]

LONGEST_USER = 512
"""Octets of an address; a longer one fits no command line (RFC 5321 4.5.3.1.4) and is never cut to fit."""

# A token ends at a blank outside quotes; a backslash protects the next octet.  Possessive, hence linear.
_TOKEN = re.compile(rb'(?:[^ \t"\\]++|\\.|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_BLANKS = re.compile(rb"[ \t]*+")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_PRIVILEGE = re.compile(rb"-?[0-9]+|-")  # the router writes "-" for an empty one


class Quad(NamedTuple):
    """Where a sender comes from or a recipient is to go.  `user` is the address, quotes included."""

    channel: bytes
    host: bytes
    user: bytes
    privilege: bytes


class Flaw(NamedTuple):
    """Why mail cannot be sent with this quad: what is wrong and what to do; whether waiting may help."""

    text: str
    permanent: bool


def split(octets: bytes) -> tuple[Quad, bool]:
    """Split the text of a quad; also tell whether all quotes are closed.

    Missing elements are empty.  All that follows the user, without blanks around it, is the privilege.
    """
    elements: list[bytes] = []
    position = 0
    balanced = True
    for _ in range(3):
        start = _BLANKS.match(octets, position).end()  # type: ignore[union-attr]  # matches always
        end = _TOKEN.match(octets, start).end()  # type: ignore[union-attr]  # matches always
        if octets[end : end + 1] in (b'"', b"\\"):  # an open quote, or a last backslash, takes all the rest
            balanced = balanced and octets[end : end + 1] != b'"'
            end = len(octets)
        elements.append(octets[start:end])
        position = end + 1
    channel, host, user = elements
    return Quad(channel, host, user, octets[position:].strip(b" \t")), balanced


def recipient_flaw(quad: Quad, balanced: bool) -> Flaw | None:
    """Judge the quad of a recipient; a permanent flaw is one of the address itself (RFC 3463: 5.1.3)."""
    if not balanced:
        return Flaw("the quotes of the address are not balanced; correct the address", True)
    if quad.user in (b"", b"-"):
        return Flaw("the address of the recipient is empty; correct the address", True)
    if _CONTROL.search(quad.user) or b"\0" in quad.channel or b"\0" in quad.host:
        return Flaw("the address contains control characters; correct the address", True)
    if len(quad.user) > LONGEST_USER:
        return Flaw(f"the address is longer than {LONGEST_USER} octets; correct the address", True)
    if quad.host.startswith(b"(("):
        return Flaw("a list of hosts in parentheses is not supported; let the router name one host", False)
    return _form_flaw(quad, "recipient")


def sender_flaw(quad: Quad, balanced: bool) -> Flaw | None:
    """Judge the quad of a sender; channel `error` is the null sender whatever else stands there.

    No flaw of a sender is permanent: its report would have nowhere to go.
    """
    if quad.channel == b"error":
        return None
    if not balanced:
        return Flaw("the quotes of the sender's address are not balanced; correct the s record", False)
    if quad.user in (b"", b"-", b"<>"):
        return Flaw("the sender is empty but its channel is not error; correct the s record", False)
    if _CONTROL.search(quad.user):
        return Flaw("the sender's address contains control characters; correct the s record", False)
    if len(quad.user) > LONGEST_USER:
        return Flaw(f"the sender's address is longer than {LONGEST_USER} octets; correct the s record", False)
    # Nobody needs a sender's privilege, so that it may be missing.
    return _form_flaw(quad if quad.privilege else quad._replace(privilege=b"-"), "sender")


def _form_flaw(quad: Quad, whose: str) -> Flaw | None:
    if not quad.channel or not quad.host or _CONTROL.search(quad.channel) or _CONTROL.search(quad.host):
        return Flaw(f"channel or host of the {whose} is malformed; route the message again", False)
    # An unquoted blank in the address ends up here: never deliver to the half before it.
    if _PRIVILEGE.fullmatch(quad.privilege) is None:
        return Flaw(
            f"the {whose} is not channel, host, user and a number; quote the blanks in the address", False
        )
    return None


def quote(element: bytes) -> bytes:
    """Return an element as the router writes it: `-` if empty, quoted where blanks or quotes demand it."""
    if not element:
        return b"-"
    end = _TOKEN.match(element).end()  # type: ignore[union-attr]  # matches always
    if end == len(element):
        return element
    return b'"' + element.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
