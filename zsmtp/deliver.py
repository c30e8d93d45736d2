"""The delivery of jobs to one destination: the only place where spool, protocol and network meet.

`Delivery` pulls jobs from its source only when a connection can take them, so that nothing is locked that
waits, and opens connections only when there is something to send.  If no host has a session for us, every
recipient at hand gets the same verdict, and for a moment it is remembered, so that a batch of jobs costs one
attempt; the same where a host has left a message without an answer.  An error of ours costs a deferral: every
recipient that was locked is told of.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from zsmtp import plan, policy
from zsmtp.destination import Target
from zsmtp.errors import SpoolError
from zsmtp.job import Job
from zsmtp.message.form import Form
from zsmtp.net.approach import Equipment, Failures, approach
from zsmtp.net.courier import Courier
from zsmtp.plan import Batch
from zsmtp.policy import Outcome, Verdict
from zsmtp.smtp.session import State
from zsmtp.trouble import Kind, Peer, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from zsmtp.smtp.transaction import Recipient, Transaction

__all__ = ["REMEMBERED", "Delivery", "Equipment"]

_log = Logger()

_STOPPED: Final = Trouble(Kind.STOPPED, b"this transport agent was told to stop")
_INTERNAL: Final = Trouble(Kind.INTERNAL, b"internal error; the log of the agent has more")

REMEMBERED: Final = 5.0
"""seconds for which a host that could not be reached, or hung, is not tried again for the jobs behind"""
_HANGS: Final = frozenset({Kind.TIMED_OUT, Kind.WRITE_TIMED_OUT})
_UNREACHABLE: Final = _HANGS | {
    Kind.CONNECT_FAILED, Kind.DNS_UNAVAILABLE, Kind.NO_ADDRESS, Kind.BIND_FAILED, Kind.TLS_UNUSABLE,
    Kind.AUTH_FAILED, Kind.SECRETS_UNUSABLE,  # many attempts in a row make servers lock the user out
}  # fmt: skip
_NOT_ITS_SERVER: Final = b"4.4.4 (not delivered with mail for another host)"
_ENDED: Final = frozenset({State.LEAVING, State.OVER})


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
    something has ended and the owner may want to look at `is_quiet` or call `wake`.
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
        self.target = target
        self._source = source
        self._waiting = waiting
        self._changed = changed
        self._work: deque[_Work] = deque()
        self._couriers: set[Courier] = set()  # whose sessions are open
        self._openings: set[Deferred[None]] = set()
        self._approaching = 0
        self._unreachable: _Unreachable | None = None
        self._opens_again_at = 0.0
        self._is_stopping = False

    # For the owner

    @property
    def connected(self) -> frozenset[str]:
        """Names of the machines that sessions are open with."""
        return frozenset(one.hop.name for one in self._couriers if one.session.state not in _ENDED)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way: connections may be open, but idle or taking leave."""
        return not (self._work or self._openings) and all(
            one.session.is_idle or one.session.state in _ENDED for one in self._couriers
        )

    @property
    def is_over(self) -> bool:
        """Whether no connection is left and nothing is under way."""
        return not (self._work or self._openings or self._couriers)

    def wake(self) -> None:
        """There may be new jobs: give them to idle connections, and open more where that is allowed."""
        for courier in list(self._couriers):
            if courier.session.has_room:
                courier.proceed()
        working = sum(one.session.state not in _ENDED for one in self._couriers)
        opening = len(self._openings)
        allowed = self._equipment.connections - working - opening
        if allowed <= 0 or self._is_stopping:
            return
        if (working or opening) and self._equipment.reactor.seconds() < self._opens_again_at:
            return  # the host has connections enough of us for now
        if self._has_work():
            for _ in range(min(allowed, len(self._work) + self._waiting() - opening)):
                if self._work:
                    self._open()

    def leave(self) -> None:
        """Say goodbye on all connections; they are idle."""
        for courier in list(self._couriers):
            courier.leave()

    def stop(self) -> None:
        """End soon: what waits is deferred, what hangs between sent and answered is waited for."""
        self._is_stopping = True
        self._settle_waiting(policy.judge_trouble(_STOPPED))
        for opening in list(self._openings):
            opening.cancel()
        for courier in list(self._couriers):
            courier.stop()
        self._changed()

    # For couriers

    def next_for(self, courier: Courier) -> Transaction | None:
        """See Employer."""
        while not self._is_stopping and self._has_work():
            work = self._work[0]
            if self._equipment.one_message and courier.job not in (None, work.job):
                courier.is_leaving = True
                return None
            self._work.popleft()
            if work.job.served:
                work = _Work(work.job, _served_by(courier.hop.name, work), work.tries)
                if not work.batch.recipients:
                    continue
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
        if not _is_one_too_many(recipient):
            self._settle(courier, transaction, recipient)

    def finished(self, courier: Courier, transaction: Transaction) -> None:
        """See Employer."""
        work: Any = transaction.key
        if self._equipment.remark is not None:
            self._remark_on(transaction)
        if self._may_try_again(work, transaction):
            # nothing of it has happened yet: one new connection may do better
            self._put_back(work, transaction.recipients, tries=1)
        else:
            # RFC 5321 4.5.3.1.10: those who were too many come next, if the others were taken
            following = []
            goes_on = transaction.trouble is None and transaction.accepted and not self._is_stopping
            for recipient in transaction.recipients:
                if goes_on and _is_one_too_many(recipient):
                    following.append(recipient)
                else:
                    self._settle(courier, transaction, recipient)
            self._put_back(work, following, tries=0)
        if self._equipment.one_message and work.job.is_finished:
            courier.is_leaving = True
        if self._is_stopping:
            courier.stop()
        self._changed()

    def _remark_on(self, transaction: Transaction) -> None:
        """Note what a message that was taken had to it."""
        final = transaction.final_reply
        if transaction.is_lmtp:
            finals = [one.final for one in transaction.accepted]
            taken = sum(reply is not None and reply.code < 300 for reply in finals)
        else:
            taken = len(transaction.accepted) if final is not None and final.code < 300 else 0
        if taken:
            content = transaction.content
            head = content.head_size if isinstance(content, Form) else 0
            seconds = self._equipment.reactor.seconds() - transaction.began
            self._equipment.tell(
                f"{content.size} bytes, {head} in header, {taken} recipients, {seconds:.3f} secs"
            )

    def closed(self, courier: Courier, trouble: Trouble | None) -> None:
        """See Employer."""
        self._couriers.discard(courier)
        if trouble is not None and trouble.kind is not Kind.STOPPED:
            self._equipment.tell(f"closed connection to {courier.hop.name}: {trouble.kind.value}")
            # a host that ends every session before its first message must not be met for ever
            is_hopeless = not courier.session.begun
            # or its time ran out: those behind do not wait for theirs, unless somebody tries once more anyway
            if is_hopeless or (trouble.kind in _HANGS and not any(work.tries for work in self._work)):
                self._give_up([(trouble, courier.peer)])
        self._changed()

    # Work

    def _has_work(self) -> bool:
        """Whether something waits for a transaction; asks the source."""
        while not self._work:
            job = self._source()
            if job is None:
                return False
            try:
                self._work.extend([_Work(job, batch) for batch in job.batches()])
            except Exception:  # noqa: BLE001  an error of ours costs a retry, never a message
                _log.failure("planning {path}", path=job.path)
                job.give_up(policy.judge_trouble(_INTERNAL))
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
        except Exception:  # noqa: BLE001  as above
            _log.failure("preparing {path}", path=work.job.path)
            self._settle_work(work, _INTERNAL)
            return None
        if transaction is not None:
            transaction.key = work
        return transaction

    def _may_try_again(self, work: _Work, transaction: Transaction) -> bool:
        """Whether the server has cut off a transaction of which it has taken nothing."""
        if work.tries or self._is_stopping:
            return False
        mail, trouble = transaction.mail_reply, transaction.trouble
        if mail is not None and mail.code == 421:
            return not transaction.data_sent
        if trouble is None or trouble.kind is Kind.CONTENT_UNREADABLE:
            return False
        return transaction.is_untouched

    def _put_back(self, work: _Work, recipients: Any, *, tries: int) -> None:
        """Let recipients of a transaction wait for another."""
        if recipients:
            again = tuple(one.key for one in recipients)
            self._work.appendleft(_Work(work.job, work.batch._replace(recipients=again), tries))

    def _settle(self, courier: Courier, transaction: Transaction, recipient: Recipient) -> None:
        work: Any = transaction.key
        key: Any = recipient.key
        if work.job.is_settled(key):
            return
        by_server = courier.session.capabilities.dsn and not transaction.is_lmtp
        try:
            record = plan.reports_success(key, by_server=by_server)
            verdict = policy.judge(transaction, recipient, record_success=record)
        except Exception:  # noqa: BLE001  as above
            _log.failure("judging {path}", path=work.job.path)
            verdict = policy.judge_trouble(_INTERNAL)
        if courier.tls is not None:
            verdict = verdict._replace(
                text=b"%s\r(%s)" % (verdict.text, courier.tls.text.encode(errors="replace"))
            )
        work.job.settle(key, verdict, courier.peer)

    def _settle_work(self, work: _Work, trouble: Trouble) -> None:
        verdict = policy.judge_trouble(trouble)
        for recipient in work.batch.recipients:
            work.job.settle(recipient, verdict)

    def _settle_waiting(self, verdict: Verdict, peer: Peer = Peer()) -> None:  # noqa: B008  a value
        while self._work:
            work = self._work.popleft()
            for recipient in work.batch.recipients:
                stranger = _servers_of(work.job, recipient) is not None
                heard = _for_another_host(verdict) if stranger else verdict
                work.job.settle(recipient, heard, peer)

    # Connections

    def _open(self) -> None:
        opening: Deferred[None] = ensureDeferred(self._approach())
        if not opening.called:
            self._openings.add(opening)
            opening.addBoth(self._opening_ended, opening)

    def _opening_ended(self, result: object, opening: Deferred[None]) -> None:
        if isinstance(result, Failure) and not result.check(CancelledError):
            _log.failure("opening a connection", failure=result)
        self._openings.discard(opening)
        self._changed()

    async def _approach(self) -> None:
        """Open one session, or settle what waits."""
        self._approaching += 1
        try:
            found = await approach(self._equipment, self.target, self)
        except CancelledError:
            return
        except Exception:  # noqa: BLE001  as above
            _log.failure("opening a connection")
            found = [(_INTERNAL, Peer())]
        finally:
            self._approaching -= 1
        if isinstance(found, Courier):
            self._couriers.add(found)
            self._unreachable = None
        else:
            self._give_up(found)

    def _give_up(self, failures: Failures) -> None:
        """No hop has a session for us: everybody who waits hears the same."""
        now = self._equipment.reactor.seconds()
        self._opens_again_at = now + REMEMBERED
        if self._approaching or any(one.session.state not in _ENDED for one in self._couriers):
            return  # another connection takes what waits, or will tell
        judged = [(policy.judge_trouble(trouble), peer, trouble.kind) for trouble, peer in failures]
        # permanent only where every host has said so
        healing = [one for one in judged if one[0].outcome is not Outcome.FAILED]
        verdict, peer, kind = (healing or judged)[-1]
        if kind in _UNREACHABLE:
            self._unreachable = _Unreachable(verdict, peer, now + REMEMBERED)
        self._settle_waiting(verdict, peer)
        self._changed()


def _servers_of(job: Job, recipient: Any) -> frozenset[str] | None:
    """Name the mail exchangers of a recipient of another host than the job's (-e); None for all others."""
    host = recipient.quad.host.lower()
    return job.served.get(host) if job.served and host != job.host.lower() else None


def _served_by(server: str, work: _Work) -> Batch:
    """Leave what this server can be asked for; the rest waits for the turn of its own host (-e)."""
    asked = []
    for recipient in work.batch.recipients:
        servers = _servers_of(work.job, recipient)
        if servers is None or server in servers:
            asked.append(recipient)
        else:
            text = f"{server} does not serve this host; it is tried in its own turn"
            work.job.settle(recipient, policy.judge_problem(_NOT_ITS_SERVER, text.encode()))
    return work.batch._replace(recipients=tuple(asked))


def _for_another_host(verdict: Verdict) -> Verdict:
    """What it means for a recipient of another host that this one's servers are out of reach (-e): it has
    others.
    """
    return policy.judge_problem(_NOT_ITS_SERVER, verdict.text)


def _is_one_too_many(recipient: Recipient) -> bool:
    """Whether a recipient was refused in a way that may only be about those before it."""
    reply = recipient.reply
    return reply is not None and reply.code >= 400 and policy.means_too_many_recipients(reply)
