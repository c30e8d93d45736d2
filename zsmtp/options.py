"""The command line of smtp(8zm): from words to `Settings`.

Each option is one row of `OPTIONS`: its letter, the name of its value, what it does to the settings, and what
a postmaster reads about it.  `zsmtp.__main__` makes the usage line and ``--help`` from the rows; a test holds
the manual page to them.
Words are read as getopt(3) of the C library reads them: bundles, values attached or separate, ``--``, options
after the host.  All are read before the first fault is told, and ``-V`` and ``--help`` win over any fault.
Opens no file, asks no name server and imports no Twisted: the scheduler waits while an agent starts.

Sources: smtp(8zm), section OPTIONS; POSIX.1-2017 Base Definitions 12.2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from zsmtp.errors import ZsmtpError
from zsmtp.smtp.manner import Esmtp
from zsmtp.smtp.patience import Timeouts

__all__ = [
    "KEYWORDS",
    "OPTIONS",
    "PERIODS",
    "Help",
    "Keyword",
    "Option",
    "Period",
    "Settings",
    "UsageError",
    "Version",
    "parse",
]


class UsageError(ZsmtpError):
    """The command line is wrong.  The text is one line that names option and remedy; exit status 64."""


class Settings(NamedTuple):
    """What the command line asks for.  Texts are as `sys.argv` has them (os.fsencode gives the octets)."""

    host: str | None = None
    channel: str = "smtp"
    forced: bytes | None = None
    port: int = 25
    lmtp: bool = False
    hello_name: str | None = None  # None: the name of this machine, which is the agent's business
    log_path: str | None = None
    timeouts: Timeouts = Timeouts()
    pipelining: bool = True
    one_message_per_connection: bool = False
    debug: int = 0
    verbose: int = 0
    probe: bool = False
    use_mx: bool = True
    allow_self: bool = False  # never true while `use_mx` is
    match_mx: bool = False
    seven_bit: int = 0  # number of -7 since the last -8; 0 where `eight_bit` is true
    eight_bit: bool = False
    esmtp: Esmtp = Esmtp.ALWAYS
    raw_headers: bool = False
    prefer_inet6: bool = False
    local_identity: str | None = None
    privileged_port: bool = False
    send_buffer: int | None = None  # octets
    wks: bool = False
    titles: bool = False
    auth_path: str | None = None
    tls_path: str | None = None
    ignore_ezmlm: bool = False
    connections: int = 1
    opportunistic_tls: bool = True
    log_socket: str = "/dev/log"  # of the system's log; "none" for no log
    nameservers: tuple[tuple[str, int], ...] = ()  # numeric address and port; (): as /etc/resolv.conf says


class Version(NamedTuple):
    """``-V`` was given: the version goes to standard error, exit status 0."""

    program: str


class Help(NamedTuple):
    """``--help`` was given: the help text goes to standard output, exit status 0."""

    program: str


Action = Callable[[Settings, str], Settings]


class Option(NamedTuple):
    """One option: `value` is the name of its value in the manual page, empty for a flag."""

    letter: str
    value: str
    act: Action
    text: str


class Period(NamedTuple):
    """One submode of -T: `minimum` is in seconds, `what` names it in a complaint."""

    key: str
    field: str
    what: str
    minimum: int
    text: str


class Keyword(NamedTuple):
    """One keyword of -O: `value` is the name of its value in the manual page, empty for a switch."""

    name: str
    value: str
    act: Action
    text: str


# --- what the options do ------------------------------------------------------------------------------------


def _shown(text: str) -> str:
    """Make foreign text fit for a complaint: standard error may be the scheduler's pipe of reports."""
    cut = text if len(text) <= 80 else text[:77] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut)


def _has_controls(text: str) -> bool:
    return any(c < " " or c == "\x7f" for c in text)


def _set(**fields: Any) -> Action:
    return lambda settings, _value: settings._replace(**fields)


def _more(field: str) -> Action:
    return lambda settings, _value: settings._replace(**{field: getattr(settings, field) + 1})


def _path(letter: str, field: str) -> Action:
    def act(settings: Settings, value: str) -> Settings:
        if not value or _has_controls(value):
            raise UsageError(f'-{letter} "{_shown(value)}" is no usable path; write the path of a file')
        fields: dict[str, Any] = {field: value}
        return settings._replace(**fields)

    return act


def _number(text: str, lowest: int, highest: int) -> int | None:
    if not re.fullmatch("[0-9]{1,10}", text):
        return None
    number = int(text)
    return number if lowest <= number <= highest else None


def _narrow(settings: Settings, _value: str) -> Settings:
    count = settings.seven_bit + 1
    esmtp = Esmtp.NEVER if count > 1 else settings.esmtp
    return settings._replace(seven_bit=count, eight_bit=False, esmtp=esmtp)


def _wide(settings: Settings, _value: str) -> Settings:
    # The lock of -77 stays: "force the channel to be 8-bit transparent … but to do it without any ESMTP".
    return settings._replace(seven_bit=0, eight_bit=True)


def _if_announced(settings: Settings, _value: str) -> Settings:
    return settings if settings.esmtp is Esmtp.NEVER else settings._replace(esmtp=Esmtp.IF_ANNOUNCED)


def _channel(settings: Settings, value: str) -> Settings:
    if not value or " " in value or _has_controls(value):
        raise UsageError(f'-c "{_shown(value)}" is no channel; write one word, such as smtp')
    return settings._replace(channel=value)


def _hello(settings: Settings, value: str) -> Settings:
    # What `zsmtp.smtp.command.greeting` takes: anything else would stop every session after the greeting.
    if not re.fullmatch(r"[A-Za-z0-9_.:\[\]-]{1,255}", value):
        raise UsageError(f'-h "{_shown(value)}" is no host name; write one such as mail.example.org')
    return settings._replace(hello_name=value)


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _is_address(text: str) -> bool:
    from zsmtp.target import numeric  # only here: addresses cost 3 ms that most runs need not spend

    return numeric(text) is not None


def _forced(settings: Settings, value: str) -> Settings:
    from zsmtp.target import target
    from zsmtp.trouble import Trouble

    # A bare address is meant as one; as a name it would be unknown to the DNS.
    text = f"[{value}]" if _is_address(value) else value
    # Nothing doubtful gets through: a malformed destination is undeliverable, and mail would bounce for a
    # slip of the pen.
    if not value or _has_controls(value) or isinstance(target(_octets(text), forced=True), Trouble):
        raise UsageError(
            f'-F "{_shown(value)}" is no destination; '
            "write UNIX:/path, [1.2.3.4], [1.2.3.4]:port, [ipv6.2001:db8::1] or a host name"
        )
    return settings._replace(forced=_octets(text))


def _identity(settings: Settings, value: str) -> Settings:
    from zsmtp.target import local_identity

    if local_identity(value) is None:
        raise UsageError(
            f'-L "{_shown(value)}" is no local identity; '
            "write iface:eth0, [1.2.3.4], [ipv6.2001:db8::1] or a host name"
        )
    return settings._replace(local_identity=value)


_SERVICES = {"smtp": 25, "submission": 587, "submissions": 465, "smtps": 465, "lmtp": 24}


def _port(settings: Settings, value: str) -> Settings:
    port = _SERVICES.get(value.lower()) or _number(value, 1, 65535)
    if port is None and re.fullmatch("[a-zA-Z][!-~]*", value):
        from socket import getservbyname  # only here: the module costs as much as all of this one

        try:
            port = getservbyname(value, "tcp")
        except OSError:
            port = None
    if port is None:
        raise UsageError(
            f'-p "{_shown(value)}" is no port; write a number from 1 to 65535 or a service such as submission'
        )
    return settings._replace(port=port)


def _buffer(settings: Settings, value: str) -> Settings:
    octets = _number(value, 0, 2**31 - 1)
    if octets is None:
        raise UsageError(f'-w "{_shown(value)}" is no buffer size; write a number of octets, such as 65536')
    return settings._replace(send_buffer=octets or None)  # 0 leaves the system's choice, as in the original


_LONGEST = 7 * 86400  # seconds
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "": 1}


def _seconds(text: str) -> int:
    """Read an interval such as ``90``, ``5m`` or ``1m30s``; 0 if it is none."""
    if not re.fullmatch("(?:[0-9]{1,9}[dhms])*(?:[0-9]{1,9})?", text):
        return 0
    return sum(int(count) * _UNITS[unit] for count, unit in re.findall("([0-9]+)([dhms]?)", text))


def _timeout(settings: Settings, value: str) -> Settings:
    key, equals, interval = value.partition("=")
    period = next((row for row in PERIODS if row.key == key.lower()), None) if equals else None
    remedy = ""
    if period is None:
        # A value without a known name is the general one: "cmd=5m (or plain value)".
        period = next(row for row in PERIODS if row.key == "cmd")
        remedy = ", and known names are " + " ".join(f"{row.key}=" for row in PERIODS) if equals else ""
        interval = value
    seconds = _seconds(interval)
    if not period.minimum <= seconds <= _LONGEST:
        raise UsageError(
            f"bad {period.what} timeout: {_shown(interval)}; "
            f"-T {period.key}= takes {period.minimum} seconds to 7 days, such as 90, 5m or 1m30s{remedy}"
        )
    fields = {period.field: float(seconds)}
    return settings._replace(timeouts=settings.timeouts._replace(**fields))


def _keyword(settings: Settings, value: str) -> Settings:
    name, equals, argument = value.partition("=")
    row = next((row for row in KEYWORDS if row.name == name.lower()), None)
    if row is None:
        known = ", ".join(f"{row.name}={row.value}" if row.value else row.name for row in KEYWORDS)
        raise UsageError(f'-O "{_shown(value)}" is unknown; known are {known}')
    if equals and not row.value:
        raise UsageError(f"-O {row.name} takes no value; write it without ={_shown(argument)}")
    return row.act(settings, argument)


def _connections(settings: Settings, value: str) -> Settings:
    number = _number(value, 1, 100)
    if number is None:
        raise UsageError(f'-O connections="{_shown(value)}" is no such number; write one from 1 to 100')
    return settings._replace(connections=number)


def _nameserver(settings: Settings, value: str) -> Settings:
    from zsmtp.target import name_server

    server = name_server(value)
    if server is None:
        raise UsageError(
            f'-O nameserver="{_shown(value)}" is no name server; write 192.0.2.1, 192.0.2.1:53 or [::1]:53'
        )
    return settings._replace(nameservers=(*settings.nameservers, server))


# --- the tables ---------------------------------------------------------------------------------------------

PERIODS: tuple[Period, ...] = (
    Period("conn", "connect", "tcp connection", 10, "to open a TCP connection (default 3m)"),
    Period("tcpw", "write", "tcp-write", 10, "for a blocked socket to take more octets (default 5m)"),
    Period(
        "cmd",
        "command",
        "general cmd",
        5,
        "for the reply to any other command; also a plain value (default 5m)",
    ),
    Period("data", "data", "data", 10, "for the 354 reply to DATA (default 5m)"),
    Period("dot", "dot", "data-dot-reply", 10, "for the reply to the end of the message (default 20m)"),
)

KEYWORDS: tuple[Keyword, ...] = (
    Keyword("ignore-ezmlm", "", _set(ignore_ezmlm=True), "one sender address for all recipients of a list"),
    Keyword("connections", "N", _connections, "up to so many connections at once (1 to 100, default 1)"),
    Keyword("no-starttls", "", _set(opportunistic_tls=False), "no STARTTLS, even where the server offers it"),
    Keyword("nameserver", "ADDRESS", _nameserver, "ask this name server, ADDRESS[:PORT]; may be repeated"),
    Keyword("syslog", "SOCKET", _path("O syslog=", "log_socket"), "socket of the system's log, or none"),
)

OPTIONS: tuple[Option, ...] = (
    Option("1", "", _set(one_message_per_connection=True), "send only one message over each connection"),
    Option("6", "", _set(prefer_inet6=True), "prefer IPv6 addresses"),
    Option("7", "", _narrow, "7-bit channel, 8-bit text is encoded; twice: no ESMTP either"),
    Option("8", "", _wide, "8-bit channel, quoted-printable text is decoded"),
    Option("A", "secrets-file", _path("A", "auth_path"), "file with the secrets for AUTH"),
    Option("c", "channel", _channel, "deliver recipients of this channel (default smtp)"),
    Option("d", "", _more("debug"), "remarks to standard error; twice: more of them"),
    Option("D", "", _set(probe=True), "open a session with the host, show it, deliver nothing, and exit"),
    Option("e", "", _set(match_mx=True), "also take recipients whose mail exchanger is the connected host"),
    Option("E", "", _if_announced, "use EHLO only if the greeting of the server says ESMTP"),
    Option("F", "destination", _forced, "connect there whatever the host is (UNIX:/path, [address], name)"),
    Option("h", "heloname", _hello, "own name for EHLO, LHLO and HELO (default: name of this machine)"),
    Option("H", "", _set(raw_headers=True), "do not convert 8-bit header fields to MIME encoded words"),
    Option("l", "logfile", _path("l", "log_path"), "append a transcript of all dialogues to this file"),
    Option("L", "localidentity", _identity, "connect from there: iface:eth0, [address] or a host name"),
    Option("M", "", _set(lmtp=True), "speak LMTP; needs a port other than 25, or -F UNIX:/path"),
    Option("O", "keyword", _keyword, "further choices by keyword; may be repeated:"),
    Option("p", "port", _port, "remote port, a number or a service name (default 25)"),
    Option("P", "", _set(pipelining=False), "do not use PIPELINING"),
    Option("r", "", _set(privileged_port=True), "connect from a source port below 1024"),
    Option("s", "", _set(titles=True), "show the progress in the process title"),
    Option("S", "tls-file", _path("S", "tls_path"), "TLS configuration file"),
    Option("T", "timeouts", _timeout, "NAME=INTERVAL with units d h m s; may be repeated:"),
    Option("v", "", _more("verbose"), "say more in the transcript and with -d: the addresses to be tried"),
    Option("V", "", _set(), "print the version and exit"),
    Option("w", "sockwbufsize", _buffer, "octets of the socket's send buffer (default: the system's)"),
    Option("W", "", _set(wks=True), "do not use a server whose WKS records leave out SMTP"),
    Option("x", "", _set(use_mx=False), "do not look up mail exchangers: connect to the host itself"),
    Option("X", "", _set(allow_self=True), "with -x: allow to connect to this very machine"),
    Option("Z", "text", _set(), "ignored: room for the process title"),
)

_BY_LETTER = {option.letter: option for option in OPTIONS}


# --- the words ----------------------------------------------------------------------------------------------


class _Word(NamedTuple):
    option: str  # letter, or a long option with its dashes; empty for a word that is no option
    value: str | None  # None: the value is missing


def _words(argv: Sequence[str]) -> Iterator[_Word]:
    """Take the words apart as getopt(3) with permutation does."""
    rest = iter(argv)
    for word in rest:
        if word == "--":
            yield from (_Word("", host) for host in rest)
        elif word.startswith("--"):
            yield _Word(word, "")
        elif word.startswith("-") and word != "-":
            bundle = word[1:]
            while bundle:
                letter, bundle = bundle[0], bundle[1:]
                option = _BY_LETTER.get(letter)
                if option and option.value:
                    yield _Word(letter, bundle or next(rest, None))
                    break
                yield _Word(letter, "")
        else:
            yield _Word("", word)


def _apply(settings: Settings, letter: str, value: str | None) -> Settings:
    option = _BY_LETTER.get(letter)
    if option is None:
        if letter.startswith("--"):
            raise UsageError(f"unrecognized option '{_shown(letter)}'; --help lists the known ones")
        raise UsageError(f"invalid option -- '{_shown(letter)}'; --help lists the known ones")
    if value is None:
        raise UsageError(f"option requires an argument -- '{letter}'; write -{letter} {option.value}")
    return option.act(settings, value)


def _check_as_a_whole(settings: Settings) -> Settings:
    """Hold the options against each other.  Source: smtp(8zm), options -M and -X."""
    if settings.lmtp and _port_25(settings):
        raise UsageError(
            "-M (LMTP) is not allowed on port 25; "
            "give another port with -p or -F [address]:port, or a socket with -F UNIX:/path"
        )
    if settings.tls_path is not None and not settings.opportunistic_tls:
        raise UsageError("-O no-starttls leaves nothing to do for -S; give one of them")
    if settings.probe and settings.host is None and settings.forced is None:
        raise UsageError("-D needs a host to connect to; write it behind the options")
    return settings._replace(allow_self=settings.allow_self and not settings.use_mx)


def _port_25(settings: Settings) -> bool:
    if settings.forced is None:
        return settings.port == 25
    from zsmtp.target import Literal, Unix, target

    place = target(settings.forced, forced=True)
    if isinstance(place, Unix):
        return False
    return ((isinstance(place, Literal) and place.port) or settings.port) == 25


def parse(argv: Sequence[str], program: str) -> Settings | Version | Help:
    """Read the words after the program name.

    `program` is the name that a `Version` or `Help` is to speak of.  Raises `UsageError` for the first fault.
    Source: smtp(8zm), sections SYNOPSIS and OPTIONS.
    """
    settings = Settings()
    fault: UsageError | None = None
    for letter, value in _words(argv):
        if letter == "V":
            return Version(program)
        if letter == "--help":
            return Help(program)
        if not letter:
            # Only the first word is the host; the original ignores further ones, and so may a scheduler.conf.
            settings = settings if settings.host else settings._replace(host=value or None)
            continue
        try:
            settings = _apply(settings, letter, value)
        except UsageError as error:
            fault = fault or error
    if fault:
        raise fault
    return _check_as_a_whole(settings)
