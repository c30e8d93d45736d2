"""Scripts at work: a dialogue of `zsmtp.testing.script` as a peer.

    server = Script('''
        S: 220 mx.example ESMTP
        C: EHLO *
        S: 250-mx.example
        S: 250 PIPELINING
        -- repeat
        C: MAIL FROM:<*> ...
        S: 250 sender
        C: RCPT TO:<*> ...
        S: 250 recipient
        C: DATA
        S: 354 go on
        C-data:
        S: 250 thanks
        -- end
        C: QUIT
        S: 221 bye
    ''')

The order of `S:` and `C:` says who waits for whom.  A strict peer holds the client to it: nothing may have
come that the script has not asked for when an `S:` line is due, and nothing at its end.  A lenient one takes
what comes ahead when its turn comes, so that this script fits clients with and without PIPELINING.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from zsmtp.testing.peer import (
    Action,
    Ask,
    DataReader,
    Drip,
    Envelope,
    Flood,
    Message,
    Turn,
    Wait,
    append,
)
from zsmtp.testing.script import (
    Hear,
    HearChunk,
    HearClose,
    HearData,
    HearOctets,
    Pace,
    Pause,
    Perform,
    Pour,
    Prompt,
    Repeat,
    Say,
    Step,
    read,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

__all__ = ["Script", "ScriptPeer"]

_BDAT = re.compile(rb"(?i)BDAT (([0-9]{1,20})( LAST)?)")
_SHOWN = 200


class _OutOfPlace(Exception):
    """The client did something else than the script says."""


class Script:
    """A dialogue as a behaviour; every connection plays it from its beginning.

    With `keep=False` the texts of messages are counted and thrown away: for bodies larger than memory.
    """

    def __init__(self, text: str, *, strict: bool = False, keep: bool = True) -> None:
        self.steps = read(text)
        self._strict = strict
        self._keep = keep

    def peer(self) -> ScriptPeer:
        """Return a peer that stands before the first step."""
        return ScriptPeer(self.steps, strict=self._strict, keep=self._keep)


class ScriptPeer:
    """One run through a script.

    `awaiting` is the expectation that is not met yet, as the script wrote it; empty when there is none.
    `is_over` says that the script has been played, to its end or to the first problem.
    """

    def __init__(self, steps: tuple[Step, ...], *, strict: bool = False, keep: bool = True) -> None:
        self.messages: list[Message] = []
        self.problems: list[str] = []
        self.awaiting = ""
        self.is_over = False
        self._strict = strict
        self._keep = keep
        self._buffer = bytearray()
        self._actions: list[Action] = []
        self._pace = Pace(0.0, False)
        self._envelope = Envelope()
        self._chunks: list[bytes] = []
        self._chunked = 0
        self._started = False
        self._secured = False
        self._is_alone = False  # the client has closed
        self._reads = True  # a server that has stopped reading keeps the connection
        self._minds_more = True  # whether octets after the end of the script are a problem
        self._play = self._whole(steps)

    def connected(self) -> list[Action]:
        """Begin."""
        self._started = True
        return self._advance()

    def receive(self, octets: bytes) -> list[Action]:
        """Play on with what the client sent."""
        self._buffer += octets
        return self._advance()

    def secured(self) -> list[Action]:
        """Play on after `-- starttls`."""
        self._secured = True
        return self._advance()

    def closed(self) -> list[Action]:
        """Play on without the client."""
        self._is_alone = True
        return self._advance()

    def _advance(self) -> list[Action]:
        if self._started and not self.is_over:
            next(self._play, None)
        if self.is_over and self._buffer:
            if self._minds_more and not self.problems:
                self.problems.append(f"after the end of the script the client sent {_shown(self._buffer)}")
            self._buffer.clear()
        actions, self._actions = self._actions, []
        return actions

    # The script as a coroutine: it pauses where it needs something from outside.

    def _whole(self, steps: tuple[Step, ...]) -> Generator[None]:
        try:
            yield from self._block(steps)
            if self._reads:
                self._actions.append(Turn.LEAVE)
        except _OutOfPlace as error:
            self.problems.append(str(error))
            self._actions.append(Turn.CLOSE)
        self.awaiting = ""
        self.is_over = True

    def _block(self, steps: Iterable[Step]) -> Generator[None]:
        for step in steps:
            match step:
                case Say():
                    self._say(step.octets)
                case Hear():
                    yield from self._hear(step)
                case HearData():
                    yield from self._hear_data(step)
                case HearChunk():
                    yield from self._hear_chunk(step)
                case HearOctets():
                    while len(self._buffer) < step.number:
                        yield from self._more(f"C-octets: {step.number}")
                    self._buffer.clear()
                case HearClose():
                    while not self._is_alone:
                        self._expect_quiet("should close")
                        yield from self._more("C-close")
                case Perform():
                    yield from self._perform(step.turn)
                case Pause():
                    self._actions.append(Wait(step.seconds))
                case Pace():
                    self._pace = step
                case Pour():
                    self._actions.append(Flood(step.octets, step.times))
                case Prompt():
                    self._actions.append(Ask(step.name))
                case Repeat():
                    yield from self._repeat(step)

    def _say(self, octets: bytes) -> None:
        if self._strict:
            self._expect_quiet(f"should wait for {octets!r}")
        if not self._pace.seconds:
            append(self._actions, octets)
        elif self._pace.by_line:
            self._actions.append(Drip(tuple(octets.splitlines(keepends=True)), self._pace.seconds))
        else:
            pieces = tuple(octets[index : index + 1] for index in range(len(octets)))
            self._actions.append(Drip(pieces, self._pace.seconds))

    def _perform(self, turn: Turn) -> Generator[None]:
        if turn is Turn.SECURE:
            # what came before the handshake would be taken for secure: no client may send it
            self._expect_quiet("should begin TLS")
        self._actions.append(turn)
        match turn:
            case Turn.SECURE:
                self._secured = False
                while not self._secured:
                    yield from self._more("the TLS handshake")
            case Turn.SILENCE:
                self.awaiting = ""
                while True:
                    self._buffer.clear()
                    yield
            case Turn.STOP_READING:
                self._reads = False
            case Turn.CLOSE | Turn.RESET | Turn.CUT | Turn.ALERT:
                self._minds_more = False

    def _repeat(self, step: Repeat) -> Generator[None]:
        if step.times is not None:
            for _ in range(step.times):
                yield from self._block(step.steps)
            return
        first = step.steps[0]
        assert isinstance(first, Hear | HearChunk)
        while True:
            while b"\n" not in self._buffer:
                if self._is_alone:
                    return
                yield from self._more(f"C: {first.text}")
            line = bytes(self._buffer[: self._buffer.index(b"\n")]).removesuffix(b"\r")
            if isinstance(first, Hear):
                matches = first.pattern.fullmatch(line)
            else:
                found = _BDAT.fullmatch(line)
                matches = found and first.pattern.fullmatch(found[1])
            if not matches:
                return
            yield from self._block(step.steps)

    # Reading

    def _more(self, wanted: str) -> Generator[None]:
        if self._is_alone:
            raise _OutOfPlace(f"the client closed the connection where {wanted!r} was expected")
        self.awaiting = wanted
        yield
        self.awaiting = ""

    def _expect_quiet(self, instead: str) -> None:
        if self._buffer:
            raise _OutOfPlace(f"the client sent {_shown(self._buffer)} where it {instead}")

    def _line(self, wanted: str) -> Generator[None, None, bytes]:
        while b"\n" not in self._buffer:
            yield from self._more(wanted)
        end = self._buffer.index(b"\n") + 1
        line = bytes(self._buffer[:end])
        del self._buffer[:end]
        if not line.endswith(b"\r\n"):
            raise _OutOfPlace(f"{wanted!r} was expected and a line without CR came: {_shown(line)}")
        return line[:-2]

    def _hear(self, step: Hear) -> Generator[None]:
        line = yield from self._line(f"C: {step.text}")
        if not step.pattern.fullmatch(line):
            raise _OutOfPlace(f"'C: {step.text}' was expected, the client sent {_shown(line)}")
        self._envelope.note(line)

    def _hear_data(self, step: HearData) -> Generator[None]:
        reader = DataReader(keep=self._keep or step.octets is not None)
        while (rest := reader.feed(self._take())) is None:
            yield from self._more("C-data:")
        self._buffer += rest
        if step.octets is not None and reader.text != step.octets:
            raise _OutOfPlace(
                f"the text {_shown(step.octets)} was expected, the client sent {_shown(reader.text)}"
            )
        self.messages.append(self._envelope.message(reader.text, reader.size))

    def _hear_chunk(self, step: HearChunk) -> Generator[None]:
        line = yield from self._line(f"C-bdat: {step.text}")
        found = _BDAT.fullmatch(line)
        if found is None or not step.pattern.fullmatch(found[1]):
            raise _OutOfPlace(f"'C-bdat: {step.text}' was expected, the client sent {_shown(line)}")
        missing = int(found[2])
        self._chunked += missing
        while missing:
            while not self._buffer:
                yield from self._more(f"{missing} octets of {line!r}")
            piece = bytes(self._buffer[:missing])
            del self._buffer[: len(piece)]
            missing -= len(piece)
            if self._keep:
                self._chunks.append(piece)
        if found[3]:
            self.messages.append(self._envelope.message(b"".join(self._chunks), self._chunked))
            self._chunks.clear()
            self._chunked = 0

    def _take(self) -> bytes:
        taken = bytes(self._buffer)
        self._buffer.clear()
        return taken


def _shown(octets: bytes | bytearray) -> str:
    octets = bytes(octets)
    return repr(octets) if len(octets) <= _SHOWN else f"{octets[:_SHOWN]!r}... ({len(octets)} octets)"
