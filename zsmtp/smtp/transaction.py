"""One message for some recipients: what is asked of the server, and what the server answered.

Results are addressed by position, never by address: the same forward-path may stand in one transaction
twice.  In LMTP every accepted recipient has a final reply of its own, in the order of the RCPT commands (RFC
2033 section 4.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from zsmtp.smtp.capability import Capabilities
    from zsmtp.smtp.reply import Reply
    from zsmtp.trouble import Trouble

__all__ = ["Content", "Recipient", "Transaction"]


class Content(Protocol):
    """The octets of a message as they go to the wire."""

    @property
    def size(self) -> int:
        """Octets without dot stuffing and without the final dot.  Source: RFC 1870 section 5."""

    def pieces(self, *, stuffed: bool) -> Iterator[bytes]:
        """Give header and body with CRLF line ends in pieces of about 64 KiB, dots doubled if `stuffed`."""


class Recipient:
    """One recipient of a transaction.

    `path` is the forward-path without brackets; `parameters` are for a server with DSN, each with a blank
    before it; `key` is whatever the caller knows it by.  `reply` answers RCPT, `final` the end of the data
    (LMTP only).
    """

    __slots__ = ("command", "final", "key", "parameters", "path", "reply")

    def __init__(self, path: bytes, parameters: bytes = b"", key: object = None) -> None:
        self.path = path
        self.parameters = parameters
        self.key = key
        self.command = b""
        self.reply: Reply | None = None
        self.final: Reply | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether the server took the RCPT."""
        return self.reply is not None and 200 <= self.reply.code < 300

    def __repr__(self) -> str:
        return f"<Recipient {self.path!r} {self.reply!r} {self.final!r}>"


class Transaction:
    """MAIL to the end of the data for recipients that share sender and content.

    `reverse_path` is `b""` for the null reverse-path.  `envelope_id`, `ret` and `deliver_by` are parameter
    values that have been validated, or None.  The rest is filled in by the session: the replies, `trouble`
    where the dialogue was cut short, and `data_sent` once everything up to the end of the data has been
    handed out.
    """

    __slots__ = (
        "accepted",
        "began",
        "binary",
        "content",
        "data_command",
        "data_reply",
        "data_sent",
        "deliver_by",
        "eight_bit",
        "envelope_id",
        "final_reply",
        "is_in_doubt",
        "is_lmtp",
        "key",
        "mail_command",
        "mail_reply",
        "recipients",
        "ret",
        "reverse_path",
        "smtputf8",
        "trouble",
    )

    def __init__(
        self,
        reverse_path: bytes,
        recipients: Sequence[Recipient],
        content: Content,
        *,
        eight_bit: bool = False,
        binary: bool = False,
        smtputf8: bool = False,
        envelope_id: bytes | None = None,
        ret: bytes | None = None,
        deliver_by: bytes | None = None,
        key: object = None,
    ) -> None:
        self.reverse_path = reverse_path
        self.recipients = recipients
        self.content = content
        self.eight_bit = eight_bit
        self.binary = binary
        self.smtputf8 = smtputf8
        self.envelope_id = envelope_id
        self.ret = ret
        self.deliver_by = deliver_by
        self.key = key
        self.mail_command = b""
        self.mail_reply: Reply | None = None
        self.data_command = b""
        self.data_reply: Reply | None = None
        self.final_reply: Reply | None = None
        self.accepted: list[Recipient] = []
        self.data_sent = False
        self.is_lmtp = False
        self.is_in_doubt = False
        """Nobody knows which command the replies meant: they are shown, and decide nothing."""
        self.trouble: Trouble | None = None
        self.began = 0.0
        """When it was announced, by the clock of whoever announced it."""

    def parameters(self, able: Capabilities, *, by_chunks: bool) -> bytes:
        """Return the parameters of MAIL for a server with these extensions, each with a blank before it."""
        parameters = b""
        if self.binary and able.binary_mime and by_chunks:  # RFC 3030 section 3
            parameters += b" BODY=BINARYMIME"
        elif self.eight_bit and able.eight_bit_mime:
            parameters += b" BODY=8BITMIME"
        if able.size is not None:
            parameters += b" SIZE=%d" % self.content.size
        if able.dsn and self.envelope_id is not None:
            parameters += b" ENVID=" + self.envelope_id
        if able.dsn and self.ret is not None:
            parameters += b" RET=" + self.ret
        if able.deliver_by and self.deliver_by is not None:
            parameters += b" BY=" + self.deliver_by
        if able.smtputf8 and self.smtputf8:
            parameters += b" SMTPUTF8"
        return parameters

    @property
    def is_untouched(self) -> bool:
        """Whether nothing can have become of it, so that another connection may have it at once.

        Sent blindly under BDAT it may be delivered before the server has answered even MAIL.
        """
        return self.mail_reply is None and not self.data_sent

    @property
    def is_proven(self) -> bool:
        """Whether the reply to DATA has shown that those before it answered what they seemed to."""
        return self.data_reply is not None and self.data_reply.code // 100 == 3

    @property
    def maybe_delivered(self) -> bool:
        """Whether the server has all of it and has not said what became of it."""
        is_open = self.final_reply is None or self.is_in_doubt
        return self.data_sent and is_open and self.trouble is not None
