"""Tests of zsmtp.spool.compose: what is written is what is read."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.spool.sample import BASE, HEADER, RECIPIENT, SENDER
from tests.spool.test_controlfile import EXAMPLE
from zsmtp.errors import SpoolError
from zsmtp.spool.compose import compose
from zsmtp.spool.controlfile import (
    ControlFile,
    Diagnostic,
    HeaderBlock,
    Notify,
    Quad,
    Recipient,
    Sender,
    parse,
)
from zsmtp.spool.quad import quote

WORD = st.binary(min_size=1, max_size=12).filter(lambda octets: not set(octets) & set(b"\0\n"))
ELEMENT = WORD.map(quote)
QUAD = st.builds(Quad, ELEMENT, ELEMENT, ELEMENT, st.integers(-2, 70000).map(lambda number: b"%d" % number))
TOKEN = st.none() | WORD.filter(lambda octets: not set(octets) & set(b" \t"))
LINE = st.binary(min_size=1, max_size=20).filter(lambda octets: not set(octets) & set(b"\0\n"))
BLOCK = st.lists(LINE.map(lambda line: line + b"\n"), max_size=4).map(b"".join)


@st.composite
def control_files(draw: st.DrawFn) -> ControlFile:
    control = ControlFile("77", 77, message_name=b"77", body_offset=draw(st.integers(0, 10**9)))
    control.log_identity = draw(WORD)
    control.verbose = draw(st.none() | WORD)
    for _ in range(draw(st.integers(1, 3))):
        block = HeaderBlock(0, draw(BLOCK))
        control.blocks.append(block)
        for _ in range(draw(st.integers(1, 2))):
            sender = Sender(0, draw(QUAD))
            control.senders.append(sender)
            for _ in range(draw(st.integers(1, 3))):
                recipient = Recipient(0, draw(st.sampled_from(b" ~+-")), sender=sender, headers=block)
                recipient.owner = draw(st.sampled_from([b"      ", b"  4242", b"999999"]))
                recipient.quad = draw(QUAD)
                recipient.notify = draw(st.none() | st.integers(0, 31).map(Notify))
                recipient.orcpt, recipient.inrcpt = draw(TOKEN), draw(TOKEN)
                recipient.infrom, recipient.ezmlm = draw(TOKEN), draw(TOKEN)
                recipient.deliver_by = draw(
                    st.none() | st.tuples(st.integers(-(10**9), 10**10), st.integers(0, 7))
                )
                control.recipients.append(recipient)
    control.ret = draw(st.none() | WORD)
    control.envelope_id = draw(st.none() | WORD)
    for _ in range(draw(st.integers(0, 2))):
        control.diagnostics.append(
            Diagnostic(0, draw(st.sampled_from(b" +")), 44, 80, -1, 7, b"a\x01b", b"text\rmore")
        )
    return control


def essence(control: ControlFile) -> object:
    """Everything but offsets and judgements."""
    senders = {sender.offset: index for index, sender in enumerate(control.senders)}
    blocks = {block.offset: index for index, block in enumerate(control.blocks)}
    if not control.size:  # not yet written: told apart by identity
        senders = {id(sender): index for index, sender in enumerate(control.senders)}
        blocks = {id(block): index for index, block in enumerate(control.blocks)}
    recipients = []
    for each in control.recipients:
        assert each.sender is not None and each.headers is not None
        keys = (
            (each.sender.offset, each.headers.offset) if control.size else (id(each.sender), id(each.headers))
        )
        values = (
            each.tag,
            each.owner,
            each.quad,
            each.notify,
            each.orcpt,
            each.inrcpt,
            each.infrom,
            each.ezmlm,
        )
        recipients.append((*values, each.deliver_by, senders[keys[0]], blocks[keys[1]]))
    return (
        *(control.name, control.message_name, control.body_offset, control.log_identity, control.verbose),
        *(control.envelope_id, control.ret, [sender.quad for sender in control.senders]),
        *([block.octets for block in control.blocks], recipients, [each[1:] for each in control.diagnostics]),
    )


class Inverse(SynchronousTestCase):
    """Composing and reading give back what there was."""

    @settings(deadline=None, max_examples=40)
    @given(control_files())
    def test_any_control_file_is_read_as_it_was_composed(self, control: ControlFile) -> None:
        read = parse(compose(control), "77")
        self.assertEqual(essence(read), essence(control))
        self.assertEqual(parse(compose(read), "77"), read)
        self.assertEqual(read.overlooked, 0)

    def test_the_router_s_own_file_comes_back(self) -> None:
        self.assertEqual(compose(parse(BASE, "77")), BASE)
        once = [line for line in EXAMPLE.split(b"\n") if line[:2] not in (b"e ", b"R ", b"n ")]
        composed = compose(parse(EXAMPLE, "1031")).split(b"\n")
        self.assertEqual([line for line in composed if line[:2] not in (b"R ", b"n ")], once)

    def test_groups_come_back(self) -> None:
        octets = BASE + SENDER + RECIPIENT + RECIPIENT + b"s smtp h c@d 99\n" + RECIPIENT + HEADER
        self.assertEqual(compose(parse(octets, "77")), octets)

    def test_a_file_without_recipients_comes_back(self) -> None:
        self.assertEqual(compose(parse(BASE[:28], "77")), BASE[:28])

    def test_a_group_without_a_sender_of_its_own_comes_back(self) -> None:
        self.assertEqual(compose(parse(BASE + RECIPIENT + HEADER, "77")), BASE + RECIPIENT + HEADER)


class Refusals(SynchronousTestCase):
    """What no control file can hold is not written."""

    def setUp(self) -> None:
        self.control = parse(BASE, "77")
        self.recipient = self.control.recipients[0]

    def assertRefused(self, text: str) -> None:
        self.assertIn(text, str(self.assertRaises(SpoolError, compose, self.control)))

    def test_row_67_line_end_in_an_address(self) -> None:
        self.recipient.quad = Quad(b"smtp", b"x.org", quote(b"u\nr           smtp x.org evil 99"), b"99")
        self.assertRefused("must not contain a line end")

    def test_nul_in_a_record(self) -> None:
        self.control.log_identity = b"a\0b"
        self.assertRefused("must not contain a line end or a NUL")

    def test_elements_that_would_be_read_otherwise(self) -> None:
        for user in (b"", b"a b", b'"', b"a\\"):
            self.recipient.quad = Quad(b"smtp", b"x.org", user, b"99")
            self.assertRefused("would not be read as what it is")

    def test_headers_that_would_be_read_otherwise(self) -> None:
        for octets in (b"A: b", b"A: b\n\nC: d\n", b"\nA: b\n", b"A: \0\n"):
            self.recipient.headers = HeaderBlock(0, octets)
            self.assertRefused("a header is whole lines")

    def test_blanks_in_parameters(self) -> None:
        for value in (b"a b", b"a\tb"):
            self.recipient.orcpt = value
            self.assertRefused("cannot stand in an N record")

    def test_missing_parts(self) -> None:
        self.recipient.headers = None
        self.assertRefused("needs a sender and a header block")
        self.control.message_name = None
        self.assertRefused("needs message file and body offset")
