"""What is to be delivered: from a control file to the transactions that a server will be asked for.

`select` finds the recipients of a destination, `groups` cuts them into runs that may share a transaction,
`batches` sets mailing-list recipients apart whose sender carries their own address, and `transaction` puts
one batch into the form of the session.  Recipients go in reverse order of the file, as the original sends
them.  What cannot be said in SMTP is a `Problem` for its recipient, never a truncated or altered address.

Source: spool format, control files; RFC 3461 section 5.2.1 for what a relay passes on.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from zsmtp.smtp import command
from zsmtp.smtp.transaction import Content, Transaction
from zsmtp.smtp.transaction import Recipient as Addressee
from zsmtp.spool.records import TO_DO, ControlFile, Notify, Recipient

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "Batch",
    "Group",
    "Problem",
    "batches",
    "groups",
    "problem_of",
    "reports_success",
    "says_ascii",
    "select",
    "transaction",
]

_SUCCESS: Final = int(Notify.SUCCESS)

_BY_SECONDS_MOST: Final = 999_999_999
"""RFC 2852 section 4: nine digits"""
_BY_RETURN: Final = 2
_BY_TRACE: Final = 4


class Group(NamedTuple):
    """Recipients that share the sender and the header block, in the order in which they are sent."""

    recipients: tuple[Recipient, ...]


class Batch(NamedTuple):
    """Recipients that may share one transaction.  `extension` is that of the sender for a mailing list
    (EZMLM).
    """

    recipients: tuple[Recipient, ...]
    extension: bytes = b""


class Problem(NamedTuple):
    """Why a recipient cannot be offered to the server; the first digit of `status` says for how long."""

    status: bytes
    text: bytes


def select(
    control: ControlFile, channel: bytes, host: bytes, accepts: Callable[[bytes], bool] | None = None
) -> list[Recipient]:
    """Return the recipients to be tried for this destination, last one first.

    The channel is compared as it stands, the host without regard to case; `accepts` may admit further hosts
    (option -e).  Source: smtp(8zm), option -c; spool format, opening a control file.
    """
    host = host.lower()
    return [
        recipient
        for recipient in reversed(control.recipients)
        if recipient.tag == TO_DO
        and recipient.quad.channel == channel
        and (recipient.quad.host.lower() == host or (accepts is not None and accepts(recipient.quad.host)))
    ]


def groups(recipients: Sequence[Recipient]) -> list[Group]:
    """Cut `recipients` into the longest runs with the same sender record and the same header block."""
    found: list[list[Recipient]] = []
    for recipient in recipients:
        if found:
            before = found[-1][-1]
            if before.sender is recipient.sender and before.headers is recipient.headers:
                found[-1].append(recipient)
                continue
        found.append([recipient])
    return [Group(tuple(run)) for run in found]


def batches(group: Group, *, ignore_ezmlm: bool) -> list[Batch]:
    """Return what of a group may go into one transaction; the limit of the server is applied later."""
    recipients = group.recipients
    if ignore_ezmlm or all(recipient.ezmlm is None for recipient in recipients):
        return [Batch(recipients)]
    found: list[Batch] = []
    plain: list[Recipient] = []
    for recipient in recipients:
        if recipient.ezmlm is None:
            plain.append(recipient)
            continue
        if plain:
            found.append(Batch(tuple(plain)))
            plain = []
        found.append(Batch((recipient,), recipient.ezmlm))
    return [*found, Batch(tuple(plain))] if plain else found


def problem_of(recipient: Recipient) -> Problem | None:
    """Say why `recipient` cannot be offered to any server, or return None."""
    if recipient.problem is not None:
        status = b"5.1.3 (bad destination mailbox address)" if recipient.problem_is_permanent else b"4.3.0"
        return Problem(status, recipient.problem.encode(errors="replace"))
    problem = command.path_problem(recipient.quad.user)
    if problem is not None:
        return Problem(b"5.1.3 (bad destination mailbox address)", problem.encode())
    sender = recipient.sender
    if sender is None or recipient.headers is None:
        return Problem(b"4.3.0", b"the control file has no sender or no header for this recipient")
    if not sender.is_null:
        problem = command.path_problem(sender.quad.user)
        if problem is not None:
            text = b"of the sender: " + problem.encode()
            return Problem(b"5.1.7 (bad sender's mailbox address syntax)", text)
    return None


def says_ascii(batch: Batch) -> bool:
    """Whether all its addresses can be said without SMTPUTF8 (RFC 6531)."""
    sender = batch.recipients[0].sender
    if sender is not None and not sender.is_null and not sender.quad.user.isascii():
        return False
    return all(map(_is_ascii, batch.recipients))


def _is_ascii(recipient: Recipient) -> bool:
    return recipient.quad.user.isascii()


def reports_success(recipient: Recipient, *, by_server: bool) -> bool:
    """Whether we must tell the sender of a delivery: it was asked for, and the server will not do it."""
    return not by_server and recipient.notify is not None and recipient.notify & _SUCCESS != 0


def transaction(
    control: ControlFile,
    batch: Batch,
    content: Content,
    *,
    eight_bit: bool,
    binary: bool = False,
    smtputf8: bool,
    lmtp: bool,
    spool_id: str,
    now: float,
) -> Transaction:
    """Put `batch` into the form of the session.  `now` is in seconds since 1970 (for DELIVERBY)."""
    sender = batch.recipients[0].sender
    reverse_path = b"" if sender is None or sender.is_null else sender.quad.user
    if batch.extension and reverse_path:
        reverse_path = _extended(reverse_path, batch.extension + b"-" + spool_id.encode())
    addressees = [
        Addressee(recipient.quad.user, _parameters(recipient, lmtp=lmtp), recipient)
        for recipient in batch.recipients
    ]
    return Transaction(
        reverse_path,
        addressees,
        content,
        eight_bit=eight_bit,
        binary=binary,
        smtputf8=smtputf8,
        envelope_id=_valid_xtext(control.envelope_id, 100),
        ret=control.ret if control.ret in (b"FULL", b"HDRS") else None,
        deliver_by=_deliver_by(batch.recipients, now),
    )


def _extended(path: bytes, extension: bytes) -> bytes:
    """Append to the local part.  Source: smtp(8zm), EZMLM mode."""
    local, at, domain = path.rpartition(b"@")
    extended = local + extension + at + domain if at else path + extension
    # an extension that spoils the address would lose its reports: then the plain sender is the better one
    return extended if command.path_problem(extended) is None else path


def _parameters(recipient: Recipient, *, lmtp: bool) -> bytes:
    """NOTIFY and ORCPT as RFC 3461 5.2.1 wants them from a relay: nothing that did not come with the
    message.
    """
    parameters = b"" if recipient.notify is None else _notify(recipient.notify, lmtp)
    for original in (recipient.orcpt, recipient.inrcpt):
        if original is not None and command.is_original_recipient(original):
            return parameters + b" ORCPT=" + original
    return parameters


@lru_cache(maxsize=64)
def _notify(flags: int, lmtp: bool) -> bytes:
    if lmtp and flags & _SUCCESS:
        # RFC 2033 leaves final delivery reports to us, and two of them would be one too many
        flags = flags & (Notify.FAILURE | Notify.DELAY | Notify.NEVER) or Notify.NEVER
    if flags & Notify.NEVER:
        return b" NOTIFY=NEVER"
    wanted = (Notify.SUCCESS, Notify.FAILURE, Notify.DELAY)
    words = b",".join([word.name.encode() for word in wanted if flags & word and word.name])
    return b" NOTIFY=" + words if words else b""


def _valid_xtext(value: bytes | None, limit: int) -> bytes | None:
    return value if value is not None and command.xtext_problem(value, limit) is None else None


def _deliver_by(recipients: Sequence[Recipient], now: float) -> bytes | None:
    """The value of BY where all recipients have the same, else None.  Source: RFC 2852 section 4."""
    wanted = recipients[0].deliver_by
    if wanted is None or any(recipient.deliver_by != wanted for recipient in recipients):
        return None
    seconds = int(wanted[0] - now)
    returns = bool(wanted[1] & _BY_RETURN)
    if abs(seconds) > _BY_SECONDS_MOST or (returns and seconds <= 0):
        return None
    return b"%d;%s%s" % (seconds, b"R" if returns else b"N", b"T" if wanted[1] & _BY_TRACE else b"")
