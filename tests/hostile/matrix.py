"""What a server can do instead of one proper reply, at every step, over every way: behaviours by rule.

A `Fault` takes the place of one reply of a server that is otherwise in order; what must come of it follows
from its kind, the step that it replaces and the way that the message goes.  No message goes in chunks before
another has gone through, so there one goes ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from tests.hostile.behaviour import Behaviour, Expected, Mail
from tests.hostile.witness import Doctor
from zsmtp.testing.peer import Action, Drip, Flood, Send, Turn, Wait
from zsmtp.testing.table import Table

__all__ = ["FAULTS", "FEW", "STEPS", "WAYS", "Fault", "Step", "Way", "cases"]


class Kind(Enum):
    """Of which kind a fault is."""

    GOOD = "unusual, and in order"
    GONE = "the end of the connection"
    ALERT = "the end of the connection, by what TLS has for a fault"
    RESET = "the end of the connection, and maybe of replies before it"
    LATE = "not in time"
    ABSURD = "a whole reply that has no meaning here"
    GARBAGE = "no reply"
    CLOSING = "421"
    SURPLUS = "more than one reply at once"
    SURPLUS_LATE = "another reply somewhat later"
    MISSING = "no reply, and the others as if nothing were"


class Fault(NamedTuple):
    """`treat` makes of the usual reply what is done instead; `in_tls` is for what there is only under TLS."""

    name: str
    kind: Kind
    treat: Callable[[bytes], Sequence[Action]]
    in_tls: bool = False


class Step(NamedTuple):
    """One reply: the `turn`-th of a stage of the table."""

    name: str
    stage: str
    turn: int = 1
    takes: int = 250

    @property
    def is_secure(self) -> bool:
        """Whether TLS has begun, where it is taken."""
        return self.stage not in ("banner", "starttls") and (self.stage != "ehlo" or self.turn > 1)


class Way(NamedTuple):
    """How a message goes."""

    name: str
    announce: tuple[str, ...]
    options: frozenset[str] = frozenset()
    is_rare: bool = True

    @property
    def is_lmtp(self) -> bool:
        """Whether each recipient has a final reply."""
        return "lmtp" in self.options

    @property
    def is_grouped(self) -> bool:
        """Whether commands go out together."""
        return "PIPELINING" in self.announce

    @property
    def is_secure(self) -> bool:
        """Whether TLS begins before the message."""
        return "tls" in self.options

    @property
    def is_chunked(self) -> bool:
        """Whether the text goes without asking for leave."""
        return "CHUNKING" in self.announce


def _code(usual: bytes) -> bytes:
    return usual[:3]


def _before(usual: bytes, *texts: bytes) -> bytes:
    return b"".join(_code(usual) + b"-" + text + b"\r\n" for text in texts) + usual


def _opened(usual: bytes) -> bytes:
    return _code(usual) + b"-o\r\n"


def _mistaken(usual: bytes) -> bytes:
    return b"250" if usual.startswith(b"3") else b"354"


_PAUSE = Wait(0.2)

FAULTS = (
    Fault("closes", Kind.GONE, lambda usual: [Turn.CLOSE]),
    Fault("closes in a line", Kind.GONE, lambda usual: [Send(usual[:5]), Turn.CLOSE]),
    Fault("closes in a reply", Kind.GONE, lambda usual: [Send(_opened(usual)), Turn.CLOSE]),
    Fault("ends its side", Kind.GONE, lambda usual: [Turn.HALF_CLOSE, Turn.SILENCE]),
    Fault("resets", Kind.RESET, lambda usual: [Turn.RESET]),
    Fault("cuts off", Kind.GONE, lambda usual: [Turn.CUT], in_tls=True),
    Fault("cuts off in a reply", Kind.GONE, lambda usual: [Send(_opened(usual)), Turn.CUT], in_tls=True),
    Fault("cuts off in a line", Kind.GONE, lambda usual: [Send(usual[:-2]), Turn.CUT], in_tls=True),
    Fault("sends an alert", Kind.ALERT, lambda usual: [Turn.ALERT], in_tls=True),
    Fault("sends an alert in a line", Kind.ALERT, lambda usual: [Send(usual[:-2]), Turn.ALERT], in_tls=True),
    Fault("falls silent", Kind.LATE, lambda usual: [Turn.SILENCE]),
    Fault("falls silent in a line", Kind.LATE, lambda usual: [Send(usual[:5]), Turn.SILENCE]),
    Fault("answers late", Kind.LATE, lambda usual: [Wait(1.5), Send(usual)]),
    Fault("drips octets", Kind.LATE, lambda usual: [Drip(_octets(_code(usual) + b"-" + b"." * 15), 0.1)]),
    Fault("drips lines", Kind.LATE, lambda usual: [Drip((_code(usual) + b"-x\r\n",) * 8, 0.2)]),
    Fault("says 421 and closes", Kind.CLOSING, lambda usual: [Send(b"421 4.3.2 closing\r\n"), Turn.CLOSE]),
    Fault("says 421 and stays", Kind.CLOSING, lambda usual: [Send(b"421 4.3.2 closing\r\n"), Turn.SILENCE]),
    Fault("says 199", Kind.ABSURD, lambda usual: [Send(b"199 x\r\n")]),
    Fault("takes 2yz for 3yz", Kind.ABSURD, lambda usual: [Send(_mistaken(usual) + b" x\r\n")]),
    Fault("says 650", Kind.ABSURD, lambda usual: [Send(b"650 x\r\n")]),
    Fault("says 000", Kind.ABSURD, lambda usual: [Send(b"000 x\r\n")]),
    Fault("says nonsense", Kind.GARBAGE, lambda usual: [Send(b"nonsense\r\n")]),
    Fault("says nothing in a line", Kind.GARBAGE, lambda usual: [Send(b"\r\n")]),
    Fault("sends binary", Kind.GARBAGE, lambda usual: [Send(bytes(range(256)) + b"\r\n")]),
    Fault("sends two codes", Kind.GARBAGE, lambda usual: [Send(_code(usual) + b"-a\r\n" + b"299 b\r\n")]),
    Fault("floods with lines", Kind.GARBAGE, lambda usual: [Flood(_code(usual) + b"-x\r\n", None)]),
    Fault("floods with octets", Kind.GARBAGE, lambda usual: [Flood(b"2" * 1000, None)]),
    Fault("floods with replies", Kind.SURPLUS, lambda usual: [Flood(usual, None)]),
    Fault("talks ahead", Kind.SURPLUS, lambda usual: [Send(usual + b"250 a\r\n250 b\r\n354 c\r\n250 d\r\n")]),
    Fault("answers twice", Kind.SURPLUS, lambda usual: [Send(usual + usual)]),
    Fault("answers twice, with a pause", Kind.SURPLUS_LATE, lambda usual: [Send(usual), _PAUSE, Send(usual)]),
    Fault("forgets to answer", Kind.MISSING, lambda usual: []),
    Fault("answers octet by octet", Kind.GOOD, lambda usual: [Drip(_octets(usual), 0.001)]),
    Fault("answers without CR", Kind.GOOD, lambda usual: [Send(usual.replace(b"\r\n", b"\n"))]),
    Fault("answers in many lines", Kind.GOOD, lambda usual: [Send(_before(usual, *[b"x"] * 50))]),
    Fault("answers in long lines", Kind.GOOD, lambda usual: [Send(_before(usual, b"x" * 20_000))]),
    Fault("answers with controls", Kind.GOOD, lambda usual: [Send(_before(usual, b"\0\1\t\x7f\x1b"))]),
    Fault("answers without a text", Kind.GOOD, lambda usual: [Send(_code(usual) + b"\r\n")]),
)  # fmt: skip
FEW = frozenset(
    {
        "closes", "closes in a reply", "resets", "falls silent", "answers late", "says 421 and closes",
        "says 199", "takes 2yz for 3yz", "says nonsense", "floods with lines", "answers twice",
        "answers twice, with a pause", "forgets to answer", "answers octet by octet",
    }
)  # fmt: skip
"""the faults that the less common ways meet"""
STEPS = (
    Step("the greeting", "banner"),
    Step("EHLO", "ehlo"),
    Step("STARTTLS", "starttls"),
    Step("EHLO under TLS", "ehlo", turn=2),
    Step("MAIL", "mail"),
    Step("the first recipient", "rcpt"),
    Step("the last recipient", "rcpt", turn=2),
    Step("DATA", "data", takes=354),
    Step("the end", "dot"),
    Step("the second end", "dot", turn=2),
    Step("QUIT", "quit"),
)
WAYS = (
    Way("one by one", (), is_rare=False),
    Way("in a group", ("PIPELINING",), is_rare=False),
    Way("in chunks", ("CHUNKING",)),
    Way("in chunks and a group", ("CHUNKING", "PIPELINING")),
    Way("in LMTP", ("PIPELINING",), frozenset({"lmtp"})),
    Way("in LMTP over UNIX", (), frozenset({"lmtp", "unix"})),
    Way("in LMTP and chunks", ("CHUNKING", "PIPELINING"), frozenset({"lmtp", "unix"})),
    Way("over TLS", ("STARTTLS", "PIPELINING"), frozenset({"tls"})),
)
_STATUS = {
    Kind.GONE: "4.4.2", Kind.ALERT: "4.4.2", Kind.RESET: "4.4.2", Kind.LATE: "4.4.2", Kind.MISSING: "4.4.2",
    Kind.ABSURD: "4.5.0", Kind.GARBAGE: "4.5.0", Kind.CLOSING: "4.3.2", Kind.SURPLUS: "4.5.0",
    Kind.SURPLUS_LATE: "4.5.0",
}  # fmt: skip


_UNTOUCHED = frozenset({Kind.GONE, Kind.ALERT, Kind.RESET, Kind.LATE, Kind.GARBAGE, Kind.CLOSING})
"""at MAIL the server has said nothing of the message yet, and gets it once more"""


def cases(way: Way) -> Iterator[tuple[Behaviour, Doctor]]:
    """Give every fault at every step of a way."""
    for step in STEPS:
        if step.stage == "data" and way.is_chunked:
            continue
        if step.name == "the second end" and not way.is_lmtp:
            continue
        if step.name in ("STARTTLS", "EHLO under TLS") and not way.is_secure:
            continue
        for fault in FAULTS:
            if way.is_rare and not fault.in_tls and fault.name not in FEW:
                continue
            if fault.in_tls and not (way.is_secure and step.is_secure):
                continue
            came = _what_comes(fault.kind, step, way)
            if came is not None:
                yield _behaviour(fault, step, way, came), _doctor(fault, step, way)


class _Came(NamedTuple):
    """What must come of it: for both recipients, how many connections, how many recipients arrive."""

    first: Expected
    second: Expected
    connections: range = range(1, 2)
    arrives: range = range(1)


_OK = Expected(("ok3",))


def _what_comes(kind: Kind, step: Step, way: Way) -> _Came | None:
    if kind is Kind.SURPLUS_LATE and step.stage != "quit":
        # on a busy machine both replies may arrive together
        return _either(_step(kind, step, way), _step(Kind.SURPLUS, step, way))
    return _step(kind, step, way)


def _step(kind: Kind, step: Step, way: Way) -> _Came | None:
    if kind is Kind.GOOD or step.stage == "quit":
        return _Came(_OK, _OK, arrives=range(2, 3))
    if step.name in ("STARTTLS", "EHLO under TLS"):
        return _unsecured(kind, step, way)
    if step.stage in ("banner", "ehlo"):
        return _unopened(kind, step, way)
    if step.stage == "dot":
        return _at_the_end(kind, step, way)
    return _in_the_envelope(kind, step, way)


def _unopened(kind: Kind, step: Step, way: Way) -> _Came:
    """Everybody hears the same; whoever does not like EHLO is met with HELO."""
    status = _STATUS[kind]
    retry = Expected(("retryat",), (status,))
    elsewhere = _Came(_OK, _OK, range(2, 3), range(2, 3))
    if kind is Kind.SURPLUS_LATE and way.is_secure and step.stage == "ehlo":
        # it is taken for the answer to STARTTLS, and the handshake fails
        return elsewhere
    if kind is Kind.SURPLUS_LATE:
        return _shifted(way._replace(announce=()))
    if step.stage == "banner":
        if kind is Kind.RESET:
            retry = Expected(("retryat", "deferall"), (status, "4.4.1"))
        if kind is Kind.SURPLUS and not way.is_lmtp:
            return elsewhere
    elif kind is not Kind.SURPLUS and not way.is_lmtp:
        return elsewhere
    return _Came(retry, retry)


def _unsecured(kind: Kind, step: Step, way: Way) -> _Came:
    """Without TLS where it will not begin; never where somebody meddles, nor back to clear text from TLS."""
    retry = Expected(("retryat",), (_STATUS[kind],))
    if step.name == "STARTTLS" and kind not in (Kind.ABSURD, Kind.GARBAGE, Kind.SURPLUS):
        return _Came(_OK, _OK, range(2, 3), range(2, 3))
    if kind is Kind.ALERT:  # of TLS 1.3: what the server has against the handshake comes behind it
        return _Came(_OK, _OK, range(2, 3), range(2, 3))
    return _shifted(way) if kind is Kind.SURPLUS_LATE else _Came(retry, retry)


def _in_the_envelope(kind: Kind, step: Step, way: Way) -> _Came:
    status = _STATUS[kind]
    deferred = Expected(("deferred",), (status,))
    is_sent = way.is_chunked and way.is_grouped  # the text is on its way with the envelope
    if kind is Kind.MISSING and way.is_grouped and step.stage != "data":
        deferred = Expected(("deferred",), ("4.5.0",))
    if step.stage == "data" and kind is Kind.SURPLUS_LATE:
        back = Expected(("deferback",), (status,))
        return _Came(back, back, arrives=range(2, 3))
    if kind is Kind.SURPLUS_LATE or (kind is Kind.SURPLUS and is_sent):
        return _shifted(way)
    if step.stage == "mail" and not is_sent and kind in _UNTOUCHED:
        return _Came(_OK, _OK, range(2, 3), range(2, 3))
    if step.stage == "mail" and kind is Kind.MISSING and not way.is_grouped:
        return _Came(_OK, _OK, range(2, 3), range(2, 3))
    if is_sent:
        either = Expected(("deferred", "deferback"), ("4.",))
        return _Came(either, either, arrives=range(3))
    if kind is Kind.RESET and way.is_grouped:
        # it may have taken the reply to MAIL with it
        either = Expected(("deferred", "ok3"), (status, ""))
        return _Came(either, either, range(1, 3), range(3))
    return _Came(deferred, deferred)


def _at_the_end(kind: Kind, step: Step, way: Way) -> _Came | None:
    status = _STATUS[kind]
    back = Expected(("deferback",), (status,))
    is_blind = way.is_chunked and way.is_grouped
    in_doubt = Expected(("ok3", "deferback"), ("",))
    if is_blind and kind in (Kind.SURPLUS, Kind.SURPLUS_LATE):
        return _Came(in_doubt, in_doubt, arrives=range(3))  # one is too many, and nobody knows which
    if kind in (Kind.SURPLUS, Kind.SURPLUS_LATE):
        return _Came(_OK, _OK, arrives=range(2, 3))
    if not way.is_lmtp:
        return _Came(back, back, arrives=range(3))
    if kind is Kind.MISSING and step.turn == 1:
        return None  # the reply for the second recipient cannot be told from the one that is missing
    own = Expected(("deferred",), (status,)) if kind is Kind.CLOSING else back
    if step.turn == 1:
        return _Came(own, back, arrives=range(3))
    first = in_doubt if kind is Kind.RESET or (is_blind and kind is Kind.ABSURD) else _OK
    return _Came(first, own, arrives=range(1, 3))


def _shifted(way: Way) -> _Came:
    """One reply too many: each command takes the answer to the one before it, until one does not fit."""
    if way.is_chunked:
        # told by the marks of the replies
        either = Expected(("deferred", "deferback"), ("4.5.0",))
        return _Came(either, either, arrives=range(3))
    deferred = Expected(("deferred", "retryat"), ("4.5.0",))
    return _Came(deferred, deferred)


def _either(one: _Came | None, other: _Came | None) -> _Came:
    assert one is not None and other is not None
    both = [
        Expected(a.words + b.words, a.statuses + b.statuses)
        for a, b in ((one.first, other.first), (one.second, other.second))
    ]
    return _Came(
        both[0], both[1], *map(_spanning, (one.connections, one.arrives), (other.connections, other.arrives))
    )


def _spanning(one: range, other: range) -> range:
    return range(min(one.start, other.start), max(one.stop, other.stop))


def _behaviour(fault: Fault, step: Step, way: Way, came: _Came) -> Behaviour:
    ahead = _goes_ahead(step, way)
    return Behaviour(
        f"a server that {fault.name} at {step.name} {way.name}",
        lambda: [[Table(announce=way.announce, lmtp=way.is_lmtp)]],
        ((_OK,),) * ahead + ((came.first, came.second),),
        options=way.options,
        timeouts={"command": 1.0, "data": 1.0, "dot": 1.0} if fault.kind in (Kind.LATE, Kind.MISSING) else {},
        mails=(Mail(),) * ahead + (Mail(recipients=2),),
        connections=came.connections,
        arrives=range(came.arrives.start + ahead, came.arrives.stop + ahead),
        # whoever answers too much cannot say that the client is too fast
        is_strict=fault.kind not in (Kind.SURPLUS, Kind.SURPLUS_LATE),
    )


def _goes_ahead(step: Step, way: Way) -> int:
    """How many messages go before the one that meets the fault."""
    return int(way.is_chunked and step.stage in ("mail", "rcpt", "dot"))


def _doctor(fault: Fault, step: Step, way: Way) -> Doctor:
    goes_on = fault.kind in (Kind.GOOD, Kind.LATE, Kind.SURPLUS, Kind.SURPLUS_LATE, Kind.MISSING)
    return Doctor(step.stage, step.turn + _goes_ahead(step, way), step.takes if goes_on else 500, fault.treat)


def _octets(octets: bytes) -> tuple[bytes, ...]:
    return tuple(octets[index : index + 1] for index in range(len(octets)))
