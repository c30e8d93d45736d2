"""``zsmtpctl demo``: the main job for a newcomer, with nothing but this machine.

Puts the process together: folder, reactor, signals and exit status; the rest is `zsmtp.ctl.demoplay`.  There
is one run a process, since Twisted's reactor cannot be started twice.  It ends by itself and closes
everything: agents that hang are killed when the time is over, and so they are when the user interrupts.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from zsmtp.assembly import no_look_up_of_own_name
from zsmtp.ctl.screen import Screen
from zsmtp.errors import ConfigError, ZsmtpError

__all__ = ["SECONDS", "run"]

SECONDS = 60.0
"""how long the agents may take; a second or two is usual"""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(
    directory: str | None = None,
    *,
    clean: bool = False,
    stream: TextIO | None = None,
    store: Callable[[str, str, bytes], None] | None = None,
    agent: Sequence[str] = (sys.executable, "-m", "zsmtp"),
    seconds: float = SECONDS,
) -> int:
    """Run the demo and return the exit status.

    `store` puts a message into a recipient's Maildir (folder of all of them, address, octets), `agent` is the
    command to which options are added: both are for tests of what the demo finds out.
    """
    screen = Screen(sys.stdout if stream is None else stream, os.environ)
    try:
        folder = _Folder(directory)
    except ConfigError as error:
        return _complain(error, os.EX_USAGE)
    try:
        status = _perform(screen, folder, store=store, agent=agent, seconds=seconds, clean=clean)
    except KeyboardInterrupt:  # before the reactor runs, or after
        status = 128 + signal.SIGINT
    except BrokenPipeError:
        folder.remove()
        # Nobody reads on.  Python would complain once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (ZsmtpError, OSError) as error:
        folder.remove()
        return _complain(error, 1)
    if status > 128 or (clean and status == os.EX_OK):
        folder.remove()
        screen.line(
            ("Interrupted.  " if status > 128 else "") + f"What lay in {folder.path} has been removed."
        )
    return status


def _complain(error: Exception, status: int) -> int:
    sys.stdout.flush()
    sys.stderr.write(f"zsmtpctl demo: {error}\n")
    return status


def _perform(screen: Screen, folder: _Folder, **arguments: Any) -> int:
    """Run the reactor for as long as the demo takes."""
    with no_look_up_of_own_name():
        from twisted.internet import reactor as installed
        from twisted.internet.defer import Deferred

        from zsmtp.ctl.demoplay import Play

    reactor: Any = installed
    play = Play(reactor, screen, folder.path, **arguments)
    outcome: list[Any] = []

    def begin() -> None:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda number, _: reactor.callFromThread(play.interrupt, number))
        deferred = Deferred.fromCoroutine(play.perform())
        deferred.addBoth(outcome.append)
        deferred.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    [result] = outcome
    if play.interrupted_by is not None:
        return 128 + play.interrupted_by
    if isinstance(result, int):
        return result
    result.raiseException()
    raise AssertionError


class _Folder:
    """The folder for everything; `remove` empties it, and takes it away if it was made here."""

    def __init__(self, directory: str | None) -> None:
        self._is_ours = True
        try:
            if directory is None:
                self.path = tempfile.mkdtemp(prefix="zsmtp-demo-")
                return
            self.path = os.path.abspath(directory)
            try:
                os.mkdir(self.path, 0o700)
            except FileExistsError:
                self._is_ours = False
                if os.listdir(self.path):
                    raise ConfigError(
                        f"the folder {self.path} is not empty; name an empty or a new one"
                    ) from None
        except OSError as error:
            where = "a temporary folder" if directory is None else f"the folder {directory}"
            raise ConfigError(f"{where} cannot be used ({error.strerror}); name another one") from error

    def remove(self) -> None:
        for entry in os.scandir(self.path):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                os.unlink(entry.path)
        if self._is_ours:
            os.rmdir(self.path)
