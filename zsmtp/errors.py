"""Every exception that zsmtp raises on purpose.

A hostile or broken peer is never an exception but a value (see `zsmtp.trouble`): exceptions are for the
operator and for ourselves.
"""

from __future__ import annotations

__all__ = ["ConfigError", "MessageError", "Misuse", "SpoolError", "ZsmtpError"]


class ZsmtpError(Exception):
    """Anything zsmtp raises on purpose."""


class Misuse(ZsmtpError):
    """Our own code called an object out of turn.  Always a bug."""


class ConfigError(ZsmtpError):
    """A file or option of the operator is wrong.  The text names it, the line, and the remedy."""


class MessageError(ZsmtpError):
    """A message or an address in it cannot be submitted.  The text says why; nothing was done."""


class SpoolError(ZsmtpError):
    """A spool file cannot be trusted or used.  The text names file, line and remedy; nothing was marked.

    `temporary` is false only where the file is known never to become usable: the message file is gone.
    """

    def __init__(self, text: str, *, temporary: bool = True) -> None:
        super().__init__(text)
        self.temporary = temporary
