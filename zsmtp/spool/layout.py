"""Names of spool files: what they mean and where they lie.

Pure arithmetic on names; nothing here looks at a disk.  All paths are relative to `POSTOFFICE/transport/`,
where the scheduler and its agents work.  A name that leads anywhere else is refused.

Source: the layout of POSTOFFICE (router, scheduler and agents agree on it), spool ids as in the system log.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

from zsmtp.errors import Misuse, SpoolError

__all__ = ["MESSAGE_NAME", "file_id", "hash_directory", "message_path", "shown", "spool_id"]

MESSAGE_NAME = re.compile(rb"[0-9][A-Za-z0-9.+-]*")
"""What the `i` record of a control file may hold: one file name, never a way to another directory."""

_NUMBER = re.compile(r"[0-9]{1,20}(?![0-9])")
# The index of a character is its value; "0" stands for 26 and for 62, as in the original.
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123abcdefghijklmnopqrstuvwxyz4567890-"
_PREFIX_LIMIT = 7  # the original looks for the hash directories in the first seven octets only
_LAST_SECOND = 253_402_300_799  # end of the year 9999; a file's mtime may be anything


def shown(name: str) -> str:
    """Return a file name as it can be shown to people and written to a log: printable ASCII on one line."""
    return name if name.isascii() and name.isprintable() else ascii(name)


def file_id(path: str) -> int:
    """Return the number that names a control file in reports: the leading decimal digits of its base name."""
    name = path[path.rfind("/") + 1 :]
    if name.isdigit() and name.isascii() and len(name) <= 20:  # nearly always
        return int(name)
    found = _NUMBER.match(name)
    if found is None:
        raise SpoolError(
            f"{shown(path)}: the name of a control file must begin with its number (1 to 20 digits); "
            "rename the file to the inode number of its message file"
        )
    return int(found[0])


def hash_directory(number: int, levels: int) -> str:
    """Return the subdirectory of file `number`: "", "X/" or "X/Y/" for 0, 1 or 2 hash levels."""
    last = chr(65 + number % 26) + "/"
    match levels:
        case 0:
            return ""
        case 1:
            return last
        case 2:
            return chr(65 + number // 26 % 26) + "/" + last
    raise Misuse(f"a spool has 0, 1 or 2 hash levels, not {levels}")


def message_path(control_path: str, message_name: bytes) -> str:
    """Return the path of a message file, from the path of its control file and the content of the `i` record.

    Raises SpoolError for a name that is not one of a file in the queue (directory traversal).
    """
    if MESSAGE_NAME.fullmatch(message_name) is None:
        raise SpoolError(
            f"{shown(control_path)}: {message_name!a} cannot be the name of a message file; "
            "the i record must hold one file name that begins with a digit"
        )
    prefix = ""
    if control_path >= "A":
        prefix = control_path[: control_path.rfind("/", 0, _PREFIX_LIMIT) + 1]
    if ".." in prefix:
        raise SpoolError(
            f"{shown(control_path)}: the name leads out of the spool; name a file below transport/"
        )
    return "../queue/" + prefix + message_name.decode("ascii")


def spool_id(inode: int, mtime_ns: int) -> str:
    """Return the name under which a message appears in all logs, from inode and mtime of its message file.

    `mtime_ns` is in nanoseconds since 1970; a whole second gives eight characters after the inode, all others
    thirteen.
    """
    seconds, fraction = divmod(mtime_ns, 1_000_000_000)
    name = f"S{inode}{_second(seconds)}"
    if fraction:
        values = (fraction >> 24, fraction >> 18, fraction >> 12, fraction >> 6, fraction)
        name += "".join([_ALPHABET[value & 63] for value in values])
    return name


@lru_cache(maxsize=64)  # messages come in swarms
def _second(seconds: int) -> str:
    when = datetime.fromtimestamp(min(max(seconds, 0), _LAST_SECOND), UTC)
    values = [when.year >> 12, when.year >> 6, when.year, when.month - 1, when.day - 1]
    values += [when.hour, when.minute, when.second]
    return "".join([_ALPHABET[value & 63] for value in values])
