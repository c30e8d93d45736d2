"""One control file restricted to one destination: the unit that is fed, locked, delivered and reported.

`open_job` opens the message file first and locks the recipients then, so that a missing file never leaves a
lock. `Job.prepare` makes the transaction for some of its recipients and one server; `Job.settle` tells what
became of a recipient: first to the control file, then to whoever asked.  The order of steps is such that a
crash between any two costs at most a second delivery or a second report, never a loss and never a false
success:

delivered   mark `+`, then the diagnostic line if the sender wants to know, then the report
failed      diagnostic line appended and durable, mark `-`, then the report
deferred    lock released, then the report

Source: spool format, diagnostics; smtp(8zm), section INTERFACE.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from twisted.logger import Logger

from zsmtp import plan, policy
from zsmtp.errors import SpoolError
from zsmtp.message.form import Ability, Refusal, Wishes, choose
from zsmtp.message.wire import Facts, Source, Whole, examine
from zsmtp.plan import Batch
from zsmtp.policy import Outcome, Verdict, Word
from zsmtp.spool import report
from zsmtp.spool.body import MessageFile
from zsmtp.spool.layout import message_path
from zsmtp.spool.mark import OpenControlFile
from zsmtp.spool.records import LOCKED
from zsmtp.trouble import Peer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from zsmtp.smtp.capability import Capabilities
    from zsmtp.smtp.transaction import Transaction
    from zsmtp.spool.records import Recipient

__all__ = ["Conduct", "Job", "Served", "Settled", "open_job"]

_MISSING = (
    b"message file is missing(!) -- possibly due to delivery scheduler restart.  "
    b"Consider resending your message"
)


_log = Logger()

Served: TypeAlias = "Mapping[bytes, frozenset[str]]"
"""hosts (lower case) that a destination serves besides its own (-e), each with its mail exchangers"""


class Settled(NamedTuple):
    """A recipient's fate as it was told; `line` is the report for the scheduler."""

    job: Job
    recipient: Recipient
    verdict: Verdict
    peer: Peer
    line: bytes


class Conduct(NamedTuple):
    """How jobs are handled in this process.

    `agent` names us in a notary (`smtp[4242]`); `report` is called once for each recipient, `finished` once
    for each job, `warn` with a line for the postmaster; `clock` gives seconds since 1970.
    """

    channel: bytes
    agent: bytes
    wishes: Wishes
    lmtp: bool
    ignore_ezmlm: bool
    report: Callable[[Settled], None]
    finished: Callable[[Job], None]
    warn: Callable[[str], None]
    clock: Callable[[], float]


class Job:
    """Recipients of one control file for one destination, locked by us until each is settled."""

    __slots__ = (
        "_conduct",
        "_facts",
        "_file",
        "_message",
        "_open",
        "_source",
        "began",
        "conversion",
        "host",
        "path",
        "prepared_at",
        "recipients",
        "served",
    )

    def __init__(
        self,
        path: str,
        host: bytes,
        conduct: Conduct,
        file: OpenControlFile,
        message: MessageFile | None,
        recipients: Sequence[Recipient],
        served: Served,
    ) -> None:
        self.path = path
        self.host = host
        self.recipients = recipients
        self.served = served
        self.began = conduct.clock()
        self.conversion = b"NONE"
        """How the latest transaction has changed the message: a word for the log."""
        self.prepared_at: float | None = None
        """when a server was last about to be offered a part of it, in seconds since 1970"""
        self._conduct = conduct
        self._file = file
        self._message = message
        self._source: Source | None = None
        self._facts: Facts | None = None
        self._open = {recipient.offset for recipient in recipients}

    @property
    def is_finished(self) -> bool:
        """Whether every recipient is settled."""
        return not self._open

    def is_settled(self, recipient: Recipient) -> bool:
        """Whether this recipient has been told of."""
        return recipient.offset not in self._open

    @property
    def file(self) -> OpenControlFile:
        """The control file, for whoever logs; marks are written by `settle` alone."""
        return self._file

    @property
    def log_identity(self) -> bytes:
        """The Message-Id, or `none`."""
        return self._file.control.log_identity

    @property
    def spool_id(self) -> str:
        """What logs of all programs call this message."""
        return self._message.spool_id if self._message is not None else "-"

    @property
    def submitted(self) -> float:
        """When the message was submitted, in seconds since 1970."""
        return self._message.mtime_ns / 1e9 if self._message is not None else self.began

    def batches(self) -> list[Batch]:
        """Give the recipients as they may share transactions; settle those that no server can be offered."""
        offered = []
        for recipient in self.recipients:
            problem = plan.problem_of(recipient)
            if problem is None:
                offered.append(recipient)
            else:
                self.settle(recipient, policy.judge_problem(*problem))
        if len(offered) == 1 and offered[0].ezmlm is None:  # as in nearly every job
            return [Batch(tuple(offered))]
        ignore = self._conduct.ignore_ezmlm
        return [batch for group in plan.groups(offered) for batch in plan.batches(group, ignore_ezmlm=ignore)]

    def prepare(self, batch: Batch, able: Capabilities) -> Transaction | None:
        """Make the transaction for a server, or settle the batch and return None.

        Raises SpoolError where the message file cannot be read.
        """
        message = self._message
        assert message is not None
        if self._source is None or self._facts is None:
            whole = message.whole()  # one read instead of two for nearly every message
            if whole is None:
                self._source = message.pieces
                self._facts = examine(self._source)
            else:
                self._source = source = Whole(whole)
                self._facts = source.examine()
        headers = batch.recipients[0].headers
        assert headers is not None
        form = choose(
            headers.octets,
            self._source,
            self._facts,
            ability=_ability(able.eight_bit_mime, able.smtputf8, able.binary_mime and able.chunking),
            wishes=self._conduct.wishes,
            recipients=[(recipient.quad.user, recipient.orcpt) for recipient in batch.recipients],
        )
        if isinstance(form, Refusal):
            self._settle_all(batch, policy.judge_problem(form.status, form.text.encode(errors="replace")))
            return None
        if able.size and form.size > able.size:
            self._settle_all(batch, policy.judge_size(form.size, able.size))
            return None
        self.conversion = form.conversion
        for note in form.notes:
            self._conduct.warn(f"{self.path}: {note}")
        says_ascii = plan.says_ascii(batch)
        if not says_ascii and not able.smtputf8:
            ascii_only = self._settle_non_ascii(batch)
            if ascii_only is None:
                return None
            batch, says_ascii = ascii_only, True
        self.prepared_at = self._conduct.clock()
        return plan.transaction(
            self._file.control,
            batch,
            form,
            eight_bit=form.eight_bit,
            binary=form.binary,
            smtputf8=form.smtputf8 or not says_ascii,  # RFC 6531 3.4: addresses count too
            lmtp=self._conduct.lmtp,
            spool_id=message.spool_id if batch.extension else "",
            now=self.prepared_at,
        )

    def settle(self, recipient: Recipient, verdict: Verdict, peer: Peer = Peer()) -> None:  # noqa: B008  a value
        """Tell what became of `recipient`, once: a second verdict is not heard."""
        if recipient.offset not in self._open:
            return
        self._open.discard(recipient.offset)
        verdict = self._mark(recipient, verdict, peer)
        try:
            line = self._report_line(recipient, verdict, peer)
            self._conduct.report(Settled(self, recipient, verdict, peer, line))
        except Exception:  # noqa: BLE001  the others are to be told of all the same
            _log.failure("reporting a recipient of {path}", path=self.path)
        if not self._open:
            self._close()
            self._conduct.finished(self)

    def give_up(self, verdict: Verdict) -> None:
        """Settle every recipient that is not settled yet."""
        for recipient in self.recipients:
            self.settle(recipient, verdict)

    def _settle_all(self, batch: Batch, verdict: Verdict) -> None:
        for recipient in batch.recipients:
            self.settle(recipient, verdict)

    def _settle_non_ascii(self, batch: Batch) -> Batch | None:
        """Without SMTPUTF8 only ASCII addresses can be said.  Source: RFC 6531 section 3.2, RFC 6533
        (X.6.7).
        """
        sender = batch.recipients[0].sender
        bad_sender = sender is not None and not sender.is_null and not sender.quad.user.isascii()
        said = []
        for recipient in batch.recipients:
            if recipient.quad.user.isascii() and not bad_sender:
                said.append(recipient)
            else:
                text = b"the address is not ASCII and the server does not offer SMTPUTF8"
                self.settle(recipient, policy.judge_problem(b"5.6.7 (non-ASCII address not permitted)", text))
        return batch._replace(recipients=tuple(said)) if said else None

    def _mark(self, recipient: Recipient, verdict: Verdict, peer: Peer) -> Verdict:
        """Write a verdict into the control file; return what can be told.

        Where nothing can be written the lock stays until the scheduler finds that this process has ended.
        """
        try:
            if verdict.outcome is Outcome.DELIVERED:
                self._mark_delivered(recipient, verdict, peer)
            elif verdict.outcome is Outcome.FAILED:
                return self._mark_failed(recipient, verdict, peer)
            else:
                self._file.release(recipient)
        except SpoolError as error:
            self._conduct.warn(str(error))
        except Exception:  # noqa: BLE001  an error of ours must not keep the scheduler waiting
            _log.failure("marking a recipient of {path}", path=self.path)
        return verdict

    def _mark_delivered(self, recipient: Recipient, verdict: Verdict, peer: Peer) -> None:
        mine = recipient.owner
        who = f"recipient at {recipient.offset}"
        again = "if the scheduler is restarted before it removes the file, it is delivered again"
        try:
            if not self._file.delivered(recipient):
                if (recipient.tag, recipient.owner) == (LOCKED, mine):
                    why = f"{who} was delivered and cannot be marked: another process keeps the file locked"
                    self._conduct.warn(f"{self.path}: {why}; {again}")
                else:
                    self._conduct.warn(f"{self.path}: {who} is no longer ours; was delivered")
        except SpoolError as error:
            self._conduct.warn(f"{error}; {who} was delivered and cannot be marked: {again}")
        finally:
            if verdict.word is Word.OK_RECORDED:
                self._record(recipient, verdict, peer)

    def _record(self, recipient: Recipient, verdict: Verdict, peer: Peer) -> None:
        try:
            self._file.append_diagnostic(self._diagnostic_line(recipient, verdict, peer))
        except SpoolError as error:  # it is delivered all the same: only the sender will not hear of it
            self._conduct.warn(str(error))

    def _mark_failed(self, recipient: Recipient, verdict: Verdict, peer: Peer) -> Verdict:
        """Record a failure; where that is not possible nobody would tell the sender, so it is tried again."""
        try:
            self._file.append_diagnostic(self._diagnostic_line(recipient, verdict, peer))
        except Exception as error:  # noqa: BLE001  whatever it is, the sender would not hear of it
            if isinstance(error, SpoolError):
                self._conduct.warn(str(error))
            else:
                _log.failure("recording a failure in {path}", path=self.path)
            unrecorded = verdict._replace(
                outcome=Outcome.DEFERRED,
                word=Word.DEFERRED,
                status=b"4.3.0 (failure could not be recorded)",
                text=verdict.text + b"\r" + str(error).encode(errors="replace"),
            )
            return self._mark(recipient, unrecorded, peer)
        try:
            self._file.failed(recipient)
        except SpoolError as error:  # what the sender will read is in the file: that is what counts
            self._conduct.warn(str(error))
        return verdict

    def _notary(self, recipient: Recipient, verdict: Verdict, peer: Peer) -> bytes:
        return report.notary(
            recipient.quad.user or b"<>",  # the scheduler tells the sender of nobody without a name
            verdict.action,
            verdict.status,
            verdict.diagnostic,
            peer.remote,
            peer.address,
            self._conduct.agent,
        )

    def _diagnostic_line(self, recipient: Recipient, verdict: Verdict, peer: Peer) -> bytes:
        return report.diagnostic_line(
            recipient.offset,
            recipient.headers.offset if recipient.headers is not None else -1,
            recipient.notary_offset,
            int(self._conduct.clock()),
            self._notary(recipient, verdict, peer),
            verdict.text,
        )

    def _report_line(self, recipient: Recipient, verdict: Verdict, peer: Peer) -> bytes:
        # ok and error2: the scheduler has the notary from the control file, or needs none
        is_open = verdict.outcome is Outcome.DEFERRED
        notary = self._notary(recipient, verdict, peer) if is_open else b""
        return report.report_line(
            self._file.control.file_id, recipient.offset, notary, verdict.word.value, verdict.text
        )

    def _close(self) -> None:
        self._file.close()
        if self._message is not None:
            self._message.close()


_ability = lru_cache(maxsize=8)(Ability)


def open_job(path: str, host: bytes, conduct: Conduct, served: Served | None = None) -> Job | None:
    """Open a control file and lock its recipients for this destination.

    `path` is relative to the current directory (POSTOFFICE/transport); recipients of hosts in `served` are
    taken with those of `host`.  Returns None where nothing is to be
    done. Where the message file is of no use the recipients are settled here and the job that comes back is
    finished. Raises SpoolError where the control file is of no use: nothing was locked.
    """
    file = OpenControlFile.open(path)
    message: MessageFile | None = None
    try:
        control = file.control
        for problem in control.problems:
            conduct.warn(f"{path}: line {problem.line}: {problem.text}")
        accepts = (lambda other: other.lower() in served) if served else None
        recipients = plan.select(control, conduct.channel, host, accepts)
        if not recipients:
            file.close()
            return None
        verdict: Verdict | None = None
        try:
            message = _open_message(path, file)
        except SpoolError as error:
            conduct.warn(str(error))
            verdict = _without_message(error)
        locked = file.lock_all(recipients)
        if not locked:
            file.close()
            if message is not None:
                message.close()
            return None
    except BaseException:
        file.close()
        if message is not None:
            message.close()
        raise
    job = Job(path, host, conduct, file, message, locked, served or {})
    if verdict is not None:
        job.give_up(verdict)
    return job


def _open_message(path: str, file: OpenControlFile) -> MessageFile:
    control = file.control
    if control.message_name is None or control.body_offset is None:
        raise SpoolError(f"{path}: it is not said where the body is (i, o); mend or remove the control file")
    return MessageFile.open(message_path(path, control.message_name), control.body_offset)


def _without_message(error: SpoolError) -> Verdict:
    if error.temporary:
        return policy.judge_problem(
            b"4.3.0 (message file cannot be used)", str(error).encode(errors="replace")
        )
    return policy.judge_problem(b"5.3.0 (message file is missing)", _MISSING)
