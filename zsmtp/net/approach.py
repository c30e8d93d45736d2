"""The way to an open session: through the hops of a route, one after the other, until one has a session for
us.

What a host makes necessary is tried on the way: a connection in clear where opportunistic TLS failed (and for
an hour from then on at once), HELO on a new connection where EHLO was answered by hanging up.  Every failure
is kept with the name of the peer, for whoever judges.  Source: RFC 5321 sections 4.1.1.1 and 5.1, RFC 7435.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.protocol import Factory

from zsmtp.credentials import Credentials, is_private
from zsmtp.destination import Hop, Route, RouteRules, Target
from zsmtp.net.courier import Courier, Employer
from zsmtp.net.endpoints import address_text, connect_trouble, endpoint_for
from zsmtp.net.origin import Origin
from zsmtp.net.tls import ClientCreator
from zsmtp.smtp.session import Esmtp, Manner, State, Tls
from zsmtp.target import Name
from zsmtp.trouble import Kind, Peer, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from zsmtp.net.progress import Progress

__all__ = ["TLS_FORGIVEN", "Equipment", "Failures", "approach"]

TLS_FORGIVEN: Final = 3600.0
"""seconds for which a host whose handshake failed is met in clear from the start"""
_HOSTS_REMEMBERED: Final = 10_000

_STOPPED: Final = Trouble(Kind.STOPPED, b"this transport agent was told to stop")

Failures = list[tuple[Trouble, Peer]]
"""What went wrong, hop by hop."""


class Equipment(NamedTuple):
    """What all deliveries of a process share.

    `rules` gives what the options say of routes, and this machine's addresses as they are now; `find`
    resolves a target to a route or a trouble; `context_for` gives the TLS connection creator for a hop,
    None for no TLS, or a trouble that forbids to connect at all; `broken_tls` maps addresses to the time
    until which their TLS is known to fail;
    `witness` gives for each connection what sees its lines (`Session.witness`).
    `credentials` says who we are for a host: None for nobody, a trouble if the answer cannot be known; `warn`
    takes lines for the postmaster.  `origin` is where connections come from, None for the kernel's choice;
    `examine` may know a reason not to connect to a hop.
    """

    reactor: Any
    manner: Manner
    rules: Callable[[], RouteRules]
    find: Callable[[Target, RouteRules], Deferred[Route | Trouble]]
    context_for: Callable[[Hop], Any]
    broken_tls: dict[str, float]
    connections: int = 1
    one_message: bool = False
    send_buffer: int | None = None
    witness: Callable[[Peer], Callable[[str, bytes], None]] | None = None
    remark: Callable[[str], None] | None = None
    is_verbose: bool = False
    progress: Progress | None = None
    credentials: Callable[[Hop], Credentials | Trouble | None] = lambda _: None
    warn: Callable[[str], None] | None = None
    origin: Origin | None = None
    examine: Callable[[Hop], Deferred[Trouble | None]] | None = None

    def tell(self, text: str) -> None:
        """Make a remark where remarks are wanted."""
        if self.remark is not None:
            self.remark(text)


async def approach(equipment: Equipment, target: Target | Trouble, employer: Employer) -> Courier | Failures:
    """Open one session and return it, or say why there is none.  Cancelling gives up what is under way."""
    if isinstance(target, Trouble):
        return [(target, Peer(target.remote))]
    rules = equipment.rules()
    if equipment.progress is not None and isinstance(target, Name):
        equipment.progress.looking_up(target.name.encode(), use_mx=rules.use_mx)
    found = await equipment.find(target, rules)
    if isinstance(found, Trouble):
        return [(found, Peer(found.remote))]
    if equipment.is_verbose:
        equipment.tell("route: " + ", ".join(map(_shown, found.hops)))
    failures: Failures = []
    for hop in found.hops:
        result = await _try_hop(equipment, hop, employer)
        if isinstance(result, Courier):
            return result
        if result[0].kind is Kind.BIND_FAILED:
            failures.insert(0, result)  # what a server did counts more, and the last one is told
        else:
            failures.append(result)
    return failures or [(Trouble(Kind.NO_ADDRESS, b"no address can be tried"), Peer())]


async def _try_hop(equipment: Equipment, hop: Hop, employer: Employer) -> Courier | tuple[Trouble, Peer]:
    """Open a session with one host, in the manner it can bear."""
    if equipment.examine is not None and (objection := await equipment.examine(hop)) is not None:
        return objection, Peer(hop.remote, address_text(hop))
    credentials = equipment.credentials(hop)
    if isinstance(credentials, Trouble):
        return credentials, Peer(hop.remote, address_text(hop))
    manner = _manner_for(equipment, hop, credentials)
    has_renewed = False
    while True:
        context = equipment.context_for(hop)
        if isinstance(context, Trouble):
            return context, Peer(hop.remote, address_text(hop))
        if isinstance(context, ClientCreator) and context.is_demanded:
            manner = manner._replace(tls=Tls.REQUIRED)
        courier = Courier(
            employer,
            hop,
            manner,
            clock=equipment.reactor,
            context=context if manner.tls is not Tls.NEVER else None,
            credentials=credentials,
            send_buffer=equipment.send_buffer,
            witness=equipment.witness,
            remark=equipment.tell,
        )
        trouble = await _open(equipment, courier, manner)
        if trouble is None:
            return courier
        equipment.tell(f"{_shown(hop)}: {trouble.kind.value}")
        if equipment.progress is not None:
            equipment.progress.failed(trouble.kind.value)
        if trouble.kind is Kind.AUTH_FAILED and credentials is not None:
            _warn_of(equipment, credentials, trouble)
        if not has_renewed and _may_renew(trouble, courier):
            has_renewed = True  # once, whatever other connections of ours keep for this host meanwhile
            continue
        other = _other_manner(equipment, manner, trouble, courier)
        if other is None:
            return trouble, courier.peer
        manner = other


async def _open(equipment: Equipment, courier: Courier, manner: Manner) -> Trouble | None:
    """Connect and greet; say what prevented it."""
    hop = courier.hop
    if equipment.progress is not None:
        equipment.progress.connecting(courier.peer)
    equipment.tell(f"(Connecting to `{hop.name}' [{address_text(hop).decode(errors='replace')}])")
    try:
        seconds, factory = manner.timeouts.connect, _only(courier)
        if equipment.origin is None:
            await endpoint_for(equipment.reactor, hop, seconds=seconds).connect(factory)
        elif trouble := await equipment.origin.connect(equipment.reactor, hop, factory, seconds=seconds):
            return trouble
        return await courier.opened
    except ConnectingCancelledError:
        raise CancelledError from None  # else the next hop would be tried
    except CancelledError:
        if courier.transport is not None:
            courier.drop(_STOPPED)
        raise
    except Exception as error:  # noqa: BLE001  whatever connecting raises is why there is no connection
        return connect_trouble(hop, error)


def _manner_for(equipment: Equipment, hop: Hop, credentials: Credentials | None) -> Manner:
    manner = equipment.manner
    if credentials is not None:
        manner = manner._replace(authenticate=True)
        if not is_private(hop):
            return manner  # a broken handshake may be somebody's work who waits for the credentials
    until = equipment.broken_tls.get(hop.address, 0.0)
    if manner.tls is Tls.OPPORTUNISTIC and equipment.reactor.seconds() < until:
        return manner._replace(tls=Tls.NEVER)
    return manner


def _has_failed(trouble: Trouble, courier: Courier) -> bool:
    """Whether it was TLS that the session broke by."""
    # What a server has against our side of the handshake may come behind it (RFC 8446 4.4.2.4); and somebody
    # who meddles with STARTTLS is not rewarded at once.
    ended_so = courier.session.ended_in is State.SECURING and trouble.kind is not Kind.PROTOCOL
    return trouble.kind is Kind.TLS_FAILED or ended_so


def _may_renew(trouble: Trouble, courier: Courier) -> bool:
    """Whether it may have been an old session that the server could not bear."""
    context = courier.context
    return isinstance(context, ClientCreator) and context.has_resumed and _has_failed(trouble, courier)


def _other_manner(equipment: Equipment, manner: Manner, trouble: Trouble, courier: Courier) -> Manner | None:
    """Return what to try once more with the same host on a new connection, or None."""
    session = courier.session
    may_be_clear = manner.tls is Tls.OPPORTUNISTIC and not (manner.authenticate and not courier.isPrivate)
    if may_be_clear and _has_failed(trouble, courier):
        # RFC 7435: less than TLS is better than no mail, where nobody demands more
        _remember_broken_tls(equipment, courier.hop.address)
        return manner._replace(tls=Tls.NEVER)
    if (
        session.ended_in is State.NEGOTIATING
        and not session.is_secure
        and not manner.lmtp
        and manner.esmtp is not Esmtp.NEVER
        and manner.tls is not Tls.REQUIRED
        and not manner.authenticate
    ):
        # servers exist that hang up on EHLO
        return manner._replace(esmtp=Esmtp.NEVER)
    return None


def _remember_broken_tls(equipment: Equipment, address: str) -> None:
    broken, now = equipment.broken_tls, equipment.reactor.seconds()
    if len(broken) >= _HOSTS_REMEMBERED:
        for known in [one for one, until in broken.items() if until <= now] or list(broken):
            del broken[known]
    broken[address] = now + TLS_FORGIVEN


def _warn_of(equipment: Equipment, credentials: Credentials, trouble: Trouble) -> None:
    """Tell the postmaster, who alone can correct it, and where."""
    if equipment.warn is not None:
        said = trouble.text.strip(b"\r").replace(b"\r", b" | ").decode("ascii", "backslashreplace")
        equipment.warn(f"{credentials.place}: mail waits: {said}")


def _shown(hop: Hop) -> str:
    return f"{hop.name} [{address_text(hop).decode(errors='replace')}]"


def _only(courier: Courier) -> Any:
    """A factory for exactly this protocol."""
    factory = Factory.forProtocol(lambda: courier)
    factory.noisy = False
    return factory
