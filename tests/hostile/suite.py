"""Test cases made of behaviours: one method for each, all of a class played together before the first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred
from twisted.trial.unittest import TestCase

from tests.hostile.behaviour import DIALOGUES, Behaviour, read
from tests.hostile.rules import complaints
from tests.hostile.stage import Outcome, play_all
from tests.hostile.witness import Doctor
from zsmtp.net import sender
from zsmtp.smtp import patience

__all__ = ["HostileCase", "Part"]

Part = tuple[Behaviour, Doctor | None]

_SHOWN = 4
_FIXED = ((patience, "RSET_SECONDS"), (patience, "QUIT_SECONDS"), (sender, "QUIT_SECONDS"))
"""waits that no option shortens"""
_SOON = 1.0


class HostileCase(TestCase):
    """Meets the behaviours of a file of `dialogues/`, or those of `parts`."""

    timeout = 100
    _parts: ClassVar[dict[str, Part]] = {}
    _outcomes: ClassVar[dict[str, Outcome | BaseException]]
    _logged: ClassVar[list[str]]

    def __init_subclass__(cls, *, dialogues: str = "", parts: Iterable[Part] = ()) -> None:
        """Give the class a method for each behaviour."""
        if dialogues:
            parts = [(behaviour, None) for behaviour in read(DIALOGUES / dialogues)]
        cls._parts = {behaviour.name: (behaviour, doctor) for behaviour, doctor in parts}
        cls._outcomes = {}
        cls._logged = []
        for name, (behaviour, _) in cls._parts.items():
            method = _method(name)
            if behaviour.todo:
                method.todo = behaviour.todo  # type: ignore[attr-defined]
            setattr(cls, f"test_{name}", method)
        cls.test_nothing_is_logged_as_an_error = _nothing_is_logged  # type: ignore[attr-defined]

    @inlineCallbacks
    def meet(self, name: str) -> Any:
        """Fail unless all went as it must with one behaviour."""
        yield self.played()
        behaviour = self._parts[name][0]
        outcome = self._outcomes[behaviour.title]
        if isinstance(outcome, BaseException):
            raise outcome
        wrong = complaints(behaviour, outcome)
        if wrong:
            self.fail("\n".join([*wrong, *_described(outcome)]))

    def logged(self) -> list[str]:
        """Return the errors that were logged."""
        return self._logged

    def played(self) -> Any:
        """Have all behaviours of the class played, once."""
        cls = type(self)
        if cls._outcomes:
            return None
        for module, name in _FIXED:
            self.patch(module, name, _SOON)

        def keep(outcomes: dict[str, Outcome | BaseException]) -> None:
            cls._outcomes = outcomes
            cls._logged = [str(each) for each in self.flushLoggedErrors()]

        return play_all(list(cls._parts.values())).addCallback(keep)


def _method(name: str) -> Callable[[HostileCase], Deferred[None]]:
    def test(self: HostileCase) -> Deferred[None]:
        result: Deferred[None] = self.meet(name)
        return result

    test.__name__ = f"test_{name}"
    return test


def _nothing_is_logged(self: HostileCase) -> Deferred[None]:
    def look(_: object) -> None:
        self.assertEqual(self.logged(), [])

    return maybeDeferred(self.played).addCallback(look)


def _described(outcome: Outcome) -> list[str]:
    lines = [f"{each}: {each.text!r} {each.diagnostic!r}" for told in outcome.told for each in told if each]
    lines += [f"warned: {warning}" for warning in outcome.warnings]
    for number, conversation in enumerate(outcome.conversations[:_SHOWN], 1):
        lines.append(f"--- connection {number}")
        lines += [f"{piece.who}: {piece.octets[:300]!r}" for piece in conversation.pieces]
    return [line[:1000] for line in lines]
