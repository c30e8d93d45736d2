"""zsmtp delivers queued mail to the world over SMTP and LMTP.

It is the successor of ZMailer's ``smtp(8zm)`` transport agent: the same options, the same spool, the same
protocol on standard input and output, on one delivery engine written with Twisted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zsmtp.submission import submit

__version__ = "0.1.0"
__all__ = ["__version__", "submit"]


def __getattr__(name: str) -> object:
    """Load what hands mail in when it is asked for: an agent does not need it."""
    if name != "submit":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return import_module("zsmtp.submission").submit
