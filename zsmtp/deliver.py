"""The delivery of jobs to one destination: the only place where spool, protocol and network meet.

`Delivery` pulls jobs from its source only when a connection can take them, so that nothing is locked that
waits, and opens connections only when there is something to send.  It goes through the hops of the route
until one opens a session; what that takes (a second try without TLS, or with HELO) is decided here.  If none
does, every recipient at hand gets the same verdict, and for a moment it is remembered, so that a batch of
jobs costs one attempt.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from zsmtp import plan, policy
from zsmtp.destination import Hop, Route, RouteRules, Target
from zsmtp.errors import SpoolError
from zsmtp.job import Job
from zsmtp.net.courier import Courier
from zsmtp.net.endpoints import address_text, connect_trouble, endpoint_for
from zsmtp.plan import Batch
from zsmtp.policy import Outcome, Verdict
from zsmtp.smtp.session import Esmtp, Manner, State, Tls
from zsmtp.trouble import Kind, Peer, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from zsmtp.smtp.transaction import Recipient, Transaction

__all__ = ["Delivery", "Equipment"]

_log = Logger()

_STOPPED: Final = Trouble(Kind.STOPPED, b"this transport agent was told to stop")
_INTERNAL: Final = Trouble(Kind.INTERNAL, b"internal error; the log of the agent has more")

REMEMBERED: Final = 5.0
"""seconds for which a host that could not be reached is not tried again for the jobs behind"""
_UNREACHABLE: Final = frozenset(
    {Kind.CONNECT_FAILED, Kind.DNS_UNAVAILABLE, Kind.NO_ADDRESS, Kind.BIND_FAILED, Kind.TIMED_OUT}
)
TLS_FORGIVEN: Final = 3600.0
"""seconds for which a host whose handshake failed is met in clear from the start"""


class Equipment(NamedTuple):
    """What all deliveries of a process share.

    `rules` gives what the options say of routes, and this machine's addresses as they are now; `find`
    resolves a target to a route or a trouble; `context_for` gives the TLS connection creator for a server
    name, or None for no TLS; `broken_tls` maps addresses to the time until which their TLS is known to fail.
    """

    reactor: Any
    manner: Manner
    rules: Callable[[], RouteRules]
    find: Callable[[Target, RouteRules], Deferred[Route | Trouble]]
    context_for: Callable[[str], Any]
    broken_tls: dict[str, float]
    connections: int = 1
    one_message: bool = False
    send_buffer: int | None = None
    witness: Callable[[str, bytes], None] | None = None
    remark: Callable[[str], None] | None = None


class _Work(NamedTuple):
    """Recipients of one job that wait for a transaction."""

    job: Job
    batch: Batch
    tries: int = 0


class _Unreachable(NamedTuple):
    """Why the destination cannot be delivered to at the moment."""

    verdict: Verdict
    peer: Peer
    until: float


class Delivery:
    """Everything that is under way to one destination.

    `source` returns the next job or None; `waiting` says how many it has about; `changed` is called when
    something has ended and the owner may want to look at `is_quiet`.
    """

    def __init__(
        self,
        equipment: Equipment,
        target: Target | Trouble,
        *,
        source: Callable[[], Job | None],
        waiting: Callable[[], int],
        changed: Callable[[], None],
    ) -> None:
        self._equipment = equipment
        self._target = target
        self._source = source
        self._waiting = waiting
        self._changed = changed
        self._work: deque[_Work] = deque()
        self._couriers: set[Courier] = set()
        self._openings: set[Deferred[None]] = set()
        self._unreachable: _Unreachable | None = None
        self._is_stopping = False

    # For the owner

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way: connections may be open, but idle."""
        return not (self._work or self._openings) and all(one.session.is_idle for one in self._couriers)

    @property
    def is_over(self) -> bool:
        """Whether no connection is left and nothing is under way."""
        return not (self._work or self._openings or self._couriers)

    def wake(self) -> None:
        """There may be new jobs: give them to idle connections, and open more where that is allowed."""
        for courier in list(self._couriers):
            if courier.session.has_room:
                courier.proceed()
        wanted = self._equipment.connections - len(self._couriers) - len(self._openings)
        if wanted <= 0 or self._is_stopping or not self._has_work():
            return
        for _ in range(min(wanted, len(self._work) + self._waiting())):
            self._open()

    def leave(self) -> None:
        """Say goodbye on all connections; they are idle."""
        for courier in list(self._couriers):
            courier.leave()

    def stop(self) -> None:
        """End soon: what waits is deferred, what hangs between sent and answered is waited for."""
        self._is_stopping = True
        self._settle_waiting(
            policy.judge_trouble(Trouble(Kind.STOPPED, b"this transport agent was told to stop"))
        )
        for opening in list(self._openings):
            opening.cancel()
        for courier in list(self._couriers):
            courier.stop()

    # For couriers

    def next_for(self, courier: Courier) -> Transaction | None:
        """See Employer."""
        while not self._is_stopping and self._has_work():
            work = self._work[0]
            if self._equipment.one_message and courier.job not in (None, work.job):
                courier.is_leaving = True
                return None
            self._work.popleft()
            limit = courier.session.capabilities.recipients
            if len(work.batch.recipients) > limit:
                rest = work.batch._replace(recipients=work.batch.recipients[limit:])
                self._work.appendleft(work._replace(batch=rest))
                work = work._replace(batch=work.batch._replace(recipients=work.batch.recipients[:limit]))
            transaction = self._prepare(work, courier)
            if transaction is not None:
                courier.job = work.job
                return transaction
        return None

    def answered(self, courier: Courier, transaction: Transaction, recipient: Recipient) -> None:
        """See Employer: told at once, unless another transaction may take the recipient."""
        if not self._may_follow(transaction, recipient):
            self._settle(courier, transaction, recipient)

    def finished(self, courier: Courier, transaction: Transaction) -> None:
        """See Employer."""
        work = transaction.key
        assert isinstance(work, _Work)
        mail = transaction.mail_reply
        lost = transaction.trouble is not None and transaction.is_untouched
        if (lost or (mail is not None and mail.code == 421)) and work.tries == 0 and not self._is_stopping:
            # nothing of it has happened yet: one new connection may do better
            again = tuple(one.key for one in transaction.recipients)
            self._work.appendleft(_Work(work.job, Batch(again, work.batch.extension), 1))  # type: ignore[arg-type]
            return
        following: list[Any] = []
        for recipient in transaction.recipients:
            if transaction.trouble is None and self._may_follow(transaction, recipient):
                following.append(recipient.key)
            else:
                self._settle(courier, transaction, recipient)
        if following:
            self._work.appendleft(_Work(work.job, Batch(tuple(following), work.batch.extension)))
        if courier.is_leaving and self._is_stopping:
            courier.stop()
        self._changed()

    def closed(self, courier: Courier, trouble: Trouble | None) -> None:
        """See Employer."""
        self._couriers.discard(courier)
        if trouble is not None and trouble.kind is not Kind.STOPPED:
            self._remark(f"closed connection to {courier.hop.name}: {trouble.kind.value}")
        self._changed()

    # Work

    def _has_work(self) -> bool:
        """Whether something waits for a transaction; asks the source."""
        while not self._work:
            job = self._source()
            if job is None:
                return False
            self._work.extend(_Work(job, batch) for batch in job.batches())
            if self._unreachable is not None:
                self._remember()
        return True

    def _remember(self) -> None:
        """Settle new work at once where the destination has just been found out of reach."""
        assert self._unreachable is not None
        if self._equipment.reactor.seconds() < self._unreachable.until:
            self._settle_waiting(self._unreachable.verdict, self._unreachable.peer)
        else:
            self._unreachable = None

    def _prepare(self, work: _Work, courier: Courier) -> Transaction | None:
        try:
            transaction = work.job.prepare(work.batch, courier.session.capabilities)
        except SpoolError as error:
            self._settle_work(work, Trouble(Kind.CONTENT_UNREADABLE, str(error).encode(errors="replace")))
            return None
        except Exception:  # noqa: BLE001  an error of ours costs a retry, never a message
            _log.failure("preparing {path}", path=work.job.path)
            self._settle_work(work, _INTERNAL)
            return None
        if transaction is not None:
            transaction.key = work
        return transaction

    def _may_follow(self, transaction: Transaction, recipient: Recipient) -> bool:
        """Whether a refused recipient was merely one too many for this transaction."""
        return (
            recipient.reply is not None
            and recipient.reply.code >= 400
            and bool(transaction.accepted)
            and policy.means_too_many_recipients(recipient.reply)
        )

    def _settle(self, courier: Courier, transaction: Transaction, recipient: Recipient) -> None:
        work: Any = transaction.key
        key: Any = recipient.key
        by_server = courier.session.capabilities.dsn and not transaction.is_lmtp
        record = plan.reports_success(key, by_server=by_server)
        work.job.settle(key, policy.judge(transaction, recipient, record_success=record), courier.peer)

    def _settle_work(self, work: _Work, trouble: Trouble) -> None:
        verdict = policy.judge_trouble(trouble)
        for recipient in work.batch.recipients:
            work.job.settle(recipient, verdict)

    def _settle_waiting(self, verdict: Verdict, peer: Peer = Peer()) -> None:  # noqa: B008  a value
        while self._work:
            work = self._work.popleft()
            for recipient in work.batch.recipients:
                work.job.settle(recipient, verdict, peer)
        self._changed()

    # Connections

    def _open(self) -> None:
        opening: Deferred[None] = ensureDeferred(self._go_through_route())
        if not opening.called:
            self._openings.add(opening)
            opening.addBoth(self._opening_ended, opening)

    def _opening_ended(self, result: Any, opening: Deferred[None]) -> None:
        self._openings.discard(opening)
        self._changed()

    async def _go_through_route(self) -> None:
        """Open one session, by the first hop that has one for us, or settle what waits."""
        try:
            found: Route | Trouble
            if isinstance(self._target, Trouble):
                found = self._target
            else:
                found = await self._equipment.find(self._target, self._equipment.rules())
            if isinstance(found, Trouble):
                self._give_up([(found, Peer(found.remote))])
                return
            troubles: list[tuple[Trouble, Peer]] = []
            for hop in found.hops:
                trouble, peer = await self._try_hop(hop)
                if trouble is None:
                    return
                troubles.append((trouble, peer))
            self._give_up(troubles)
        except CancelledError:
            return
        except Exception:  # noqa: BLE001  an error of ours costs a retry, never a message
            _log.failure("opening a connection")
            self._give_up(
                [(Trouble(Kind.INTERNAL, b"internal error; the log of the agent has more"), Peer())]
            )

    async def _try_hop(self, hop: Hop) -> tuple[Trouble | None, Peer]:
        """Open a session with one host, in the manner it can bear."""
        manner = self._manner_for(hop)
        while True:
            courier = Courier(
                self,
                hop,
                manner,
                clock=self._equipment.reactor,
                context=self._equipment.context_for(hop.name) if manner.tls is not Tls.NEVER else None,
                send_buffer=self._equipment.send_buffer,
                witness=self._equipment.witness,
            )
            trouble = await self._connect(courier)
            if trouble is None:
                return None, courier.peer
            self._remark(f"{hop.name} [{address_text(hop).decode(errors='replace')}]: {trouble.kind.value}")
            other = self._other_manner(manner, trouble, courier)
            if other is None:
                return trouble, courier.peer
            manner = other

    async def _connect(self, courier: Courier) -> Trouble | None:
        hop = courier.hop
        self._remark(f"(Connecting to `{hop.name}' [{address_text(hop).decode(errors='replace')}])")
        endpoint = endpoint_for(self._equipment.reactor, hop, seconds=courier.session.manner.timeouts.connect)
        self._couriers.add(courier)
        try:
            await endpoint.connect(_only(courier))
            trouble = await courier.opened
        except CancelledError:
            self._couriers.discard(courier)
            if courier.transport is not None:
                courier.drop(_STOPPED)
            raise
        except Exception as error:  # noqa: BLE001  whatever connecting raises is why there is no connection
            trouble = connect_trouble(hop, error)
        if trouble is not None:
            self._couriers.discard(courier)
        return trouble

    def _manner_for(self, hop: Hop) -> Manner:
        manner = self._equipment.manner
        until = self._equipment.broken_tls.get(hop.address, 0.0)
        if manner.tls is Tls.OPPORTUNISTIC and self._equipment.reactor.seconds() < until:
            return manner._replace(tls=Tls.NEVER)
        return manner

    def _other_manner(self, manner: Manner, trouble: Trouble, courier: Courier) -> Manner | None:
        """Return what to try once more on a new connection, or None."""
        if trouble.kind is Kind.TLS_FAILED and manner.tls is Tls.OPPORTUNISTIC:
            # RFC 7435: less than TLS is better than no mail, where nobody demands more
            self._equipment.broken_tls[courier.hop.address] = self._equipment.reactor.seconds() + TLS_FORGIVEN
            return manner._replace(tls=Tls.NEVER)
        if (
            courier.session.ended_in is State.NEGOTIATING
            and not courier.session.is_secure
            and not manner.lmtp
            and manner.esmtp is not Esmtp.NEVER
            and manner.tls is not Tls.REQUIRED
        ):
            # servers exist that hang up on EHLO
            return manner._replace(esmtp=Esmtp.NEVER)
        return None

    def _give_up(self, troubles: list[tuple[Trouble, Peer]]) -> None:
        """No hop has a session for us: everybody who waits hears the same."""
        judged = [(policy.judge_trouble(trouble), peer, trouble.kind) for trouble, peer in troubles]
        # permanent only where every host has said so
        healing = [one for one in judged if one[0].outcome is not Outcome.FAILED]
        verdict, peer, kind = (healing or judged)[-1]
        if kind in _UNREACHABLE:
            self._unreachable = _Unreachable(verdict, peer, self._equipment.reactor.seconds() + REMEMBERED)
        if any(courier.is_open for courier in self._couriers):
            return  # another connection is at work, and takes what waits
        self._settle_waiting(verdict, peer)

    def _remark(self, text: str) -> None:
        if self._equipment.remark is not None:
            self._equipment.remark(text)


def _only(courier: Courier) -> Any:
    """A factory for exactly this protocol."""
    factory = Factory.forProtocol(lambda: courier)
    factory.noisy = False
    return factory
