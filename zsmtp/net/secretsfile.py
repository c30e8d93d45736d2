"""The file of option -A as it is now: looked at when a connection is about to be opened, read after a change.

A file that others may read or change is refused: whoever can do that could already know the secrets, or have
us tell ours to a host of his.  While the file cannot be used no connection is opened, and the mail waits.
What is wrong is told once, not for each connection.

Source: smtp(8zm), option -A: "keep the file well protected!"
"""

from __future__ import annotations

import os
from stat import S_IMODE, S_ISREG
from typing import TYPE_CHECKING, Final

from zsmtp.credentials import LARGEST, Credentials, Secrets, read_secrets
from zsmtp.trouble import Kind, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from zsmtp.destination import Hop

__all__ = ["SecretsFile"]

_FORBIDDEN: Final = 0o027
"""others nothing, and nobody but the owner may write; a group may read: /etc has many such files"""
_MOST_COMPLAINTS: Final = 20

_State = tuple[int, int, int, int, int]


class SecretsFile:
    """Who we are for which server.

    `warn` takes a line for the postmaster, `nonce` gives random octets, printable and without a comma.
    """

    def __init__(
        self,
        path: str,
        *,
        channel: bytes,
        warn: Callable[[str], None],
        nonce: Callable[[], bytes] | None = None,
    ) -> None:
        self._path = path
        self._channel = channel
        self._warn = warn
        self._nonce = nonce
        self._state: _State | None = None
        self._secrets: Secrets | None = None
        self._problem = ""

    def look(self) -> Secrets | None:
        """Read the file if it has changed; None while it cannot be used."""
        try:
            state = _state(os.stat(self._path))
            if state != self._state:
                # what it was before is forgotten first: it may have been changed because it was wrong
                self._state, self._secrets = state, None
                self._secrets = self._read()
                self._problem = ""
        except OSError as error:
            self._state = self._secrets = None
            self._complain(f"{error.strerror or error}; make it readable for this program")
        except _Unusable as error:
            self._complain(str(error))
        return self._secrets

    def for_hop(self, hop: Hop) -> Credentials | Trouble | None:
        """Return what a connection to `hop` is to use, None for nothing, or why there can be none."""
        secrets = self.look()
        if secrets is None:
            return _trouble("the file with the secrets for AUTH cannot be used; the log says why", hop)
        found = secrets.find(self._channel, hop)
        if isinstance(found, str):
            return _trouble("the secrets for AUTH with this host cannot be read; the log says why", hop)
        return found

    def _read(self) -> Secrets:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with open(descriptor, "rb") as file:
            facts = os.fstat(descriptor)
            if not S_ISREG(facts.st_mode):
                raise _Unusable("it is no regular file; write the path of one")
            mode = S_IMODE(facts.st_mode)
            if mode & _FORBIDDEN:
                raise _Unusable(
                    f"its mode {mode:04o} lets others read or change it; chmod 600 it, or 640 for a group"
                )
            octets = file.read(LARGEST + 1)
        if len(octets) > LARGEST:
            raise _Unusable(f"it is larger than {LARGEST} octets; split it by channel")
        secrets = read_secrets(octets, self._path, nonce=self._nonce)
        for problem in secrets.problems[:_MOST_COMPLAINTS]:
            self._warn(problem)
        left = len(secrets.problems) - _MOST_COMPLAINTS
        if left > 0:
            self._warn(f"{self._path}: and {left} more such lines")
        return secrets

    def _complain(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            self._warn(f"{self._path}: {problem}; until then mail waits (-A)")


class _Unusable(Exception):
    """The file as a whole cannot be used."""


def _state(facts: os.stat_result) -> _State:
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _trouble(text: str, hop: Hop) -> Trouble:
    return Trouble(Kind.SECRETS_UNUSABLE, text.encode(), remote=hop.remote)
