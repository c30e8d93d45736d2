"""The account of each recipient: what the server took, what the agent told, and what stands in the file.

- *lost*: not delivered at the end, and not refused for good; told of as delivered and never taken;
- *lies*: delivered, says the agent, and the server had not answered so; failed, and nobody had refused;
- *unexcused*: taken again although the answer to the first time had reached the client.

A message is closed when all its marks are final, and forgotten: what comes for it afterwards is *damaged*.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tests.real.crashserver import Acceptance
from tests.real.crashspool import Addressee, Letter
from tests.soak.faultserver import FaultConnection, FaultServer
from zsmtp.testing.report import Report

__all__ = ["Ledger"]

_SHOWN = 50


class Ledger:
    """The account of one agent and its server.  `counts` sums up what was closed."""

    def __init__(self, name: str, server: FaultServer) -> None:
        self.name = name
        self.lost: list[str] = []
        self.lies: list[str] = []
        self.unexcused: list[str] = []
        self.counts: Counter[str] = Counter()
        self._server = server
        self._words: dict[bytes, str] = {}
        self._stories: dict[bytes, str] = {}  # all reports of those that were not told of just once

    @property
    def problems(self) -> list[str]:
        """All that is wrong, in words."""
        damaged = [f"{address!r} came damaged, or after it was done" for address in self._server.damaged]
        texts = {"lost": self.lost, "lie": self.lies + damaged, "repeated": self.unexcused}
        return [f"{self.name}: {kind}: {text}" for kind, all_ in texts.items() for text in all_[:_SHOWN]]

    def told(self, addressee: Addressee, report: Report) -> None:
        """Note a report."""
        address, word = addressee.address, report.word
        if report.is_deferral or address in self._stories:
            story = f"{word} {report.notary[3:5]} {report.text[-100:]!r}; "
            self._stories[address] = self._stories.get(address, "") + story
        before = self._words.get(address, "")
        self._words[address] = word
        self.counts[f"reports {word}"] += 1
        if before.startswith(("ok", "error")):
            self.lies.append(f"{address!r}: reported as {word} after {before}")
        if word.startswith("ok") and not any(one.answered_at for one in self._taken(address)):
            self.lies.append(f"{address!r}: reported as delivered, and the server had not said so")
        if word.startswith("error") and not self._was_refused(address):
            text = f"{address!r}: reported as failed, and nobody had refused: {report.text!r}"
            self.lies.append(text)

    def close(self, letter: Letter, marks: dict[Addressee, bytes]) -> None:
        """Settle a message whose marks are final, and forget it."""
        for addressee, mark in marks.items():
            address, word = addressee.address, self._words.pop(addressee.address, "no report")
            taken = self._taken(address)
            self.counts["recipients"] += 1
            self.counts["delivered" if mark == b"+" else "failed"] += 1
            expected = "ok" if mark == b"+" else "error"
            if not word.startswith(expected):
                self.lies.append(f"{address!r}: marked {mark!r}, reported {word}")
            if mark == b"+" and not any(one.answered_at for one in taken):
                self.lost.append(f"{address!r}: marked as delivered, and never taken")
            self._count(address, taken, delivered=mark == b"+")
            self._server.acceptances.pop(address, None)
            self._stories.pop(address, None)
            self._server.refused.discard(address)
        self.counts["messages"] += 1

    def missing(self, letters: Sequence[Letter]) -> None:
        """Note what is not finished when all is over."""
        for letter in letters:
            for addressee in letter.addressees:
                word = self._words.get(addressee.address, "no report")
                self.counts["recipients"] += 1
                self.lost.append(f"{addressee.address!r}: never finished; the last report: {word}")

    def _count(self, address: bytes, taken: list[Acceptance], *, delivered: bool) -> None:
        """Each time but one must have had an answer that the client did not get."""
        certain = [one for one in taken if not _is_doubtful(one)]
        if delivered:
            self.counts["repeated"] += max(0, len(taken) - 1)
        if len(certain) > 1 or (certain and not delivered):
            times = [f"turn {one.turn} of {one.connection!r}" for one in taken]
            story = self._stories.get(address, "")
            self.unexcused.append(
                f"{address!r}: taken {len(taken)} times, {len(certain)} without doubt: {times}; {story}"
            )

    def _taken(self, address: bytes) -> list[Acceptance]:
        return self._server.acceptances.get(address, [])

    def _was_refused(self, address: bytes) -> bool:
        server = self._server
        kind, number, rest = address.split(b"-", 2)
        # as `crashspool` writes them: kind-NUMBER-GROUP INDEX@HOST and sGROUP-NUMBER@HOST
        sender = b"s%s-%s@%s" % (rest[:1], number, rest.partition(b"@")[2])
        return address in server.refused or sender in server.refused_senders or kind == b"never"


def _is_doubtful(acceptance: Acceptance) -> bool:
    connection = acceptance.connection
    assert isinstance(connection, FaultConnection)
    return connection.is_doubtful(acceptance)
