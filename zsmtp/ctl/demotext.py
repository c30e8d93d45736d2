"""What the demo tells its reader: what is there, what became of each recipient, and what that means."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Sequence
from textwrap import fill
from typing import NamedTuple

from zsmtp.ctl.democheck import Fate, Posted
from zsmtp.ctl.screen import Cell, Screen, Style

__all__ = ["Scene", "explain", "introduce", "progress", "show", "tell_where", "verdict"]

_STYLES = {"ok3": Style.GOOD, "error2": Style.BAD, "deferred": Style.WAITING}
_COLUMNS = 79
_SHOWN_LETTER = 5
"""the message whose control file is shown: one recipient of it gets it, one does not"""


class Scene(NamedTuple):
    """Where the demo plays.

    For each channel `ways` names the server in the table, `places` is where it listens, `options` those of
    its agent.
    """

    folder: str
    ways: dict[str, str]
    places: dict[str, str]
    options: dict[str, list[str]]


def introduce(screen: Screen, scene: Scene, posted: Sequence[Posted]) -> None:
    """Say what is going to happen."""
    count = sum(len(each.letter.readers) for each in posted)
    size = sum(len(each.letter.octets) for each in posted)
    screen.line(screen.paint("zsmtp takes queued mail from a spool to SMTP and LMTP servers.", Style.STRONG))
    screen.line("Here are a spool, two servers, and the real agents between them.")
    screen.line()
    screen.line(f"Spool    {os.path.join(scene.folder, 'postoffice')}")
    screen.line(f"         {len(posted)} messages for {count} recipients, {amount(size)}")
    screen.line(f"Servers  SMTP {scene.places['smtp']}, with STARTTLS and PIPELINING")
    screen.line(f"         LMTP {scene.places['lmtp']}")
    screen.line("Agents, with postoffice/transport as their current folder:")
    for options in scene.options.values():
        screen.line("  " + shlex.join(["zsmtp", *options]))
    screen.line()


def progress(screen: Screen, done: int, count: int, octets: int) -> str:
    """Make the live line."""
    return f"Delivering  {screen.bar(done / count)}  {done} of {count} recipients, {amount(octets)} sent"


def show(screen: Screen, results: Sequence[Fate], ways: dict[str, str]) -> None:
    """Write the table: message by message what became of each recipient."""
    titles = ("recipient", "way", "TLS", "server's reply", "report")
    rows = [
        (fate.reader.address, ways[fate.reader.channel], _version(fate.tls), fate.reply, fate.word or "-")
        for fate in results
    ]
    widths = [max(len(row[column]) for row in [titles, *rows]) for column in range(5)]
    screen.row([Cell(""), *(Cell(*pair, Style.STRONG) for pair in zip(titles, widths, strict=True))])
    letter = None
    for fate, row in zip(results, rows, strict=True):
        if fate.letter is not letter:
            letter = fate.letter
            screen.line(
                f"{letter.number} {letter.title}, {screen.paint(amount(len(letter.octets)), Style.QUIET)}"
            )
        style = _STYLES.get(fate.word, Style.BAD)
        looks = (Style.PLAIN, Style.QUIET, Style.PLAIN, style, style)
        screen.row([Cell(""), *map(Cell, row, widths, looks)])
    screen.line()


def verdict(screen: Screen, results: Sequence[Fate], problems: Sequence[str]) -> None:
    """Say whether all was as it must be."""
    if problems:
        screen.line(screen.paint("This is not what had to happen:", Style.BAD))
        for problem in problems:
            head, *more = problem.splitlines()
            screen.lines(fill(head, _COLUMNS, initial_indent="  - ", subsequent_indent="    "))
            for line in more:
                screen.line("    " + line)
    else:
        count = sum(fate.reader.answer.is_delivery for fate in results)
        screen.line(
            screen.paint(
                f"All well: {count} copies had to arrive.  Each is there once, in the right Maildir,",
                Style.GOOD,
            )
        )
        screen.line(screen.paint("and equal to what was sent, octet for octet.", Style.GOOD))
    screen.line()


def explain(screen: Screen, posted: Sequence[Posted], results: Sequence[Fate], now: dict[str, bytes]) -> None:
    """Tell what happened, by the example of one control file."""
    each = next(each for each in posted if each.letter.number == _SHOWN_LETTER)
    mine = [fate for fate in results if fate.letter is each.letter]
    screen.line(screen.paint("What happened", Style.STRONG))
    screen.lines(_SPOOL)
    screen.line(f"  The recipients of message {each.letter.number} are these lines of transport/{each.path}.")
    screen.line("  The mark is behind the r: blank to be done, ~ at work, + delivered, - failed.")
    screen.line()
    for offset, fate in zip(each.offsets, mine, strict=True):
        style = _STYLES[fate.word]
        line = _line(now[each.path], offset)
        screen.line(f"    before   {_line(each.before, offset)}")
        screen.line(f"    after    {line[0]}{screen.paint(line[1], style)}{line[2:]}")
    screen.line()
    screen.line("  And so they were reported, by the number of the file and the place in it:")
    screen.line()
    for offset, fate in zip(each.offsets, mine, strict=True):
        word = screen.paint(fate.word, _STYLES[fate.word]) + " " * (8 - len(fate.word))
        screen.line(f"    {each.number}/{offset}  {word}  {fate.reply}")
    screen.line()
    screen.line(screen.paint("What a scheduler would do next", Style.STRONG))
    counts = Counter(fate.word for fate in results)
    for word, text in _NEXT:
        head = f"  {screen.paint(word, _STYLES[word])}{' ' * (10 - len(word))}"
        first, *rest = text.format(count=_recipients(counts[word])).splitlines()
        screen.line(head + first)
        for more in rest:
            screen.line(" " * 12 + more)
    screen.line()


_SPOOL = """\
  A message in the spool is two files: the message itself in queue/, and in
  transport/ a control file that says who is to get it.  Usually ZMailer's
  router writes them.  For each channel an agent was started, as ZMailer's
  scheduler does it, and was told the names of control files.  It picked the
  recipients of its channel, delivered, put a mark into the control file, and
  then reported.
"""

_NEXT = (
    (
        "ok3",
        "mark +, {count}: nothing.  When nobody is left to do in the\ncontrol file, both files are removed.",
    ),
    (
        "error2",
        "mark -, {count}: tell the sender.  What the notification will\n"
        'say stands in a "d" line at the end of the control file.',
    ),
    (
        "deferred",
        "mark blank, {count}: try again later, as often and for as long\nas the scheduler is configured to.",
    ),
)


def tell_where(screen: Screen, folder: str, results: Sequence[Fate], *, all_well: bool) -> None:
    """Say where everything lies, how to look at it and how to remove it."""
    letter, reader = next((fate.letter, fate.reader) for fate in results if fate.letter.number == 2)
    mine = f"mail/{reader.address}/new/*"
    rows = [
        ("ls mail/*/new", "the delivered mail, in Maildirs"),
        (f"cat {mine}", "one of the messages"),
        (f"cmp sent/{letter.number} {mine}", "it is what was sent: cmp is silent"),
        ("cat postoffice/transport/*", "the control files with their marks"),
        ("cat postoffice/log/smtp", "what agent and server said"),
    ]
    if not all_well:
        rows = [row for row in rows if mine not in row[0]]
    width = max(len(command) for command, _ in rows)
    screen.line(screen.paint("Look around", Style.STRONG))
    screen.line(f"  cd {shlex.quote(folder)}")
    for command, text in rows:
        screen.line(f"  {command.ljust(width)}  {text}")
    screen.line()
    screen.line(f"Nothing is removed.  When you have seen enough: rm -r {shlex.quote(folder)}")


def amount(octets: int) -> str:
    """Say how much that is."""
    if octets < 1024:
        return f"{octets} octets"
    return f"{octets / 1024:.1f} KiB" if octets < 1 << 20 else f"{octets / (1 << 20):.1f} MiB"


def _recipients(count: int) -> str:
    return f"{count} recipient" + "s" * (count != 1)


def _version(tls: str | None) -> str:
    return (tls or "-").removeprefix("TLSv")


def _line(control: bytes, offset: int) -> str:
    return control[offset : control.index(b"\n", offset)].decode("ascii", "replace")
