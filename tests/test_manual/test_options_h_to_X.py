"""smtp(8zm), section OPTIONS, from -h to -X."""

from __future__ import annotations

import os
import socket
import sys

from twisted.trial.unittest import SkipTest

from tests.test_manual.manual import ManualCase, Run
from zsmtp.testing.dialogue import Script
from zsmtp.testing.table import Table


class OptionLowH(ManualCase):
    """-h host: the hostname for the greeting."""

    def test_specifies_the_hostname_for_ehlo_and_helo(self) -> None:
        self.assertEqual(self.carry("-h", "me.example").commands[0], b"EHLO me.example")
        self.assertEqual(self.carry("-77", "-h", "me.example").commands[0], b"HELO me.example")

    def test_default_is_the_hostname_of_the_local_system(self) -> None:
        """Case N19 as well: no name that the DNS gives for our address, which anybody may write there."""
        run = self.carry(program=[sys.executable, "-m", "zsmtp"])
        self.assertTrue(run.commands[0].lower().startswith(b"ehlo " + socket.gethostname().lower().encode()))


class OptionF(ManualCase):
    """-F forcedest: forces all email to be sent to the given destination."""

    def test_unix_socket(self) -> None:
        server = self.server(path="")
        self.assertEqual(self.carry("-F", f"UNIX:{server.path}", server=server, forced=False).words, ["ok3"])

    def test_literal_ipv6_address(self) -> None:
        server = self.server(address="::1")
        run = self.carry("-F", "[ipv6.::1]", "-p", str(server.port), server=server, forced=False)
        self.assertEqual(run.words, ["ok3"])

    def test_literal_ipv4_address(self) -> None:
        server = self.server()
        run = self.carry("-F", "[127.0.0.1]", "-p", str(server.port), server=server, forced=False)
        self.assertEqual(run.words, ["ok3"])

    def test_registered_name(self) -> None:
        names = self.names("hub.example A 127.0.0.1")
        server = self.server()
        where = ("-F", "hub.example", "-x", "-X", "-p", str(server.port))
        self.assertEqual(self.carry(*where, *names.options, server=server, forced=False).words, ["ok3"])
        self.assertEqual([one for one in names.asked if "example.net" in one], [])

    def test_all_email_goes_there_whatever_its_host_is(self) -> None:
        mails = [self.mail(host=b"example.net"), self.mail(host=b"example.net")]
        self.assertEqual(len(self.carry(mails=mails).connection.messages), 2)

    def test_anything_else_is_a_usage_error(self) -> None:
        self.assertIn('-F "[1.2.3]"', self.refused("-F", "[1.2.3]"))


class OptionH(ManualCase):
    """-H: disable the conversion of 8-bit headers."""

    def field(self, *words: str) -> bytes:
        """How a subject with 8-bit octets arrives."""
        mail = self.spool.add(header="From: a@example.com\nSubject: Grüße\n".encode())
        head = self.head(self.carry(*words, mails=[mail]))
        return head.partition(b"\r\nSubject: ")[2].partition(b"\r\n")[0]

    def test_headers_stay_as_they_are(self) -> None:
        self.assertEqual(self.field("-H"), "Grüße".encode())

    def test_per_default_they_are_converted_into_mime_2_format(self) -> None:
        self.assertEqual(self.field(), b"=?utf-8?B?R3LDvMOfZQ==?=")


class OptionL(ManualCase):
    """-L localident: use the specified identity when connecting to the destination."""

    def source(self, *words: str, address: str = "127.0.0.1") -> str:
        """The address that the connection comes from."""
        run = self.carry(*words, server=self.server(address=address))
        self.assertEqual(run.words, ["ok3"])
        assert run.connection.client_address is not None
        return run.connection.client_address[0]

    def test_interface(self) -> None:
        self.assertEqual(self.source("-L", "iface:lo"), "127.0.0.1")

    def test_literal_ipv6_address(self) -> None:
        server = self.server(address="::1")
        where = ("-F", "[ipv6.::1]", "-p", str(server.port))
        run = self.carry("-L", "[ipv6.::1]", *where, server=server, forced=False)
        self.assertEqual(run.connection.client_address and run.connection.client_address[0], "::1")

    def test_literal_ipv4_address(self) -> None:
        self.assertEqual(self.source("-L", "[127.0.0.2]"), "127.0.0.2")

    def test_registered_name(self) -> None:
        names = self.names("virtual.example A 127.0.0.3")
        self.assertEqual(self.source("-L", "virtual.example", *names.options), "127.0.0.3")


class OptionLowL(ManualCase):
    """-l logfile: the complete SMTP command transaction will be copied."""

    def logged(self, runs: int = 1) -> tuple[list[bytes], list[Run]]:
        """The lines of the file after so many agents."""
        path = os.path.join(self.spool.postoffice, "smtp.log")
        made = [self.carry("-l", path) for _ in range(runs)]
        with open(path, "rb") as file:
            return file.read().splitlines(), made

    def test_complete_transaction_is_copied(self) -> None:
        lines, (run,) = self.logged()
        written = b"\n".join(lines)
        for line in run.connection.server.splitlines():
            self.assertIn(line, written)
        for command in (b"EHLO", b"MAIL From:", b"RCPT To:", b"DATA", b"QUIT"):
            self.assertIn(b"\t" + command, written)

    def test_each_line_is_prefixed_with_the_process_id(self) -> None:
        lines, (run,) = self.logged()
        self.assertEqual([line for line in lines if not line.startswith(b"%05d" % run.result.pid)], [])

    def test_the_same_file_can_be_used_by_all_clients(self) -> None:
        lines, runs = self.logged(2)
        for run in runs:
            self.assertTrue(any(line.startswith(b"%05d" % run.result.pid) for line in lines))


class OptionM(ManualCase):
    """-M: run in LMTP mode."""

    def test_speaks_lmtp(self) -> None:
        server = self.server(Table({"dot": ["250 ok", "550 5.2.1 full"]}, lmtp=True))
        mail = self.mail(b"a@example.net", b"b@example.net")
        run = self.carry("-M", mails=[mail], server=server)
        self.assertEqual(run.commands[0], b"LHLO client.example")
        self.assertEqual(sorted(run.words), ["error2", "ok3"])

    def test_requires_that_the_port_is_not_25(self) -> None:
        for words in (("-M",), ("-M", "-p", "25"), ("-M", "-F", "[127.0.0.1]")):
            self.assertIn("-M (LMTP) is not allowed on port 25", self.refused(*words))

    def test_alternate_is_punt_mode_to_a_unix_socket(self) -> None:
        server = self.server(Table(lmtp=True), path="")
        run = self.carry("-M", "-F", f"UNIX:{server.path}", server=server, forced=False)
        self.assertEqual(run.words, ["ok3"])


class OptionR(ManualCase):
    """-r: a source TCP port number under 1024."""

    def test_connects_from_a_privileged_port(self) -> None:
        if os.geteuid():
            raise SkipTest("only root can")
        run = self.carry("-r")
        assert run.connection.client_address is not None
        self.assertLess(run.connection.client_address[1], 1024)


class OptionS(ManualCase):
    """-s: report the progress on the command line in a way that will be visible to ps(1)."""

    def test_progress_is_visible_to_ps(self) -> None:
        server = self.server(Script("S: 220 mx\nC: EHLO *\nS: 250 mx\nC: MAIL *\n-- silence"))
        agent = self.raw("-s", server=server)
        agent.until_hungry()
        agent.send(self.mail().feed(b"example.net"))
        command_line = f"/proc/{agent.process.pid}/cmdline"

        def shown() -> bool:
            with open(command_line, "rb") as file:
                return b"MAIL" in file.read()

        self.eventually(shown, "MAIL in the title")


class OptionLowX(ManualCase):
    """-x: turns off MX lookups on delivery connections."""

    def test_goes_to_the_host_itself_and_ignores_public_mx_knowledge(self) -> None:
        names = self.names("example.net MX 10 mx.example.", "example.net A 127.0.0.1")
        server = self.server()
        run = self.carry("-x", "-X", "-p", str(server.port), *names.options, server=server, forced=False)
        self.assertEqual(run.words, ["ok3"])
        self.assertNotIn("example.net MX", names.asked)


class OptionX(ManualCase):
    """-X: allow connection to local address."""

    def refused_connection(self, *words: str) -> Run:
        """A delivery to a host at a local address, which is not even tried."""
        names = self.names("example.net A 127.0.0.1")
        server = self.server()
        run = self.carry("-p", str(server.port), *names.options, *words, server=server, forced=False)
        self.assertEqual(server.connections, [])
        return run

    def test_in_conjunction_with_x_it_allows_a_local_address(self) -> None:
        names = self.names("example.net A 127.0.0.1")
        server = self.server()
        run = self.carry("-xXp", str(server.port), *names.options, server=server, forced=False)
        self.assertEqual(run.words, ["ok3"])

    def test_without_x_it_is_silently_ignored(self) -> None:
        run = self.refused_connection("-X")
        self.assertEqual(run.result.comments, [])

    def test_without_it_a_local_address_is_not_connected_to(self) -> None:
        self.assertIn(b"loopback", self.refused_connection("-x").report.text)
