"""zmailer.conf, the variables that all programs of the mail system share (ZENV).

Lines are `NAME=value` from the first column; the first line of a name counts; blanks after `=` are skipped
and all the rest is the value, quotes, `$` and comments included.  The shell reads the same file and sees more
in it.

Source: zmailer.conf as the programs of ZMailer 3 read it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, Self

from zsmtp.errors import ConfigError
from zsmtp.spool.layout import shown
from zsmtp.spool.openfile import explain

__all__ = ["VARIABLES", "Variable", "ZEnvironment"]

_SIZE_LIMIT = 1024 * 1024
_NOTHING: Mapping[str, bytes] = MappingProxyType({})


class Variable(NamedTuple):
    """A variable that the original agent or its libraries read, or one of ours.

    `ignored` says why it is not heeded, in the words of the manual page; empty for one that is.
    """

    name: str
    ignored: str = ""


VARIABLES: Final = (
    Variable("BINDADDR"),
    Variable("DEFCHARSET"),
    Variable("NAMESERVERS"),  # ours
    Variable("NOBODY", "no part of the work is done as another user"),
    Variable("NORECEIVEDFORCLAUSE"),
    Variable("ORGDOMAIN", "this agent makes no MIME boundaries and no reports of its own"),
    Variable("POSTOFFICE", "the current directory says where the spool is, and TLS sessions stay in memory"),
    Variable("RFC822TABS"),
    Variable("SELFADDRESSES"),
    Variable("SNMPSHAREDFILE", "there are no shared counters"),
    Variable("SYSLOGFLG"),
    Variable("TA_USE_MMAP", "control files are read, which is as fast"),
    Variable("TALOCKMODE", "recipients are always locked: without that mail is delivered twice"),
)


class ZEnvironment:
    """The variables of one zmailer.conf, or none at all."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, bytes] = _NOTHING) -> None:
        self._values = values

    @classmethod
    def load(cls, path: str) -> Self:
        """Read a file; raises ConfigError if it cannot be read.  Without it every variable is undefined."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
            try:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise ConfigError(f"{shown(path)} is not a regular file; name zmailer.conf")
                octets = os.pread(fd, _SIZE_LIMIT + 1, 0)
            finally:
                os.close(fd)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{shown(path)} cannot be read: {explain(error)}") from error
        if len(octets) > _SIZE_LIMIT:
            raise ConfigError(f"{shown(path)} has more than {_SIZE_LIMIT} octets; name zmailer.conf")
        values: dict[str, bytes] = {}
        for line in octets.split(b"\n"):
            name, equals, value = line.partition(b"=")
            if equals:
                values.setdefault(name.decode("latin-1"), value.lstrip(b" \t\r\v\f"))
        return cls(values)

    def get(self, name: str) -> bytes | None:
        """Return the value of a variable, None if it is not defined."""
        return self._values.get(name)
