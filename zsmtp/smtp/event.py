"""What a session tells its owner: facts, as values."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from zsmtp.smtp.capability import Capabilities
    from zsmtp.smtp.transaction import Recipient, Transaction
    from zsmtp.trouble import Trouble

__all__ = [
    "Broken",
    "ChallengeReceived",
    "Event",
    "Greeted",
    "Left",
    "MechanismsOffered",
    "RecipientAnswered",
    "SecureNow",
    "TransactionFinished",
]


class Greeted(NamedTuple):
    """The session is open: transactions may begin."""

    capabilities: Capabilities


class SecureNow(NamedTuple):
    """The server waits for the TLS handshake; call `secured` when it is done."""


class MechanismsOffered(NamedTuple):
    """Call `authenticate` with one of the mechanisms, `decline`, or `refrain`."""

    mechanisms: tuple[bytes, ...]


class ChallengeReceived(NamedTuple):
    """Call `answer` or `give_up`; `challenge` is base64 as it came."""

    challenge: bytes


class RecipientAnswered(NamedTuple):
    """This recipient's fate is known before that of the others."""

    transaction: Transaction
    recipient: Recipient


class TransactionFinished(NamedTuple):
    """The fate of all recipients of the transaction is known, or why it is not."""

    transaction: Transaction


class Broken(NamedTuple):
    """The session is over without farewell; the connection is to be dropped."""

    trouble: Trouble


class Left(NamedTuple):
    """The session is over as it should be."""


Event = (
    Greeted
    | SecureNow
    | MechanismsOffered
    | ChallengeReceived
    | RecipientAnswered
    | TransactionFinished
    | Broken
    | Left
)
