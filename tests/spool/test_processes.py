"""Tests of zsmtp.spool.mark with real processes.  Rows: specification, H.3."""

from __future__ import annotations

import os
import pickle
import signal
import traceback
from collections.abc import Callable
from functools import partial

from tests.spool.sample import BASE, HEAD, HEADER, RECIPIENT, SENDER, SpoolTest, only
from zsmtp.spool.controlfile import parse
from zsmtp.spool.mark import OpenControlFile

LINE = b"d %d:80:-1::7\tu@x\x01failed\x015.1.1\x01\x01\x01smtp[1]\t%b\n"


Work = Callable[[Callable[[], None]], object]
"""What a child does: it prepares itself, calls the function it is given, and goes on when all are ready."""


class Children:
    """Forked processes that begin all at once and send back what they return."""

    def __init__(self, *works: Work) -> None:
        go, self._start = os.pipe()
        self._children = [self._fork(work, go) for work in works]
        os.close(go)

    def _fork(self, work: Work, go: int) -> tuple[int, int]:
        result, out = os.pipe()
        pid = os.fork()
        if pid:
            os.close(out)
            return pid, result
        status = 1
        try:
            os.close(self._start)
            with os.fdopen(out, "wb") as file:

                def wait() -> None:
                    os.read(go, 1)

                pickle.dump(work(wait), file)
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)

    def start(self) -> None:
        """Let them begin: the end of the pipe is seen by all of them."""
        os.close(self._start)

    def results(self) -> list[object]:
        """Wait for their ends."""
        results = []
        for pid, result in self._children:
            with os.fdopen(result, "rb") as file:
                octets = file.read()
            _, status = os.waitpid(pid, 0)
            assert status == 0, f"a child failed ({status})"
            results.append(pickle.loads(octets))
        return results

    def kill(self) -> int:
        """Kill the only child and return its number."""
        ((pid, result),) = self._children
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(result)
        return pid


def together(*works: Work) -> list[object]:
    """Do several works at the same time, each in a process of its own, and return their results."""
    children = Children(*works)
    children.start()
    return children.results()


class Races(SpoolTest):
    """Two agents on one file."""

    COUNT = 4000

    def singly(self, wait: Callable[[], None]) -> list[int]:
        file = OpenControlFile.open("77", directory=self.transport)
        wait()
        return [each.offset for each in file.control.recipients if file.lock(each)]

    def at_once(self, wait: Callable[[], None]) -> list[int]:
        file = OpenControlFile.open("77", directory=self.transport)
        wait()
        taken = []
        for start in range(0, self.COUNT, 5):
            taken += [each.offset for each in file.lock_all(file.control.recipients[start : start + 5])]
        return taken

    def assertSharedOut(self, *takers: Work) -> None:
        self.put(HEAD + SENDER + RECIPIENT * self.COUNT + HEADER)
        results = together(*takers)
        shares = [share for share in results if isinstance(share, list)]
        self.assertEqual(len(shares), len(takers))
        everything = [recipient.offset for recipient in parse(self.octets(), "77").recipients]
        self.assertEqual(sorted(offset for share in shares for offset in share), everything)
        owners = {recipient.owner for recipient in parse(self.octets(), "77").recipients}
        self.assertEqual(len(owners), sum(1 for share in shares if share))

    def test_row_80_each_recipient_is_taken_by_exactly_one(self) -> None:
        self.assertSharedOut(self.singly, self.singly)

    def test_row_80_also_when_many_are_taken_at_once(self) -> None:
        self.assertSharedOut(self.singly, self.at_once, self.at_once)

    def test_a_recipient_that_goes_from_hand_to_hand_is_never_in_two(self) -> None:
        self.put()
        path = os.path.join(self.transport, "77")

        def juggle(wait: Callable[[], None]) -> int:
            """Count how often the recipient was not ours between lock and release."""
            wrong = 0
            with OpenControlFile.open("77", directory=self.transport) as file, open(path, "rb") as other:
                recipient = only(parse(BASE, "77"))
                wait()
                for _ in range(1500):
                    if file.lock(recipient):
                        wrong += os.pread(other.fileno(), 7, 45) != b"~%6d" % os.getpid()
                        wrong += not file.release(recipient)
            return wrong

        self.assertEqual(together(juggle, juggle), [0, 0])
        self.assertEqual(self.octets(), BASE)

    def test_row_81_two_hosts_of_one_file(self) -> None:
        count = 100
        hosts = [b"x.org", b"y.org"]
        recipients = b"".join(
            b"r           smtp %b u@x 99\n" % hosts[number % 2] for number in range(2 * count)
        )
        self.put(HEAD + SENDER + recipients + HEADER)

        def deliver(host: bytes, wait: Callable[[], None]) -> int:
            file = OpenControlFile.open("77", directory=self.transport)
            wait()
            mine = [each for each in file.control.recipients if each.quad.host == host]
            done = 0
            for recipient in mine:
                assert file.lock(recipient)
                file.append_diagnostic(LINE % (recipient.offset, host * (recipient.offset % 90)))
                done += file.failed(recipient)
            return done

        self.assertEqual(together(partial(deliver, b"x.org"), partial(deliver, b"y.org")), [count, count])
        control = parse(self.octets(), "77")
        self.assertEqual({chr(each.tag) for each in control.recipients}, {"-"})
        self.assertEqual(control.problems, [])
        told = {each.recipient_offset: each.text for each in control.diagnostics}
        expected = {each.offset: each.quad.host * (each.offset % 90) for each in control.recipients}
        self.assertEqual(told, expected)


class Death(SpoolTest):
    """An agent is killed."""

    def test_row_82_sigkill_leaves_the_lock_and_nobody_takes_it(self) -> None:
        self.put()

        def die(wait: Callable[[], None]) -> None:
            wait()
            file = OpenControlFile.open("77", directory=self.transport)
            file.lock(only(file.control))
            os.write(locked, b"!")
            signal.pause()

        ready, locked = os.pipe()
        children = Children(die)
        children.start()
        os.read(ready, 1)
        pid = children.kill()
        os.close(ready)
        os.close(locked)
        self.assertEqual(self.octets()[45:52], b"~%6d" % pid)
        file = self.again()
        self.assertFalse(file.lock(only(file.control)))
        self.assertTrue(file.clear_stale(only(file.control)))
        self.assertEqual(self.octets()[45:52], b" " * 7)
        self.assertTrue(file.lock(only(file.control)))
