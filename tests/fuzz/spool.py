"""Control files: read, written again, and a whole job on a real spool, to its last mark."""

from __future__ import annotations

import atexit
import os
import tempfile
from typing import Any

from tests.fuzz.target import Target
from tests.spooled import DEFERRED, DELIVERED, FAILED, NOW, RECORDED
from zsmtp.errors import SpoolError
from zsmtp.job import Conduct, Settled, open_job
from zsmtp.message.form import Wishes
from zsmtp.smtp.capability import Capabilities
from zsmtp.spool.controlfile import compose, parse
from zsmtp.testing import marks
from zsmtp.testing.report import Report, read_line
from zsmtp.testing.spool import Addressee, Group, Origin, SpoolMaker, control_file

__all__ = ["CONTROL", "JOB"]

_FATES = (DELIVERED, FAILED, DEFERRED, RECORDED)
_ABLE = (
    Capabilities(),
    Capabilities()._replace(eight_bit_mime=True, pipelining=True, chunking=True, dsn=True),
    Capabilities()._replace(smtputf8=True, eight_bit_mime=True, dsn=True),
)
_CONTROLS = bytes(range(32)) + b"\x7f"


def _check_control(octets: bytes) -> None:
    try:
        control = parse(octets, "1-1")
    except SpoolError as error:
        assert str(error).isprintable(), str(error)
        return
    for recipient in control.recipients:
        at = recipient.offset
        assert octets[at : at + 1] == b"r"
        assert b"\n" not in octets[at : at + 8]
        assert len(octets) >= at + 8
        if recipient.problem is None:
            assert recipient.quad.user
            assert not set(recipient.quad.user) & set(_CONTROLS)
            assert recipient.sender is not None
            assert recipient.headers is not None
    for problem in control.problems:
        assert problem.text.isprintable()
        assert 1 <= problem.line <= octets.count(b"\n") + 1
    _check_writing(control)


def _check_writing(control: Any) -> None:
    """What can be written is read back as it was."""
    try:
        again = parse(compose(control), "1-1")
    except (SpoolError, AssertionError):
        return
    one = [(each.quad, each.notify, each.orcpt, each.deliver_by) for each in control.recipients]
    other = [(each.quad, each.notify, each.orcpt, each.deliver_by) for each in again.recipients]
    assert one == other


class _Office:
    """A spool for one file after the other; made when first needed, removed at the end."""

    def __init__(self) -> None:
        self._spool: SpoolMaker | None = None

    def put(self, octets: bytes) -> Any:
        """Write the control file; a message file stands beside it."""
        if self._spool is None:
            memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # fsync takes its time
            folder = tempfile.TemporaryDirectory(prefix="zsmtp-fuzz.", dir=memory)
            atexit.register(folder.cleanup)
            self._spool = SpoolMaker(folder.name)
        self._spool.mails.clear()
        os.chdir(self._spool.transport)
        return self._spool.put("1000001", octets, b"external\nenv-end\nFrom: a@b\n\nbody\n.\nlast")


_office = _Office()


def _check_job(octets: bytes) -> None:
    """Deliver what a file asks for, with every fate, and look at the file afterwards."""
    settled: list[Settled] = []
    mail = _office.put(octets[1:])
    fate = octets[0] if octets else 0
    conduct = Conduct(
        channel=b"smtp",
        agent=b"smtp[4242]",
        wishes=Wishes(),
        lmtp=bool(fate & 1),
        ignore_ezmlm=bool(fate & 2),
        report=settled.append,
        finished=lambda job: None,
        warn=_is_one_line,
        clock=lambda: NOW,
    )
    before = len(os.listdir("/proc/self/fd"))
    try:
        job = open_job(mail.name, b"example.net", conduct)
    except SpoolError as error:
        _is_one_line(str(error))
        job = None
    if job is not None and not job.is_finished:  # finished at once: without a message file
        able = _ABLE[fate % len(_ABLE)]
        try:
            for batch in job.batches():
                transaction = job.prepare(batch, able)
                if transaction is None:
                    continue
                _check_transaction(transaction)
                for number, recipient in enumerate(batch.recipients):
                    job.settle(recipient, _FATES[(fate + number) % len(_FATES)])
        except SpoolError as error:
            _is_one_line(str(error))
        job.give_up(DEFERRED)
        assert job.is_finished
        assert len(settled) == len(job.recipients), "each is told of once"
    assert len(os.listdir("/proc/self/fd")) == before, "a descriptor is left open"
    for one in settled:
        assert isinstance(read_line(one.line.removesuffix(b"\n")), Report)
    after = mail.now()
    assert marks.changes(octets[1:], after) == [], marks.changes(octets[1:], after)
    assert b"~  4242" not in after or b"~  4242" in octets
    if not settled:
        assert after == octets[1:]


def _check_transaction(transaction: Any) -> None:
    whole = b"".join(transaction.content.pieces(stuffed=not transaction.binary))
    if not transaction.binary:
        assert b"\r\n.\r\n" not in b"\r\n" + whole
        assert b"\n" not in whole.replace(b"\r\n", b"")
        assert whole.endswith(b"\r\n") or not whole
    assert transaction.recipients
    for recipient in transaction.recipients:
        for text in (recipient.path, recipient.parameters, transaction.reverse_path):
            assert not set(text) & set(b"\r\n\0"), text


def _is_one_line(text: str) -> None:
    assert not set(text) & set("\r\n\0\x1b"), repr(text)


def _samples() -> list[bytes]:
    two = [
        Addressee(b"bob@example.net", notary=b"NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob+2Bx@example.net"),
        Addressee(b"carol@example.net", tag=b"+", ret=b"HDRS", envelope_id=b"id+20x"),
        Addressee(b"dave@example.org", b"example.org", notary=b"BY=120;RT"),
    ]
    header = b"From:\ta@b\nTo: gr\xc3\xbc\xc3\x9fe <x@y>\nContent-Type: text/plain; charset=utf-8\n"
    groups = [
        [Group(two)],
        [Group([b"x@example.net"], Origin(b"")), Group(two, header=header)],
        [Group([b'"quoted b"@example.net'], header=None), Group([b"y@example.net"], b"s@t")],
    ]
    made = [
        control_file(group, message_name=b"1000001", body_offset=29, verbose=b"../public/v")
        for group in groups
    ]
    # with a lock of somebody dead, an ezmlm list, a diagnostic
    made.append(made[0].replace(b"r        ", b"r~ 99999 ", 1) + b"d 90:-1:-1::5\ta\1b\1c\1d\1e\1f\ttext\n")
    made.append(made[0].replace(b"NOTIFY=SUCCESS,FAILURE", b"EZMLM=list-@x INRCPT=rfc822;a INFROM=rfc822;b"))
    return made


_TOKENS = [
    b"\n",
    b"\n\n",
    b"\nr           smtp example.net u@example.net 99",
    b"\ns local s@t s@t 99",
    b"\nm\nA: b\n\n",
    b"\nN NOTIFY=NEVER",
    b"\nN ORCPT=",
    b"\ni 1000001",
    b"\no 29",
    b"\nd ",
    b"\nr~  4242",
    b"r+",
    b"smtp",
    b'"',
    b"\\",
    b" ",
    b"\t",
    b"example.net",
    b"NOTIFY=",
    b"BY=1;",
    b"@ 0x00000007",
    b"../",
    b"\0",
    b"\xff",
    b"error",
    b"x" * 300,
    b"<",
    b">",
    b"\r",
]
CONTROL = Target("control", _samples(), _TOKENS, _check_control)
JOB = Target(
    "job", [bytes([number]) + sample for sample in _samples() for number in (0, 1, 6)], _TOKENS, _check_job
)
