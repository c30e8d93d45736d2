"""What the tests of this folder share: a delivery over a network in memory, from a spool on disk.

Numbers in comments of the tests are rows of the specification.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.internet.defer import Deferred, succeed

from tests.net.network import Network
from tests.spooled import SpooledTest
from zsmtp.deliver import Delivery, Equipment
from zsmtp.destination import Family, Hop, Name, Route, RouteRules
from zsmtp.job import Job
from zsmtp.smtp.patience import Timeouts
from zsmtp.smtp.session import Manner
from zsmtp.testing.peer import Behaviour
from zsmtp.testing.spool import SpooledMail

ONE, TWO = "192.0.2.1", "192.0.2.2"
EXAMPLE = Name("example.net")
MANNER = Manner(name=b"me.example", timeouts=Timeouts(connect=10, command=20, data=30, dot=40, write=50))
OPENING = "S: 220 mx\nC: EHLO *\nS: 250 mx\n"
ENVELOPE = "C: MAIL *\nS: 250 ok\nC: RCPT *\nS: 250 ok\nC: DATA\nS: 354 go\n"
GROUP = "C: MAIL *\nC: RCPT *\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\n"


def hop(address: str) -> Hop:
    """A way to an address; one with a slash is a UNIX socket."""
    if "/" in address:
        return Hop(address, 0, Family.UNIX, address, b"", "-F", address)
    name = f"mx{address[-1]}.example"
    return Hop(address, 25, Family.INET, name, b"dns; " + name.encode(), "MX 10", name)


class DeliveryTest(SpooledTest):
    """A delivery over a network in memory, from a spool on disk."""

    def setUp(self) -> None:
        super().setUp()
        self.network = Network()
        self.feed: deque[SpooledMail] = deque()
        self.remarks: list[str] = []
        self.found: Any = None  # what the resolver answers, if it is not the route
        self.changes = 0

    def start(self, *hops: str, manner: Manner = MANNER, target: Any = EXAMPLE, **options: Any) -> Delivery:
        """Make the delivery; nothing is fed yet."""
        route = Route(tuple(hop(address) for address in hops or (ONE,)))
        self.lookups = 0

        def find(_: Any, __: Any) -> Deferred[Any]:
            self.lookups += 1
            return succeed(route) if self.found is None else self.found

        equipment = Equipment(
            reactor=self.network,
            manner=manner,
            rules=RouteRules,
            find=find,
            context_for=lambda hop: hop.name,
            broken_tls={},
            remark=self.remarks.append,
            **options,
        )
        self.equipment = equipment
        self.is_due = False
        self.delivery = Delivery(
            equipment,
            target,
            source=self.next_job,
            waiting=lambda: len(self.feed),
            changed=self.changed,
        )
        return self.delivery

    def changed(self) -> None:
        """Wake the delivery soon, as an agent does."""
        self.changes += 1
        if not self.is_due:
            self.is_due = True
            self.network.callLater(0, self.wake)

    def wake(self) -> None:
        """Look whether there is something to do."""
        self.is_due = False
        self.delivery.wake()

    def next_job(self) -> Job | None:
        """Open the next file of the feed."""
        while self.feed:
            job = self.open(self.feed.popleft(), lmtp=self.equipment.manner.lmtp)
            if job is not None and not job.is_finished:
                return job
        return None

    def deliver(self, *mails: SpooledMail) -> None:
        """Feed mails, and let everything happen that needs no time."""
        self.feed += mails
        self.delivery.wake()
        self.network.run()

    def mail(self, recipients: int | list[Any] = 1, **options: Any) -> SpooledMail:
        """Put a mail into the spool; its recipients are sent as r0, r1, ..."""
        if isinstance(recipients, int):
            recipients = [b"r%d@example.net" % number for number in reversed(range(recipients))]
        return self.spool.add(recipients=recipients, **options)

    def quick(self, behaviour: Behaviour | str, *mails: SpooledMail, **options: Any) -> None:
        """Deliver to one server."""
        self.network.serve(ONE, behaviour)
        self.start(**options)
        self.deliver(*(mails or (self.mail(),)))

    @property
    def verbs(self) -> list[list[str]]:
        """What was said on each connection, in first words."""
        return self.network.commands

    @property
    def attempted(self) -> list[str]:
        """The addresses that were connected to."""
        return [attempt.address for attempt in self.network.attempts]

    def expect_over(self) -> None:
        """Every mark and report has been made, no file and no timer is left."""
        for mail in self.spool.mails:
            self.assertNotIn("~", self.tags(mail))
            self.assertEqual(mail.problems(), [])
        self.assertEqual(len(self.told), len({(one.number, one.offset) for one in self.told}), "told twice")
        self.assertEqual(len(self.finished), len(set(self.finished)))
        self.expect_closed()
        self.assertTrue(self.delivery.is_quiet)
