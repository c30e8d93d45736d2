"""A control file that was seen: what of it is for us, and what of it nobody should touch.

`read` only looks, but for locks whose owner is dead, which it clears as the scheduler does.  A file that
cannot be trusted is put aside by `quarantine` under a name that no program takes for mail, and never removed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from zsmtp.daemon.queue import Key
from zsmtp.errors import SpoolError
from zsmtp.spool.layout import message_path, shown, spool_id
from zsmtp.spool.mark import OpenControlFile, pid_field
from zsmtp.spool.openfile import explain
from zsmtp.spool.records import DELIVERED, FAILED, LOCKED, TO_DO

if TYPE_CHECKING:
    from collections.abc import Collection

    from zsmtp.spool.records import ControlFile, Recipient

__all__ = ["Arrival", "is_alive", "quarantine", "read"]

_ASIDE: Final = "bad-"
_NONE: Final[Mapping[Any, int]] = MappingProxyType({})
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Arrival(NamedTuple):
    """What a control file holds.

    `since` is the time of the message, `name` what logs call it.  `keys` are the destinations with recipients
    for us, with their number; `others` counts recipients of channels that are not ours, `locked` those that a
    living process works on.  `turns` are the hosts of a request to deliver now (ETRN); such a file has no
    message.
    """

    path: str
    since: float = 0.0
    name: str = "-"
    size: int = 0
    sender: bytes = b""
    keys: Mapping[Key, int] = _NONE
    others: Mapping[bytes, int] = _NONE
    locked: int = 0
    turns: tuple[bytes, ...] = ()

    @property
    def is_finished(self) -> bool:
        """Whether nobody has anything left to do."""
        return not (self.keys or self.others or self.locked or self.turns)


def read(path: str, channels: Collection[bytes]) -> Arrival:
    """Read a control file; `path` is relative to the current directory (POSTOFFICE/transport).

    Raises SpoolError: `temporary` where the system is in trouble or the file is gone, else the file itself is
    of no use.
    """
    try:
        file = OpenControlFile.open(path)
    except SpoolError as error:
        raise SpoolError(str(error), temporary=isinstance(error.__cause__, OSError)) from error.__cause__
    with file:
        control = file.control
        if control.is_turn:
            return Arrival(path, turns=_turns(os.pread(file.fd, control.size, 0)))
        if control.overlooked:
            raise SpoolError(_overlooked(path, control), temporary=False)
        try:
            status = os.stat(message_path(path, control.message_name or b""))
        except OSError as error:
            gone = isinstance(error, FileNotFoundError)
            raise SpoolError(
                f"{shown(path)}: its message file cannot be looked at: {explain(error)}", temporary=not gone
            ) from error
        keys: Counter[Key] = Counter()
        others: Counter[bytes] = Counter()
        locked = 0
        for recipient in control.recipients:
            tag = recipient.tag
            if tag == LOCKED and not _has_living_owner(file, recipient):
                file.clear_stale(recipient)
                tag = recipient.tag
            channel = recipient.quad.channel
            if tag == LOCKED:
                locked += 1
            elif tag == TO_DO and channel in channels:
                keys[Key(channel, recipient.quad.host.lower())] += 1
            elif tag not in (DELIVERED, FAILED):
                others[channel] += 1
        sender = control.senders[-1] if control.senders else None
        return Arrival(
            path,
            status.st_mtime_ns / 1e9,
            spool_id(status.st_ino, status.st_mtime_ns),
            status.st_size,
            b"" if sender is None or sender.is_null else sender.quad.user,
            keys,
            others,
            locked,
        )


def quarantine(path: str) -> str:
    """Give a control file a name that no program looks at, and return it.  Raises SpoolError."""
    folder, name = os.path.split(path)
    for attempt in range(100):
        aside = os.path.join(folder, f"{_ASIDE}{name}" + (f".{attempt}" if attempt else ""))
        if not os.path.lexists(aside):
            try:
                os.rename(path, aside)
            except OSError as error:
                raise SpoolError(f"{shown(path)} cannot be put aside: {explain(error)}") from error
            return aside
    raise SpoolError(f"{shown(path)} cannot be put aside: there are too many of that name; look at them")


def is_alive(number: int, since: float) -> bool:
    """Whether the process that wrote its number at `since` (seconds since 1970) still lives.

    A process that began later only has the same number.
    """
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    try:
        with open(f"/proc/{number}/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        with open("/proc/stat", "rb") as file:
            booted = next(int(line.split()[1]) for line in file if line.startswith(b"btime "))
    except (OSError, ValueError, IndexError, StopIteration):
        return True
    return booted + ticks / _TICKS < since + 2.0


def _has_living_owner(file: OpenControlFile, recipient: Recipient) -> bool:
    """Whether somebody else works on this recipient; what we hold ourselves is never read here."""
    owner = recipient.owner.strip()
    if not owner.isdigit() or recipient.owner == pid_field(os.getpid()):
        return False
    return is_alive(int(owner), os.fstat(file.fd).st_mtime)


def _turns(octets: bytes) -> tuple[bytes, ...]:
    """The hosts of `T` records."""
    words = [line[1:].split() for line in octets.split(b"\n") if line.startswith(b"T")]
    return tuple(word[0].lower() for word in words if word)


def _overlooked(path: str, control: ControlFile) -> str:
    said = "; ".join(problem.text for problem in control.problems[:3])
    what = f"recipients stand in it that cannot be used ({said})"
    return f"{shown(path)}: {what}; mend the file and rename it back"
