"""Putting a message into the spool, atomically and durably, as the router does.

Both files are written under hidden names and synchronised; then the message file gets its name, its inode
number, and after it the control file, so that whoever sees a control file finds a complete message.  When
`submit` returns, the message survives a crash; when it raises, nothing of it is left.

Does no routing: every recipient comes with channel and host.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

from zsmtp.errors import SpoolError
from zsmtp.spool.controlfile import ControlFile, HeaderBlock, Notify, Quad, Recipient, Sender, compose, parse
from zsmtp.spool.layout import hash_directory, shown
from zsmtp.spool.openfile import explain
from zsmtp.spool.quad import quote

__all__ = ["Addressee", "Submitted", "make_postoffice", "publish", "submit"]

_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
_MESSAGE_ID = re.compile(rb"^message-id[ \t]*:[ \t]*([^\s]+)", re.IGNORECASE | re.MULTILINE)
_MESSAGE_NAME = re.compile(rb"^i ([0-9]{1,20})$", re.MULTILINE)
_LETTERS = [chr(65 + number) for number in range(26)]
_CONTROL_MODE = 0o660
_MESSAGE_MODE = 0o640
# The new file's inode number may name an older file, if the spool was restored from a backup.
_NAMES_TRIED = 16


class Addressee(NamedTuple):
    """One recipient: `user` is the address, to be handed to `host` over `channel`.

    `headers` is a header for this recipient in place of the message's own; neighbours with equal headers form
    a group.  `orcpt` is `type;xtext`.
    """

    channel: bytes
    host: bytes
    user: bytes
    notify: Notify | None = None
    orcpt: bytes | None = None
    privilege: bytes = b"-2"
    headers: bytes | None = None


class Submitted(NamedTuple):
    """What became of a message: path of its control file relative to `transport/`, and its number."""

    path: str
    file_id: int


def submit(
    postoffice: str,
    *,
    sender: bytes,
    recipients: Sequence[Addressee],
    message: bytes,
    hash_levels: int = 0,
    channel: bytes = b"local",
    privilege: bytes = b"0",
    envelope_id: bytes | None = None,
    ret: bytes | None = None,
    hidden: str | None = None,
    rest: Iterable[bytes] = (),
) -> Submitted:
    """Write message and control file for a message of header, empty line and body.

    `sender` is an address, empty for the null sender; `channel` is where it comes from.  A message without
    header begins with an empty line.  `rest` are further octets of the body, written as they come, so that it
    may have any size; what they raise is passed on, and leaves nothing.  With `hidden`, a name that begins
    with a dot, the control file keeps that name below `transport/`, where nobody takes it for mail, until
    `publish` gives it the one that is returned. Raises SpoolError for what an agent could not deliver as
    written, and if the files cannot be written.
    """
    if not recipients:
        raise SpoolError("a message without recipients cannot be submitted; name one at least")
    hash_directory(0, hash_levels)  # a wrong number must fail before anything is written
    header, body = _parted(message)
    envelope = b"".join(
        [
            b"from <%b>\n" % sender if sender else b"channel error\n",
            *[b"to <%b>\n" % to.user for to in recipients],
        ]
    )
    octets = envelope + b"env-end\n" + header + b"\n"
    control = ControlFile(
        "0", 0, message_name=b"0", body_offset=len(octets), envelope_id=envelope_id, ret=ret
    )
    found = _MESSAGE_ID.search(header)
    if found is not None:
        control.log_identity = found[1]
    _address(control, sender, channel, privilege, recipients, header)
    for problem in parse(compose(control), control.name).problems:
        raise SpoolError(f"the message cannot be submitted: {problem.text}")
    try:
        return _store(postoffice, hash_levels, chain((octets + body,), rest), control, hidden)
    except OSError as error:
        raise SpoolError(
            f"the message cannot be written below {shown(postoffice)}: {explain(error)}"
        ) from error


def publish(postoffice: str, hidden: str, hash_levels: int = 0) -> Submitted:
    """Give a control file that was written under a `hidden` name its own one, so that its mail is delivered.

    Raises SpoolError if it cannot be read or renamed.
    """
    transport = os.path.join(postoffice, "transport")
    source = os.path.join(transport, hidden)
    try:
        with open(source, "rb") as file:
            found = _MESSAGE_NAME.search(file.read(4096))
        if found is None:
            raise SpoolError(f"{shown(source)} names no message file; look at it and remove it")
        number = int(found[1])
        name = hash_directory(number, hash_levels) + str(number)
        path = os.path.join(transport, name)
        _ensure(os.path.dirname(path))
        os.rename(source, path)
        _synchronise(os.path.dirname(path))
        _synchronise(transport)
    except OSError as error:
        raise SpoolError(f"{shown(source)} cannot be put into the spool: {explain(error)}") from error
    return Submitted(name, number)


def make_postoffice(path: str, hash_levels: int = 0) -> None:
    """Create the directories of a spool that are missing, with the modes that ZMailer's installer gives."""
    modes = {
        "": 0o755,
        "public": 0o1777,
        "router": 0o1777,
        "queue": 0o750,
        "transport": 0o750,
        "deferred": 0o750,
        "freezer": 0o750,
        "postman": 0o750,
        "TLSsrvrcache": 0o700,
        "TLSclntcache": 0o700,
    }
    hash_directory(0, hash_levels)  # a wrong number of levels must create nothing
    for name, mode in modes.items():
        directories = [os.path.join(path, name)]
        if name.startswith("TLS"):
            directories += [os.path.join(path, name, letter) for letter in _LETTERS]
        elif name in ("queue", "transport"):
            for level in range(hash_levels):
                parents = directories[-(26**level) :]
                directories += [os.path.join(parent, letter) for parent in parents for letter in _LETTERS]
        for directory in directories:
            if not os.path.isdir(directory):
                os.makedirs(directory)
                os.chmod(directory, 0o2000 | mode)


def _parted(message: bytes) -> tuple[bytes, bytes]:
    """Return header and body; the header has LF line ends, the body is left as it is."""
    if message.startswith((b"\n", b"\r\n")):
        return b"", message.partition(b"\n")[2]
    end = re.search(rb"\n\r?\n", message)
    header, body = (message, b"") if end is None else (message[: end.start() + 1], message[end.end() :])
    header = header.replace(b"\r\n", b"\n")
    if not header.endswith(b"\n"):
        header += b"\n"
    for number, line in enumerate(header.split(b"\n")[:-1]):
        if _FIELD.match(line) is None and not (number and line.startswith((b" ", b"\t"))):
            raise SpoolError(
                f"line {number + 1} of the message is no header field: {line[:60]!a}; "
                "begin a message without header with an empty line"
            )
    return header, body


def _address(
    control: ControlFile,
    sender: bytes,
    channel: bytes,
    privilege: bytes,
    recipients: Sequence[Addressee],
    header: bytes,
) -> None:
    """Fill senders, recipients and header groups into a control file."""
    quad = (
        Quad(channel, quote(sender), quote(sender), privilege)
        if sender
        else Quad(b"error", b"<>", b"<>", privilege)
    )
    origin: Sender | None = None
    block: HeaderBlock | None = None
    for to in recipients:
        octets = header if to.headers is None else _parted(to.headers + b"\n")[0]
        if block is None or block.octets != octets:
            block, origin = HeaderBlock(octets=octets), Sender(0, quad)
        address = Quad(to.channel, quote(to.host), quote(to.user), to.privilege)
        recipient = Recipient(quad=address, sender=origin, headers=block, notify=to.notify, orcpt=to.orcpt)
        control.recipients.append(recipient)


def _store(
    postoffice: str, levels: int, octets: Iterable[bytes], control: ControlFile, hidden: str | None
) -> Submitted:
    queue, transport = os.path.join(postoffice, "queue"), os.path.join(postoffice, "transport")
    written: list[str] = []
    spare: list[str] = []
    try:
        while True:
            message, number = _create(queue, _MESSAGE_MODE)
            name = hash_directory(number, levels) + str(number)
            names = os.path.join(queue, name), os.path.join(transport, name)
            if not any(map(os.path.lexists, names)):
                break
            spare.append(message)  # kept until the end, so that the next one has another number
            if len(spare) == _NAMES_TRIED:
                raise SpoolError(
                    f"all names in {shown(queue)} are taken; look for files restored from a backup"
                )
        written.append(message)
        _fill(message, octets)
        control.message_name = b"%d" % number
        written.append(_create(transport, _CONTROL_MODE)[0])
        _fill(written[1], (compose(control),))
        if hidden is not None:
            names = names[0], os.path.join(transport, hidden)
        for index, path in enumerate(names):
            directory = os.path.dirname(path)
            _ensure(directory)
            os.rename(written[index], path)
            written[index] = path
            _synchronise(directory)
    except BaseException:
        spare += reversed(written)  # never a control file without its message
        raise
    finally:
        for path in spare:
            os.unlink(path)
    return Submitted(name, number)


def _create(directory: str, mode: int) -> tuple[str, int]:
    """Create an empty hidden file and return its path and inode number; on failure leave none."""
    fd, path = tempfile.mkstemp(prefix=".", dir=directory)
    try:
        try:
            os.fchmod(fd, mode)
            return path, os.fstat(fd).st_ino
        finally:
            os.close(fd)
    except BaseException:
        os.unlink(path)
        raise


def _fill(path: str, pieces: Iterable[bytes]) -> None:
    """Write a file durably."""
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    try:
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def _ensure(directory: str) -> None:
    """Create a hash directory durably, if it is missing."""
    if not os.path.isdir(directory):
        parent = os.path.dirname(directory)
        _ensure(parent)
        os.makedirs(directory, 0o2750, exist_ok=True)  # somebody else may be quicker
        _synchronise(parent)


def _synchronise(directory: str) -> None:
    """Make the names in a directory durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
