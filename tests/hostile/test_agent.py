"""Some of the behaviours once more, to an agent that is a process of its own."""

from __future__ import annotations

import sys
import time

from twisted.trial.unittest import SynchronousTestCase

from tests.hostile.behaviour import DIALOGUES, Behaviour, read
from tests.hostile.rules import complaints
from tests.hostile.stage import HOST, Outcome, Servers, account, put
from zsmtp.testing.feeding import Job
from zsmtp.testing.scheduler import SchedulerStandIn
from zsmtp.testing.spool import SpoolMaker

_ARGUMENTS = {"lmtp": ["-M"], "one-message": ["-1"], "no-pipelining": ["-P"], "helo": ["-77"]}
_START = 5.0
"""seconds that the start of a process may take on a busy machine"""


def play(behaviour: Behaviour) -> Outcome:
    """Let an agent meet a behaviour."""
    with Servers(behaviour, None) as servers, SpoolMaker() as spool:
        files = put(spool, behaviour.mails)
        command = [sys.executable, "-m", "zsmtp", "-c", "smtp", "-h", "client.example"]
        for option in sorted(behaviour.options):
            command += _ARGUMENTS.get(option, [])
        forced = servers.forced.decode()
        if "unix" not in behaviour.options:
            address, _, port = forced.rpartition(":")
            command += ["-p", port]
            forced = address
        stand_in = SchedulerStandIn(
            [*command, "-F", forced],
            spool.postoffice,
            jobs=[Job(file.name, HOST) for file in files],
            overfeed=20,
            heeds_retryat=False,
        )
        begun = time.monotonic()
        result = stand_in.run(settle=0.0)
        seconds = time.monotonic() - begun
        servers.servers[0].wait_finished(len(servers.conversations), 5.0)
        return Outcome(
            account(files, result.reports),
            servers.conversations,
            servers.receipts,
            [f"said to the scheduler: {comment!r}" for comment in result.comments],
            [],
            max(0.0, seconds - _START),
        )


class AnAgentOfItsOwn(SynchronousTestCase):
    """The same comes of it as in this process."""


def _method(behaviour: Behaviour) -> object:
    def test(self: AnAgentOfItsOwn) -> None:
        self.assertEqual(complaints(behaviour, play(behaviour)), [])

    test.__name__ = f"test_{behaviour.name}"
    return test


for _path in sorted(DIALOGUES.glob("*.txt")):
    for _behaviour in read(_path):
        if _behaviour.child:
            setattr(AnAgentOfItsOwn, f"test_{_path.stem}_{_behaviour.name}", _method(_behaviour))
