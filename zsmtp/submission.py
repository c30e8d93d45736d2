"""Handing mail in: from a message to two files in the spool, for programs and for `zsmtpctl submit`.

Completes the header (`zsmtp.message.draft`), asks the configuration where each recipient goes, and writes
(`zsmtp.spool.submit`).  What returns is on disk and will be delivered or reported back; what raises has left
nothing.  Delivers nothing itself: that is the daemon's or the scheduler's work.

Takes clock, chance and the names of user and machine from the system, since its callers are other programs.
Sources: RFC 5321 section 4.4, RFC 5322 section 3.6, RFC 3461 section 4, RFC 6409 section 8.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable, Iterator
from datetime import datetime
from email.message import Message
from email.utils import format_datetime, formataddr
from io import BytesIO
from typing import NamedTuple

from zsmtp.assembly import machine_name
from zsmtp.daemon import config
from zsmtp.daemon.configfile import load
from zsmtp.errors import ConfigError, MessageError
from zsmtp.message import draft
from zsmtp.message.addresses import address, addresses
from zsmtp.spool.records import Notify
from zsmtp.spool.submit import Addressee
from zsmtp.spool.submit import submit as write

__all__ = [
    "STANDARD_FILE",
    "Accepted",
    "Envelope",
    "Office",
    "accept",
    "find_office",
    "read_envelope_id",
    "read_notify",
    "read_ret",
    "submit",
]

STANDARD_FILE = "/etc/zsmtp.toml"
"""The configuration where nobody names one."""

_VARIABLE = "ZSMTP_CONFIG"
_NOTIFY = ("NEVER", "SUCCESS", "FAILURE", "DELAY")
_NAME_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f]")


class Envelope(NamedTuple):
    """What belongs to a message and does not stand in it.

    `sender` None: the user of this process, or with `from_author` who wrote the message; empty: nobody is to
    be told of failures.  With `from_header` the fields To, Cc and Bcc add recipients.  `name` is that of the
    author, should there be no From.  `ret` is FULL or HDRS.
    """

    sender: bytes | None = None
    recipients: tuple[bytes, ...] = ()
    from_header: bool = False
    from_author: bool = False
    name: str = ""
    notify: Notify | None = None
    ret: bytes | None = None
    envelope_id: bytes | None = None


class Office(NamedTuple):
    """The spool, and what is configured for it."""

    postoffice: str
    configuration: config.Configuration


class Accepted(NamedTuple):
    """A message that is safe in the spool.

    `path` is the control file, relative to POSTOFFICE/transport, `file_id` the number of the message in logs.
    """

    path: str
    file_id: int
    sender: bytes
    recipients: tuple[Addressee, ...]


def submit(
    message: Message | bytes | Iterable[bytes],
    *,
    sender: str | bytes | None = None,
    recipients: Iterable[str | bytes] | None = None,
    postoffice: str | None = None,
    config: str | None = None,
    notify: str | None = None,
    ret: str | None = None,
    envelope_id: str | None = None,
) -> Accepted:
    """Hand a message in for delivery; when this returns, it survives a power cut.

        from email.message import EmailMessage
        import zsmtp

        mail = EmailMessage()
        mail["From"] = "Alice <alice@example.org>"
        mail["To"] = "bob@example.net"
        mail["Subject"] = "hello"
        mail.set_content("Hello, Bob!")
        zsmtp.submit(mail, postoffice="/var/spool/postoffice")

    `message` is an EmailMessage, or octets with header, empty line and body, in one or (a binary file, say)
    in many pieces; then a body of any size is never held in memory.  Without `sender` failures are told to
    the author (Sender or From); `""` is the null sender.  Without `recipients` the message goes to those of
    To, Cc and Bcc; with them to nobody else.  Bcc is taken out, Date, Message-ID and From are added where
    absent.

    `postoffice` is the spool, `config` a zsmtp.toml, which says how recipients are routed; without both the
    file that ZSMTP_CONFIG names, or /etc/zsmtp.toml.  `notify` is `never` or a list of `success`, `failure`
    and `delay`; `ret` is `full` or `hdrs` (RFC 3461).

    Raises MessageError where message, address or option cannot be accepted, ConfigError, and SpoolError where
    the spool cannot be written to; then nothing has been submitted.
    """
    envelope = Envelope(
        sender=None if sender is None else address(_octets(sender)),
        recipients=tuple(found for text in recipients or () for found in addresses(_octets(text))),
        from_header=recipients is None,
        from_author=True,
        notify=None if notify is None else read_notify(notify),
        ret=None if ret is None else read_ret(ret),
        envelope_id=None if envelope_id is None else read_envelope_id(envelope_id),
    )
    return accept(_pieces(message), envelope, find_office(postoffice, config))


def accept(pieces: Iterable[bytes], envelope: Envelope, office: Office, *, dot: bool = False) -> Accepted:
    """Complete, route and write a message that comes in pieces; with `dot` a lone dot ends it.

    Raises as `submit` does, and what `pieces` raises.
    """
    configuration = office.configuration
    host = configuration.hello_name or machine_name()
    message = draft.read(draft.bounded(_read(pieces), configuration.message_limit), dot=dot)
    user = f"{_user()}@{host}".encode("ascii", "replace")
    sender = envelope.sender
    if sender is None and envelope.from_author:
        sender = draft.author(message.fields)
    sender = _qualified(user if sender is None else sender, host)
    found = list(envelope.recipients)
    if envelope.from_header:
        found += draft.recipients(message.fields)
    if not found:
        raise MessageError("nobody is named who is to get the message; name a recipient")
    to = tuple(
        _addressee(each, configuration, host, envelope.notify)
        for each in dict.fromkeys(_qualified(each, host) for each in found)
    )
    now = datetime.now().astimezone()
    origin = draft.Origin(
        received=b"by %b (zsmtp, from userid %d);\n\t%b"
        % (host.encode(), os.getuid(), format_datetime(now).encode()),
        date=format_datetime(now).encode(),
        message_id=f"<{now:%Y%m%d%H%M%S}.{secrets.token_hex(10)}@{host}>".encode(),
        author=_author(envelope.name, sender or user),
    )
    fields = draft.completed(message.fields, origin)
    written = write(
        office.postoffice,
        sender=sender,
        recipients=to,
        message=b"\n".join(fields) + b"\n\n",
        hash_levels=configuration.hash_levels,
        envelope_id=envelope.envelope_id,
        ret=envelope.ret,
        rest=message.body,
    )
    return Accepted(written.path, written.file_id, sender, to)


def find_office(postoffice: str | None, config_path: str | None) -> Office:
    """Find the spool and what is configured for it, as `submit` says.  Raises ConfigError."""
    if config_path is None and postoffice is not None:
        return Office(postoffice, config.default(postoffice))
    path = config_path or os.environ.get(_VARIABLE)
    if not path and os.path.exists(STANDARD_FILE):
        path = STANDARD_FILE
    if not path:
        raise ConfigError(
            f"it is not said where the spool is; write {STANDARD_FILE}, or name a directory (--postoffice) "
            f"or a file (--config, {_VARIABLE})"
        )
    configuration = load(path)
    postoffice = postoffice or configuration.postoffice
    if postoffice is None:
        raise ConfigError(f'{path}: postoffice is missing; write postoffice = "/var/spool/postoffice"')
    return Office(postoffice, configuration)


def read_notify(text: str) -> Notify:
    """Read `never`, or `success`, `failure` and `delay` with commas.  Raises MessageError."""
    flags = Notify(0)
    words = text.upper().split(",")
    for word in words:
        if word not in _NOTIFY or (word == "NEVER" and len(words) > 1):
            raise MessageError(
                f"NOTIFY is never, or a list of success, failure and delay with commas, not {text[:60]!a}"
            )
        flags |= Notify[word]
    return flags


def read_ret(text: str) -> bytes:
    """Read `full` or `hdrs`.  Raises MessageError."""
    if text.upper() not in ("FULL", "HDRS"):
        raise MessageError(f"RET is full or hdrs, not {text[:60]!a}")
    return text.upper().encode()


def read_envelope_id(text: str) -> bytes:
    """Bring an envelope identifier into xtext.  Raises MessageError.  Source: RFC 3461 section 4.4."""
    if not re.fullmatch(r"[ -~]{1,100}", text):
        raise MessageError("an envelope identifier has 1 to 100 printable characters of ASCII")
    return re.sub(r"[^!-*,-<>-~]", lambda found: f"+{ord(found[0]):02X}", text).encode()


def _pieces(message: Message | bytes | Iterable[bytes]) -> Iterable[bytes]:
    if isinstance(message, bytes):
        return (message,)
    if isinstance(message, str):
        raise TypeError("a message is octets: encode it, or make an EmailMessage")
    if not isinstance(message, Message):
        return message
    from email.generator import BytesGenerator

    octets = BytesIO()
    BytesGenerator(octets, mangle_from_=False).flatten(message, linesep="\n")
    return (octets.getvalue(),)


def _read(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pass pieces on; who cannot read the message shall not be told that the spool cannot be written."""
    try:
        yield from pieces
    except OSError as error:
        raise MessageError(f"the message cannot be read: {error.strerror or error}") from error


def _octets(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


def _user() -> str:
    from pwd import getpwuid

    try:
        name = getpwuid(os.getuid()).pw_name
    except KeyError:
        name = ""
    return name if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name) else f"userid{os.getuid()}"


def _qualified(found: bytes, host: str) -> bytes:
    """Add the name of this machine to an address without domain; bring the domain into small letters."""
    if not found:
        return found
    local, at, domain = found.rpartition(b"@")
    return b"%b@%b" % (local, domain.lower()) if at else b"%b@%b" % (found, host.encode())


def _author(name: str, found: bytes) -> bytes:
    if not name:
        return found
    if _NAME_FORBIDDEN.search(name):
        raise MessageError("a name is one line without control characters")
    return formataddr((name, found.decode("ascii")), "utf-8").encode("ascii")


def _addressee(
    found: bytes, configuration: config.Configuration, host: str, notify: Notify | None
) -> Addressee:
    route = configuration.route(found, own=host)
    if route is None:
        raise ConfigError(f"no route leads to {found.decode('ascii')}; add one to [routes] of zsmtp.toml")
    return Addressee(*route, found, notify=notify)
