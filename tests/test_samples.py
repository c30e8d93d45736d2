"""The files in conf/ are what an operator starts from: the programs they are meant for understand them."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.source import ROOT
from zsmtp.options import Settings, parse

# What the scheduler takes; it refuses to start for any other word.
KEYWORDS = {"command", "expiry", "expiry2", "group", "idlemax", "interval", "maxchannel", "maxring", "maxta"}
KEYWORDS |= {"overfeed", "retries", "user"}

WORD = re.compile(r'(\S+?) *= *("[^"]*"|\S+)|(\S+)')


def clauses(text: str) -> dict[str, dict[str, str]]:
    """Read a scheduler.conf: selector or global parameter, to its attributes."""
    found: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        if not line or line.lstrip().startswith("#"):
            continue
        words = [(match[1] or match[3], (match[2] or "").strip('"')) for match in WORD.finditer(line)]
        if not line[0].isspace():
            name, value = words.pop(0)
            current = found[name] = {"": value} if value else {}
        current.update(words)
    return found


class SchedulerConf(SynchronousTestCase):
    """conf/scheduler.conf names zsmtp, with options that it has."""

    def setUp(self) -> None:
        self.clauses = clauses((ROOT / "conf/scheduler.conf").read_text())

    def settings(self, selector: str) -> Settings:
        words = self.clauses[selector]["command"].replace("$channel", selector.partition("/")[0]).split()
        self.assertEqual(words[0], "zsmtp")
        settings = parse(words[1:], words[0])
        assert isinstance(settings, Settings)
        return settings

    def test_defaults_come_before_the_clauses_that_inherit_them(self) -> None:
        self.assertEqual(list(self.clauses), ["PARAMnotifysock", "*/*", "smtp-lmtp/*", "smtp/*"])

    def test_attributes_are_known_to_the_scheduler(self) -> None:
        used = {name for selector, words in self.clauses.items() if "/" in selector for name in words}
        self.assertEqual(used - KEYWORDS, set())

    def test_smtp_clause_is_understood(self) -> None:
        settings = self.settings("smtp/*")
        self.assertEqual((settings.channel, settings.lmtp), ("smtp", False))
        self.assertEqual(settings.log_path, "${LOGDIR}/zsmtp")

    def test_lmtp_clause_is_understood(self) -> None:
        settings = self.settings("smtp-lmtp/*")
        self.assertEqual((settings.channel, settings.lmtp), ("smtp-lmtp", True))
        self.assertEqual(settings.forced, b"UNIX:/run/dovecot/lmtp")
