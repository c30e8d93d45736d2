"""The whole agent with -A: what it does with the file, and that no output of it shows a secret.

The cases are A01 to A11 of the specification of the agent, section 9.6.
"""

from __future__ import annotations

import base64
import os
import stat

from tests.agent.agents import AgentCase
from tests.agent.test_faults import spoiled
from zsmtp.testing.scheduler import Job, Result
from zsmtp.testing.server import ScriptedServer
from zsmtp.testing.table import Table

USER, SECRET = b"postmaster", b"Sesam, oeffne dich"
U, S = base64.b64encode(USER), base64.b64encode(SECRET)
SHOWS = (
    SECRET,
    S,
    SECRET.hex().encode(),
    SECRET.hex().upper().encode(),
    base64.b64encode(b"\0" + USER + b"\0" + SECRET),
)
LOGIN = ["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"]


def login(*answers: str, announce: str = "AUTH LOGIN", lmtp: bool = False) -> Table:
    """A server that asks for user and secret and then answers so."""
    return Table({"auth": [*LOGIN, *answers]}, announce=[announce], lmtp=lmtp)


class AuthenticationTest(AgentCase):
    """An agent with -A, -l and -d; afterwards everything that it wrote is searched for the secret."""

    def setUp(self) -> None:
        super().setUp()
        self.secrets = os.path.join(self.spool.postoffice, "secrets")
        self.transcript = os.path.join(self.spool.postoffice, "transcript")

    def write(self, line: bytes, mode: int = 0o600) -> None:
        """Write the secrets file; U and S stand for user and secret."""
        with open(self.secrets, "wb") as file:
            file.write(line.replace(b" U S", b" %b %b" % (U, S)))
        os.chmod(self.secrets, mode)

    def deliver(
        self, server: ScriptedServer, *words: str, mails: int = 1, program: list[str] | None = None
    ) -> Result:
        """Deliver, and search the outputs."""
        self.mails = [self.spool.add() for _ in range(mails)]
        stand_in = self.scheduler(
            "-A",
            self.secrets,
            "-l",
            self.transcript,
            "-d",
            "-d",
            *words,
            server=server if server.path is None else None,
            program=program,
            jobs=[Job(mail.name) for mail in self.mails],
            heeds_retryat=False,
        )
        result = stand_in.run()
        self.search(result)
        return result

    def search(self, result: Result) -> None:
        """Fail if a secret stands anywhere but in its own file, and on the wire."""
        shown = [result.output]
        for folder, _, names in os.walk(self.spool.postoffice):
            paths = [os.path.join(folder, name) for name in names]
            for path in paths:
                if path != self.secrets and stat.S_ISREG(os.stat(path).st_mode):
                    with open(path, "rb") as file:
                        shown.append(file.read())
        for form in SHOWS:
            for text in shown:
                self.assertNotIn(form, text)

    def heard(self, server: ScriptedServer) -> list[bytes]:
        """What the server heard, but for the message."""
        return [line for each in server.connections for line in each.commands]

    def deferred(self, result: Result, status: bytes = b"4.7.8") -> bytes:
        """See that all recipients are deferred; return the text of the first report."""
        for report in result.reports:
            self.assertEqual((report.word, report.notary[2].split()[0]), ("retryat", status))
        self.assertEqual(len(result.reports), len(self.mails))
        self.assertEqual([mail.diagnostics() for mail in self.mails], [[] for _ in self.mails])
        return result.reports[0].text

    def comment(self, result: Result, text: bytes) -> None:
        """See that the postmaster reads this once."""
        found = [line for line in result.comments if text in line]
        self.assertEqual(len(found), 1, result.comments)


class Authenticated(AuthenticationTest):
    """It works."""

    def test_a01_three_lines_then_the_mail(self) -> None:
        server = self.server(login("235 ok"))
        self.write(b"# ours\n\n*\t127.0.0.1\t%b %b\r\n" % (U, S))
        result = self.deliver(server, mails=3)
        self.assertEqual(set(result.words.values()), {"ok3"})
        self.assertEqual(self.heard(server)[1:4], [b"AUTH LOGIN", U, S])
        self.assertEqual(self.heard(server).count(b"AUTH LOGIN"), 1, "once for a connection")
        with open(self.transcript, "rb") as file:
            text = file.read()
        self.assertEqual((text.count(b"w\t***\n"), text.count(b"w\tAUTH LOGIN\n")), (2, 1))

    def test_a09_lmtp_on_a_socket(self) -> None:
        server = self.server(login("235 ok", lmtp=True), path="")
        self.write(b"smtp UNIX:%b U S" % os.fsencode(str(server.path)))
        result = self.deliver(server, "-M", "-F", f"UNIX:{server.path}")
        self.assertEqual(set(result.words.values()), {"ok3"})
        self.assertEqual(self.heard(server)[0:2], [b"LHLO client.example", b"AUTH LOGIN"])

    def test_a11_after_tls(self) -> None:
        answers = {"auth": [*LOGIN, "235 ok"]}
        server = self.server(Table(answers, announce=["STARTTLS", "AUTH LOGIN"]))
        self.write(b"* 127.0.0.1 U S")
        self.assertEqual(set(self.deliver(server).words.values()), {"ok3"})
        lines = self.heard(server)
        self.assertEqual([line[:4] for line in lines[:4]], [b"EHLO", b"STAR", b"EHLO", b"AUTH"])

    def test_host_that_no_line_names(self) -> None:
        server = self.server(login("235 ok"))
        self.write(b"* 127.0.0.2 U S\nother 127.0.0.1 U S\n* example.net U S")
        self.assertEqual(set(self.deliver(server).words.values()), {"ok3"})
        self.assertNotIn(b"AUTH LOGIN", self.heard(server))

    def test_change_of_the_file_is_noticed_by_a_running_agent(self) -> None:
        server = self.server(login("235 ok"), login("235 ok"))
        self.write(b"* 127.0.0.1 eDpvbGQ= %b" % S)
        agent = self.raw("-1", "-A", self.secrets, server=server)
        agent.until_hungry()
        for number, user in enumerate((b"eDpvbGQ=", U)):
            agent.send(self.spool.add().feed(b"example.net"))
            agent.until_hungry()
            self.assertTrue(server.wait(lambda server, n=number: len(server.connections) > n))  # type: ignore[misc]
            self.assertIn(user, server.connections[number].commands)
            self.write(b"* 127.0.0.1 U S")
        agent.rest()


class NotAuthenticated(AuthenticationTest):
    """It does not, and the mail waits."""

    def test_a02_refused(self) -> None:
        server = self.server(login("535 5.7.8 no"))
        self.write(b"* 127.0.0.1 U S")
        result = self.deliver(server, mails=5)
        text = self.deferred(result)
        self.assertEqual(text, b"\r<<- AUTH LOGIN\r->> 535 5.7.8 no\r(authentication with 127.0.0.1)")
        self.assertEqual(self.heard(server)[-1], b"QUIT")
        self.assertNotIn(b"MAIL", [line[:4] for line in self.heard(server)])
        self.comment(
            result, b"secrets:1: mail waits: <<- AUTH LOGIN | ->> 535 5.7.8 no | (authentication with"
        )
        self.assertEqual(len(server.connections), 1, "a batch of jobs must not lock the user out")

    def test_a03_refused_in_lmtp(self) -> None:
        server = self.server(login("535 bad '" + S.decode() + "'", lmtp=True), path="")
        self.write(b"* UNIX:%b U S" % os.fsencode(str(server.path)))
        result = self.deliver(server, "-M", "-F", f"UNIX:{server.path}", mails=2)
        self.assertIn(b"535 bad '***'", self.deferred(result))

    def test_a07_no_file(self) -> None:
        server = self.server(login("235 ok"))
        result = self.deliver(server, mails=3)
        self.assertIn(b"the log says why", self.deferred(result, b"4.3.5"))
        self.assertEqual(server.connections, [])
        self.comment(result, b"secrets: No such file or directory; make it readable for this program")

    def test_file_that_others_can_read(self) -> None:
        server = self.server(login("235 ok"))
        self.write(b"* 127.0.0.1 U S", 0o644)
        result = self.deliver(server)
        self.deferred(result, b"4.3.5")
        self.comment(result, b"secrets: its mode 0644 lets others read or change it; chmod 600")

    def test_wrong_line(self) -> None:
        server = self.server(login("235 ok"))
        self.write(b"* 127.0.0.1 %b %b" % (U, SECRET.split()[1]))
        result = self.deliver(server)
        self.deferred(result, b"4.3.5")
        self.comment(result, b"secrets:1: the fourth word, the secret, is not base64; write what printf %s")

    def test_not_offered(self) -> None:
        server = self.server(Table())
        self.write(b"* 127.0.0.1 U S")
        text = self.deferred(self.deliver(server))
        self.assertIn(b"authentication with 127.0.0.1: the server offers no authentication", text)

    def test_error_of_ours_in_the_exchange(self) -> None:
        for spoil in (
            "from zsmtp.smtp.sasl import Login\nspoil(Login, 'challengeResponse')",
            "from zsmtp.smtp.opening import Opening\nspoil(Opening, 'answer')",
            "from zsmtp.net.courier import Courier\nspoil(Courier, '_respond')",
            "from zsmtp.credentials import Credentials\nspoil(Credentials, 'mechanisms')",
            "from zsmtp.credentials import Secrets\nspoil(Secrets, 'find')",
        ):
            server = self.server(login("235 ok"))
            self.write(b"* 127.0.0.1 U S")
            result = self.deliver(server, program=spoiled(spoil))
            for report in result.reports:
                self.assertTrue(report.is_deferral, spoil)
            self.assertEqual(server.messages, [])
