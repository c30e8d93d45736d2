"""What the queue remembers across a restart: when jobs and destinations are to be tried again.

A small SQLite file beside the spool.  The spool alone says what is to be delivered: without the journal
everything is tried once, soon, and counted from there, so that the file may be deleted at any time, and one
that cannot be read is.  Nothing is written for a message that is delivered at the first attempt.  Changes are
collected and written together by `flush`; what a crash loses of them costs an early attempt.

Times in the file are seconds since 1970, since no other clock outlives a process; they are turned into waits.
"""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING, Final, NamedTuple

from zsmtp.daemon.queue import Key

if TYPE_CHECKING:
    from collections.abc import Callable

    from zsmtp.daemon.queue import Destination, Entry

__all__ = ["Journal", "Memory"]

_VERSION: Final = 1
_TABLES: Final = """
CREATE TABLE job (path TEXT, channel BLOB, host BLOB, since REAL, attempts INTEGER, due REAL, maybe INTEGER,
                  PRIMARY KEY (path, channel, host)) WITHOUT ROWID;
CREATE TABLE destination (channel BLOB, host BLOB, failures INTEGER, due REAL,
                          PRIMARY KEY (channel, host)) WITHOUT ROWID;
"""


class Memory(NamedTuple):
    """What was known of a job: its attempts, when it is due (since 1970), whether it may be delivered
    already.
    """

    attempts: int
    due: float
    maybe_delivered: bool


class Journal:
    """The file; `warn` is told when it is of no use.  Without a usable file everything else works all the
    same.
    """

    def __init__(self, path: str, warn: Callable[[str], None]) -> None:
        self._path = path
        self._warn = warn
        self._jobs: dict[tuple[str, Key], tuple[float, Memory] | None] = {}
        self._destinations: dict[Key, tuple[int, float] | None] = {}
        self._known: set[tuple[str, Key]] = set()
        """jobs with a row, so that those without cost nothing at their end"""
        self._unclaimed: set[tuple[str, Key]] = set()
        self._connection: sqlite3.Connection | None = None
        try:
            self._connection = self._open()
        except sqlite3.Error as error:
            self._begin_anew(error)

    def load(self) -> dict[Key, tuple[int, float]]:
        """Read which jobs are known, and return failures and due time of the destinations that waited."""
        if self._connection is None:
            return {}
        try:
            rows = self._connection.execute("SELECT path, channel, host FROM job").fetchall()
            self._known = {(path, Key(channel, host)) for path, channel, host in rows}
            self._unclaimed = set(self._known)
            found = self._connection.execute(
                "SELECT channel, host, failures, due FROM destination"
            ).fetchall()
            return {Key(channel, host): (failures, due) for channel, host, failures, due in found}
        except sqlite3.Error as error:
            self._begin_anew(error)
            return {}

    def recall(self, path: str, key: Key, since: float) -> Memory | None:
        """Return what was known of a job; None if it is new, or another message now has the name."""
        self._unclaimed.discard((path, key))
        if self._connection is None or (path, key) not in self._known:
            return None
        try:
            row = self._connection.execute(
                "SELECT since, attempts, due, maybe FROM job WHERE path = ? AND channel = ? AND host = ?",
                (path, *key),
            ).fetchone()
        except sqlite3.Error as error:
            self._begin_anew(error)
            return None
        return Memory(row[1], row[2], bool(row[3])) if row and row[0] == since else None

    def note(self, entry: Entry, due: float) -> None:
        """Remember that a job waits until `due`, in seconds since 1970."""
        key = entry.destination.key
        memory = Memory(entry.attempts, due, entry.maybe_delivered)
        self._jobs[entry.path, key] = (entry.since, memory)

    def note_destination(self, destination: Destination, due: float) -> None:
        """Remember that a destination waits until `due`, or that it does not."""
        self._destinations[destination.key] = (destination.failures, due) if destination.failures else None

    def forget(self, path: str, key: Key) -> None:
        """A job has ended.  Costs nothing where it was never deferred."""
        if (path, key) in self._known or (path, key) in self._jobs:
            self._jobs[path, key] = None

    def forget_unclaimed(self) -> None:
        """The whole spool has been seen: forget jobs that are in it no more."""
        for job in self._unclaimed:
            self._jobs.setdefault(job, None)
        self._unclaimed.clear()

    def flush(self) -> None:
        """Write what has changed."""
        if self._connection is None or not (self._jobs or self._destinations):
            return
        jobs, self._jobs = self._jobs, {}
        destinations, self._destinations = self._destinations, {}
        gone = [(path, *key) for (path, key), memory in jobs.items() if memory is None]
        kept = [
            (path, *key, memory[0], memory[1].attempts, memory[1].due, memory[1].maybe_delivered)
            for (path, key), memory in jobs.items()
            if memory is not None
        ]
        try:
            with self._connection as connection:
                connection.executemany("DELETE FROM job WHERE path = ? AND channel = ? AND host = ?", gone)
                connection.executemany("INSERT OR REPLACE INTO job VALUES (?, ?, ?, ?, ?, ?, ?)", kept)
                connection.executemany(
                    "DELETE FROM destination WHERE channel = ? AND host = ?",
                    [tuple(key) for key, memory in destinations.items() if memory is None],
                )
                connection.executemany(
                    "INSERT OR REPLACE INTO destination VALUES (?, ?, ?, ?)",
                    [(*key, *memory) for key, memory in destinations.items() if memory is not None],
                )
        except sqlite3.Error as error:
            self._begin_anew(error)
            return
        self._known.difference_update((path, Key(*key)) for path, *key in gone)
        self._known.update((row[0], Key(row[1], row[2])) for row in kept)

    def close(self) -> None:
        """Write what has changed, and end."""
        self.flush()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level="DEFERRED", timeout=1.0)
        try:
            # what a power cut loses costs an early attempt; an fsync for each batch would cost more
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _VERSION):
                raise sqlite3.DatabaseError(f"the form of version {version} is not known")
            if version == 0:
                connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")
            os.chmod(self._path, 0o600)
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin_anew(self, error: sqlite3.Error) -> None:
        """Remove a file that is of no use; without one, nothing is remembered."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._known.clear()
        for suffix in ("", "-wal", "-shm"):
            try:
                os.unlink(self._path + suffix)
            except OSError:
                pass
        try:
            self._connection = self._open()
        except (sqlite3.Error, OSError) as again:
            self._warn(f"{self._path}: {again}; make the folder writable: retry times are lost at a restart")
        else:
            self._warn(f"{self._path}: {error}; begun anew: what waits is tried once, soon")
