"""An agent as a child process, and the scheduler's side of its protocol.

The agent gets one stream socket as its descriptors 0, 1 and 2 and the folder `transport/`, as the scheduler
gives them.  What is said on the socket, and whether it is right, is the business of `zsmtp.testing.feeding`,
which keeps books about every line; here are the process and its end.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from zsmtp.errors import ZsmtpError
from zsmtp.testing.feeding import Feeding
from zsmtp.testing.report import Report, Violation

__all__ = ["AgentFailed", "AgentProcess"]

_REMEMBERED = 12


class AgentFailed(ZsmtpError):
    """An agent did not do what it is for.  The text says what it did instead."""


class _Line(LineOnlyReceiver):
    """Our end of the agent's socket."""

    delimiter = b"\n"
    MAX_LENGTH = 1 << 16

    def __init__(self, agent: AgentProcess) -> None:
        self._agent = agent

    def lineReceived(self, line: bytes) -> None:
        """See LineOnlyReceiver."""
        self._agent.heard(line)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """See IProtocol."""
        self._agent.silent()


class _Process(ProcessProtocol):
    def __init__(self, agent: AgentProcess) -> None:
        self._agent = agent

    def processEnded(self, reason: Failure) -> None:
        """See IProcessProtocol."""
        self._agent.exited(reason)


class AgentProcess:
    """One agent that is fed with what `feeding` has, and then sent home.

    `told` is called for each report.  `ended` fires when the process is gone, with an AgentFailed where it
    did not answer for everything, or not as the protocol demands.  `heard`, `silent` and `exited` are for
    the socket and the process.
    """

    def __init__(
        self,
        reactor: Any,
        channel: str,
        command: Sequence[str],
        feeding: Feeding,
        told: Callable[[Report], None],
    ) -> None:
        self.channel = channel
        self._command = command
        self.pid = 0
        self.ended: Deferred[None] = Deferred()
        self._reactor = reactor
        self._feeding = feeding
        self._told = told
        self._process: Any = None
        self._transport: Any = None
        self._said: deque[str] = deque(maxlen=_REMEMBERED)
        self._fault = ""
        self._exit: str | None = None
        self._is_silent = False

    def start(self, folder: str, environment: Mapping[str, str]) -> None:
        """Start the process in `folder`; raise OSError if that cannot be."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            line = Factory.forProtocol(partial(_Line, self))
            line.noisy = False
            fd = theirs.fileno()
            self._process = self._reactor.spawnProcess(
                _Process(self),
                self._command[0],
                args=list(self._command),
                env=dict(environment),
                path=folder,
                childFDs={0: fd, 1: fd, 2: fd},
            )
            self.pid = self._process.pid
            self._transport = self._reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, line)

    def kill(self) -> None:
        """End the process at once; `ended` fires as ever."""
        if self._exit is None:
            self._process.signalProcess("KILL")
        if not self._is_silent:  # somebody else may hold the other end
            self._transport.abortConnection()

    @property
    def is_over(self) -> bool:
        """Whether the process is gone."""
        return self._exit is not None and self._is_silent

    def heard(self, line: bytes) -> None:
        """Take a line of the agent."""
        self._said.append(line.decode("ascii", "backslashreplace"))
        if self._fault:
            return
        known = len(self._feeding.reports)
        try:
            answers = self._feeding.receive(line)
        except Violation as error:
            self._fault = f"broke the protocol: {error}"
            self._transport.loseWriteConnection()
            return
        for answer in answers:
            self._transport.write(answer)
        for report in self._feeding.reports[known:]:
            self._told(report)
        if self._feeding.is_idle:
            self._transport.write(b"\n")
            self._transport.loseWriteConnection()

    def silent(self) -> None:
        """Nothing more will come from the agent."""
        self._is_silent = True
        self._end()

    def exited(self, reason: Failure) -> None:
        """The process is gone."""
        match reason.value:
            case ProcessTerminated(signal=int(number)):
                self._exit = f"was ended by signal {number}"
            case ProcessTerminated(exitCode=status):
                self._exit = f"ended with exit status {status}"
            case _:
                self._exit = ""
        self._end()

    def _end(self) -> None:
        if not self.is_over or self.ended.called:
            return
        if self._fault:
            self.ended.errback(self.failure(self._fault))
        elif not self._feeding.is_idle:
            self.ended.errback(self.failure(f"{self._exit or 'ended'} before its work was done"))
        elif self._exit:
            self.ended.errback(self.failure(self._exit))
        elif self._feeding.unfed or self._feeding.left_locked(self.pid):
            self.ended.errback(self.failure("left work undone"))
        else:
            self.ended.callback(None)

    def failure(self, why: str) -> AgentFailed:
        """Make the error for what the agent did or did not do."""
        text = f"the agent for channel {self.channel} (process {self.pid}) {why}"
        waiting = len(self._feeding.unanswered) + len(self._feeding.unfed)
        if waiting:
            text += f"; control files that are not done: {waiting}"
        if self._said:
            text += "\nThe last that it said:\n" + "\n".join(f"  {line}" for line in self._said)
        return AgentFailed(text)
