"""Option -W: do the WKS records of a host say that it takes mail?

A host is only refused if it has such records for TCP and none of them names SMTP.  One without any, as nearly
every host is, gets its mail: RFC 1123 forbids to conclude anything from that.  So does one whose records
cannot be had.  Literals and sockets have no name to ask for.
Source: smtp(8zm), option -W; RFC 1035 section 3.4.2; RFC 1123 sections 2.2, 5.3.12 and 6.1.3.6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zsmtp.destination import Family, Outcome
from zsmtp.target import numeric
from zsmtp.trouble import Kind, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from zsmtp.destination import Answer, Hop, WellKnownServices

__all__ = ["objection"]


async def objection(
    hop: Hop,
    services: Callable[[str], Deferred[Answer[WellKnownServices]]],
    tell: Callable[[str], None],
) -> Trouble | None:
    """Say why mail must not go to a hop, or return None; `tell` hears what could not be found."""
    name = hop.canonical
    if hop.family is Family.UNIX or hop.remote.startswith(b"X-IP-addr") or numeric(name) is not None:
        return None
    answer = await services(name)
    if answer.outcome is Outcome.UNAVAILABLE:
        tell(f"-W: the WKS records of {name} cannot be had ({answer.text}); going on without them")
        return None
    tcp = [record for record in answer.values if record.is_tcp]
    if not tcp:
        tell(f"-W: {name} has no WKS records for TCP; going on without them")
        return None
    if any(record.has_smtp for record in tcp):
        return None
    text = f"WKS checks: no SMTP reception capability registered for host {name}"
    return Trouble(Kind.NO_SMTP_SERVICE, text.encode(), remote=hop.remote)
