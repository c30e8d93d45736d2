"""smtp(8zm), sections SYNOPSIS and INTERFACE."""

from __future__ import annotations

import os
import re

from tests.test_manual.manual import ManualCase
from zsmtp.testing.spool import SpoolMaker
from zsmtp.testing.table import Table


class WhatIsRead(ManualCase):
    """relative-spool-path [ <TAB> hostname ]."""

    def test_names_are_relative_to_the_current_directory(self) -> None:
        mail = self.mail()
        self.assertFalse(os.path.isabs(mail.name))
        self.assertEqual(self.carry(mails=[mail]).words, ["ok3"])

    def test_hashed_directories_of_the_spool_are_part_of_the_name(self) -> None:
        hashed = SpoolMaker(self.spool.postoffice, hash_levels=2)
        mail = hashed.add(recipients=[b"bob@example.net"])
        self.assertRegex(mail.name, r"^[A-Z]/[A-Z]/[0-9]+$")
        self.assertEqual(self.carry(mails=[mail]).words, ["ok3"])

    def test_the_line_may_tell_which_host_is_to_be_looked_for(self) -> None:
        """It counts more than the host of the command line."""
        mail = self.mail(b"a@two.example", host=b"two.example")
        run = self.carry("one.example", mails=[mail], host=b"two.example")
        self.assertEqual(run.message.recipients, (b"a@two.example",))

    def test_without_it_the_host_of_the_command_line_counts(self) -> None:
        run = self.carry("example.net", host=None, command_host=b"example.net")
        self.assertEqual(run.words, ["ok3"])


class WhatIsWritten(ManualCase):
    """id/offset<TAB>notify-data<TAB>status message."""

    def lines(self, *replies: str) -> list[bytes]:
        """The reports for a mail to one recipient for each reply to RCPT, as they were written."""
        users = [b"u%d@example.net" % number for number in range(len(replies))]
        server = self.server(Table({"rcpt": [*replies]}))
        run = self.carry(server=server, mails=[self.mail(*users)])
        return [line for line in run.result.output.split(b"\n") if line and not line.startswith(b"#")]

    def test_form_of_the_diagnostic_output(self) -> None:
        (line,) = self.lines("250 ok")
        self.assertRegex(line, rb"^[0-9]+/[0-9]+\t[^\t]*\t[a-z0-9]+ [^\t\n]*$")

    def test_id_is_the_number_of_the_message_file(self) -> None:
        mail = self.mail()
        self.assertEqual(self.carry(mails=[mail]).report.number, mail.number)

    def test_offset_is_where_the_address_is_kept_in_the_control_file(self) -> None:
        mail = self.mail()
        report = self.carry(mails=[mail]).report
        self.assertTrue(mail.control[report.offset :].startswith(b"r "))

    def test_status_is_ok_error_or_deferred(self) -> None:
        """In the scheduler's finer words: ok3 and error2 need no notary, which is in the control file."""
        lines = self.lines("250 ok", "550 5.1.1 no", "450 4.2.1 later")
        words = sorted(re.findall(rb"\t([a-z]+)[0-9]* ", b"\n".join(lines)))
        self.assertEqual(words, [b"deferred", b"error", b"ok"])

    def test_message_is_descriptive_text(self) -> None:
        (line,) = self.lines("550 5.1.1 nobody of that name")
        self.assertIn(b"nobody of that name", line)

    def test_any_other_output_is_for_the_scheduler_log(self) -> None:
        """The stand-in takes nothing but reports, words of command, and comments that begin with #."""
        run = self.carry("-d")
        others = [line for line in run.result.output.split(b"\n") if line and b"\t" not in line]
        self.assertEqual([line for line in others if not line.startswith(b"#")], [])


class ExitStatus(ManualCase):
    """A code from <sysexits.h>."""

    def test_ok_at_the_end_of_the_input(self) -> None:
        self.assertEqual(self.run_program("example.net").status, os.EX_OK)

    def test_usage_for_an_unknown_option(self) -> None:
        ran = self.run_program("-y")
        self.assertEqual((ran.status, ran.output), (os.EX_USAGE, b""))
        self.assertIn(b"'y'", ran.errors)
        self.assertIn(b"Usage: ", ran.errors)

    def test_usage_for_an_option_without_its_value(self) -> None:
        self.assertIn("-T", self.refused("-T"))

    def test_line_without_any_host_is_answered_and_no_error(self) -> None:
        ran = self.run_program(fed=b"1000001\n")
        self.assertEqual(ran.status, os.EX_OK)
        self.assertIn(b"# smtp needs defined host!\n", ran.output)
