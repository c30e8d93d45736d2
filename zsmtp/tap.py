"""``twistd zsmtp``: options, and the daemon put together from this machine's clock, name and chance.

What is wrong with options or configuration is told before anything is started, and before twistd goes into
the background: in one line, with exit status 64.  By itself twistd prints all its help first and ends with 1.
Sources: twistd(1), sysexits.h, and the plugin system of Twisted.
"""

from __future__ import annotations

import os
import sys
import time
from random import SystemRandom
from typing import TYPE_CHECKING, Any

from twisted.python import usage

from zsmtp.daemon import config
from zsmtp.daemon.configfile import load
from zsmtp.daemon.lockfile import Lock, refuse_scheduler
from zsmtp.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.application.service import IService

    from zsmtp.daemon.config import Channel, Configuration
    from zsmtp.deliver import Equipment
    from zsmtp.job import Conduct

__all__ = ["Options", "makeService"]


class Options(usage.Options):
    """The options of ``twistd zsmtp``."""

    synopsis = "[--config FILE] [--postoffice DIR]"
    longdesc = (
        "Delivers the mail of a ZMailer spool by SMTP and LMTP: watches it, retries, reports failures to "
        "senders, and removes what is done. Without --config the channel smtp is delivered by the mail "
        "exchangers of each domain. Options of twistd itself, such as -n to stay in the foreground, come "
        "before the word zsmtp. See twistd-zsmtp(8)."
    )
    optParameters = [  # noqa: RUF012  as usage.Options wants it
        ["config", "c", None, "TOML file; conf/zsmtp.toml is a sample with every key"],
        ["postoffice", "p", None, "directory of the spool (default: postoffice in the file)"],
    ]
    compData = usage.Completions(
        optActions={"config": usage.CompleteFiles("*.toml"), "postoffice": usage.CompleteDirs()}
    )

    configuration: Configuration
    postoffice: str

    def parseOptions(self, options: list[str] | None = None) -> None:
        """Read the words behind ``zsmtp``.

        Raises UsageError for whatever is wrong; under twistd the process ends there.
        """
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            if self.parent is None:
                raise
            # A mistake in the configuration names its own remedy.
            known = isinstance(error.__cause__, ConfigError)
            remedy = "" if known else "; twistd zsmtp --help lists the options"
            sys.stderr.write(f"twistd zsmtp: {error}{remedy}\n")
            raise SystemExit(os.EX_USAGE) from error

    def parseArgs(self, *words: str) -> None:
        """Take no word that is no option.  Twisted's complaint would not name it."""
        if words:
            raise usage.UsageError(f'"{words[0]}" is no option')

    def postOptions(self) -> None:
        """Read the configuration and look at the spool; raise UsageError for whatever is wrong."""
        try:
            self.configuration = self._configuration()
            self.postoffice = self._spool()
            refuse_scheduler(self.postoffice)
            Lock(self.postoffice).release()
        except ConfigError as error:
            raise usage.UsageError(str(error)) from error
        self._make_absolute()

    def _configuration(self) -> Configuration:
        path = self["config"]
        if path is None:
            if self["postoffice"] is None:
                raise ConfigError(
                    "it is not said where the spool is; write --postoffice DIR or --config FILE"
                )
            return config.default(self["postoffice"])
        return load(path)

    def _spool(self) -> str:
        path = self["postoffice"] or self.configuration.postoffice
        if path is None:
            raise ConfigError(
                f'{self["config"]}: postoffice is missing; write postoffice = "/var/spool/postoffice"'
            )
        path = os.path.abspath(path)
        for name in ("transport", "queue"):
            if not os.access(os.path.join(path, name), os.R_OK | os.W_OK | os.X_OK):
                raise ConfigError(
                    f"{path}/{name} is no directory that can be written to; name the spool (POSTOFFICE), "
                    "and run as a user who owns it (twistd-zsmtp(8) says how to make a new one)"
                )
        return path

    def _make_absolute(self) -> None:
        """The daemon works in the spool, and twistd's own files are named from where it was started."""
        parent: Any = self.parent
        for name in ("pidfile", "logfile"):
            path = parent and parent.get(name)
            if path and path != "-":
                parent[name] = os.path.abspath(os.path.join(parent.get("rundir") or ".", path))


def makeService(options: Options) -> IService:
    """Make the daemon.  See IServiceMaker."""
    from zsmtp.assembly import machine_name, no_look_up_of_own_name, raise_file_limit

    with no_look_up_of_own_name():
        from twisted.internet import reactor

        from zsmtp.daemon.service import Daemon, System

    raise_file_limit()
    random = SystemRandom()
    configuration = options.configuration
    system = System(
        reactor=reactor,
        clock=time.time,
        draw=random.random,
        token=lambda: f"{random.getrandbits(64):016x}",
        name=configuration.hello_name or machine_name(),
        outfit=lambda channel, whole, warn: _outfit(reactor, channel, whole, warn),
    )
    return Daemon(configuration, options.postoffice, system)


class _Outfit:
    """What `zsmtp.assembly.equip` gives to an agent, for one channel of the daemon."""

    conduct: Conduct
    equipment: Equipment

    def __init__(self, warn: Callable[[str], None], transcript: Any) -> None:
        self.pid = os.getpid()
        self.warn = self.complain = warn
        self.transcript = transcript
        self.progress = None  # a process title tells of one agent
        self.remarks = transcript is not None

    def remark(self, text: str) -> None:
        """Note something in the transcript."""
        self.transcript.remark(text)

    def report(self, settled: object) -> None:
        """Replaced by the dispatcher's."""

    def finished(self, job: object) -> None:
        """Replaced by the dispatcher's."""


def _outfit(
    reactor: Any, channel: Channel, configuration: Configuration, warn: Callable[[str], None]
) -> tuple[Equipment, Conduct]:
    from zsmtp.assembly import equip, open_transcript, read_environment

    settings = channel.settings
    if settings.hello_name is None:
        settings = settings._replace(hello_name=configuration.hello_name)
    outfit = _Outfit(warn, open_transcript(settings, os.getpid(), reactor, warn))
    equip(outfit, settings, read_environment(warn), reactor)
    return outfit.equipment, outfit.conduct
