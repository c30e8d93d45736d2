"""Every fault at every step of every way: see `tests.hostile.matrix`."""

from __future__ import annotations

from tests.hostile.matrix import WAYS, cases
from tests.hostile.suite import HostileCase


class OneByOne(HostileCase, parts=cases(WAYS[0])):
    """Each command waits for its answer."""


class InAGroup(HostileCase, parts=cases(WAYS[1])):
    """The envelope leaves in one piece."""


class InChunks(HostileCase, parts=cases(WAYS[2])):
    """The text leaves under BDAT, after the last answer to the envelope."""


class InChunksAndAGroup(HostileCase, parts=cases(WAYS[3])):
    """Everything leaves in one piece."""


class InLmtp(HostileCase, parts=cases(WAYS[4])):
    """Each recipient has a final reply of its own."""


class InLmtpOverUnix(HostileCase, parts=cases(WAYS[5])):
    """The same, over a UNIX socket, and each command waits for its answer."""


class InLmtpAndChunks(HostileCase, parts=cases(WAYS[6])):
    """The same, and everything leaves in one piece."""


class OverTls(HostileCase, parts=cases(WAYS[7])):
    """TLS is taken where it is offered."""
