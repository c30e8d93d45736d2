"""What must hold for every behaviour, and what a behaviour promises: found out from an outcome."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from tests.hostile.behaviour import Behaviour
from tests.hostile.stage import Outcome, Told
from zsmtp.testing.conversation import Conversation

__all__ = ["complaints", "letters"]

_CONTROLS = re.compile(rb"[\x00-\x0c\x0e-\x1f\x7f]")
_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}(?: \(.*\))?")
_CLASSES = {"ok3": "2", "ok2": "2", "error2": "5"}
_LETTERS = {
    b"EHLO": "E", b"LHLO": "L", b"HELO": "H", b"MAIL": "M", b"RCPT": "R", b"RSET": "S", b"NOOP": "N",
    b"QUIT": "Q", b"STARTTLS": "T", b"AUTH": "A",
}  # fmt: skip


def complaints(behaviour: Behaviour, outcome: Outcome) -> list[str]:
    """Return everything that is not as it must be; an empty list if all is well."""
    return [
        *outcome.violations,
        *_truth(behaviour, outcome),
        *_wording(outcome),
        *_promises(behaviour, outcome),
    ]


def _truth(behaviour: Behaviour, outcome: Outcome) -> list[str]:
    """Success is told only where a server answers for it, and what a server has is what was sent."""
    found: list[str] = []
    if outcome.seconds > behaviour.within:
        found.append(f"it took {outcome.seconds:.1f} seconds")
    accepted = Counter(path for receipt in outcome.receipts for path in receipt.accepted)
    ok: Counter[bytes] = Counter()
    texts: dict[bytes, bytes] = {}
    for number, (mail, told) in enumerate(zip(behaviour.mails, outcome.told, strict=True), 1):
        for path, each in zip(mail.paths(number), told, strict=True):
            texts[path] = mail.wire
            if each is None:
                found.append(f"nothing was reported about {path!r}")
            elif each.word.startswith("ok"):
                ok[path] += 1
    for path in ok:
        if ok[path] > accepted[path]:
            found.append(f"FALSE SUCCESS: {path!r} was reported delivered, and no server answers for it")
    if accepted.total() not in behaviour.arrives:
        found.append(f"servers answer for {accepted.total()} recipients, not {_shown(behaviour.arrives)}")
    for each_conversation in outcome.conversations:
        for message in each_conversation.messages:
            expected = {texts.get(path) for path in message.recipients or texts}
            is_nothing = not message.octets  # RFC 2920 3.1: an empty message for nobody
            if message.octets not in expected and not (is_nothing and not _has_receipt(outcome, message)):
                found.append(
                    f"DAMAGED: a server received {message.size} octets for {message.recipients!r}: "
                    f"{message.octets[:100]!r}..."
                )
    return found


def _has_receipt(outcome: Outcome, message: object) -> bool:
    return any(receipt.message is message and receipt.accepted for receipt in outcome.receipts)


def _wording(outcome: Outcome) -> list[str]:
    found: list[str] = []
    for told in outcome.told:
        for each in told:
            if each is None:
                continue
            if _CONTROLS.search(each.text + each.diagnostic):
                found.append(f"control characters of the server are in the report: {each!r}")
            if each.status and not _STATUS.fullmatch(each.status):
                found.append(f"{each.status!r} is no status")
            if each.status and each.status[0] != _CLASSES.get(each.word, "4"):
                found.append(f"the status {each.status} contradicts {each.word}")
    return found


def _promises(behaviour: Behaviour, outcome: Outcome) -> list[str]:
    found: list[str] = []
    for number, (told, expected) in enumerate(zip(outcome.told, behaviour.expected, strict=True), 1):
        pairs = zip(told, expected, strict=True)
        if not all(
            each is not None and each.word in wanted.words and each.status.startswith(wanted.statuses)
            for each, wanted in pairs
        ):
            found.append(f"message {number}: told {_listed(told)}; expected {_listed(expected)}")
    everything = [each for told in outcome.told for each in told if each is not None]
    for wanted_text in behaviour.says:
        if not any(wanted_text in part for each in everything for part in _parts(each)):
            found.append(f"no report says {wanted_text!r}")
    for secret in behaviour.unsaid:
        if any(secret in part for each in everything for part in _parts(each)):
            found.append(f"a report says {secret!r}")
    if behaviour.is_strict:
        found += [f"out of place: {problem}" for each in outcome.conversations for problem in each.problems]
    if len(outcome.conversations) not in behaviour.connections:
        found.append(f"{len(outcome.conversations)} connections, not {_shown(behaviour.connections)}")
    if behaviour.client is not None:
        sent = tuple(letters(each) for each in outcome.conversations)
        if sent != behaviour.client:
            found.append(f"the client said {' | '.join(sent)}, not {' | '.join(behaviour.client)}")
    return found


def _listed(parts: Sequence[object]) -> str:
    return ", ".join(map(str, parts))


def _shown(numbers: range) -> str:
    return f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def _parts(told: Told) -> tuple[bytes, bytes]:
    return told.text, told.diagnostic


def letters(conversation: Conversation) -> str:
    """Abbreviate what the client sent: `E M R R D . Q`; B is BDAT, b one that is not the last."""
    said: list[str] = []
    rest = conversation.client
    in_text = False
    while rest:
        line, _, rest = rest.partition(b"\r\n")
        verb = line.split(b" ", 1)[0].upper()
        if in_text or verb == b"FROM:":
            in_text = True
            if line == b".":
                said.append(".")
                in_text = False
        elif verb == b"BDAT":
            words = line.split()
            said.append("B" if words[2:] else "b")
            rest = rest[int(words[1]) :]
        elif verb == b"DATA":
            said.append("D")
        else:
            said.append("." if line == b"." else _LETTERS.get(verb, "?"))
    return " ".join(said)
