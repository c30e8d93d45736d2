"""Where a process that is an agent is put together: reactor, clock, random source, standard input and output.

The only place of the agent that asks the system for the time, its name and its signals; everything it makes
gets them as arguments.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from zsmtp.errors import ZsmtpError
from zsmtp.spool.zenv import ZEnvironment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zsmtp.options import Settings

__all__ = ["run"]

_FILES = 4096
"""open files that an agent may want: two for each job, and the connections"""


def run(settings: Settings) -> int:
    """Run an agent on standard input and output until the orders end; return the exit status.

    Source: smtp(8zm), section INTERFACE.
    """
    _raise_file_limit()
    environment = _environment()
    with _no_look_up_of_own_name():
        from twisted.internet import reactor as installed
        from twisted.internet.stdio import StandardIO

        from zsmtp.agent import Agent
        from zsmtp.net.console import Console
        from zsmtp.net.transcript import Transcript

    reactor: Any = installed
    pid = os.getpid()
    transcript = None
    complaint = None
    if settings.log_path is not None:
        try:
            transcript = Transcript(settings.log_path, pid=pid, clock=time.time)
        except OSError as error:
            complaint = f'cannot open logfile "{settings.log_path}"! {error.strerror}; working without it'
    console = Console(reactor)
    agent = Agent(
        reactor,
        pid=pid,
        host=os.fsencode(settings.host) if settings.host else None,
        forced=settings.forced,
        write=console.write,
        ended=console.end,
        transcript=transcript,
    )
    console.serve(agent.receive, agent.end_of_orders, agent.stop)
    _equip(agent, settings, environment, reactor)
    _log_to(agent.warn)
    StandardIO(console, reactor=reactor)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        # what the parent ignores stays ignored
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: reactor.callFromThread(agent.stop))
    if complaint is not None:
        agent.warn(complaint)
    agent.begin()
    reactor.run(installSignalHandlers=False)
    return 0


def _equip(agent: Any, settings: Settings, environment: ZEnvironment, reactor: Any) -> None:
    """Give the agent what it works with."""
    from random import SystemRandom

    from zsmtp.deliver import Equipment
    from zsmtp.destination import RouteRules
    from zsmtp.job import Conduct
    from zsmtp.net.interfaces import local_addresses, read_self_addresses
    from zsmtp.net.resolve import Resolver
    from zsmtp.net.tls import ClientContexts
    from zsmtp.smtp.manner import Esmtp, Manner, Tls

    name = settings.hello_name or socket.gethostname()
    resolver = Resolver(reactor, servers=settings.nameservers or None, random=SystemRandom())
    contexts = ClientContexts()
    own_names = frozenset({name.lower(), socket.gethostname().lower()})
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
        warn=agent.warn,
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
        context_for=contexts.creator_for,
        broken_tls={},
        connections=settings.connections,
        one_message=settings.one_message_per_connection,
        send_buffer=settings.send_buffer,
        witness=agent.transcript.line if agent.transcript is not None else None,
        remark=agent.transcript.remark if agent.transcript is not None else None,
    )


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


def _environment() -> ZEnvironment:
    """The Z-environment, where the scheduler names it; without it everything has a default."""
    path = os.environ.get("ZCONFIG")
    if not path:
        return ZEnvironment()
    try:
        return ZEnvironment.load(path)
    except ZsmtpError as error:
        sys.stderr.write(f"# zsmtp:{os.getpid()}: {error}\n")
        return ZEnvironment()


def _log_to(warn: Any) -> None:
    """Lead what Twisted and our own modules log to where the postmaster looks."""
    from twisted.logger import ILogObserver, LogLevel, formatEvent, globalLogBeginner
    from zope.interface import implementer

    @implementer(ILogObserver)
    def observe(event: Any) -> None:
        if event.get("log_level", LogLevel.info) < LogLevel.warn:
            return
        failure = event.get("log_failure")
        text = formatEvent(event)
        warn(f"{text}: {failure.getErrorMessage()} ({failure.type.__name__})" if failure else text)
        if failure is not None:
            for line in failure.getTraceback().splitlines():
                warn(line)

    globalLogBeginner.beginLoggingTo([observe], redirectStandardIO=False, discardBuffer=True)


@contextmanager
def _no_look_up_of_own_name() -> Iterator[None]:
    """Importing twisted.mail.smtp asks the DNS for our name, and waits: with a dead name server for long."""
    asked = socket.getfqdn
    socket.getfqdn = lambda name="": "localhost"
    try:
        yield
    finally:
        socket.getfqdn = asked


def _raise_file_limit() -> None:
    """The scheduler leaves us 32 descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            pass  # fewer files, then; a job that cannot be opened is tried again
