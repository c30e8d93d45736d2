"""What the options and the Z-environment say of finding hosts and of connecting, made into what does it.

Options -L, -r, -W and -O nameserver; variables BINDADDR and NAMESERVERS.  A variable that cannot be
understood is told and passed over: it is no fault of the command line, and mail goes out all the same.
"""

from __future__ import annotations

import os
from itertools import chain, repeat
from random import SystemRandom
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, ensureDeferred

from zsmtp.net.origin import HIGHEST_PORT, LOWEST_PORT, Origin, Ports
from zsmtp.net.wks import objection
from zsmtp.target import local_identity, name_server

if TYPE_CHECKING:
    from collections.abc import Callable

    from zsmtp.destination import Hop
    from zsmtp.net.resolve import Resolver
    from zsmtp.options import Settings
    from zsmtp.spool.zenv import ZEnvironment
    from zsmtp.trouble import Trouble

__all__ = ["name_servers", "origin", "wks"]


def origin(
    settings: Settings, environment: ZEnvironment, resolver: Resolver, warn: Callable[[str], None]
) -> Origin | None:
    """Say where connections come from; None where nobody has asked for anything."""
    identity = local_identity(settings.local_identity) if settings.local_identity else None
    is_strict = identity is not None
    bound = environment.get("BINDADDR")
    if identity is None and bound:
        identity = local_identity(os.fsdecode(bound))
        if identity is None:
            warn(f"BINDADDR: {os.fsdecode(bound)} is no local address, as -L has them; working without it")
    if identity is None and not settings.privileged_port:
        return None
    ports = None
    if settings.privileged_port:
        ports = Ports(SystemRandom().randint(LOWEST_PORT, HIGHEST_PORT), warn)
    return Origin(identity, ports, resolver.addresses, is_strict)


def wks(
    resolver: Resolver, warn: Callable[[str], None], remark: Callable[[str], None]
) -> Callable[[Hop], Deferred[Trouble | None]]:
    """Make the check of -W.  That it is of no use is told once; the rest is for whoever looks closely."""
    tell = chain([warn], repeat(remark))
    return lambda hop: ensureDeferred(objection(hop, resolver.services, lambda text: next(tell)(text)))


def name_servers(
    settings: Settings, environment: ZEnvironment, warn: Callable[[str], None]
) -> tuple[tuple[str, int], ...]:
    """Return those of -O nameserver, else those of NAMESERVERS; none: as the system has it."""
    if settings.nameservers:
        return settings.nameservers
    found = []
    for word in os.fsdecode(environment.get("NAMESERVERS") or b"").replace(",", " ").split():
        server = name_server(word)
        if server is None:
            warn(f"NAMESERVERS: {word} is no name server; write 192.0.2.1, 192.0.2.1:53 or [::1]:53")
        else:
            found.append(server)
    return tuple(found)
