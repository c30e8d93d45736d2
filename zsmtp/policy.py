"""What replies and troubles mean for a recipient: the only place that decides it.

A `Verdict` says what became of one recipient, in the words that the scheduler and the delivery report need.
Every rule stands in one of three tables: `_CODES` for a reply whose server gave no enhanced status code,
`_STAGES` for the step of the transaction that a reply answered, `_TROUBLES` for everything else.

In doubt a recipient is deferred.  Success is only believed from a 2yz reply to the end of the data by a
server that had accepted sender and recipient.  The first digit of a status is that of the verdict, whatever
the server wrote.
"""

from __future__ import annotations

from enum import Enum
from itertools import takewhile
from typing import TYPE_CHECKING, Final, NamedTuple

from zsmtp.trouble import Kind, Trouble

if TYPE_CHECKING:
    from zsmtp.smtp.reply import Reply
    from zsmtp.smtp.transaction import Recipient, Transaction

__all__ = [
    "Outcome",
    "Verdict",
    "Word",
    "judge",
    "judge_problem",
    "judge_size",
    "judge_trouble",
    "means_too_many_recipients",
]


class Outcome(Enum):
    """What became of a recipient."""

    DELIVERED = "2"
    DEFERRED = "4"
    FAILED = "5"


class Word(Enum):
    """The status words of the scheduler's protocol.  Source: spool protocol, diagnostics."""

    OK = b"ok3"
    OK_RECORDED = b"ok2"
    """delivered, and the sender asked to be told: a diagnostic line says so"""
    FAILED = b"error2"
    DEFERRED = b"deferred"
    DEFERRED_ALL = b"deferall"
    """nothing more for this host now: it cannot be found or reached"""
    DEFERRED_BACK = b"deferback"
    """refused for now, or silent, after the whole message was sent"""
    RETRY = b"retryat +60"
    """the session could not be opened"""


class Verdict(NamedTuple):
    """What became of one recipient.

    `status` is an enhanced status code, maybe with a comment in parentheses; `diagnostic` is what the server
    said, in the form `smtp; 550 (text)`; `text` is the dialogue for a person, its lines joined by CR.
    `action` is the word of RFC 3464, or `-` where nobody is to be told.  All may hold octets that a server
    chose: reports clean them.
    """

    outcome: Outcome
    word: Word
    action: bytes
    status: bytes
    diagnostic: bytes
    text: bytes
    maybe_delivered: bool = False


class _Code(NamedTuple):
    status: bytes
    is_abnormal: bool = False


# RFC 5321 4.2.3 codes whose reply has no enhanced status code, as smtp(8zm) reports them
_CODES: Final[dict[int, _Code]] = {
    500: _Code(b"5.5.1", is_abnormal=True),
    501: _Code(b"5.5.2", is_abnormal=True),
    502: _Code(b"5.5.1", is_abnormal=True),
    503: _Code(b"5.5.0"),
    504: _Code(b"5.5.4", is_abnormal=True),
    550: _Code(b"5.1.1 (bad destination mailbox)"),
    551: _Code(b"5.1.6 (mailbox has moved)"),
    552: _Code(b"5.2.3 (Some content related rejection, size ? text ?)"),
    553: _Code(b"5.1.3 (bad destination mailbox address [syntax])"),
    554: _Code(b"5.1.1 (No acceptable recipients given)"),
    555: _Code(b"5.5.4 (invalid parameters)", is_abnormal=True),
    571: _Code(b"5.7.1 (Delivery not authorized, message refused)"),
    421: _Code(b"4.0.0"),
    450: _Code(b"4.0.0"),
    451: _Code(b"4.0.0"),
    452: _Code(b"4.0.0"),
    455: _Code(b"4.5.4"),
}
_CLASSES: Final[dict[int, _Code]] = {
    2: _Code(b"2.0.0"),
    4: _Code(b"4.0.0 (generic temporary failure)"),
    5: _Code(b"5.0.0 (generic permanent failure)"),
}
_ABSURD: Final = _Code(b"4.5.0 (generic protocol failure)")
_ABNORMAL: Final = b" (this is abnormal, investigate!)"


class _Stage(NamedTuple):
    """How a reply at one step of the transaction is taken."""

    deferred: Word
    temporary: frozenset[int]
    """5yz codes that do not condemn the recipient here"""
    may_be_abnormal: bool
    statuses: dict[int, _Code]
    """where `_CODES` would blame the recipient for what concerns the sender or the message"""


# RFC 5321 4.2.2 and 4.3.2.  503 before the end of the data means that the two sides are out of step: that is
# not the recipient's fault, and a new connection may heal it.
_OUT_OF_STEP: Final = frozenset({503})
_STAGES: Final[dict[str, _Stage]] = {
    "MAIL": _Stage(
        Word.DEFERRED,
        _OUT_OF_STEP,
        may_be_abnormal=False,
        statuses={
            550: _Code(b"5.7.1 (sender refused)"),
            551: _Code(b"5.7.1 (sender refused)"),
            552: _Code(b"5.3.4 (message too big for system)"),
            553: _Code(b"5.1.7 (bad sender's mailbox address syntax)"),
            554: _Code(b"5.7.1 (sender refused)"),
        },
    ),
    "RCPT": _Stage(Word.DEFERRED, _OUT_OF_STEP, may_be_abnormal=True, statuses={}),
    # RFC 5321 4.5.3.1.10: one recipient too many for this transaction is none too many for the next
    "RCPT AFTER OTHERS": _Stage(
        Word.DEFERRED,
        frozenset(range(500, 600)),
        may_be_abnormal=False,
        statuses={552: _Code(b"4.5.3 (too many recipients)")},
    ),
    "DATA": _Stage(Word.DEFERRED, _OUT_OF_STEP, may_be_abnormal=False, statuses={}),
    # RFC 5321 4.1.1.4: the server has the whole message and answers for it
    "FINAL": _Stage(Word.DEFERRED_BACK, frozenset(), may_be_abnormal=False, statuses={}),
    # RFC 3030 2: a server says 503 to BDAT where it takes none, which is no word about this message
    "BDAT": _Stage(Word.DEFERRED_BACK, _OUT_OF_STEP, may_be_abnormal=False, statuses={}),
    # RFC 2033 4.2: the same, for one recipient
    "RECIPIENT FINAL": _Stage(Word.DEFERRED, _OUT_OF_STEP, may_be_abnormal=True, statuses={}),
    # refused while the data was on its way: its end was never sent
    "BODY": _Stage(Word.DEFERRED, _OUT_OF_STEP, may_be_abnormal=False, statuses={}),
}


class _Row(NamedTuple):
    word: Word
    status: bytes
    code: int = 466
    """what stands in the diagnostic where no server said anything"""
    permanent_codes: frozenset[int] = frozenset()
    """replies by which the server says that it will never take mail"""
    local: bytes = b""
    """the whole text and diagnostic, where it is always the same"""
    is_said: bool = True
    """whether a reply, if there is one, tells the reason: one that is out of place tells nothing"""


_NEVER: Final = frozenset({521})

# Finding and reaching a host, opening a session, and the dialogue; in a transaction the word is that of its
# stage.
_TROUBLES: Final[dict[Kind, _Row]] = {
    # RFC 5321 5.1: the domain is known not to exist
    Kind.NO_SUCH_DOMAIN: _Row(Word.FAILED, b"5.4.4 (DNS lookup report)", 500),
    # RFC 7505 4
    Kind.NULL_MX: _Row(Word.FAILED, b"5.1.10 (recipient address has null MX)", 556),
    # RFC 5321 5.1: what another answer of the DNS may heal is retried
    Kind.NO_ADDRESS: _Row(Word.DEFERRED_ALL, b"4.4.4 (nameserver data inconsistency)"),
    Kind.DNS_UNAVAILABLE: _Row(Word.DEFERRED_ALL, b"4.4.3 (DNS-failure)"),
    Kind.CNAME_LOOP: _Row(Word.DEFERRED_ALL, b"4.4.6 (Recursive DNS CNAME)"),
    # RFC 5321 4.1.3
    Kind.BAD_LITERAL: _Row(Word.FAILED, b"5.1.2 (bad literal IP address)", 500),
    # RFC 5321 5.1: a loop if it were tried
    Kind.BEST_MX_IS_SELF: _Row(Word.FAILED, b"5.4.6 (we are the best mail exchanger)", 500),
    Kind.OWN_ADDRESS: _Row(Word.FAILED, b"5.4.6 (trying to talk with myself!)", 500),
    Kind.LOOPBACK_ADDRESS: _Row(Word.FAILED, b"5.4.6 (trying to talk to loopback (=myself)!)", 500),
    Kind.INVALID_ADDRESS: _Row(Word.FAILED, b"5.4.6 (trying to use invalid destination address)", 500),
    # smtp(8zm), option -W
    Kind.NO_SMTP_SERVICE: _Row(
        Word.FAILED, b"5.4.4 (WKS Checks: no SMTP reception capability registered)", 550
    ),
    # RFC 5321 4.5.4.1
    Kind.CONNECT_FAILED: _Row(Word.DEFERRED_ALL, b"4.4.1 (TCP/IP-connection failure)", 500),
    Kind.BIND_FAILED: _Row(Word.RETRY, b"4.3.5 (local address cannot be used)"),
    # RFC 5321 3.1 and 4.3.2: 554 may be about this client today; RFC 7504: 521 is for ever
    Kind.GREETING_REFUSED: _Row(Word.RETRY, b"4.3.2 (greeting refused)", permanent_codes=_NEVER),
    Kind.HELLO_REFUSED: _Row(Word.RETRY, b"4.5.0 (EHLO refused)", permanent_codes=_NEVER),
    # RFC 3207 4.1
    Kind.TLS_REQUIRED: _Row(
        Word.RETRY,
        b"4.7.3 (Mandated TLS security mode not available)",
        local=b"500 (Remote system doesn't support mandated TLS mode)",
    ),
    Kind.TLS_FAILED: _Row(Word.RETRY, b"4.7.3 (TLS could not be started)"),
    # RFC 3463 3.8: a certificate can be renewed, and so can ours
    Kind.TLS_UNTRUSTED: _Row(Word.RETRY, b"4.7.5 (certificate of the server is not trusted)"),
    Kind.TLS_UNUSABLE: _Row(Word.RETRY, b"4.3.5 (TLS configuration cannot be used)"),
    # RFC 4954 6: never without it where it was configured, and a password can be corrected
    Kind.AUTH_FAILED: _Row(Word.RETRY, b"4.7.8 (authentication failed)"),
    Kind.SECRETS_UNUSABLE: _Row(Word.RETRY, b"4.3.5 (secrets for authentication cannot be used)"),
    # RFC 5321 3.8 and 4.5.3.2
    Kind.HUNG_UP: _Row(Word.RETRY, b"4.4.2 (connection lost)"),
    Kind.TIMED_OUT: _Row(Word.RETRY, b"4.4.2 (no answer in time)"),
    Kind.WRITE_TIMED_OUT: _Row(Word.RETRY, b"4.4.2 (timeout on write)"),
    Kind.WRITE_FAILED: _Row(Word.RETRY, b"4.4.2 (write to server, err)"),
    Kind.PROTOCOL: _Row(Word.RETRY, b"4.5.0 (generic protocol failure)", is_said=False),
    Kind.CLOSING: _Row(Word.RETRY, b"4.3.2 (service closing)"),
    Kind.RESET_REFUSED: _Row(Word.RETRY, b"4.5.0 (RSET refused)"),
    # ours
    Kind.CONTENT_UNREADABLE: _Row(Word.DEFERRED, b"4.3.0 (message file cannot be read)"),
    Kind.STOPPED: _Row(Word.DEFERRED, b"4.3.2 (transport agent is stopping)"),
    Kind.INTERNAL: _Row(Word.RETRY, b"4.3.0 (internal error)"),
}


def judge(transaction: Transaction, recipient: Recipient, *, record_success: bool = False) -> Verdict:
    """Say what became of `recipient` in a transaction that is finished, or finished for this recipient.

    With `record_success` a delivery is to be told to the sender by us.  Source: RFC 5321 section 4.3.2, RFC
    2033 section 4.2, RFC 2920 section 3.1.
    """
    text = _dialogue(transaction, recipient)
    mail, rcpt, data = transaction.mail_reply, recipient.reply, transaction.data_reply
    final = recipient.final if transaction.is_lmtp else transaction.final_reply
    if transaction.is_in_doubt:
        return _undecided(transaction, recipient, text, maybe_delivered=transaction.data_sent)
    if (
        final is not None
        and 200 <= final.code < 300
        and transaction.data_sent
        and (mail is not None and 200 <= mail.code < 300)
        and (rcpt is not None and 200 <= rcpt.code < 300)
        and (data is None or data.code < 400)
    ):
        return _delivered(final, text, is_lmtp=transaction.is_lmtp, record_success=record_success)
    for stage, reply in (("MAIL", mail), ("RCPT", rcpt), ("DATA", data)):
        if reply is not None and 400 <= reply.code < 600:
            if reply is rcpt and _is_one_too_many(transaction, recipient):
                stage = "RCPT AFTER OTHERS"
            return _refused(stage, reply, text)
    if final is not None and 400 <= final.code < 600:
        return _refused(_final_stage(transaction), final, text)
    # a recipient without a reply: the message followed the envelope blindly
    maybe_delivered = transaction.data_sent and (rcpt is None or recipient.is_accepted)
    return _undecided(transaction, recipient, text, maybe_delivered=maybe_delivered)


def _undecided(
    transaction: Transaction, recipient: Recipient, text: bytes, *, maybe_delivered: bool
) -> Verdict:
    """Say what becomes of a recipient whose fate no reply has told."""
    shown = (transaction.mail_reply, recipient.reply, transaction.data_reply)
    trouble = transaction.trouble or Trouble(Kind.INTERNAL, b"the transaction ended without an answer")
    said = b""
    if trouble.reply is not None and not any(trouble.reply is one for one in shown):
        said = b"".join(b"\r->> " + line for line in trouble.reply.lines)
    verdict = judge_trouble(trouble)
    return verdict._replace(
        outcome=Outcome.DEFERRED,
        status=_classed(verdict.status, Outcome.DEFERRED),
        word=Word.DEFERRED_BACK if maybe_delivered else Word.DEFERRED,
        text=text + said + b"\r" + trouble.text,
        maybe_delivered=maybe_delivered,
    )


def judge_trouble(trouble: Trouble) -> Verdict:
    """Say what becomes of every recipient when no transaction was possible."""
    row = _TROUBLES[trouble.kind]
    reply = trouble.reply
    word, status, text = row.word, row.status, trouble.text
    if row.local:
        text, diagnostic = row.local, b"local; " + row.local
    elif reply is not None and reply.code >= 400 and row.is_said:
        diagnostic = _diagnostic(reply)
        if reply.code in row.permanent_codes:
            word = Word.FAILED
        if reply.enhanced is not None or reply.code // 100 == 4:
            status = _status(reply, _CODES.get(reply.code, _CLASSES[4]))
    else:
        # the last line says what happened, those before it what was said until then
        diagnostic = b"smtp; %d (%s)" % (row.code, _bracketed(text.rpartition(b"\r")[2]))
        text = text if text.startswith(b"\r") else diagnostic
    outcome = Outcome.FAILED if word is Word.FAILED else Outcome.DEFERRED
    return Verdict(outcome, word, b"failed", _classed(status, outcome), diagnostic, text)


def judge_size(size: int, limit: int) -> Verdict:
    """Say what becomes of a message that the server has told us is too large.  Source: RFC 1870 section
    6.4.
    """
    text = b"552 (Current message size %d exceeds limit given by the remote system: %d)" % (size, limit)
    status = b"5.3.4 (Message size exceeds limit given by remote system)"
    return Verdict(Outcome.FAILED, Word.FAILED, b"failed", status, b"smtp; " + text, b"\r\r" + text)


def judge_problem(status: bytes, text: bytes) -> Verdict:
    """Say what becomes of a recipient that is not offered to any server; `status` decides by its first
    digit.
    """
    outcome = Outcome.FAILED if status.startswith(b"5") else Outcome.DEFERRED
    word = Word.FAILED if outcome is Outcome.FAILED else Word.DEFERRED
    code = 550 if outcome is Outcome.FAILED else 466
    return Verdict(outcome, word, b"failed", status, b"local; %d (%s)" % (code, _bracketed(text)), text)


def means_too_many_recipients(reply: Reply) -> bool:
    """Whether a refused RCPT may be accepted in a transaction of its own, if others were accepted before it.

    Source: RFC 5321 section 4.5.3.1.10 (552 is taken as 452), RFC 3463 (X.5.3).
    """
    if reply.enhanced is not None and reply.enhanced.endswith(b".5.3"):
        return True
    # with any other status it says something about the mailbox or the disk
    return reply.code in (452, 552) and reply.enhanced in (None, b"4.0.0", b"5.0.0")


def _is_one_too_many(transaction: Transaction, recipient: Recipient) -> bool:
    """Whether a recipient was refused for no other reason than those accepted before it."""
    if recipient.reply is None or not means_too_many_recipients(recipient.reply):
        return False
    before = takewhile(lambda one: one is not recipient, transaction.recipients)
    return any(one.is_accepted for one in before)


def _final_stage(transaction: Transaction) -> str:
    if not transaction.data_sent:
        return "BODY"
    if transaction.is_lmtp:
        return "RECIPIENT FINAL"
    return "BDAT" if transaction.data_command.startswith(b"BDAT") else "FINAL"


def _delivered(reply: Reply, text: bytes, *, is_lmtp: bool, record_success: bool) -> Verdict:
    action = (b"delivered" if is_lmtp else b"relayed") if record_success else b"-"
    word = Word.OK_RECORDED if record_success else Word.OK
    enhanced, said = reply.parts
    return Verdict(
        Outcome.DELIVERED, word, action, enhanced or _CLASSES[2].status, _said(reply.code, said), text
    )


def _refused(stage_name: str, reply: Reply, text: bytes) -> Verdict:
    """A 4yz or 5yz reply at one step of the transaction."""
    stage = _STAGES[stage_name]
    is_failed = reply.code >= 500 and reply.code not in stage.temporary
    outcome = Outcome.FAILED if is_failed else Outcome.DEFERRED
    row = stage.statuses.get(reply.code) or _CODES.get(reply.code) or _CLASSES[reply.code // 100]
    if is_failed and stage.may_be_abnormal and row.is_abnormal:
        text += _ABNORMAL
    status = _classed(_status(reply, row), outcome)
    word = Word.FAILED if is_failed else stage.deferred
    return Verdict(outcome, word, b"failed", status, _diagnostic(reply), text)


def _status(reply: Reply, row: _Code) -> bytes:
    return reply.enhanced or row.status


def _classed(status: bytes, outcome: Outcome) -> bytes:
    """Let the first digit of `status` agree with the outcome.  Source: RFC 3463 section 3.1."""
    return outcome.value.encode() + status[1:]


def _diagnostic(reply: Reply) -> bytes:
    return _said(reply.code, reply.text)


def _said(code: int, text: bytes) -> bytes:
    return b"smtp; %03d (%s)" % (code, _bracketed(text)) if text else b"smtp; %03d " % code


def _bracketed(text: bytes) -> bytes:
    """Parentheses delimit the text in a diagnostic, so inside they become brackets."""
    return text.replace(b"(", b"[").replace(b")", b"]")


def _dialogue(transaction: Transaction, recipient: Recipient) -> bytes:
    """What was said about this recipient, as the report's text shows it."""
    text = b""
    if transaction.mail_command:
        text = _exchange(transaction.mail_command, transaction.mail_reply)
    if recipient.command:
        text += _exchange(recipient.command, recipient.reply)
    if recipient.reply is not None and recipient.reply.code >= 400:
        return text
    final = recipient.final or transaction.final_reply
    if transaction.data_command.startswith(b"BDAT"):
        return text + _exchange(transaction.data_command, final)
    if transaction.data_command:
        text += _exchange(transaction.data_command, transaction.data_reply)
    if transaction.data_sent:
        text += _exchange(b".", final)
    elif final is not None:
        text += b"".join(b"\r->> " + line for line in final.lines)
    return text


def _exchange(command: bytes, reply: Reply | None) -> bytes:
    if reply is None:
        return b"\r<<- " + command
    if len(reply.lines) == 1:
        return b"\r<<- " + command + b"\r->> " + reply.lines[0]
    return b"\r<<- " + command + b"".join([b"\r->> " + line for line in reply.lines])
