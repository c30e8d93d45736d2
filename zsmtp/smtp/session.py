"""One SMTP or LMTP session: the transactions in an open dialogue, without I/O and without a clock.

Octets come in by `receive`, events come out; octets to be sent come from `take`.  The owner reports what
happens to them: `flushed` when all that was taken has left, `lost` when the connection is gone, `expired`
when `patience` has run out.  `begin` announces a message whenever `has_room`.

Groups (RFC 2920): MAIL, all RCPT and DATA leave together; the end of one body and the next MAIL may share a
write; with CHUNKING (RFC 3030) a small message leaves whole, a large one when somebody is there to receive
it.  At most one message has its final reply outstanding.  Without PIPELINING each command waits for the reply
before it.

A server is believed to keep step when it has shown it: until a first message has gone through, with a 3yz to
DATA in its place, nothing is sent behind a body and no body is sent blindly.  When it loses step, what the
same read has seemed to answer is not believed.

LMTP (RFC 2033) differs in two places: LHLO, and one final reply for each accepted recipient.

`Session.table` names, for each pair of awaited answer and first digit of a reply, what follows; a pair that
is not in it breaks the session.  Does not judge replies: see `zsmtp.policy`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from zsmtp.errors import Misuse
from zsmtp.smtp import command
from zsmtp.smtp.body import Chunks, Data
from zsmtp.smtp.dialogue import CRLF, PIECE, Awaited, Group, State, Table
from zsmtp.smtp.event import RecipientAnswered, TransactionFinished
from zsmtp.smtp.manner import Esmtp, Manner, Tls
from zsmtp.smtp.opening import Opening
from zsmtp.smtp.patience import Awaits
from zsmtp.smtp.step import Marks, disbelieve
from zsmtp.trouble import Kind, Trouble

if TYPE_CHECKING:
    from zsmtp.smtp.reply import Reply
    from zsmtp.smtp.transaction import Recipient, Transaction

__all__ = ["Esmtp", "Manner", "Session", "State", "Tls"]


class Session(Opening):
    """One session.  See the head of this module."""

    __slots__ = (
        "_chunks",
        "_current",
        "_is_blind",
        "_is_chunked",
        "_is_probing",
        "_marks",
        "_needs_reset",
        "_pipelines",
        "_previous",
        "_step",
        "begun",
    )

    def __init__(self, manner: Manner, *, is_secure: bool = False) -> None:
        super().__init__(manner, is_secure=is_secure)
        self.begun = 0
        """Transactions begun so far."""
        self._current: Transaction | None = None  # from MAIL to the permission to send data
        self._previous: Transaction | None = None  # from there to the final reply
        self._step = 0  # without PIPELINING: the recipient to be announced next
        self._needs_reset = False
        self._is_probing = False
        self._pipelines = False
        self._chunks = False
        self._marks: Marks | None = None  # once a message was taken whose DATA was answered in its place
        self._is_chunked = False  # the message begun last goes by BDAT ...
        self._is_blind = False  # ... and with its envelope

    @property
    def has_room(self) -> bool:
        """Whether `begin` may be called now."""
        # RFC 2920 3.1: NOOP is the last of a group, so that nothing may follow before its reply
        if self.state is not State.READY or self._current is not None or self._is_probing:
            return False
        # only a body under DATA lets the next envelope follow: after BDAT LAST the final reply comes first
        return self._previous is None or (
            self._pipelines and self._marks is not None and not self._is_chunked
        )

    @property
    def is_idle(self) -> bool:
        """Whether the session is open, nothing is being sent and no reply is awaited."""
        return self.state is State.READY and not (
            self._awaited or self._outgoing or self._current or self._previous
        )

    @property
    def awaits_final(self) -> bool:
        """Whether a message has left and what became of it is not known: the worst moment to stop."""
        return any(one is not None and one.data_sent for one in (self._previous, self._current))

    def begin(self, transaction: Transaction, *, reset: bool = False) -> None:
        """Announce the next message, after RSET if `reset`: a connection that was idle may be dead.

        From here on the transaction will be finished exactly once, whatever happens; one that cannot be put
        into commands is finished at once.
        """
        if not self.has_room:
            raise Misuse(f"a transaction begins while the session is {self.state.value}")
        if not transaction.recipients:
            raise Misuse("a transaction without recipients begins")
        self.begun += 1
        self._current = transaction
        # DATA first: a surplus reply shows by the place of the 3yz, before anything depends on it
        is_in_step = self._marks is not None
        self._is_chunked = self._chunks and (is_in_step or transaction.binary)
        must_reset = reset or self._needs_reset
        # nor blindly behind RSET: a server that refuses it would have the message, and nobody its reply
        self._is_blind = (
            self._is_chunked
            and self._pipelines
            and is_in_step
            and not must_reset
            and transaction.content.size <= PIECE
        )
        transaction.is_lmtp = self.manner.lmtp
        try:
            transaction.mail_command = command.mail(
                transaction.reverse_path, transaction.parameters(self.capabilities, by_chunks=self._chunks)
            )
            dsn = self.capabilities.dsn
            for recipient in transaction.recipients:
                recipient.command = command.rcpt(recipient.path, recipient.parameters if dsn else b"")
        except Misuse as error:
            self._forget_unsent(transaction)
            transaction.trouble = Trouble(Kind.INTERNAL, str(error).encode(errors="replace"))
            self._finish(transaction)
            return
        self._needs_reset = False
        if self._pipelines:
            self._send_group(transaction, must_reset=must_reset)
        elif must_reset:
            self._send(command.RSET, Awaits.RSET)
        else:
            self._send(transaction.mail_command, Awaits.MAIL, transaction)

    def probe(self) -> None:
        """Send NOOP in an idle session, to see whether it lives."""
        if not self.is_idle:
            raise Misuse("NOOP in a session that is not idle")
        self._is_probing = True
        self._send(command.NOOP, Awaits.NOOP)

    def leave(self) -> None:
        """Say QUIT.  Where a message is under way QUIT has no place, and the session is broken off."""
        if self._current is not None or self._previous is not None:
            self._break(Kind.STOPPED, b"the session was ended")
        else:
            super().leave()

    # Sending

    def _open(self) -> None:
        self._pipelines = self.capabilities.pipelining and self.manner.pipelining
        self._chunks = self.capabilities.chunking and self.manner.chunking
        super()._open()

    def _send_group(self, transaction: Transaction, *, must_reset: bool) -> None:
        """MAIL, every RCPT and, where it may follow blindly, DATA or the whole message."""
        lines: list[bytes] = []
        awaits: list[Awaited] = []
        if must_reset:
            lines.append(command.RSET)
            awaits.append((Awaits.RSET, None, None))
        lines.append(transaction.mail_command)
        awaits.append((Awaits.MAIL, transaction, None))
        for recipient in transaction.recipients:
            lines.append(recipient.command)
            awaits.append((Awaits.RCPT, transaction, recipient))
        if not self._is_chunked:
            transaction.data_command = command.DATA
            lines.append(command.DATA)
            awaits.append((Awaits.DATA, transaction, None))
        lines.append(b"")
        self._outgoing.append(Group(CRLF.join(lines), tuple(awaits)))
        if self._is_blind:
            self._outgoing.append(self._body(transaction))

    def _send_next(self, transaction: Transaction) -> None:
        """Without PIPELINING: the next RCPT, or the data."""
        if self._step < len(transaction.recipients):
            recipient = transaction.recipients[self._step]
            self._step += 1
            self._send(recipient.command, Awaits.RCPT, transaction, recipient)
            return
        self._step = 0
        if not transaction.accepted:
            self._give_up(transaction)
        elif self._is_chunked:
            self._send_data(transaction)
        else:
            transaction.data_command = command.DATA
            self._send(command.DATA, Awaits.DATA, transaction)

    def _send_data(self, transaction: Transaction) -> None:
        self._current, self._previous = None, transaction
        self._outgoing.append(self._body(transaction))

    def _body(self, transaction: Transaction) -> Chunks | Data:
        if not self._is_chunked:
            return Data(self, transaction, self._data_has_left)
        return Chunks(
            self, transaction, self._data_has_left, may_go=self._may_send_chunk, left=self._chunk_has_left
        )

    def _may_send_chunk(self) -> bool:
        return self._pipelines or not self._awaited

    def _chunk_has_left(self, transaction: Transaction) -> None:
        self._awaited.append((Awaits.CHUNK, transaction, None))

    def _data_has_left(self, transaction: Transaction) -> None:
        """The end of the data is handed out: from now on the message may be delivered."""
        transaction.data_sent = True
        if self.manner.lmtp and transaction.accepted:
            for recipient in transaction.accepted:
                self._awaited.append((Awaits.RECIPIENT_FINAL, transaction, recipient))
        else:
            self._awaited.append((Awaits.FINAL, transaction, None))

    # Answers to the envelope

    def _was_reset(self, reply: Reply, _: None, __: None) -> None:
        if not self._pipelines and self._current is not None:
            self._send(self._current.mail_command, Awaits.MAIL, self._current)

    def _reset_refused(self, reply: Reply, _: None, __: None) -> None:
        self._break(Kind.RESET_REFUSED, b"the server refused RSET", reply=reply)

    def _probed(self, reply: Reply, _: None, __: None) -> None:
        self._is_probing = False

    def _probe_refused(self, reply: Reply, _: None, __: None) -> None:
        self._break(Kind.CLOSING, b"the server refused NOOP", reply=reply)

    def _mail_answered(self, reply: Reply, transaction: Transaction, _: None) -> None:
        if self._is_blind and self._is_foreign(Awaits.MAIL, reply):
            return
        transaction.mail_reply = reply
        if self._pipelines:
            return
        if reply.code < 300:
            self._send_next(transaction)
        else:
            for recipient in transaction.recipients:
                recipient.command = b""  # was never said
            self._give_up(transaction)

    def _recipient_answered(self, reply: Reply, transaction: Transaction, recipient: Recipient) -> None:
        if self._is_blind and self._is_foreign(Awaits.RCPT, reply):
            return
        recipient.reply = reply
        assert transaction.mail_reply is not None
        if reply.code >= 400:
            if self._is_chunked or not self._pipelines:  # else the reply to DATA shows whom this one meant
                self._events.append(RecipientAnswered(transaction, recipient))
        elif transaction.mail_reply.code < 300:
            transaction.accepted.append(recipient)
            if transaction.data_sent and self.manner.lmtp:
                self._place_final(transaction, recipient)
        if not self._pipelines:
            self._send_next(transaction)
        elif self._is_chunked and not self._is_blind and recipient is transaction.recipients[-1]:
            if transaction.accepted:
                self._send_data(transaction)
            else:
                self._give_up(transaction)

    def _place_final(self, transaction: Transaction, recipient: Recipient) -> None:
        """LMTP with the message already sent: this recipient will have a final reply of its own."""
        if self._awaited[-1] == (Awaits.FINAL, transaction, None):
            self._awaited.pop()
        self._awaited.append((Awaits.RECIPIENT_FINAL, transaction, recipient))

    def _give_up(self, transaction: Transaction) -> None:
        """Nobody is left to receive, or the message was refused: the server may have an open envelope."""
        self._step = 0
        self._needs_reset = True
        self._finish(transaction)

    # Answers to the data

    def _data_granted(self, reply: Reply, transaction: Transaction, _: None) -> None:
        transaction.data_reply = reply
        if self._pipelines and len(transaction.accepted) < len(transaction.recipients):
            self._tell_refused(transaction)
        if transaction.accepted:
            self._send_data(transaction)
        elif any(recipient.is_accepted for recipient in transaction.recipients):
            # it refused MAIL and yet has recipients: whatever we send now might become a message
            self._finish(transaction)
            self._break(Kind.PROTOCOL, b"the server refused MAIL and then asked for the message")
        elif self.manner.lmtp:
            # RFC 2033 4.2: it has to refuse DATA, and nobody knows how many replies a lone dot would get
            self._finish(transaction)
            self._break(Kind.PROTOCOL, b"the server accepted no recipient and then asked for the message")
        else:
            # RFC 2920 3.1: an empty message ends a group in which nobody was accepted
            self._outgoing.append(Group(b".\r\n", ((Awaits.EMPTY, transaction, None),)))

    def _tell_refused(self, transaction: Transaction) -> None:
        for recipient in transaction.recipients:
            if recipient.reply is not None and recipient.reply.code >= 400:
                self._events.append(RecipientAnswered(transaction, recipient))

    def _data_refused(self, reply: Reply, transaction: Transaction, _: None) -> None:
        transaction.data_reply = reply
        if self._pipelines:
            self._tell_refused(transaction)
        self._give_up(transaction)

    def _emptied(self, reply: Reply, transaction: Transaction, _: None) -> None:
        self._give_up(transaction)

    def _chunk_taken(self, reply: Reply, transaction: Transaction, _: None) -> None:
        """The next chunk may follow."""

    def _chunk_refused(self, reply: Reply, transaction: Transaction, _: None) -> None:
        if not transaction.accepted:
            return  # sent blindly and nobody was accepted: only the last reply matters, and that it comes
        if self._awaited or self._gone < self._taken:
            # more chunks are under way, whose replies could not be told apart from that to RSET
            self._refuse_early(reply, transaction)
        else:
            self._outgoing.clear()
            self._refuse_all(reply, transaction)
            self._give_up(transaction)

    def _final(self, reply: Reply, transaction: Transaction, _: None) -> None:
        if not self._is_in_place(reply, transaction):
            return
        transaction.final_reply = reply
        if not transaction.accepted or (self._is_chunked and reply.code >= 400):
            # BDAT went out blindly and nobody was accepted: the reply means nothing.  RFC 3030 2: after a
            # BDAT that failed nobody knows the state of the server until RSET
            self._needs_reset = True
        self._go_on(transaction)

    def _recipient_final(self, reply: Reply, transaction: Transaction, recipient: Recipient) -> None:
        if not self._is_in_place(reply, transaction):
            return
        recipient.final = reply
        self._events.append(RecipientAnswered(transaction, recipient))
        if recipient is transaction.accepted[-1]:
            transaction.final_reply = reply
            self._go_on(transaction)

    def _go_on(self, transaction: Transaction) -> None:
        """The message has gone through, whatever the server says of it."""
        if self._marks is None and transaction.is_proven:
            self._marks = Marks.of(transaction)
        self._finish(transaction)

    def _is_in_place(self, reply: Reply, transaction: Transaction) -> bool:
        """Whether a final reply can be one; else it is dealt with."""
        if self._gone_before < self._end:
            self._answered_early(reply, transaction)
            return False
        # right behind a 3yz, with nothing else under way, it can be nothing else
        return not ((self._is_chunked or self._current is not None) and self._is_foreign(Awaits.FINAL, reply))

    def _answered_early(self, reply: Reply, transaction: Transaction) -> None:
        """A final reply while octets of the message are still here."""
        if reply.code >= 400:
            self._refuse_early(reply, transaction)
        else:
            self._break(Kind.PROTOCOL, b"the server confirmed a message that it has not read", reply=reply)

    def _refuse_all(self, reply: Reply, transaction: Transaction) -> None:
        """Refused in the middle of the data, and so for everybody: the end of the data is never sent."""
        transaction.data_sent = False
        transaction.final_reply = reply
        for recipient in transaction.accepted:
            recipient.final = reply

    def _refuse_early(self, reply: Reply, transaction: Transaction) -> None:
        """Refused in the middle of the data, at a point from which there is no way back."""
        self._refuse_all(reply, transaction)
        self._finish(transaction)
        if reply.code == 421:
            self._break(Kind.CLOSING, b"the server is closing the connection", reply=reply)
        else:
            self._break(Kind.PROTOCOL, b"the server refused a message before its end")

    # Out of step

    def _unasked(self, reply: Reply) -> None:
        if self._previous is not None and 400 <= reply.code < 600:
            self._refuse_early(reply, self._previous)
            return
        if reply.code != 421:
            self._doubt(reply)
        super()._unasked(reply)

    def _is_foreign(self, awaited: Awaits, reply: Reply) -> bool:
        """Whether this server gives such a reply to other commands only; then the session breaks."""
        if self._marks is None or not self._marks.contradict(awaited, reply):
            return False
        self._doubt(reply)
        self._break(Kind.PROTOCOL, b"the server's reply is one to another command", reply=reply)
        return True

    def _doubt(self, reply: Reply) -> None:
        """Out of step: of what this read has answered, believe only what a 3yz in its place has proven."""
        if self._pipelines:  # else each reply came when one command was open
            # a 3yz before its turn: one reply is missing, and that may be the latest final one
            is_short = reply.code // 100 == 3 and any(one[0] is Awaits.DATA for one in self._awaited)
            self._events = disbelieve(self._events, (self._previous, self._current), even_proven=is_short)

    def _absurd(self, reply: Reply) -> None:
        awaited, transaction, recipient = self._awaited[0]
        if transaction is not None and awaited is Awaits.MAIL:
            transaction.mail_reply = reply
        elif transaction is not None and awaited is Awaits.DATA:
            transaction.data_reply = reply
        elif recipient is not None and awaited is Awaits.RCPT:
            recipient.reply = reply
        self._doubt(reply)
        super()._absurd(reply)

    # Ends

    def _finish(self, transaction: Transaction) -> None:
        if transaction is self._current:
            self._current = None
        else:
            self._previous = None
        self._events.append(TransactionFinished(transaction))

    def _abandon(self, trouble: Trouble) -> None:
        for transaction in (self._previous, self._current):
            if transaction is not None:
                self._forget_unsent(transaction)
                transaction.trouble = trouble
                self._events.append(TransactionFinished(transaction))
                if trouble.kind is Kind.CONTENT_UNREADABLE:
                    # the one whose octets were being sent is the first of the two
                    trouble = Trouble(Kind.INTERNAL, b"the message before could not be sent to its end")
        self._previous = self._current = None

    def _forget_unsent(self, transaction: Transaction) -> None:
        """What has not been said must not be shown as if it had been."""
        said = [(what, recipient) for what, about, recipient in self._awaited if about is transaction]
        if transaction.mail_reply is None and (Awaits.MAIL, None) not in said:
            transaction.mail_command = b""
        if transaction.data_reply is None and (Awaits.DATA, None) not in said and not self._is_chunked:
            transaction.data_command = b""
        asked = {id(recipient) for what, recipient in said if what is Awaits.RCPT}
        for recipient in transaction.recipients:
            if recipient.reply is None and id(recipient) not in asked:
                recipient.command = b""

    table: ClassVar[Table] = {
        **Opening.table,
        (Awaits.RSET, 2): _was_reset,
        (Awaits.RSET, 4): _reset_refused,
        (Awaits.RSET, 5): _reset_refused,
        (Awaits.NOOP, 2): _probed,
        (Awaits.NOOP, 4): _probe_refused,
        (Awaits.NOOP, 5): _probe_refused,
        (Awaits.MAIL, 2): _mail_answered,
        (Awaits.MAIL, 4): _mail_answered,
        (Awaits.MAIL, 5): _mail_answered,
        (Awaits.RCPT, 2): _recipient_answered,
        (Awaits.RCPT, 4): _recipient_answered,
        (Awaits.RCPT, 5): _recipient_answered,
        (Awaits.DATA, 3): _data_granted,
        (Awaits.DATA, 4): _data_refused,
        (Awaits.DATA, 5): _data_refused,
        (Awaits.EMPTY, 2): _emptied,
        (Awaits.EMPTY, 4): _emptied,
        (Awaits.EMPTY, 5): _emptied,
        (Awaits.CHUNK, 2): _chunk_taken,
        (Awaits.CHUNK, 4): _chunk_refused,
        (Awaits.CHUNK, 5): _chunk_refused,
        (Awaits.FINAL, 2): _final,
        (Awaits.FINAL, 4): _final,
        (Awaits.FINAL, 5): _final,
        (Awaits.RECIPIENT_FINAL, 2): _recipient_final,
        (Awaits.RECIPIENT_FINAL, 4): _recipient_final,
        (Awaits.RECIPIENT_FINAL, 5): _recipient_final,
    }
