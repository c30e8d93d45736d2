"""Where we differ from the original in many recordings for one reason: what it did, rewritten as we do it.

A rule works on an account of what the original did (see `tests.reference.account`).  It names the recordings
that it is for, and has to change something in each of them.  What concerns one recording, or needs to be seen
in full, stands in `differences.txt`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.reference.recording import Recording

__all__ = ["RULES", "Rule"]

_USUAL_SENDER = "250 2.1.0 sender ok"
_USUAL_RECIPIENT = "250 2.1.5 recipient ok"

Change = Callable[[list[str], Recording], list[str]]


class Rule(NamedTuple):
    """`change` makes what we do of what the original did; `cases` are names, or their first words."""

    reason: str
    change: Change
    cases: str

    def is_for(self, name: str) -> bool:
        """Whether the recording of this name is listed."""
        return name in self.cases.split() or name.partition("-")[0] in self.cases.split()


def _edit(pattern: str, by: str) -> Change:
    """Replace wherever it occurs."""
    regex = re.compile(pattern, re.MULTILINE)
    return lambda account, _recording: regex.sub(by, "\n".join(account)).split("\n")


def _exchange(command: str, reply: str) -> list[str]:
    return [f"    | <<- {command}", *(f"    | ->> {line}" for line in reply.split("\r\n"))]


def _replies(recording: Recording, verb: str, usual: str) -> Iterator[str]:
    """Give what the server said to `verb`, one time after the other."""
    replies = recording.server.get(verb, usual)
    turns = [reply for reply in (replies if isinstance(replies, list) else [replies]) if reply is not None]
    yield from turns
    while True:
        yield turns[-1]


def _say_mail(account: list[str], recording: Recording) -> list[str]:
    """Put the exchange about MAIL where the text begins with the name of a domain that was looked up."""
    command = next(line[2:] for line in account if line.startswith("C MAIL "))
    said = ["    |", *_exchange(command, next(_replies(recording, "mail", _USUAL_SENDER)))]
    changed: list[str] = []
    for line in account:
        changed += said if line.startswith("    | -- Lookup of MX/A for ") else [line]
    return changed


def _own_recipient(account: list[str], recording: Recording) -> list[str]:
    """Put into each report the exchange about its own recipient."""
    replies = _replies(recording, "rcpt", _USUAL_RECIPIENT)
    exchanges = {
        line.partition("<")[2].partition(">")[0]: _exchange(line[2:], next(replies))
        for line in account
        if line.startswith("C RCPT ")
    }
    changed: list[str] = []
    own: list[str] = []
    is_replaced = False
    for line in account:
        if found := re.match(r"report (\d+)/(\d+) |control (\d+): d (\d+):", line):
            name, offset = (one for one in found.groups() if one)
            own = exchanges.get(_address(recording, name, int(offset)), [])
        if line.startswith("    | <<- RCPT "):
            changed += own
            is_replaced = True
        elif not (is_replaced and line.startswith("    | ->> ")):
            is_replaced = False
            changed.append(line)
    return changed


def _address(recording: Recording, name: str, offset: int) -> str:
    control = next(file.control for file in recording.files if file.name == name)
    return control[offset:].split(b"\n")[0][12:].split(b" ")[2].decode("latin-1")


def _received_as_given(account: list[str], recording: Recording) -> list[str]:
    """Send the first field as it stands in the control file."""
    block = recording.files[0].control.partition(b"\nm\n")[2].decode("latin-1")
    field = re.split(r"\n(?![ \t])", block)[0].replace("\t", "\\t")
    given = "C " + field.replace("\n", "\nC ")
    return _edit(r"^C Received: .*(?:\nC \\t.*)*", given.replace("\\", r"\\"))(account, recording)


def _exact_size(account: list[str], recording: Recording) -> list[str]:
    """Let SIZE be the octets of the data as they are sent, without doubled dots."""
    changed = list(account)
    exact: dict[str, str] = {}
    at = size = -1
    for number, line in enumerate(account):
        if line.startswith("C MAIL "):
            at = number
        elif line == "C DATA":
            size = 0
        elif line == "C .":
            changed[at] = re.sub(r"SIZE=\d+", f"SIZE={size}", account[at])
            exact[account[at][2:]] = changed[at][2:]
            size = -1
        elif size >= 0 and line.split(" ")[0] == "C":
            octets = re.sub(r"\\(\\|t|x[0-9a-f]{2})", ".", line[2:])
            size += len(octets) + 2 - octets.startswith("..")
    for number, line in enumerate(changed):
        if line.startswith("    | <<- MAIL "):
            changed[number] = "    | <<- " + exact.get(line[10:], line[10:])
    return changed


RULES = (
    Rule(
        "BODY=8BITMIME says that the content has 8-bit octets; with ASCII no server needs to know of it"
        " (RFC 6152)",
        _edit(r"^((?:C|    \| <<-) MAIL From:<[^>]*>) BODY=8BITMIME\b", r"\1"),
        """
        c01 c11 c20 c25 c29 c31 c32 c35 c37 c40 c44 c46 c47 c53 c55 c56 c58 c59 c61 c62 c70 c73 c74 c76 c77
        c79 c80 c82 c88 c89
        d01 d04 d05 d07 d08 d10 d11 d13 d16 d17 d19 d20 d22 d23 d26 d28 d29 d31 d32 d35 d37 d38 d40 d41 d43
        d44 d46 d47 d49 d52 d53 d55 d56 d61 d62 d64
        x01 x04 x05-dsn-mixed x08 x10 x11 x13 x14 x16 x17 x19 x20 x22 x23 x25 x26 x28 x29
        """,
    ),
    Rule(
        "NOTIFY is passed on only if it came with the message (RFC 3461 section 5.2.1)",
        _edit(r"^((?:C|    \| <<-) RCPT To:<[^>]*>) NOTIFY=FAILURE\b", r"\1"),
        """
        c76 c77
        d01 d04 d07 d08 d10 d11 d13 d16 d17 d20 d22 d23 d28 d29 d31 d32 d35 d37 d38 d40 d41 d46 d52 d53 d55
        d56 d61 d62
        x01 x02-8bit-mime x08 x10 x11 x13 x14 x16 x17 x19 x20 x22 x23 x25 x26 x28 x29
        """,
    ),
    Rule(
        "ORCPT is passed on only if it came with the message: what we were told may not be what the sender"
        " wrote (RFC 3461 section 5.2.1)",
        _edit(r"^((?:C|    \| <<-) RCPT To:<([^>]*)>(?: NOTIFY=\S+)?) ORCPT=rfc822;\2$", r"\1"),
        """
        c76 c77
        d01 d04 d07 d08 d10 d11 d13 d16 d17 d20 d22 d23 d28 d29 d31 d32 d35 d37 d38 d40 d41 d46 d49 d52 d53
        d55 d56 d61 d62
        x01 x02-8bit-mime x05-dsn-mixed x08 x10 x13 x14 x16 x17 x19 x20 x22 x23 x25 x26 x28 x29
        """,
    ),
    Rule(
        "The text begins with what was said about MAIL: the original's look-up of the recipient's domain"
        " overwrote it, and is not made any more",
        _say_mail,
        "c50 c65 d02 d34 d43 d47 d64 d65 d68 x02-8bit-mime-bare x05-dsn-mixed-bare",
    ),
    Rule(
        "The text quotes the RCPT of the recipient that it is about, not the last one of the transaction",
        _own_recipient,
        "c76 c77 d07 d08 d13 d19 d23 d26 d31 d40 d43 d44 x05-dsn-mixed-bare x05-dsn-mixed x08 x11 x28",
    ),
    Rule(
        "An enhanced status code at the start of a reply counts, announced by ENHANCEDSTATUSCODES or not"
        " (RFC 3463)",
        _edit(
            r"^    status: ([245])\.\S*(?: \(.*\))?\n    diagnostic: smtp; (\d{3}) \((\1\.\d+\.\d+) (.*)\)$",
            r"    status: \3\n    diagnostic: smtp; \2 (\4)",
        ),
        "d19 d26 d43 d44 d64",
    ),
    Rule(
        "Received names a recipient only if there is no other who would see it (RFC 5321 section 7.2)",
        _received_as_given,
        "c76 c77 d13 d19 d26 d31 d40 d43 d44 x05-dsn-mixed-bare x05-dsn-mixed x08 x11 x28",
    ),
    Rule(
        "No note about a conversion is written into Received (content 2.3, point 6)",
        _edit(
            r"^C \\tid <S1> convert rfc822-to-(?:8bit|quoted-printable) for(?: |\nC \\t)(<\S*>);"
            r"(?: |\nC \\t)",
            r"C \\tid <S1> for \1; ",
        ),
        "c08 c14 c17 c28 c34 c38 c41 c43 c46 c47 c49 c58 c59 c65 c67 c74 c86",
    ),
    Rule(
        "A conversion to quoted-printable replaces the one word that it has to, and leaves the other fields"
        " as they are (content 2.2, number 6)",
        _edit(
            r"^C Content-Type:\\ttext/plain; charset=ISO-8859-1\n"
            r"C Content-Transfer-Encoding: QUOTED-PRINTABLE$",
            r"C Content-Type: text/plain; charset=ISO-8859-1\nC Content-Transfer-Encoding: quoted-printable",
        ),
        "c08 c28 c34 c38 c41 c43 c49 c65 c67 c86 x02-8bit-mime-bare",
    ),
    Rule(
        "SIZE is the number of octets as they are sent, line ends and conversions included (RFC 1870 section"
        " 5)",
        _exact_size,
        """
        c83
        d01 d04 d05 d16 d20 d22 d23 d32 d37 d38 d41 d46 d52 d53 d55 d56 d61 d62
        x01 x02-8bit-mime x04 x10 x13 x14 x16 x17 x19 x20 x22 x23 x25 x26 x29
        """,
    ),
)
