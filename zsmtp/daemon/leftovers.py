"""What programs that were killed have left in the spool, and nobody will ever use.

A draft (a hidden file that never got its name) is removed when it is a day old: whoever wrote it is gone, and
was told of no success.  A message file without its control file is never touched: it may be delivered mail
whose removal was cut short, or mail whose control file was lost, which only a person can tell apart.
"""

from __future__ import annotations

import os
import re
from typing import Final, NamedTuple

from zsmtp.daemon.watch import scan

__all__ = ["Leftovers", "look_for_leftovers"]

_DRAFT: Final = re.compile(r"\.[a-z0-9_]{8}")
"""names that `zsmtp.spool.submit` gives to files before they have theirs"""
_DRAFT_AGE: Final = 86400.0
_MESSAGE_AGE: Final = 3600.0


class Leftovers(NamedTuple):
    """Drafts that were removed, and message files that no control file belongs to; paths below POSTOFFICE."""

    drafts: list[str]
    orphans: list[str]


def look_for_leftovers(postoffice: str, now: float) -> Leftovers:
    """Remove old drafts and find orphans; `now` is in seconds since 1970.  What cannot be looked at is
    passed over.
    """
    drafts = []
    for folder in ("transport", "queue"):
        for path in _old_drafts(os.path.join(postoffice, folder), now):
            try:
                os.unlink(path)
            except OSError:
                continue
            drafts.append(os.path.relpath(path, postoffice))
    queue, transport = os.path.join(postoffice, "queue"), os.path.join(postoffice, "transport")
    # messages first: one that is finished meanwhile is not taken for an orphan
    messages = [path for path in scan(queue) if _age(os.path.join(queue, path), now) > _MESSAGE_AGE]
    known = {os.path.basename(path) for path in scan(transport)} | _hidden_numbers(transport)
    orphans = [
        os.path.join("queue", path)
        for path in messages
        if os.path.basename(path) not in known and os.path.lexists(os.path.join(queue, path))
    ]
    return Leftovers(drafts, orphans)


def _old_drafts(folder: str, now: float) -> list[str]:
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    found = [os.path.join(folder, name) for name in names if _DRAFT.fullmatch(name)]
    return [path for path in found if _age(path, now) > _DRAFT_AGE]


def _age(path: str, now: float) -> float:
    try:
        status = os.lstat(path)
    except OSError:
        return 0.0
    return now - max(status.st_mtime, status.st_ctime)


def _hidden_numbers(transport: str) -> set[str]:
    """Numbers of control files that have another name for a while: reports not let go, and files put
    aside.
    """
    numbers = set()
    for where, _, names in os.walk(transport):
        for name in names:
            if name.startswith("bad-"):
                numbers.add(name.removeprefix("bad-").partition(".")[0])
            elif name.startswith(".report."):
                numbers |= _number_in(os.path.join(where, name))
    return numbers


def _number_in(path: str) -> set[str]:
    try:
        with open(path, "rb") as file:
            found = re.search(rb"^i ([0-9]+)$", file.read(4096), re.MULTILINE)
    except OSError:
        return set()
    return {found[1].decode()} if found else set()
