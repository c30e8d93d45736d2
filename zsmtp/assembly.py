"""Where a process that is an agent is put together: reactor, clock, random source, standard input and output.

The only place of the agent that asks the system for the time, its name and its signals; everything it makes
gets them as arguments.
"""

from __future__ import annotations

import gc
import os
import re
import resource
import signal
import socket
import sys
import time
from contextlib import contextmanager
from io import TextIOBase
from typing import TYPE_CHECKING, Any

from zsmtp import logs
from zsmtp.errors import ZsmtpError
from zsmtp.spool.zenv import ZEnvironment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zsmtp.agent import Agent
    from zsmtp.destination import Hop
    from zsmtp.net.transcript import Transcript
    from zsmtp.options import Settings

__all__ = [
    "equip",
    "machine_name",
    "no_look_up_of_own_name",
    "open_transcript",
    "raise_file_limit",
    "read_environment",
    "run",
]

_FAREWELL_SECONDS = 0.3
_FILES = 4096
"""open files that an agent may want: two for each job, and the connections"""


def run(settings: Settings) -> int:
    """Run an agent on standard input and output until the orders end; return the exit status.

    Source: smtp(8zm), section INTERFACE.
    """
    signals = _Signals()
    printed = _Printed()
    streams = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = printed
    try:
        return _run(settings, signals, printed)
    except Exception as error:  # noqa: BLE001  no agent, so nothing is lost: say why and let the scheduler go on
        printed.put(f"cannot start: {type(error).__name__}: {error}")
        return os.EX_OSERR if isinstance(error, OSError) else os.EX_SOFTWARE
    finally:
        sys.stdout, sys.stderr = streams


def _run(settings: Settings, signals: _Signals, printed: _Printed) -> int:
    gc.disable()  # what is imported stays: to look through it takes a twelfth of the start
    _check_streams()
    raise_file_limit()
    environment = read_environment(printed.put)
    with no_look_up_of_own_name():
        from twisted.internet import reactor as installed
        from twisted.internet.stdio import StandardIO

        from zsmtp.agent import Agent
        from zsmtp.net.console import Console, error_output

    reactor: Any = installed
    pid = os.getpid()
    transcript = open_transcript(settings, pid, reactor, lambda text: printed.put(text))
    console = Console(reactor)
    agent = Agent(
        reactor,
        pid=pid,
        host=os.fsencode(settings.host) if settings.host else None,
        forced=settings.forced,
        write=console.write,
        ended=console.end,
        write_comment=error_output(),
        hold=console.hold,
        transcript=transcript,
        progress=logs.progress(settings, reactor, printed.put),
        debug=settings.debug,
    )
    agent.log = logs.system_log(settings, environment, pid, time.time)
    console.serve(agent.receive, agent.end_of_orders, agent.stop)
    equip(agent, settings, environment, reactor)
    _log_to(agent)
    if settings.probe:
        return _probe(agent, settings, reactor)
    StandardIO(console, reactor=reactor)
    printed.put = agent.warn
    signals.act = lambda: reactor.callFromThread(agent.stop)
    gc.freeze()
    gc.enable()
    if not signals.are_pending:
        agent.begin()
        reactor.run(installSignalHandlers=False)
    printed.put = _tell
    if transcript is not None:
        transcript.close()
    return int(agent.exit_status)


def _probe(agent: Agent, settings: Settings, reactor: Any) -> int:
    """Connect only, and tell on standard error how it went; a signal ends that as ever."""
    from twisted.internet.defer import ensureDeferred

    from zsmtp.probe import probe
    from zsmtp.target import target

    assert agent.equipment is not None
    place = target(settings.forced or os.fsencode(settings.host or ""), forced=settings.forced is not None)
    statuses: list[int] = []

    def say(text: str) -> None:
        try:
            os.write(2, text.encode(errors="backslashreplace"))
        except OSError:
            return

    def begin() -> None:
        assert agent.equipment is not None
        work = ensureDeferred(probe(agent.equipment, place, say))
        work.addCallbacks(statuses.append, lambda failure: say(f"{failure.getErrorMessage()}\n"))
        # QUIT goes out before the end
        work.addBoth(lambda _: reactor.callLater(_FAREWELL_SECONDS, reactor.stop))

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    reactor.callWhenRunning(begin)
    reactor.run(installSignalHandlers=False)
    return statuses[0] if statuses else os.EX_SOFTWARE


class _Signals:
    """Signals that end the agent, from the first moment: it must not die of one when it has locked something,
    nor leave a core.  What the parent ignores stays ignored.
    """

    def __init__(self) -> None:
        self.are_pending = False
        self.act: Callable[[], object] | None = None
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._arrived)

    def _arrived(self, number: int, frame: object) -> None:
        if self.act is None:
            self.are_pending = True
        else:
            self.act()


class _Printed(TextIOBase):
    """Takes the place of sys.stdout and sys.stderr: what Python or a library prints there becomes comments,
    since the scheduler takes every other line for a report.
    """

    def __init__(self) -> None:
        self.put: Callable[[str], None] = _tell
        self._partial = ""

    def writable(self) -> bool:
        """See TextIOBase."""
        return True

    def write(self, text: str) -> int:
        """See TextIOBase."""
        *lines, self._partial = (self._partial + text).split("\n")
        for line in lines:
            self.put(line)
        return len(text)


def _tell(text: str) -> None:
    """Write a comment where there is no agent to do it."""
    shown = "".join(char if char.isprintable() else "?" for char in text[:1000])
    try:
        os.write(2, f"# zsmtp:{os.getpid()}: {shown}\n".encode(errors="backslashreplace"))
    except OSError:
        return


def open_transcript(
    settings: Settings, pid: int, reactor: Any, tell: Callable[[str], None]
) -> Transcript | None:
    """Open the transcript of -l; without it the mail goes out all the same."""
    return logs.transcript(settings, pid, reactor, time.time, tell)


def equip(agent: Any, settings: Settings, environment: ZEnvironment, reactor: Any) -> None:
    """Give the agent, or what stands for it, `conduct` and `equipment`."""
    from random import SystemRandom

    from zsmtp.connecting import name_servers, origin, wks
    from zsmtp.deliver import Equipment
    from zsmtp.destination import RouteRules
    from zsmtp.job import Conduct
    from zsmtp.net.interfaces import local_addresses, read_self_addresses
    from zsmtp.net.resolve import Resolver
    from zsmtp.net.security import Security
    from zsmtp.smtp.manner import Esmtp, Manner, Tls
    from zsmtp.target import Name, local_identity

    identity = local_identity(settings.local_identity) if settings.local_identity else None
    # who poses as another host also says so
    name = settings.hello_name or (identity.name if isinstance(identity, Name) else machine_name())
    servers = name_servers(settings, environment, agent.warn)
    resolver = Resolver(reactor, servers=servers or None, random=SystemRandom())
    security = Security(settings.tls_path, warn=agent.warn, now=reactor.seconds)
    own_names = frozenset({name.lower(), machine_name().lower()})
    known_as = read_self_addresses(environment.get("SELFADDRESSES"))

    def rules() -> RouteRules:
        return RouteRules(
            port=settings.port,
            use_mx=settings.use_mx,
            allow_self=settings.allow_self,
            prefer_inet6=settings.prefer_inet6,
            own_names=own_names,
            own_addresses=local_addresses() | known_as,
        )

    is_esmtp = settings.esmtp is not Esmtp.NEVER
    agent.conduct = Conduct(
        channel=os.fsencode(settings.channel),
        agent=b"smtp[%d]" % agent.pid,
        wishes=_wishes(settings, environment),
        lmtp=settings.lmtp,
        ignore_ezmlm=settings.ignore_ezmlm,
        report=agent.report,
        finished=agent.finished,
        warn=agent.complain,
        clock=time.time,
    )
    agent.equipment = Equipment(
        reactor=reactor,
        manner=Manner(
            name=name.encode("ascii", "replace"),
            lmtp=settings.lmtp,
            esmtp=settings.esmtp,
            tls=Tls.OPPORTUNISTIC if settings.opportunistic_tls and is_esmtp else Tls.NEVER,
            pipelining=settings.pipelining,
            timeouts=settings.timeouts,
        ),
        rules=rules,
        find=resolver.find,
        context_for=security.creator_for,
        broken_tls={},
        connections=settings.connections,
        one_message=settings.one_message_per_connection,
        send_buffer=settings.send_buffer,
        witness=logs.witness_for(settings, agent.transcript, agent.progress),
        progress=agent.progress,
        remark=agent.remark if agent.remarks else None,
        is_verbose=settings.verbose > 0,
        credentials=_credentials(settings, agent.warn),
        warn=agent.warn,
        origin=origin(settings, environment, resolver, agent.warn),
        examine=wks(resolver, agent.warn, agent.remark) if settings.wks else None,
    )
    if settings.match_mx:
        from zsmtp.selection import Selector

        agent.selector = Selector(agent.equipment, agent.conduct.channel, resolver.exchangers, agent.wake)


def _credentials(settings: Settings, warn: Callable[[str], None]) -> Callable[[Hop], Any]:
    """Who we are for which host, from the file of -A, which is looked at now: what is wrong shows at once."""
    if settings.auth_path is None:
        return lambda _: None
    import secrets

    from zsmtp.net.secretsfile import SecretsFile

    file = SecretsFile(
        settings.auth_path,
        channel=os.fsencode(settings.channel),
        warn=warn,
        nonce=lambda: secrets.token_urlsafe(24).encode(),
    )
    file.look()
    return file.for_hop


def machine_name() -> str:
    """The name of this machine, or `localhost` where it has one that no server would take."""
    name = socket.gethostname()
    return name if re.fullmatch(r"[A-Za-z0-9_.-]{1,255}", name) else "localhost"


def _wishes(settings: Settings, environment: ZEnvironment) -> Any:
    from zsmtp.message.form import Wishes

    tabs = environment.get("RFC822TABS")
    wishes = Wishes(
        seven_bit=settings.seven_bit > 0,
        eight_bit=settings.eight_bit,
        raw_headers=settings.raw_headers,
        expand_tabs=tabs is None or tabs.startswith(b"0"),
        received_for=environment.get("NORECEIVEDFORCLAUSE") is None,
    )
    charset = environment.get("DEFCHARSET")
    return wishes._replace(default_charset=charset) if charset else wishes


def read_environment(tell: Callable[[str], None]) -> ZEnvironment:
    """The Z-environment, where the scheduler names it; without it everything has a default."""
    path = os.environ.get("ZCONFIG")
    if not path:
        return ZEnvironment()
    try:
        return ZEnvironment.load(path)
    except ZsmtpError as error:
        tell(f"ZCONFIG: {error}; working without it")
        return ZEnvironment()


def _log_to(agent: Agent) -> None:
    """Lead what Twisted and our own modules log to where the postmaster looks.

    What our modules log they have coped with.  A failure that Twisted logs has been caught by nobody, and
    whoever waits for what was interrupted would wait for ever: the agent ends.
    """
    from twisted.logger import ILogObserver, LogLevel, formatEvent, globalLogBeginner
    from zope.interface import implementer

    @implementer(ILogObserver)
    def observe(event: Any) -> None:
        level = event.get("log_level", LogLevel.info)
        if level < LogLevel.warn:
            return
        text = formatEvent(event)
        failure = event.get("log_failure")
        if failure is not None:
            text += f": {failure.getErrorMessage()} ({failure.type.__name__})\n{failure.getTraceback()}"
        for line in filter(None, map(str.rstrip, text.splitlines())):
            agent.warn(line)
        if level is LogLevel.critical and not event.get("log_namespace", "").startswith("zsmtp."):
            agent.fail()

    globalLogBeginner.beginLoggingTo([observe], redirectStandardIO=False, discardBuffer=True)


@contextmanager
def no_look_up_of_own_name() -> Iterator[None]:
    """Importing twisted.mail.smtp asks the DNS for our name, and waits: with a dead name server for long."""
    asked = socket.getfqdn
    socket.getfqdn = lambda name="": "localhost"
    try:
        yield
    finally:
        socket.getfqdn = asked


def _check_streams() -> None:
    """Raise OSError where there is nobody to talk to; and let no control file become standard error."""
    for number in (0, 1):
        os.fstat(number)
    try:
        os.fstat(2)
    except OSError:
        os.open(os.devnull, os.O_WRONLY)  # takes the lowest free number


def raise_file_limit() -> None:
    """The scheduler leaves us 32 descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            pass  # fewer files, then; a job that cannot be opened is tried again
