"""A whole daemon but for its watching: spool on disk, network in memory, time that is only said to pass."""

from __future__ import annotations

import email
import email.policy
import os
import re
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import succeed
from twisted.trial.unittest import SynchronousTestCase

from tests.net.network import Network
from zsmtp.daemon import config
from zsmtp.daemon.attempts import Work
from zsmtp.daemon.dispatch import Dispatcher
from zsmtp.daemon.files import Files
from zsmtp.daemon.finish import Finisher
from zsmtp.daemon.journal import Journal
from zsmtp.daemon.queue import Queue
from zsmtp.daemon.service import limits_of
from zsmtp.deliver import Equipment
from zsmtp.destination import Family, Hop, Name, Route, RouteRules
from zsmtp.job import Conduct
from zsmtp.message.form import Wishes
from zsmtp.smtp.manner import Manner
from zsmtp.smtp.patience import Timeouts
from zsmtp.testing.spool import Addressee, SpooledMail, SpoolMaker

if TYPE_CHECKING:
    from email.message import EmailMessage

    from zsmtp.daemon.config import Configuration

EPOCH = 1_750_000_000.0
ONE = "192.0.2.1"
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
PLAIN = """
[channels.smtp]
retry = ["30m", "1h", "3h"]
first-refusal = "5m"
maybe-delivered = "2h"
expiry = "5d"
jitter = 0
"""


class DaemonTest(SynchronousTestCase):
    """A daemon for `example.net` and others, all at 192.0.2.1 unless `addresses` says otherwise."""

    text = PLAIN

    def setUp(self) -> None:
        self.spool = SpoolMaker()
        self.addCleanup(self.spool.remove)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.spool.transport)
        self.network = Network()
        self.lines: list[str] = []
        self.warnings: list[str] = []
        self.addresses: dict[str, str] = {}
        self.drawn = 0.0
        self.start()

    def clock(self) -> float:
        """Seconds since 1970."""
        return EPOCH + self.network.seconds()

    def start(self) -> None:
        """Begin, as after a restart."""
        self.configuration: Configuration = config.read(self.text, "zsmtp.toml")
        rules = {channel.name.encode(): channel.retry for channel in self.configuration.channels}
        self.queue = Queue()
        self.journal = Journal(os.path.join(self.spool.postoffice, "journal"), self.warnings.append)
        self.addCleanup(self.journal.close)
        finisher = Finisher(
            self.spool.postoffice,
            self.configuration,
            host="me.example",
            channels=rules,
            clock=self.clock,
            token=lambda: "token",
            warn=self.warnings.append,
        )
        self.dispatcher = Dispatcher(
            self.network,
            self.queue,
            limits_of(self.configuration),
            self.journal,
            clock=self.clock,
            draw=lambda: self.drawn,
            tell=self.lines.append,
            warn=self.warnings.append,
            linger=5.0,
        )
        self.files = Files(
            self.queue,
            self.journal,
            finisher,
            rules,
            now=self.network.seconds,
            clock=self.clock,
            woken=self.dispatcher.wake_host,
            tell=self.lines.append,
            warn=self.warnings.append,
        )
        self.dispatcher.attempts.files = self.files
        self.dispatcher.attempts.work = {
            channel.name.encode(): self.work(channel) for channel in self.configuration.channels
        }
        self.finisher = finisher

    def work(self, channel: Any) -> Work:
        """Equip one channel."""
        name = channel.name.encode()
        manner = Manner(
            name=b"me.example",
            lmtp=channel.settings.lmtp,
            timeouts=Timeouts(connect=30, command=60, data=60, dot=120, write=60),
        )
        conduct = Conduct(
            channel=name,
            agent=b"smtp[4242]",
            wishes=Wishes(),
            lmtp=channel.settings.lmtp,
            ignore_ezmlm=False,
            report=lambda _: None,
            finished=lambda _: None,
            warn=self.warnings.append,
            clock=self.clock,
        )
        equipment = Equipment(
            reactor=self.network,
            manner=manner,
            rules=RouteRules,
            find=self.find,
            context_for=lambda hop: hop.name,
            broken_tls={},
            connections=channel.settings.connections,
        )
        return Work(equipment, self.dispatcher.attempts.conduct(name, conduct), channel.retry)

    def find(self, target: Any, _: Any) -> Any:
        """Resolve a host."""
        assert isinstance(target, Name)
        address = self.addresses.get(target.name, ONE)
        return succeed(
            Route((Hop(address, 25, Family.INET, "mx.example", b"dns; mx.example", "", "mx.example"),))
        )

    def restart(self) -> None:
        """End without a word and begin again, with what the journal remembers."""
        self.journal.close()
        self.network.links.clear()
        for call in self.network.getDelayedCalls():
            call.cancel()
        self.start()
        for key, (failures, due) in self.journal.load().items():
            self.dispatcher.resume(key, failures, due - self.clock(), self.configuration.channels[0].retry)
        self.finisher.recover()
        self.scan()

    def mail(self, *recipients: bytes | Addressee, age: float = 0.0, **options: Any) -> SpooledMail:
        """Put a mail into the spool."""
        mail = self.spool.add(recipients=recipients or (b"bob@example.net",), **options)
        at = self.clock() - age
        os.utime(mail.message_path, (at, at))
        return mail

    def submit(self, *recipients: bytes | Addressee, **options: Any) -> SpooledMail:
        """The same, and let the daemon see it."""
        mail = self.mail(*recipients, **options)
        self.scan()
        return mail

    def scan(self) -> None:
        """Tell of every file in the spool, and let everything happen that needs no time."""
        for name in sorted(os.listdir(".")):
            if name[0].isdigit():
                self.files.found(name)
        self.dispatcher.wake_soon()
        self.network.run()

    @property
    def spooled(self) -> list[str]:
        """Names of the control files."""
        return [name for name in sorted(os.listdir(".")) if name[0].isdigit()]

    @property
    def statuses(self) -> list[str]:
        """The status of each attempt that was logged."""
        return [found[1] for line in self.lines if (found := re.search(r"status=(\w+)", line))]

    def received(self, number: int = -1) -> EmailMessage:
        """A message that the server took, parsed."""
        taken = [
            message for each in self.network.conversations for message in each.messages if message.octets
        ]
        return email.message_from_bytes(taken[number].octets, policy=email.policy.default)
