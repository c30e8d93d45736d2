"""Certificates for tests, made at run time: a good one for any names, and those of every peculiar kind.

certificate().server_context()
for peculiarity in Peculiarity:
    peculiarity.credentials("mx.example")
"""

from __future__ import annotations

import functools
from enum import Enum

from zsmtp.testing.authority import FUTURE, PAST, Authority, Credentials

__all__ = ["Credentials", "Peculiarity", "certificate"]


@functools.cache
def certificate(*names: str) -> Credentials:
    """Make a certificate for host names and addresses; without any: mx.example, localhost and loopback.

    The same names give the same certificate for as long as the process lives.
    """
    wanted = names or ("mx.example", "fake.example.test", "localhost", "127.0.0.1", "::1")
    return Authority().issue(*wanted)


class Peculiarity(Enum):
    """What a certificate of a mail server may be like."""

    GOOD = "good"
    CHAIN = "behind an intermediate authority"
    MISSING_INTERMEDIATE = "behind an intermediate authority that is not sent"
    RSA = "with an RSA key"
    SHORT_KEY = "with an RSA key of 1024 bits"
    EXPIRED = "expired"
    NOT_YET_VALID = "not yet valid"
    WRONG_NAME = "for another name"
    WILDCARD = "for all names of the domain"
    COMMON_NAME_ONLY = "with the name in the common name only"
    SELF_SIGNED = "signed by itself"
    UNKNOWN_AUTHORITY = "of an authority that nobody knows"

    def credentials(self, name: str) -> Credentials:
        """Make one for a server called `name`; `authority` in it is what clients are to trust.

        The same certificate for as long as the process lives.
        """
        return _credentials(self, name)


@functools.cache
def _root() -> Authority:
    return Authority()


@functools.cache
def _credentials(peculiarity: Peculiarity, name: str) -> Credentials:
    authority = _root()
    match peculiarity:
        case Peculiarity.CHAIN | Peculiarity.MISSING_INTERMEDIATE:
            between = Authority("zsmtp test authority, second floor", above=authority)
            return between.issue(name, with_chain=peculiarity is Peculiarity.CHAIN)
        case Peculiarity.RSA:
            return authority.issue(name, key_bits=2048)
        case Peculiarity.SHORT_KEY:
            return authority.issue(name, key_bits=1024)
        case Peculiarity.EXPIRED:
            return authority.issue(name, valid=PAST)
        case Peculiarity.NOT_YET_VALID:
            return authority.issue(name, valid=FUTURE)
        case Peculiarity.WRONG_NAME:
            return authority.issue("other.example")
        case Peculiarity.WILDCARD:
            return authority.issue("*." + name.partition(".")[2])
        case Peculiarity.COMMON_NAME_ONLY:
            return authority.issue(name, is_named=False)
        case Peculiarity.SELF_SIGNED:
            return authority.issue(name, is_self_signed=True)
        case Peculiarity.UNKNOWN_AUTHORITY:
            return Authority("somebody").issue(name)._replace(authority=authority.certificate)
    return authority.issue(name)
