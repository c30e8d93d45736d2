"""One message for some recipients: what is asked of the server, and what the server answered.

Results are addressed by position, never by address: the same forward-path may stand in one transaction
twice.  In LMTP every accepted recipient has a final reply of its own, in the order of the RCPT commands (RFC
2033 section 4.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
        self.trouble: Trouble | None = None
        self.began = 0.0
        """When it was announced, by the clock of whoever announced it."""

    @property
    def is_untouched(self) -> bool:
        """Whether nothing can have become of it, so that another connection may have it at once.

        Sent blindly under BDAT it may be delivered before the server has answered even MAIL.
        """
        return self.mail_reply is None and not self.data_sent

    @property
    def maybe_delivered(self) -> bool:
        """Whether the server has all of it and has not said what became of it."""
        return self.data_sent and self.final_reply is None and self.trouble is not None
