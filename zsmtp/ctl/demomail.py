"""What the demo sends: real messages, and what the servers are to answer for each recipient.

Two places take mail.  far.example is somebody else's server, reached by SMTP; home.example is the local mail
store behind an LMTP server.  What is checked afterwards is written here: answer, report word, mark.
"""

from __future__ import annotations

from email.message import EmailMessage
from typing import NamedTuple

__all__ = ["LARGE", "Answer", "Letter", "Reader", "letters"]

LARGE = 5 * 1024 * 1024
"""octets of the large body"""


class Answer(NamedTuple):
    """A server's answer for a recipient, and what must follow from it: report word and mark.

    `after_data` answers come once the message has been sent, which LMTP does for each recipient (RFC 2033).
    """

    code: int
    text: str
    word: str
    mark: bytes
    after_data: bool = False

    @property
    def is_delivery(self) -> bool:
        """Whether a copy must lie in the recipient's Maildir."""
        return self.word == "ok3"

    @property
    def reply(self) -> str:
        """The reply line."""
        return f"{self.code} {self.text}"


STORED = Answer(250, "2.0.0 stored", "ok3", b"+", after_data=True)
UNKNOWN = Answer(550, "5.1.1 no mailbox", "error2", b"-")
GREYLISTED = Answer(451, "4.7.1 greylisted", "deferred", b" ")
FULL = Answer(452, "4.2.2 over quota", "deferred", b" ", after_data=True)


class Reader(NamedTuple):
    """A recipient: the channel and host that the router chose, the address, and what the server will say."""

    channel: str
    host: str
    address: str
    answer: Answer


class Letter(NamedTuple):
    """A message.  No two have the same sender, so that a server knows it by the envelope alone."""

    number: int
    title: str
    sender: str
    readers: tuple[Reader, ...]
    octets: bytes


def letters(date: str) -> list[Letter]:
    """Make the messages; `date` is the value of their Date field."""
    contents = (
        ("plain text", _plain(), (_far("anna"),)),
        ("text in 8-bit characters", _eight_bit(), (_far("boris"),)),
        ("text with an attachment", _attachment(), (_far("clara"),)),
        (
            "four recipients on two channels",
            _round(),
            (_far("anna"), _far("clara"), _home("gerda"), _home("hanna")),
        ),
        ("one recipient does not exist", _mistake(), (_far("clara"), _far("nobody", UNKNOWN))),
        ("the server wants to see it again later", _stranger(), (_far("dora", GREYLISTED),)),
        ("a large one", _large(), (_far("emil"),)),
        ("one mailbox is full", _full(), (_home("gerda"), _home("karl", FULL))),
    )
    return [
        Letter(number, title, _sender(number), readers, _header(number, readers, date) + content)
        for number, (title, content, readers) in enumerate(contents, 1)
    ]


def _far(name: str, answer: Answer = STORED) -> Reader:
    return Reader("smtp", "far.example", f"{name}@far.example", answer)


def _home(name: str, answer: Answer = STORED) -> Reader:
    return Reader("lmtp", "home.example", f"{name}@home.example", answer)


def _sender(number: int) -> str:
    return f"you+{number}@home.example"


def _header(number: int, readers: tuple[Reader, ...], date: str) -> bytes:
    """The fields that all messages have in common."""
    fields = (
        f"From: You <{_sender(number)}>",
        "To: " + ",\n ".join(reader.address for reader in readers),
        f"Date: {date}",
        f"Message-ID: <demo.{number}@home.example>",
    )
    return "".join(field + "\n" for field in fields).encode()


def _text(subject: str, body: str) -> bytes:
    return f"Subject: {subject}\n\n{body}".encode()


def _plain() -> bytes:
    return _text(
        "A plain message",
        "Hello,\n\n"
        "this is as plain as mail can be.  Lines that begin with a dot are a trap of SMTP:\n"
        "a dot alone ends the message, so that the sender has to hide those of the text.\n"
        ".\n"
        "..\n"
        ".hidden\n\n"
        "You see all three of them.\n",
    )


def _eight_bit() -> bytes:
    return (
        b"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n"
    ) + _text(
        "Eight bits",
        "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.\n"
        "Voix ambiguë d’un cœur qui au zéphyr préfère les jattes de kiwis.\n"
        "Съешь же ещё этих мягких французских булок, да выпей чаю.\n"
        "いろはにほへと ちりぬるを\n\n"
        "The server said 8BITMIME, so this goes as it is.  For one that does not,\n"
        "zsmtp would encode it.\n",
    )


def _attachment() -> bytes:
    message = EmailMessage()
    message["Subject"] = "A picture, as numbers"
    message.set_content("The attachment has every octet from 0 to 255, four times.\n")
    message.add_attachment(
        bytes(range(256)) * 4, maintype="application", subtype="octet-stream", filename="octets.bin"
    )
    message.set_boundary("=-=-demo-=-=")
    return message.as_bytes()


def _round() -> bytes:
    return _text(
        "To all four of you",
        "One message, one control file, two agents: each takes the recipients of its channel.\n",
    )


def _mistake() -> bytes:
    return _text(
        "Who is nobody?", "One of the two addresses is wrong, and the other must not suffer for it.\n"
    )


def _stranger() -> bytes:
    return _text(
        "We have not met",
        "Some servers send everybody away once whom they do not know, and take the mail\n"
        "when it comes again.  That is called greylisting.\n",
    )


def _large() -> bytes:
    text = b"  This line is one of many, and all of them have to arrive.".ljust(72)
    lines = (
        b"%s%06d%s\n" % (b"." if number % 100 == 0 else b" ", number, text) for number in range(LARGE // 80)
    )
    return b"Subject: Five MiB\n\n" + b"".join(lines)


def _full() -> bytes:
    return _text(
        "Room for one more",
        "LMTP answers for each recipient after the message has been sent, SMTP only once\n"
        "for all.  So one full mailbox does not stop the other copy.\n",
    )
