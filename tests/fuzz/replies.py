"""What servers say, to a pure session: SMTP and LMTP, in every manner, in pieces, and out of turn.

An input begins with a line that sets the world; behind it each record separator begins a move.  An empty move
is the proper answer to all that is awaited, unit separators cut a move into pieces, `~` in front of it lets
nothing leave us before, and `!` lets nothing arrive at the server.
"""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.smtp.test_any_server import Mail, Move, Run, World
from zsmtp.policy import Outcome
from zsmtp.smtp.event import Broken, TransactionFinished
from zsmtp.smtp.manner import Tls
from zsmtp.smtp.reply import LINE_KEPT, UNREAD_KEPT
from zsmtp.smtp.session import State

__all__ = ["REPLIES"]

_MOVE, _CUT = b"\x1e", b"\x1f"
_MOST_MOVES = 40
_MAILS = (
    (Mail(1, ()), Mail(2, (20,))),
    (Mail(3, (3, 20)), Mail(1, ()), Mail(1, (20,))),
    (Mail(2, (70000,)), Mail(1, (3,))),
    (Mail(2, (-1,)), Mail(2, ())),
)


def _world(line: bytes) -> World:
    """Read which offers (letters a to h), and words of one letter: L, T, R (TLS), A, 0 to 3."""
    offers = frozenset(octet - 97 for octet in line if 97 <= octet <= 104)
    tls = Tls.REQUIRED if b"R" in line else Tls.OPPORTUNISTIC if b"T" in line else Tls.NEVER
    number = next((octet - 48 for octet in line if 48 <= octet <= 51), 0)
    return World(offers, b"L" in line, tls, b"A" in line, _MAILS[number])


def _move(text: bytes) -> Move:
    takes = not text.startswith(b"~")
    flushes = not text.startswith((b"~", b"!"))
    octets = text.lstrip(b"~!") if not (takes and flushes) else text
    cuts: list[int] = []
    for piece in octets.split(_CUT)[:-1]:
        cuts.append((cuts[-1] if cuts else 0) + len(piece))
    whole = octets.replace(_CUT, b"")
    return Move(whole or None, takes=takes, flushes=flushes, cuts=tuple(cuts))


def _check(octets: bytes) -> None:
    first, *moves = octets.split(_MOVE)[: _MOST_MOVES + 1]
    run = Run(_world(first))
    for text in moves:
        run.make(_move(text), split=True)
        _bounded(run)
    if run.session.state is not State.OVER:
        run.hear(run.session.lost())
    assert run.session.state is State.OVER
    assert run.session.take() == b""
    finished = [event.transaction.key for event in run.events if isinstance(event, TransactionFinished)]
    assert len(finished) == len(set(finished)) == len(run.begun), "each message is told of once"
    assert sum(isinstance(event, Broken) for event in run.events) <= 1
    for verdict in run.verdicts():
        assert verdict.status[:1].decode() == verdict.outcome.value
        assert verdict.text
        assert not (verdict.maybe_delivered and verdict.outcome is not Outcome.DEFERRED)


def _bounded(run: Run) -> None:
    reader = run.session._reader
    assert len(reader._partial) + sum(map(len, reader._lines)) <= 2 * (UNREAD_KEPT + LINE_KEPT)
    asked = sum(len(one.recipients) + 8 for one in run.begun)
    assert len(run.session._awaited) <= asked + 2


REPLIES = Target(
    "replies",
    [
        b"0" + _MOVE * 12,
        b"a1" + _MOVE * 12,
        b"ab0" + _MOVE * 12,
        b"abfg2" + _MOVE * 14,
        b"La1" + _MOVE * 14,
        b"L1" + _MOVE * 20,
        b"acT0" + _MOVE * 12,
        b"cR1" + _MOVE * 14,
        b"dA0" + _MOVE * 14,
        b"LadA3" + _MOVE * 12,
        b"a1"
        + _MOVE * 3
        + b"250 a\r\n250 b\r\n550 5.1.1 c\r\n250 d\r\n354 e\r\n"
        + _MOVE
        + b"250 f\r\n"
        + _MOVE * 3,
        b"La1" + _MOVE * 4 + b"250 one\r\n452-4.2.2 two\r\n452 4.2.2 full\r\n250 three\r\n" + _MOVE * 4,
        b"ah0"
        + _MOVE
        + b"220-x ESMTP\r\n220 y\r\n"
        + _MOVE
        + b"250-x\r\n250-LIMITS RCPTMAX=1\r\n250 SIZE 10\r\n",
    ],
    [
        *(
            b"%d x\r\n" % code
            for code in (220, 221, 235, 250, 334, 354, 421, 450, 452, 500, 502, 530, 550, 554)
        ),
        b"250-",
        b"250-x\r\n",
        b"250",
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        _MOVE,
        _MOVE + b"~",
        _MOVE + b"!",
        _CUT,
        b"250-STARTTLS\r\n",
        b"250-AUTH LOGIN PLAIN\r\n",
        b"250-CHUNKING\r\n",
        b"250-PIPELINING\r\n",
        b"2.1.0 ",
        b"5.9999.1 ",
        b"L",
        b"R",
        b"A",
        b"x" * 600,
        b"250-x\r\n" * 40,
    ],
    _check,
)
