"""What a postmaster sees of an agent, put together as the options ask for it: transcript, title, system log.

Nothing of what is not asked for is loaded, and nothing here keeps mail back: what cannot be had is told, and
the agent works without it.  Source: smtp(8zm), options -l and -s; the variable SYSLOGFLG of zmailer.conf.
"""

from __future__ import annotations

import os
import re
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from zsmtp.job import Settled
    from zsmtp.net.progress import Progress
    from zsmtp.net.transcript import Transcript
    from zsmtp.options import Settings
    from zsmtp.spool.zenv import ZEnvironment
    from zsmtp.trouble import Peer

__all__ = ["progress", "system_log", "transcript", "witness_for"]


def transcript(
    settings: Settings, pid: int, reactor: Any, clock: Callable[[], float], tell: Callable[[str], None]
) -> Transcript | None:
    """Open the transcript of -l; without it the mail goes out all the same."""
    if settings.log_path is None:
        return None
    from email.utils import formatdate

    from zsmtp.net.transcript import Transcript

    try:
        opened = Transcript(
            settings.log_path,
            pid=pid,
            clock=clock,
            later=lambda flush: reactor.callLater(0, flush),
            warn=tell,
        )
    except OSError as error:
        tell(f'cannot open logfile "{settings.log_path}"! {error.strerror}; working without it')
        return None
    opened.remark(f"Start time: {formatdate(clock(), localtime=True)}")
    return opened


def progress(settings: Settings, reactor: Any, tell: Callable[[str], None]) -> Progress | None:
    """What sets the process title, with -s."""
    if not settings.titles:
        return None
    from zsmtp.net.proctitle import TitleArea
    from zsmtp.net.progress import Progress

    try:
        area = TitleArea.open()
    except OSError as error:
        tell(f"-s: the process title cannot be set here: {error.strerror}; working without it")
        return None
    return Progress(area.show, later=lambda show: reactor.callLater(0, show))


def witness_for(
    settings: Settings, transcript: Transcript | None, progress: Progress | None
) -> Callable[[Peer], Callable[[str, bytes], None]] | None:
    """What sees the lines of each connection: nobody, unless an option asks for it."""
    if transcript is None and progress is None:
        return None
    numbers = count(1)
    is_one = settings.connections == 1

    def witness(peer: Peer) -> Callable[[str, bytes], None]:
        seen = []
        if transcript is not None:
            seen.append(transcript.witness(0 if is_one else next(numbers)))
        if progress is not None:
            seen.append(progress.witness(peer))
        return seen[0] if len(seen) == 1 else partial(_to_all, seen)

    return witness


def _to_all(seen: list[Callable[[str, bytes], None]], kind: str, text: bytes) -> None:
    for heard in seen:
        heard(kind, text)


def system_log(
    settings: Settings, environment: ZEnvironment, pid: int, clock: Callable[[], float]
) -> Callable[[Settled], None] | None:
    """What tells the system's log of each recipient, unless SYSLOGFLG wants it otherwise."""
    flags = environment.get("SYSLOGFLG")
    flag = re.search(b"[Tt]", b"T" if flags is None else flags)
    if flag is None or settings.log_socket == "none":
        return None
    from zsmtp.net.systemlog import SystemLog
    from zsmtp.spool.report import log_line

    log = SystemLog(settings.log_socket, ident=b"smtp[%d]" % pid, clock=clock)
    channel = os.fsencode(settings.channel)
    tabs = flag[0] == b"t"

    def tell(settled: Settled) -> None:
        if not log.is_there:
            log.miss()
            return
        job, now = settled.job, clock()
        line = log_line(
            job.spool_id,
            settled.recipient.quad.user,
            delay=now - job.submitted,
            spent=now - job.began,
            channel=channel,
            remote=settled.peer.remote,
            ip=settled.peer.address,
            word=settled.verdict.word.value,
            text=settled.verdict.text,
            conversion=job.conversion,
            tabs=tabs,
        )
        log.info(line)

    return tell
