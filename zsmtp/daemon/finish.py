"""The end of a message: its sender is told, then its files are removed, in that order.

Each report is written durably under a hidden name first; then the diagnostics that it tells of are marked as
reported, durably too; then it gets the name under which it is delivered.  A crash between any two steps is
taken up where it stopped (`recover`), so that a report is neither lost nor sent twice.  Only after that the
control file is unlinked, and the message file last.  Nothing is removed while anybody has work in the control
file.

Reports about a message that has the null sender go to nobody: they are kept in `postman/`, as are those that
no route leads to.  Sources: RFC 3461 section 5.2, RFC 3464, RFC 5321 section 6.1; spool format, diagnostics.
"""

from __future__ import annotations

import os
import re
from email.utils import formatdate
from typing import TYPE_CHECKING, Final, NamedTuple

from zsmtp.daemon.bounce import Fate, Report, Subject, compose
from zsmtp.errors import SpoolError
from zsmtp.spool import report
from zsmtp.spool.body import MessageFile
from zsmtp.spool.layout import message_path, shown
from zsmtp.spool.mark import OpenControlFile
from zsmtp.spool.openfile import explain
from zsmtp.spool.records import DELIVERED, FAILED, TO_DO, Notify
from zsmtp.spool.submit import Addressee, publish, submit

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from zsmtp.daemon.config import Configuration
    from zsmtp.spool.records import ControlFile, Diagnostic, Recipient

__all__ = ["Finisher"]

_HIDDEN: Final = re.compile(r"\.report\.([A-Z0-9a-z,.+-]+)\.([0-9]+)\.([0-9]+)")
_ACTIONS: Final = frozenset({b"delivered", b"relayed"})
_SETTLING_SECONDS: Final = 5.0
"""An agent of another program marks a delivery before it appends what the sender is to be told."""
_UNKNOWN: Final = b"the program that marked the recipient as failed has left no reason"


class _Group(NamedTuple):
    """Diagnostics for one sender, in the order of the file."""

    sender: bytes
    diagnostics: list[Diagnostic]


class Finisher:
    """Finishes control files of one spool; the current directory is its `transport/`.

    `host` is what this machine calls itself, `clock` gives seconds since 1970, `token` a random word for
    MIME; `warn` takes a line for the postmaster.
    """

    def __init__(
        self,
        postoffice: str,
        configuration: Configuration,
        *,
        host: str,
        channels: Collection[bytes],
        clock: Callable[[], float],
        token: Callable[[], str],
        warn: Callable[[str], None],
    ) -> None:
        self._postoffice = postoffice
        self._configuration = configuration
        self._host = host
        self._channels = channels
        self._clock = clock
        self._token = token
        self._warn = warn
        self._is_cut_short = False
        """whether a report may lie there that is not let go"""

    def recover(self) -> None:
        """Take up reports that a crash, or a full disk, has left between two steps."""
        self._is_cut_short = False
        for hidden in sorted(os.listdir(".")):
            found = _HIDDEN.fullmatch(hidden)
            if found is not None:
                try:
                    self._go_on(hidden, found[1].replace(",", "/"), int(found[2]), int(found[3]))
                except (SpoolError, OSError) as error:
                    self._is_cut_short = True
                    self._warn(f"report {hidden} stays where it is: {error}")

    def finish(self, path: str, known: ControlFile | None = None) -> bool:
        """Tell senders and remove the files of a control file; false, if there is still something to do in
        it.

        `known` is its content as it was when it was last read.  Raises SpoolError where it cannot be done
        now.
        """
        if known is not None and self._has_nothing_to_tell(path, known):
            return self._remove(path, known)
        if self._is_cut_short:
            self.recover()
        with OpenControlFile.open(path) as file:
            if not self._is_done(file.control):
                return False
            if self._may_be_settling(file):
                return False
            if self._record_missing_reasons(file):
                return self.finish(path)
            for group in _groups(file.control):
                self._tell(file, group)
            return self._remove(path, file.control)

    def tell(self, path: str) -> None:
        """Tell senders of what is recorded so far, though others still have work in the control file.

        Raises SpoolError where it cannot be done now.
        """
        if self._is_cut_short:
            self.recover()
        with OpenControlFile.open(path) as file:
            for group in _groups(file.control):
                self._tell(file, group)

    # -- whether

    def _is_done(self, control: ControlFile) -> bool:
        return not control.overlooked and all(one.tag in (DELIVERED, FAILED) for one in control.recipients)

    def _has_nothing_to_tell(self, path: str, known: ControlFile) -> bool:
        """Whether everybody has been delivered to and no diagnostic was ever written, so far as size can
        show.
        """
        if known.overlooked or known.diagnostics:
            return False
        if not all(one.tag == DELIVERED and one.quad.channel in self._channels for one in known.recipients):
            return False
        try:
            return os.stat(path).st_size == known.size
        except OSError:
            return False

    def _may_be_settling(self, file: OpenControlFile) -> bool:
        if all(one.quad.channel in self._channels for one in file.control.recipients):
            return False
        return 0 <= self._clock() - os.fstat(file.fd).st_mtime < _SETTLING_SECONDS

    # -- reports

    def _record_missing_reasons(self, file: OpenControlFile) -> bool:
        """Give failed recipients of whom nobody has written a word a diagnostic: a failure is always told."""
        told = {each.recipient_offset for each in file.control.diagnostics}
        lines = [
            report.diagnostic_line(
                one.offset,
                one.headers.offset if one.headers is not None else -1,
                one.notary_offset,
                int(self._clock()),
                report.notary(one.quad.user, b"failed", b"5.0.0", b"", b"", b"", b"zsmtp[%d]" % os.getpid()),
                _UNKNOWN,
            )
            for one in file.control.recipients
            if one.tag == FAILED and one.offset not in told
        ]
        if lines:
            file.append_diagnostics(lines)
        return bool(lines)

    def _tell(self, file: OpenControlFile, group: _Group) -> None:
        """Report the diagnostics of one sender."""
        fates = self._fates(file.control, group)
        if not fates:
            self._mark(file, group.diagnostics)
            return
        first, last = group.diagnostics[0].offset, group.diagnostics[-1].offset
        name = file.path.replace("/", ",")
        octets = self._compose(file, group, fates, first)
        hidden = f".report.{name}.{first}.{last}"
        self._is_cut_short = True
        is_sent = self._submit(group.sender, octets, hidden)
        if is_sent:
            self._mark(file, group.diagnostics)
            publish(self._postoffice, hidden, self._configuration.hash_levels)
        self._is_cut_short = False
        if is_sent:
            return
        if any(fate.action == "failed" for fate in fates):
            self._keep(f"{file.control.file_id}.{first}:error-on-error", octets)
            self._warn(f"{shown(file.path)}: failures that no sender can be told of; see postman/")
        self._mark(file, group.diagnostics)

    def _submit(self, sender: bytes, octets: bytes, hidden: str) -> bool:
        """Put a report into the spool, where nobody delivers it yet; false if no way leads to the sender."""
        route = self._configuration.route(sender, own=self._host) if sender else None
        if route is None:
            return False
        channel, host = route
        try:
            submit(
                self._postoffice,
                sender=b"",
                recipients=[Addressee(channel, host, sender, Notify.NEVER)],
                message=octets,
                hash_levels=self._configuration.hash_levels,
                hidden=hidden,
            )
        except SpoolError as error:
            if isinstance(error.__cause__, OSError):
                raise
            self._warn(f"no report can be sent to {ascii(sender)[2:-1]}: {error}")
            return False
        return True

    def _go_on(self, hidden: str, path: str, first: int, last: int) -> None:
        """Mark what a finished report tells of, and let it go."""
        try:
            file = OpenControlFile.open(path)
        except SpoolError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
        else:
            with file:
                control = file.control
                senders = _senders(control)
                named = next(
                    (senders.get(one.recipient_offset) for one in control.diagnostics if one.offset == first),
                    None,
                )
                told = [
                    one for one in control.diagnostics if one.tag == TO_DO and first <= one.offset <= last
                ]
                self._mark(file, [one for one in told if senders.get(one.recipient_offset) == named])
        publish(self._postoffice, hidden, self._configuration.hash_levels)

    def _mark(self, file: OpenControlFile, diagnostics: Iterable[Diagnostic]) -> None:
        for diagnostic in diagnostics:
            file.mark_reported(diagnostic)
        try:
            os.fsync(file.fd)
        except OSError as error:
            raise SpoolError(
                f"control file {shown(file.path)} cannot be written: {explain(error)}"
            ) from error

    def _fates(self, control: ControlFile, group: _Group) -> list[Fate]:
        """Return what is to be told of each recipient: of several diagnostics the last one counts."""
        recipients = {one.offset: one for one in control.recipients}
        latest = {each.recipient_offset: each for each in group.diagnostics}
        found = []
        for offset, diagnostic in latest.items():
            recipient = recipients[offset]
            action = _action(recipient, diagnostic.notary, is_bounce=not group.sender)
            if action:
                found.append(_fate(recipient, diagnostic, action))
        return found

    def _compose(self, file: OpenControlFile, group: _Group, fates: list[Fate], first: int) -> bytes:
        control = file.control
        with self._message(file) as message:
            name = message.spool_id
            arrived = formatdate(message.mtime_ns // 10**9, localtime=True)
            failed = any(fate.action == "failed" for fate in fates)
            wanted = control.ret == b"FULL" and failed and message.size <= self._configuration.return_limit
            whole = b"".join(message.pieces()) if wanted else None
        recipients = {one.offset: one for one in control.recipients}
        headers = recipients[group.diagnostics[-1].recipient_offset].headers
        host = self._host
        postmaster = self._configuration.postmaster or f"postmaster@{host}"
        return compose(
            Report(
                to=group.sender or postmaster.encode(),
                host=host,
                postmaster=postmaster,
                date=formatdate(self._clock(), localtime=True),
                message_id=f"<{name}.{first}@{host}>",
                boundary=f"{name}.{first}.{self._token()}",
            ),
            Subject(
                headers.octets if headers is not None else b"", whole, arrived, control.envelope_id, name
            ),
            fates,
        )

    def _message(self, file: OpenControlFile) -> _Closing:
        control = file.control
        path = message_path(file.path, control.message_name or b"")
        return _Closing(MessageFile.open(path, control.body_offset or 0))

    def _keep(self, name: str, octets: bytes) -> None:
        """Put a report that has no addressee where the postmaster finds it."""
        folder = os.path.join(self._postoffice, "postman")
        path = os.path.join(folder, name)
        try:
            os.makedirs(folder, 0o2750, exist_ok=True)
            fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o640)
            with open(fd, "wb") as stream:
                stream.write(octets)
                stream.flush()
                os.fsync(fd)
            os.rename(path + ".new", path)
        except OSError as error:
            raise SpoolError(f"{shown(path)} cannot be written: {explain(error)}") from error

    # -- removal

    def _remove(self, path: str, control: ControlFile) -> bool:
        """Unlink the control file, then the message file."""
        try:
            os.unlink(path)
            if control.message_name is not None:
                os.unlink(message_path(path, control.message_name))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise SpoolError(f"{shown(path)} cannot be removed: {explain(error)}") from error
        return True


class _Closing:
    """A message file that is closed at the end of a `with`."""

    def __init__(self, message: MessageFile) -> None:
        self._message = message

    def __enter__(self) -> MessageFile:
        return self._message

    def __exit__(self, *_: object) -> None:
        self._message.close()


def _senders(control: ControlFile) -> dict[int, bytes]:
    """The sender of each recipient, by the recipient's offset; empty for the null sender."""
    return {
        one.offset: b"" if one.sender is None or one.sender.is_null else one.sender.quad.user
        for one in control.recipients
    }


def _groups(control: ControlFile) -> list[_Group]:
    """The diagnostics that nobody was told of, by sender."""
    senders = _senders(control)
    found: dict[bytes, list[Diagnostic]] = {}
    for diagnostic in control.diagnostics:
        if diagnostic.tag == TO_DO and diagnostic.recipient_offset in senders:
            found.setdefault(senders[diagnostic.recipient_offset], []).append(diagnostic)
    return [_Group(sender, diagnostics) for sender, diagnostics in found.items()]


def _action(recipient: Recipient, notary: bytes, *, is_bounce: bool) -> str:
    """The action that is reported of a recipient, empty if nobody wants to know."""
    notify = Notify.FAILURE if recipient.notify is None else recipient.notify
    if recipient.tag == FAILED:
        # a report that fails is the postmaster's business, whatever it asks for
        return "failed" if is_bounce or (notify & Notify.FAILURE and not notify & Notify.NEVER) else ""
    action = notary.split(b"\x01")[1:2]
    if action and action[0] in _ACTIONS and notify & Notify.SUCCESS and not notify & Notify.NEVER:
        return action[0].decode()
    return ""


def _fate(recipient: Recipient, diagnostic: Diagnostic, action: str) -> Fate:
    parts = [*diagnostic.notary.split(b"\x01"), b"", b"", b"", b"", b""]
    return Fate(
        address=recipient.quad.user,
        action=action,
        status=parts[2] or b"5.0.0",
        diagnostic=parts[3],
        remote=parts[4],
        text=diagnostic.text,
        at=formatdate(diagnostic.unix_time, localtime=True),
        original=recipient.orcpt,
    )
