"""What the original smtp(8zm) was recorded doing, and our agent given the same.

The recordings in `tests/reference/recordings` are records, not requirements: where the original is wrong we
do otherwise, and `tests/reference` lists with the reason where.  Every other octet of reports, marks,
commands and mail is the same.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import islice

from twisted.trial.unittest import SynchronousTestCase

from tests.reference import router
from tests.reference.account import account
from tests.reference.differences import SECTIONS, expected, unexplained
from tests.reference.mail import mails
from tests.reference.recording import CASES, ROUTES, Outcome, Recording, Route, SpoolFile
from tests.reference.replay import play
from tests.reference.rules import RULES
from zsmtp import plan
from zsmtp.spool.controlfile import parse
from zsmtp.spool.records import Notify

AT_ONCE = 2 * (os.cpu_count() or 1)
"""Agents that run side by side: they wait for each other's server more than for a processor."""

_players = ThreadPoolExecutor(AT_ONCE)


@cache
def begun(name: str) -> Future[Outcome]:
    """Begin to play a recording."""
    return _players.submit(play, Recording.read(CASES[name]))


def played(name: str) -> Outcome:
    """Play a recording; the next ones, whose tests follow, begin already."""
    names = list(CASES)
    for following in islice(names, names.index(name), names.index(name) + 2 * AT_ONCE):
        begun(following)
    return begun(name).result()


class GivenWhatTheOriginalWasGiven(SynchronousTestCase):
    """One test for each recording: the agent does the same, but for the listed differences."""

    maxDiff = None

    def same(self, name: str) -> None:
        recording = Recording.read(CASES[name])
        outcome = played(name)
        found, wanted = account(outcome, recording.files), expected(recording)
        if found != wanted:
            told = "\n".join(unexplained(found, wanted))
            self.fail(f"{name} ({recording.what}): differences without a reason:\n{told}")
        for connection in outcome.connections:
            for mail in mails(connection):
                self.assertIn(mail.size, (None, len(mail.data)), mail.sender)


def _test(name: str) -> None:
    def test(self: GivenWhatTheOriginalWasGiven) -> None:
        self.same(name)

    test.__doc__ = Recording.read(CASES[name]).what
    setattr(GivenWhatTheOriginalWasGiven, "test_" + name.replace("-", "_"), test)


for _name in CASES:
    _test(_name)


class TheListOfDifferences(SynchronousTestCase):
    """What is listed concerns recordings that exist, and has a reason."""

    def test_sections_are_named_after_recordings(self) -> None:
        self.assertEqual([name for name in SECTIONS if name not in CASES], [])

    def test_rules_name_recordings(self) -> None:
        unknown = [
            one
            for rule in RULES
            for one in rule.cases.split()
            if one not in CASES and not any(name.startswith(one + "-") for name in CASES)
        ]
        self.assertEqual(unknown, [])

    def test_every_piece_has_a_reason(self) -> None:
        reasons = [piece.reason for pieces in SECTIONS.values() for piece in pieces]
        self.assertEqual([reason for reason in reasons if len(reason.split()) < 4], [])

    def test_pieces_change_something(self) -> None:
        idle = [piece for pieces in SECTIONS.values() for piece in pieces if piece.old == piece.new]
        self.assertEqual(idle, [])

    def test_there_are_as_many_recordings_as_were_made(self) -> None:
        self.assertEqual((len(CASES), len(ROUTES)), (128, 20))


class WhatTheRouterWrote(SynchronousTestCase):
    """Control files of the real router are read as they were meant, and delivered unaltered."""

    def routes(self) -> list[tuple[Route, SpoolFile]]:
        routes = [Route.read(path) for path in ROUTES.values()]
        return [(route, router.filled(route)) for route in routes]

    def test_files_are_those_that_the_original_was_given(self) -> None:
        for route, file in self.routes():
            same = [path for name, path in CASES.items() if name == "x" + route.name[1:]]
            for path in same:
                self.assertEqual(Recording.read(path).files, (file,), route.name)

    def test_nothing_in_them_is_strange(self) -> None:
        for route, file in self.routes():
            self.assertEqual(parse(file.control, file.name).problems, [], route.name)

    def test_each_recipient_begins_where_its_line_begins(self) -> None:
        for route, file in self.routes():
            found = [(one.offset, tuple(one.quad)) for one in parse(file.control, file.name).recipients]
            wanted = [
                (one.offset, tuple(word.encode("latin-1") for word in one.words))
                for one in router.records(file.control)
                if one.letter == "r"
            ]
            self.assertEqual(found, wanted, route.name)

    def test_each_recipient_has_the_sender_above_it(self) -> None:
        for route, file in self.routes():
            control = parse(file.control, file.name)
            sender = next(one for one in router.records(file.control) if one.letter == "s")
            for recipient in control.recipients:
                assert recipient.sender is not None
                self.assertEqual(recipient.sender.offset, sender.offset, route.name)
                self.assertEqual(recipient.sender.quad.user.decode(), sender.words[2], route.name)
                self.assertFalse(recipient.sender.is_null, route.name)

    def test_each_recipient_has_the_header_below_it(self) -> None:
        for route, file in self.routes():
            for recipient in parse(file.control, file.name).recipients:
                assert recipient.headers is not None
                self.assertEqual(recipient.headers.octets, router.header_of(file.control), route.name)
                self.assertEqual(recipient.headers.offset, file.control.index(b"\nm\n") + 3, route.name)

    def test_the_message_file_and_its_body_are_found(self) -> None:
        for route, file in self.routes():
            control = parse(file.control, file.name)
            single = {one.letter: one.words for one in router.records(file.control)}
            self.assertEqual(control.message_name, file.name.encode(), route.name)
            self.assertEqual(control.body_offset, int(single["o"][0]), route.name)
            self.assertEqual(control.log_identity.decode(), single["l"][0], route.name)
            verbose = control.verbose.decode() if control.verbose else None
            self.assertEqual(verbose, single.get("v", (None,))[0], route.name)

    def test_delivery_report_wishes_are_those_of_their_recipient(self) -> None:
        flags = {word.name or "": word for word in Notify}
        for route, file in self.routes():
            wanted: list[tuple[Notify | None, int, str | None, str | None]] = []
            for one in router.records(file.control):
                if one.letter == "r":
                    wanted.append((None, -1, None, None))
                elif one.letter == "N":
                    given = dict(word.split("=", 1) for word in one.words)
                    notify = Notify(sum(flags[name] for name in given.get("NOTIFY", "").split(",") if name))
                    wanted[-1] = (notify or None, one.offset, given.get("ORCPT"), given.get("INRCPT"))
            found = [
                (one.notify, one.notary_offset, _text(one.orcpt), _text(one.inrcpt))
                for one in parse(file.control, file.name).recipients
            ]
            self.assertEqual(found, wanted, route.name)

    def test_wishes_for_the_whole_message_are_found(self) -> None:
        for route, file in self.routes():
            control = parse(file.control, file.name)
            single = {one.letter: one.words for one in router.records(file.control)}
            self.assertEqual(_text(control.ret), single.get("R", (None,))[0], route.name)
            self.assertEqual(_text(control.envelope_id), single.get("n", (None,))[0], route.name)

    def test_recipients_of_a_host_share_one_transaction(self) -> None:
        for delivered in router.delivery()[1]:
            control = parse(delivered.file.control, delivered.file.name)
            chosen = plan.select(control, b"smtp", delivered.host.encode())
            self.assertEqual(len(plan.groups(chosen)), 1, delivered.route.name)
            assert delivered.mail is not None
            said = [line.partition(b"<")[2].partition(b">")[0] for line in delivered.mail.recipients]
            self.assertEqual(said, [one.quad.user for one in chosen], delivered.route.name)

    def test_mail_is_the_header_and_the_body_unaltered(self) -> None:
        for delivered in router.delivery()[1]:
            mail, file = delivered.mail, delivered.file
            assert mail is not None
            whole = router.header_of(file.control) + b"\n" + router.body_of(file)
            self.assertEqual(
                router.received_without_clause(mail.data),
                router.received_without_clause(whole.replace(b"\n", b"\r\n")),
                delivered.route.name,
            )

    def test_mail_for_other_channels_is_left_alone(self) -> None:
        outcome, _ = router.delivery()
        for (route, file), control in zip(self.routes(), outcome.controls, strict=True):
            tags = {control[one.offset + 1 : one.offset + 2] for one in _recipients(file, "smtp")}
            others = {control[one.offset + 1 : one.offset + 2] for one in _recipients(file, "error")}
            self.assertEqual((tags - {b"+"}, others - {b" "}), (set(), set()), route.name)

    def test_the_scheduler_hears_of_every_recipient(self) -> None:
        outcome, delivered = router.delivery()
        told = [line for line in outcome.stdout.split(b"\n") if b"\t\tok3 " in line]
        self.assertEqual(len(told), sum(len(one.mail.recipients) for one in delivered if one.mail))
        self.assertEqual(outcome.stdout.count(b"#hungry\n"), len(delivered) + 1)
        self.assertEqual(outcome.exit, 0)


def _recipients(file: SpoolFile, channel: str) -> list[router.Record]:
    return [one for one in router.records(file.control) if one.letter == "r" and one.words[0] == channel]


def _text(octets: bytes | None) -> str | None:
    return None if octets is None else octets.decode("latin-1")
