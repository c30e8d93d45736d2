"""smtp(8zm), section SMTP-AUTH AND SMTP-AUTH-SECRETS.TXT FILE, and option -A.

The page's example is corrected: its second prompt and its secret are no base64 of what it says they are.
"""

from __future__ import annotations

import os

from tests.test_manual.manual import ManualCase, Run
from zsmtp.testing.dialogue import Script
from zsmtp.testing.table import Table

#: base64 of "myname" and "secret"
USER, SECRET = "bXluYW1l", "c2VjcmV0"
LOGIN = ("334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "235 Authentication successful")


class AuthCase(ManualCase):
    """Deliveries with a secrets file."""

    def authenticated(
        self, text: str, *words: str, announce: str = "AUTH LOGIN", channel: str = "smtp"
    ) -> bool:
        """Whether a server on loopback that offers LOGIN is told user and secret with this file."""
        run = self.with_file(text, *words, table=Table({"auth": LOGIN}, announce=[announce]), channel=channel)
        self.assertEqual(run.words, ["ok3"])
        told = [USER.encode(), SECRET.encode()]
        return [line for line in run.commands if line in told] == told

    def with_file(
        self, text: str, *words: str, table: Table | Script, channel: str = "smtp", mode: int = 0o600
    ) -> Run:
        """Deliver with a secrets file."""
        path = os.path.join(self.spool.postoffice, "smtp-auth-secrets.txt")
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        os.chmod(path, mode)
        words = ("-A", path, "-c", channel, *words)
        mail = self.mail(channel=channel.encode())
        return self.carry(*words, server=self.server(table), mails=[mail], channel=channel.encode())


class OptionA(AuthCase):
    """-A: application specific authentication secrets, for use against some target systems."""

    def test_secrets_of_the_file_are_used(self) -> None:
        self.assertTrue(self.authenticated(f"* 127.0.0.1 {USER} {SECRET}\n"))

    def test_systems_that_are_not_in_it_are_met_without(self) -> None:
        self.assertFalse(self.authenticated(f"* other.example {USER} {SECRET}\n"))


class TheInteraction(AuthCase):
    """Following interaction is presumed to happen."""

    def test_auth_login(self) -> None:
        script = Script(
            f"""
            S: 220 mx.example ESMTP
            C: EHLO *
            S: 250-mx.example
            S: 250 AUTH LOGIN
            C: AUTH LOGIN
            S: {LOGIN[0]}
            C: {USER}
            S: {LOGIN[1]}
            C: {SECRET}
            S: {LOGIN[2]}
            C: MAIL FROM:<alice@example.com> ...
            S: 250 ok
            C: RCPT TO:<bob@example.net> ...
            S: 250 ok
            C: DATA
            S: 354 go
            C-data: *
            S: 250 taken
            C: QUIT
            S: 221 bye
            """
        )
        run = self.with_file(f"* 127.0.0.1 {USER} {SECRET}\n", table=script)
        self.assertEqual((run.words, run.server.problems), (["ok3"], []))

    def test_the_spelling_of_old_servers(self) -> None:
        """RFC 2554+NetScape: AUTH=LOGIN."""
        self.assertTrue(self.authenticated(f"* 127.0.0.1 {USER} {SECRET}\n", announce="AUTH=LOGIN"))

    def test_without_success_no_mail_is_sent(self) -> None:
        """A difference on purpose: the original went on without authentication."""
        table = Table({"auth": [*LOGIN[:2], "535 5.7.8 no"]}, announce=["AUTH LOGIN"])
        run = self.with_file(f"* 127.0.0.1 {USER} {SECRET}\n", table=table)
        self.assertTrue(run.report.is_deferral)
        self.assertEqual(run.connection.messages, [])

    def test_secrets_are_in_no_report_and_no_log(self) -> None:
        log = os.path.join(self.spool.postoffice, "smtp.log")
        table = Table({"auth": [*LOGIN[:2], f"535 5.7.8 {SECRET}"]}, announce=["AUTH LOGIN"])
        run = self.with_file(f"* 127.0.0.1 {USER} {SECRET}\n", "-l", log, "-d", table=table)
        with open(log, "rb") as file:
            self.assertNotIn(SECRET.encode(), run.result.output + file.read())


class TheFile(AuthCase):
    """Keep the file well protected!"""

    def test_empty_lines_white_space_and_comments_are_ignored(self) -> None:
        text = f"\n  \t\n# a comment\n \t# another\n*\t127.0.0.1 \t {USER}  {SECRET}\n"
        self.assertTrue(self.authenticated(text))

    def test_star_matches_any_channel(self) -> None:
        self.assertTrue(self.authenticated(f"* 127.0.0.1 {USER} {SECRET}\n", channel="smtp-lmtp"))

    def test_other_channels_match_literally(self) -> None:
        line = f"smtp-lmtp 127.0.0.1 {USER} {SECRET}\n"
        self.assertTrue(self.authenticated(line, channel="smtp-lmtp"))
        self.assertFalse(self.authenticated(line))

    def test_case_of_the_channel_matters(self) -> None:
        self.assertFalse(self.authenticated(f"SMTP 127.0.0.1 {USER} {SECRET}\n"))

    def test_host_is_the_one_that_the_connection_has_gone_to_in_any_case_of_letters(self) -> None:
        names = self.names("hub.example A 127.0.0.1")
        server = self.server(Table({"auth": LOGIN}, announce=["AUTH LOGIN"]))
        path = os.path.join(self.spool.postoffice, "secrets")
        with open(path, "w", encoding="ascii") as file:
            file.write(f"* HUB.example {USER} {SECRET}\n")
        os.chmod(path, 0o600)
        where = ("-A", path, "-F", "hub.example", "-x", "-X", "-p", str(server.port))
        run = self.carry(*names.options, *where, server=server, forced=False)
        self.assertIn(SECRET.encode(), run.commands)

    def test_a_file_that_others_can_read_is_not_used(self) -> None:
        """Beyond the page."""
        table = Table({"auth": LOGIN}, announce=["AUTH LOGIN"])
        run = self.with_file(f"* 127.0.0.1 {USER} {SECRET}\n", table=table, mode=0o644)
        self.assertTrue(run.report.is_deferral)
        self.assertEqual(
            [each.client for each in run.server.connections if SECRET.encode() in each.client], []
        )
