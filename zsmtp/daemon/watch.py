"""New control files: seen within milliseconds, and never missed.

The kernel tells of files that get their name (inotify); a scan at the start and then from time to time finds
what it did not tell of: files of other machines, of directories that were new, or of a moment when too much
happened at once.  A scan goes on in slices, so that deliveries do not wait for its end.  Whoever is told of a
file twice is expected not to mind.

Looks at names only: `transport/` and its hash directories (A to Z, two levels), names that begin with a
digit.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from twisted.internet import inotify
from twisted.python.filepath import FilePath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Watcher", "scan"]

# Not IN_CLOSE_WRITE: every mark of an agent would come back to us.
_MASK: Final = inotify.IN_MOVED_TO | inotify.IN_CREATE
_SLICE: Final = 0.02
"""seconds of a scan before others have a turn"""
_WITHOUT_NOTICE: Final = 5.0
"""seconds between scans where the kernel tells us nothing"""


def scan(directory: str, *, prefix: str = "", levels: int = 2) -> Iterator[str]:
    """Give the paths of control files below `directory`, relative to it.  Directories that vanish are
    skipped.
    """
    try:
        entries = os.scandir(os.path.join(directory, prefix))
    except OSError:
        return
    below = []
    with entries:
        for entry in entries:
            name = entry.name
            if "0" <= name[0] <= "9":
                if entry.is_file(follow_symlinks=False):
                    yield prefix + name
            elif levels and _is_hash_name(name) and entry.is_dir(follow_symlinks=False):
                below.append(name)
    for name in below:
        yield from scan(directory, prefix=f"{prefix}{name}/", levels=levels - 1)


class Watcher:
    """Tells `found` of every control file, by its path below `directory`; `warn` of what is in the way.

    `scanned` is called at the end of each scan.
    """

    def __init__(
        self,
        reactor: Any,
        directory: str,
        *,
        every: float,
        found: Callable[[str], None],
        scanned: Callable[[], None],
        warn: Callable[[str], None],
    ) -> None:
        self._reactor = reactor
        self._directory = os.path.realpath(directory)
        self._every = every
        self._found = found
        self._scanned = scanned
        self._warn = warn
        self._notifier: inotify.INotify | None = None
        self._watched: set[str] = set()
        self._scan: Iterator[str] | None = None
        self._call: Any = None

    def start(self) -> None:
        """Watch, then scan: what comes between the two is told of twice."""
        try:
            self._notifier = inotify.INotify(self._reactor)
            self._notifier.startReading()
            self._watch("")
        except OSError as error:
            self._warn(
                f"the kernel does not tell of new files ({error.strerror}): they are looked for every "
                f"{_WITHOUT_NOTICE:.0f} s; raise fs.inotify.max_user_instances or max_user_watches"
            )
            self._every = min(self._every, _WITHOUT_NOTICE)
        self._begin_scan()

    def stop(self) -> None:
        """Look no more."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._scan = None
        if self._notifier is not None:
            self._notifier.stopReading()
            self._notifier.loseConnection()
            self._notifier = None

    def _begin_scan(self) -> None:
        self._scan = scan(self._directory)
        self._go_on()

    def _go_on(self) -> None:
        assert self._scan is not None
        end = self._reactor.seconds() + _SLICE
        for path in self._scan:
            self._found(path)
            if self._reactor.seconds() > end:
                self._call = self._reactor.callLater(0, self._go_on)
                return
        self._call = self._reactor.callLater(self._every, self._begin_scan)
        self._scanned()

    def _watch(self, prefix: str) -> None:
        """Watch one directory and the hash directories in it."""
        assert self._notifier is not None
        directory = os.path.join(self._directory, prefix)
        self._notifier.watch(FilePath(directory.encode()), _MASK, callbacks=[self._notice])
        self._watched.add(prefix)
        if prefix.count("/") < 2:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if _is_hash_name(entry.name) and entry.is_dir(follow_symlinks=False):
                        self._watch(f"{prefix}{entry.name}/")

    def _notice(self, _: object, place: Any, mask: int) -> None:
        path = os.path.relpath(os.fsdecode(place.path), self._directory)
        name = os.path.basename(path)
        if mask & inotify.IN_ISDIR:
            if _is_hash_name(name) and f"{path}/" not in self._watched and self._notifier is not None:
                self._watch_new(f"{path}/")
        elif "0" <= name[:1] <= "9" and not mask & inotify.IN_CREATE:
            self._found(path)

    def _watch_new(self, prefix: str) -> None:
        try:
            self._watch(prefix)
        except OSError as error:
            self._warn(f"{prefix} cannot be watched ({error.strerror}); the next scan finds what is in it")
            return
        for path in list(scan(self._directory, prefix=prefix, levels=2 - prefix.count("/"))):
            self._found(path)


def _is_hash_name(name: str) -> bool:
    return len(name) == 1 and "A" <= name <= "Z"
