"""Standard input, output and error of an agent."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.net.console import Console, error_output
from zsmtp.testing.memory import FakeTransport


class _Reactor(Clock):
    stopped = 0

    def stop(self) -> None:
        """See IReactorCore."""
        self.stopped += 1


class _Transport(FakeTransport):
    """Standard input as well: `reads` is what it was told last."""

    reads = True

    def pauseProducing(self) -> None:
        """See IPushProducer."""
        self.reads = False

    def resumeProducing(self) -> None:
        """See IPushProducer."""
        self.reads = True


class Consoles(SynchronousTestCase):
    """A console between a scheduler and an agent."""

    def setUp(self) -> None:
        self.heard: list[Any] = []
        self.reactor = _Reactor()
        self.console = Console(self.reactor)
        self.console.serve(
            self.heard.append, lambda: self.heard.append("end"), lambda: self.heard.append("gone")
        )
        self.transport = _Transport(self.console, automatic=False)
        self.console.makeConnection(self.transport)

    def test_octets_go_both_ways(self) -> None:
        self.console.dataReceived(b"#idle\n")
        self.console.write(b"#hungry\n")
        self.transport.accept()
        self.assertEqual((self.heard, self.transport.take()), ([b"#idle\n"], b"#hungry\n"))

    def test_end_of_input_leaves_the_output_open(self) -> None:
        self.console.readConnectionLost()
        self.console.write(b"1/2\t\tok3 \n")
        self.transport.accept()
        self.assertEqual((self.heard, self.transport.take()), (["end"], b"1/2\t\tok3 \n"))

    def test_end_of_output_is_told_once_and_for_all(self) -> None:
        self.console.writeConnectionLost()
        self.console.write(b"1/2\t\tok3 \n")
        self.assertEqual((self.heard, self.transport.waiting), (["gone"], 0))
        self.console.end()
        self.assertEqual(self.reactor.stopped, 1)

    def test_everything_is_written_before_the_end(self) -> None:
        self.console.write(b"last\n")
        self.console.end()
        self.assertEqual((self.reactor.stopped, self.transport.disconnecting), (0, True))
        self.assertIsNone(self.transport.producer)
        self.transport.accept()
        self.transport.disconnect()
        self.assertEqual((self.reactor.stopped, self.heard), (1, []))
        self.reactor.advance(100)
        self.assertEqual(self.reactor.stopped, 1)

    def test_scheduler_that_never_reads_is_left_in_the_end(self) -> None:
        self.console.write(b"last\n")
        self.console.end()
        self.reactor.advance(59)
        self.assertEqual(self.reactor.stopped, 0)
        self.reactor.advance(1)
        self.assertEqual(self.reactor.stopped, 1)

    def test_nothing_is_read_while_the_agent_has_enough(self) -> None:
        self.console.hold(True)
        self.assertFalse(self.transport.reads)
        self.console.hold(False)
        self.assertTrue(self.transport.reads)

    def test_nothing_is_read_while_the_scheduler_does_not_read(self) -> None:
        self.console.write(b"x" * 70_000)
        self.assertFalse(self.transport.reads)
        self.console.hold(True)
        self.transport.accept()
        self.assertFalse(self.transport.reads)
        self.console.hold(False)
        self.assertTrue(self.transport.reads)

    def test_transport_that_goes_tells_its_producer_in_vain(self) -> None:
        self.transport.disconnect()
        self.console.hold(True)
        self.assertEqual((self.heard, self.transport.reads), (["gone"], True))


class ErrorOutput(SynchronousTestCase):
    """Where comments go."""

    def pipe(self) -> tuple[int, int]:
        """Return a pipe that is closed in the end."""
        ends = os.pipe()
        for end in ends:
            self.addCleanup(os.close, end)
        return ends

    def test_one_file_for_both_is_written_one_way(self) -> None:
        _, end = self.pipe()
        other = os.dup(end)
        self.addCleanup(os.close, other)
        self.assertIsNone(error_output(end, other))

    def test_file_of_its_own_is_written_to(self) -> None:
        (_, output), (heard, errors) = self.pipe(), self.pipe()
        write = error_output(output, errors)
        assert write is not None
        write(b"# hello\n")
        self.assertEqual(os.read(heard, 100), b"# hello\n")

    def test_nobody_waits_for_a_reader_of_comments(self) -> None:
        (_, output), (_, errors) = self.pipe(), self.pipe()
        write = error_output(output, errors)
        assert write is not None
        for _ in range(200):
            write(b"# " + b"x" * 1000 + b"\n")

    def test_reader_of_comments_may_go(self) -> None:
        _, output = self.pipe()
        heard, errors = os.pipe()
        write = error_output(output, errors)
        assert write is not None
        os.close(heard)
        write(b"# hello\n")
        os.close(errors)
        write(b"# hello\n")

    def test_closed_descriptors_are_no_file(self) -> None:
        end, other = os.pipe()
        os.close(end)
        os.close(other)
        self.assertIsNotNone(error_output(end, other))
