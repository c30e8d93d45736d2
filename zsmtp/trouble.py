"""What can go wrong on the way to a server or with it, as a value.

A `Trouble` says what happened and to what extent; what follows from it is decided in `zsmtp.policy` and
nowhere else.  Made by `zsmtp.destination`, `zsmtp.net` and `zsmtp.smtp`.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from zsmtp.smtp.reply import Reply

__all__ = ["Kind", "Peer", "Trouble"]


class Kind(Enum):
    """The name of a trouble; `zsmtp.policy` has one row for each."""

    # finding the host
    NO_SUCH_DOMAIN = "the domain does not exist"
    NULL_MX = "the domain accepts no mail (RFC 7505)"
    NO_ADDRESS = "no address is known for the host"
    DNS_UNAVAILABLE = "the name servers gave no usable answer"
    CNAME_LOOP = "the aliases of the name lead nowhere"
    BAD_LITERAL = "the address literal is malformed"
    BEST_MX_IS_SELF = "this host is the best mail exchanger of the domain"
    OWN_ADDRESS = "the host has an address of this machine"
    LOOPBACK_ADDRESS = "the host has a loopback address"
    INVALID_ADDRESS = "the address cannot be a destination"
    NO_SMTP_SERVICE = "the host has no SMTP service, as its WKS records say"
    # reaching it
    CONNECT_FAILED = "the connection could not be opened"
    BIND_FAILED = "the local address or port could not be used"
    # opening the session
    GREETING_REFUSED = "the server refused at its greeting"
    HELLO_REFUSED = "the server refused EHLO, LHLO or HELO"
    TLS_REQUIRED = "TLS is demanded and could not be had"
    TLS_FAILED = "the TLS handshake failed"
    TLS_UNTRUSTED = "the certificate of the server is not good for its name"
    TLS_UNUSABLE = "the TLS configuration of this host cannot be used"
    AUTH_FAILED = "authentication failed"
    SECRETS_UNUSABLE = "the secrets for authentication cannot be used"
    # the dialogue
    HUNG_UP = "the server closed the connection"
    TIMED_OUT = "the server did not answer in time"
    WRITE_TIMED_OUT = "the server did not read in time"
    WRITE_FAILED = "writing to the server failed"
    PROTOCOL = "the server broke the protocol"
    CLOSING = "the server is closing the service (421)"
    RESET_REFUSED = "the server refused RSET"
    # us
    CONTENT_UNREADABLE = "the message file could not be read"
    STOPPED = "this agent was told to stop"
    INTERNAL = "an error in zsmtp itself"


class Trouble(NamedTuple):
    """One thing that went wrong.

    `text` is what a postmaster reads: octets without line ends, built from values that may be hostile
    (reports clean them).  `reply` is what the server said, if it said anything.  `remote` is the name and
    address that were tried, as in `smtp; 500 (connect to NAME [ADDRESS]: …)`.
    """

    kind: Kind
    text: bytes
    reply: Reply | None = None
    remote: bytes = b""


class Peer(NamedTuple):
    """Whom a verdict comes from, as a notary names it: `dns; mx.example`,
    `192.0.2.1|25|198.51.100.2|40112`.
    """

    remote: bytes = b""
    address: bytes = b""
