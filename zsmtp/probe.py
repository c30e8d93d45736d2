"""Option -D: connect to a host as for a delivery, tell how it went, and deliver nothing.

Every hop of the route is tried in turn until one has a session for us, with all that the options say: mail
exchangers, local address, TLS, authentication.  What is said on the way is shown, secrets masked, and the
session ends with QUIT before any message.
Exit status: 0 if a session was opened, 75 if a later attempt may do better, 68 if the host does not exist,
69 if it will not take mail from us.
Source: smtp(8zm), option -D of the program; sysexits.h.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from twisted.internet.defer import succeed

from zsmtp import policy
from zsmtp.destination import Route
from zsmtp.net.approach import approach
from zsmtp.net.courier import Courier
from zsmtp.net.endpoints import address_text
from zsmtp.policy import Outcome
from zsmtp.trouble import Kind, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from zsmtp.net.approach import Equipment
    from zsmtp.smtp.transaction import Recipient, Transaction
    from zsmtp.target import Target

__all__ = ["probe"]

_LONGEST_LINE = 500
_NOBODY = frozenset({Kind.NO_SUCH_DOMAIN, Kind.BAD_LITERAL})


async def probe(equipment: Equipment, target: Target | Trouble, say: Callable[[str], object]) -> int:
    """Connect, tell `say` how it went, and return the exit status.  What is said ends its own lines."""
    found = target
    if not isinstance(found, Trouble):
        route = await equipment.find(found, equipment.rules())
        if isinstance(route, Route):
            return await _try_all(equipment, found, route, say)
        found = route
    say(f"{_shown(policy.judge_trouble(found).diagnostic)}\n")
    return _status([found])


async def _try_all(equipment: Equipment, target: Target, route: Route, say: Callable[[str], object]) -> int:
    for text in route.skipped:
        say(f"Left out: {_shown(text.encode(errors='replace'))}\n")
    troubles = []
    for hop in route.hops:
        name = os.fsencode(hop.name)
        say(f"Trying {_shown(name)} [{_shown(address_text(hop))}] ... ")
        heard: list[str] = []
        equipped = equipment._replace(
            find=lambda *_, hop=hop: succeed(Route((hop,))),
            witness=lambda _, heard=heard: _noting(heard),  # type: ignore[misc]
        )
        visitor = _Visitor()
        result = await approach(equipped, target, visitor)
        if isinstance(result, Courier):
            result.leave()
            say(f"connected!\n{''.join(heard)}[{_shown(result.peer.address)}]\n")
            return os.EX_OK
        trouble = result[-1][0]
        troubles.append(trouble)
        say(f"{_shown(policy.judge_trouble(trouble).diagnostic)}\n{''.join(heard)}")
    return _status(troubles)


class _Visitor:
    """Has no mail for anybody."""

    def next_for(self, courier: Courier) -> Transaction | None:
        """See Employer."""
        return None

    def answered(self, courier: Courier, transaction: Transaction, recipient: Recipient) -> None:
        """See Employer."""

    def finished(self, courier: Courier, transaction: Transaction) -> None:
        """See Employer."""

    def closed(self, courier: Courier, trouble: Trouble | None) -> None:
        """See Employer."""


def _noting(heard: list[str]) -> Callable[[str, bytes], None]:
    """Note commands and replies."""
    signs = {"w": "->", "r": "<-"}

    def note(kind: str, line: bytes) -> None:
        if kind in signs:
            heard.append(f"    {signs[kind]} {_shown(line)}\n")

    return note


def _status(troubles: list[Trouble]) -> int:
    verdicts = [policy.judge_trouble(trouble) for trouble in troubles]
    if not verdicts or any(verdict.outcome is not Outcome.FAILED for verdict in verdicts):
        return os.EX_TEMPFAIL
    return os.EX_NOHOST if troubles[-1].kind in _NOBODY else os.EX_UNAVAILABLE


def _shown(octets: bytes) -> str:
    """Make printable what a server may have chosen."""
    return "".join(chr(octet) if 0x20 <= octet < 0x7F else "?" for octet in octets[:_LONGEST_LINE])
