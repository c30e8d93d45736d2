"""A POSTOFFICE made to order.

    with SpoolMaker() as spool:
        mail = spool.add(recipients=[b"bob@example.net", Addressee(b"carol@example.net",
        notary=b"NOTIFY=NEVER")]) mail.feed(b"example.net")           # the line a scheduler would send
        mail.tags()                         # {112: b"+", 163: b" "}

Every octet of the files is in the hands of the test: what the keywords do not say can be given as whole
files with `put`.  Does not use `zsmtp.spool`, so that the two can be compared.
"""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, NamedTuple

from zsmtp.testing import marks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

__all__ = ["Addressee", "Group", "Origin", "SpoolMaker", "SpooledMail", "control_file"]

HEADER = (
    b"From:\talice@example.com\nTo:\tbob@example.net\nSubject: test\nDate:\tTue, 1 Apr 2025 12:00:00 +0200\n"
)
"""The header block where a test does not care."""


class Addressee(NamedTuple):
    """A recipient line and what belongs to it.  `notary`, `ret` and `envelope_id` make N, R and n lines."""

    user: bytes
    host: bytes = b"example.net"
    channel: bytes = b"smtp"
    privilege: bytes = b"99"
    tag: bytes = b" "
    owner: bytes = b"      "
    notary: bytes | None = None
    ret: bytes | None = None
    envelope_id: bytes | None = None

    def lines(self) -> bytes:
        """Return the lines of the control file."""
        quad = b" ".join((self.channel, self.host, self.user, self.privilege))
        lines = b"r" + self.tag + self.owner + b"    " + quad + b"\n"
        for kind, value in ((b"N", self.notary), (b"R", self.ret), (b"n", self.envelope_id)):
            if value is not None:
                lines += kind + b" " + value + b"\n"
        return lines


class Origin(NamedTuple):
    """A sender line; an empty `user` is the null sender, with the channel `error`."""

    user: bytes = b"alice@example.com"
    host: bytes | None = None
    channel: bytes = b"local"
    privilege: bytes = b"99"

    def lines(self) -> bytes:
        """Return the lines of the control file."""
        if not self.user:
            return b"s error <> <> " + self.privilege + b"\n"
        host = self.user if self.host is None else self.host
        sender = b"s " + b" ".join((self.channel, host, self.user, self.privilege)) + b"\n"
        return b"e " + self.user + b"\n" + sender


ALICE = Origin()
"""The sender where a test does not care."""


class Group(NamedTuple):
    """Recipients of one sender.  `header` None: they share the block of the next group."""

    recipients: Sequence[bytes | Addressee]
    sender: bytes | Origin = ALICE
    header: bytes | None = HEADER


def control_file(
    groups: Sequence[Group],
    *,
    message_name: bytes,
    body_offset: int,
    log_identity: bytes | None = b"<m1@example.com>",
    verbose: bytes | None = None,
    form: bytes = b"0x00000007",
) -> bytes:
    """Return the octets of a control file, record after record as a router writes them."""
    lines = [b"@ " + form + b"\n"]
    if verbose is not None:
        lines.append(b"v " + verbose + b"\n")
    lines.append(b"i " + message_name + b"\no " + str(body_offset).encode() + b"\n")
    if log_identity is not None:
        lines.append(b"l " + log_identity + b"\n")
    for group in groups:
        sender = group.sender if isinstance(group.sender, Origin) else Origin(group.sender)
        lines.append(sender.lines())
        for each in group.recipients:
            lines.append((each if isinstance(each, Addressee) else Addressee(each)).lines())
        if group.header is not None:
            lines.append(b"m\n" + group.header + b"\n")
    return b"".join(lines)


class SpooledMail(NamedTuple):
    """One control file and its message file.

    `name` is the path relative to `transport/`, as it is fed; `offsets` are those of the `r` lines in file
    order; `control` is what the control file held at first.
    """

    number: int
    name: str
    control_path: str
    message_path: str
    offsets: tuple[int, ...]
    control: bytes

    def feed(self, host: bytes | None = None) -> bytes:
        """Return the line with which a scheduler feeds this file."""
        return self.name.encode() + (b"\t" + host if host is not None else b"") + b"\n"

    def now(self) -> bytes:
        """Return what the control file holds now."""
        with open(self.control_path, "rb") as file:
            return file.read()

    def recipients(self) -> list[marks.RecipientLine]:
        """Return the `r` lines as they are now."""
        return marks.recipients(self.now())

    def tags(self) -> dict[int, bytes]:
        """Return the tag of every recipient by its offset."""
        return {line.offset: line.tag for line in self.recipients()}

    def diagnostics(self) -> list[marks.DiagnosticLine]:
        """Return the `d` lines."""
        return marks.diagnostics(self.now())

    def problems(self) -> list[str]:
        """Return what was done to the control file that no agent may do."""
        return marks.changes(self.control, self.now())


class SpoolMaker:
    """Makes a POSTOFFICE and mail in it; a context manager that removes the temporary folder it made itself.

    `zenv` are variables of its `zmailer.conf`, whose path is `zconfig`.
    """

    def __init__(
        self, directory: str | None = None, *, hash_levels: int = 0, zenv: Mapping[str, str] | None = None
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="zsmtp-") if directory is None else None
        self.postoffice = directory if directory is not None else self._folder.name if self._folder else ""
        self.transport = os.path.join(self.postoffice, "transport")
        self.queue = os.path.join(self.postoffice, "queue")
        self.zconfig = os.path.join(self.postoffice, "zmailer.conf")
        self.mails: list[SpooledMail] = []
        self._hash_levels = hash_levels
        self._next = 1_000_001
        for name in ("transport", "queue", "public", "postman", "router"):
            os.makedirs(os.path.join(self.postoffice, name), mode=0o750, exist_ok=True)
        settings = {
            "POSTOFFICE": self.postoffice,
            "PATH": os.defpath,
            "ZCONFIG": self.zconfig,
            "SYSLOGFLG": "R",  # tests leave no traces in the log of the machine
            **(zenv or {}),
        }
        with open(self.zconfig, "w", encoding="ascii") as file:
            file.writelines(f"{name}={value}\n" for name, value in settings.items())

    def __enter__(self) -> SpoolMaker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def remove(self) -> None:
        """Remove the temporary folder, if the spool is in one."""
        if self._folder is not None:
            self._folder.cleanup()

    def add(
        self,
        *,
        recipients: Sequence[bytes | Addressee] = (b"bob@example.net",),
        sender: bytes | Origin = ALICE,
        header: bytes = HEADER,
        body: bytes = b"hello\n",
        groups: Sequence[Group] | None = None,
        number: int | None = None,
        body_offset: int | None = None,
        log_identity: bytes | None = b"<m1@example.com>",
        verbose: bytes | None = None,
        form: bytes = b"0x00000007",
        envelope: bytes = b"external\nenv-end\n",
    ) -> SpooledMail:
        """Put a mail into the spool.

        `groups` replaces `recipients`, `sender` and `header` where one of each is not enough.  `body` is as
        in the message file, with LF.  `body_offset` makes the `o` line lie; by default it tells the truth.
        """
        if groups is None:
            groups = [Group(recipients, sender, header)]
        number = self._number(number)
        above = envelope + header + b"\n"
        control = control_file(
            groups,
            message_name=str(number).encode(),
            body_offset=len(above) if body_offset is None else body_offset,
            log_identity=log_identity,
            verbose=verbose,
            form=form,
        )
        return self.put(str(number), control, above + body)

    def put(self, name: str, control: bytes, message: bytes | None) -> SpooledMail:
        """Put whole files into the spool; no message file if `message` is None.

        `name` is the file name, without hash directories.
        """
        digits = name[: next((index for index, octet in enumerate(name) if not octet.isdecimal()), len(name))]
        number = int(digits or "0")
        folder = _hash_directory(number, self._hash_levels)
        control_path = os.path.join(self.transport, folder, name)
        message_path = os.path.join(self.queue, folder, name)
        for path, octets in ((message_path, message), (control_path, control)):
            os.makedirs(os.path.dirname(path), mode=0o750, exist_ok=True)
            if octets is not None:
                with open(path, "wb") as file:
                    file.write(octets)
        offsets = tuple(line.offset for line in marks.recipients(control))
        mail = SpooledMail(number, folder + name, control_path, message_path, offsets, control)
        self.mails.append(mail)
        return mail

    def _number(self, number: int | None) -> int:
        if number is None:
            number, self._next = self._next, self._next + 1
        return number


def _hash_directory(number: int, levels: int) -> str:
    letters = [chr(65 + number // 26 % 26), chr(65 + number % 26)][2 - levels :] if levels else []
    return "".join(letter + "/" for letter in letters)
