"""Where connections come from (-L, -r, BINDADDR) and where they go, in a network of its own.

Numbers are rows of the agent specification, sections 9.1, 9.3 and 9.5.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from tests.agent.agents import command
from tests.real.island import OWN, OWN6, IslandCase
from zsmtp.net.origin import HIGHEST_PORT, LOWEST_PORT
from zsmtp.testing.scheduler import Result
from zsmtp.testing.server import ScriptedServer
from zsmtp.testing.spool import Addressee, SpooledMail
from zsmtp.testing.table import Table

HERE, THERE, HERE6 = "198.51.100.1", "198.51.100.2", "2001:db8:5::1"


def words(result: Result) -> list[str]:
    """The words of all reports."""
    return [report.word for report in result.reports]


def text(result: Result) -> str:
    """The text of the only report."""
    (report,) = result.reports
    return report.text.decode()


def client(server: ScriptedServer) -> tuple[str, int]:
    """Where the only connection came from."""
    (conversation,) = server.connections
    assert conversation.client_address is not None
    return conversation.client_address


class Identity(IslandCase):
    """Option -L."""

    def test_n09_address_of_this_machine(self) -> None:
        server = self.serve(HERE)
        self.assertEqual(words(self.deliver("-L", f"[{OWN}]", "-F", f"[{HERE}]")), ["ok3"])
        self.assertEqual(client(server)[0], OWN)

    def test_address_of_the_other_family(self) -> None:
        server = self.serve(HERE6)
        self.assertEqual(words(self.deliver("-L", f"[IPv6.{OWN6}]", "-F", f"[ipv6.{HERE6}]")), ["ok3"])
        self.assertEqual(client(server)[0], OWN6)

    def test_n10_interface(self) -> None:
        for identity, hop, address in (
            ("iface:lo", HERE, "127.0.0.1"),
            ("IFACE:LO:1", HERE, OWN),
            ("iface:v6:lo", HERE6, OWN6),
        ):
            with self.subTest(identity):
                server = self.serve(hop)
                self.assertEqual(words(self.deliver("-L", identity, "-F", f"[{hop}]")), ["ok3"])
                self.assertEqual(client(server)[0], address)
                server.stop()

    def test_n11_host_name_with_addresses_of_both_families(self) -> None:
        dns = self.names(f"host-record=virtual.example,{OWN},{OWN6}")
        for hop, address in ((HERE, OWN), (HERE6, OWN6)):
            server = self.serve(hop)
            result = self.deliver(*dns, "-L", "virtual.example", "-F", f"[{hop}]")
            self.assertEqual(words(result), ["ok3"])
            self.assertEqual(client(server)[0], address)

    def test_host_name_is_what_we_call_ourselves_unless_h_says_otherwise(self) -> None:
        server = self.serve(HERE)
        dns = self.names(f"host-record=virtual.example,{OWN}")
        program = [sys.executable, "-m", "zsmtp"]
        self.deliver(*dns, "-L", "virtual.example", "-F", f"[{HERE}]", program=program)
        self.deliver(*dns, "-L", "virtual.example", "-F", f"[{HERE}]")
        greetings = [conversation.commands[0] for conversation in server.connections]
        self.assertEqual(greetings, [b"EHLO virtual.example", b"EHLO client.example"])

    def test_n12_address_that_is_not_here_defers(self) -> None:
        server = self.serve(HERE)
        result = self.deliver("-L", "[192.0.2.77]", "-F", f"[{HERE}]")
        self.assertEqual(words(result), ["retryat"])
        self.assertIn("from 192.0.2.77 port any: Cannot assign requested address", text(result))
        self.assertEqual(server.connections, [])

    def test_family_that_does_not_fit_defers_and_names_the_option(self) -> None:
        server = self.serve(HERE6)
        for identity, why in (
            (f"[{OWN}]", f"the local identity [{OWN}] has no IPv6 address"),
            ("iface:lo:1", "the interface lo:1 has no IPv6 address"),
            ("iface:v4:lo", "the interface lo has no IPv6 address"),
            ("iface:eth9", "the interface eth9 has no IPv6 address"),
        ):
            result = self.deliver("-L", identity, "-F", f"[ipv6.{HERE6}]")
            self.assertEqual((words(result), server.connections), (["retryat"], []))
            self.assertIn(why, text(result))

    def test_hop_that_does_not_fit_is_passed_over_for_one_that_does(self) -> None:
        dns = self.names("mx-host=example.net,mx.example,5", f"host-record=mx.example,{HERE},{HERE6}")
        four, six = self.serve(HERE), self.serve(HERE6)
        result = self.deliver(*dns, "-L", f"[IPv6.{OWN6}]")
        self.assertEqual((words(result), len(four.connections), client(six)[0]), (["ok3"], 0, OWN6))

    def test_host_name_without_an_answer_defers(self) -> None:
        server = self.serve(HERE)
        result = self.deliver("-O", "nameserver=127.0.0.1:1", "-L", "virtual.example", "-F", f"[{HERE}]")
        self.assertEqual((words(result), server.connections), (["retryat"], []))
        self.assertIn("the address of virtual.example cannot be looked up", text(result))

    def test_any_is_the_kernels_choice(self) -> None:
        server = self.serve(HERE)
        self.assertEqual(words(self.deliver("-L", "any", "-F", f"[{HERE}]")), ["ok3"])
        self.assertEqual(client(server)[0], HERE)

    def test_unix_socket_has_no_address(self) -> None:
        server = self.server(Table(lmtp=True), path="")
        result = self.deliver("-L", f"[{OWN}]", "-r", "-M", "-F", f"UNIX:{server.path}")
        self.assertEqual(words(result), ["ok3"])

    def test_address_that_comes_later_is_found_by_the_same_agent(self) -> None:
        server = self.serve(HERE)
        agent = self.raw("-L", "iface:lo:2", "-F", f"[{HERE}]")
        agent.until_hungry()
        agent.send(self.spool.add().feed(b"example.net"))
        self.assertIn(b"the interface lo:2 has no IPv4 address", agent.until_hungry()[0])
        subprocess.run(["ip", "addr", "add", "192.0.2.10/32", "dev", "lo", "label", "lo:2"], check=True)
        agent.send(self.spool.add().feed(b"other.example") + self.spool.add().feed(b"example.net"))
        self.assertIn(b"\tok3 ", b"".join(agent.until_hungry(2)))
        self.assertEqual(client(server)[0], "192.0.2.10")


class ZEnvironment(IslandCase):
    """BINDADDR and NAMESERVERS."""

    def zconfig(self, *lines: str) -> str:
        """Write the Z-environment."""
        path = os.path.join(self.spool.postoffice, "zmailer.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write("".join(line + "\n" for line in lines))
        return path

    def test_c26_bindaddr_and_option_over_it(self) -> None:
        server = self.serve(HERE)
        zconfig = self.zconfig(f"BINDADDR=[{OWN}]")
        self.deliver("-F", f"[{HERE}]", zconfig=zconfig)
        self.deliver("-F", f"[{HERE}]", "-L", "[127.0.0.1]", zconfig=zconfig)
        addresses = [one.client_address[0] for one in server.connections if one.client_address]
        self.assertEqual(addresses, [OWN, "127.0.0.1"])

    def test_bindaddr_of_one_family_leaves_the_other_alone(self) -> None:
        server = self.serve(HERE6)
        result = self.deliver("-F", f"[ipv6.{HERE6}]", zconfig=self.zconfig(f"BINDADDR=[{OWN}]"))
        self.assertEqual((words(result), client(server)[0]), (["ok3"], OWN6))  # the kernel chooses

    def test_bindaddr_that_is_none_is_told_and_passed_over(self) -> None:
        self.serve(HERE)
        result = self.deliver("-F", f"[{HERE}]", zconfig=self.zconfig("BINDADDR=[1.2.3]"))
        self.assertEqual(words(result), ["ok3"])
        self.assertIn(b"BINDADDR: [1.2.3] is no local address", result.output)

    def test_name_servers(self) -> None:
        _, server = self.names("mx-host=example.net,mx.example,5", f"host-record=mx.example,{HERE}")
        self.serve(HERE)
        zconfig = self.zconfig(f"NAMESERVERS=nonsense {server.removeprefix('nameserver=')}")
        result = self.deliver(zconfig=zconfig)
        self.assertEqual(words(result), ["ok3"])
        self.assertIn(b"NAMESERVERS: nonsense is no name server", result.output)
        refused = self.deliver("-O", "nameserver=127.0.0.1:1", zconfig=zconfig)
        self.assertEqual(words(refused), ["deferall"])


class Privileged(IslandCase):
    """Option -r."""

    def test_n13_port_below_1024_also_with_an_address(self) -> None:
        for more, hop, address in (((), HERE, HERE), (("-L", f"[{OWN}]"), HERE, OWN), ((), HERE6, OWN6)):
            server = self.serve(hop)
            literal = f"[ipv6.{hop}]" if ":" in hop else f"[{hop}]"
            self.assertEqual(words(self.deliver("-r", *more, "-F", literal)), ["ok3"])
            self.assertEqual(client(server)[0], address)
            self.assertIn(client(server)[1], range(LOWEST_PORT, HIGHEST_PORT + 1))
            server.stop()

    def occupy(self, *free: int) -> None:
        """Take all ports but these."""
        for port in range(LOWEST_PORT, HIGHEST_PORT + 1):
            if port not in free:
                taken = socket.socket()
                self.addCleanup(taken.close)
                taken.bind(("0.0.0.0", port))

    def test_the_only_port_that_is_free_is_found(self) -> None:
        self.occupy(700)
        server = self.serve(HERE)
        self.assertEqual(words(self.deliver("-r", "-F", f"[{HERE}]")), ["ok3"])
        self.assertEqual(client(server)[1], 700)

    def test_without_a_free_port_mail_is_deferred(self) -> None:
        self.occupy()
        server = self.serve(HERE)
        result = self.deliver("-r", "-F", f"[{HERE}]")
        self.assertEqual((words(result), server.connections), (["retryat"], []))
        self.assertIn("too many busy ports: none from 512 to 1023 is free", text(result))

    def test_address_that_is_not_here_is_tried_with_one_port_only(self) -> None:
        self.serve(HERE)
        result = self.deliver("-r", "-L", "[192.0.2.77]", "-F", f"[{HERE}]")
        self.assertEqual(words(result), ["retryat"])
        self.assertIn("Cannot assign requested address", text(result))

    def test_server_that_refuses_is_asked_once(self) -> None:
        result = self.deliver("-r", "-F", f"[{HERE}]")
        self.assertEqual(words(result), ["deferall"])
        self.assertIn("Connection refused", text(result))

    def test_n14_without_the_privilege_from_an_ordinary_port_with_a_warning(self) -> None:
        server = self.serve(HERE)
        unprivileged = ["setpriv", "--bounding-set", "-net_bind_service"]
        program = [*unprivileged, *command()]
        result = self.deliver("-r", "-1", "-L", f"[{OWN}]", "-F", f"[{HERE}]", program=program)
        self.assertEqual(words(result), ["ok3"])
        self.assertEqual(result.output.count(b"-r: ports below 1024 cannot be used"), 1)
        address, port = client(server)
        self.assertEqual((address, port > HIGHEST_PORT), (OWN, True))

    def test_hundred_connections_leave_no_descriptor(self) -> None:
        server = self.serve(HERE)
        self.occupy(*range(600, 800))
        mails = [self.spool.add() for _ in range(30)]
        agent = self.raw("-1r", "-F", f"[{HERE}]")
        agent.until_hungry()
        agent.send(mails[0].feed(b"example.net"))
        agent.until_hungry()
        before = len(os.listdir(f"/proc/{agent.process.pid}/fd"))
        agent.send(b"".join(mail.feed(b"example.net") for mail in mails[1:]))
        lines = agent.until_hungry(len(mails) - 1)
        self.assertEqual(sum(b"\tok3 " in line for line in lines), len(mails) - 1)
        self.assertLessEqual(len(os.listdir(f"/proc/{agent.process.pid}/fd")), before + 1)
        ports = {one.client_address[1] for one in server.connections if one.client_address}
        self.assertEqual(len(ports), len(mails))
        self.assertLessEqual(ports, set(range(600, 800)))


class Selection(IslandCase):
    """Options -e, -6 and -W with a real name server."""

    def mail(self, *hosts: str) -> SpooledMail:
        """A mail with one recipient at each host."""
        return self.spool.add(recipients=[Addressee(b"r@" + h.encode(), h.encode()) for h in hosts])

    def test_s05_s06_recipients_by_mail_exchanger_also_behind_an_alias(self) -> None:
        server = self.serve(HERE)
        dns = self.names(
            "mx-host=example.net,mx.example,5",
            "mx-host=via.example,mx.example,5",
            "mx-host=via.example,mx2.example,10",
            "mx-host=other.example,mx2.example,10",
            "cname=alias.example,via.example",
            f"host-record=mx.example,{HERE}",
            f"host-record=mx2.example,{THERE}",
        )
        mail = self.mail("example.net", "via.example", "other.example", "gone.example", "alias.example")
        result = self.deliver(*dns, "-e", mail=mail, served=(b"via.example", b"alias.example"))
        self.assertEqual(words(result), ["ok3", "ok3", "ok3"])
        self.assertEqual(b"".join(mail.tags().values()), b"++  +")
        (message,) = server.connections[0].messages
        self.assertEqual(len(message.recipients), 3)

    def test_preferred_family(self) -> None:
        dns = self.names("mx-host=example.net,mx.example,5", f"host-record=mx.example,{HERE},{HERE6}")
        four, six = self.serve(HERE), self.serve(HERE6)
        self.deliver(*dns)
        self.assertEqual((len(four.connections), len(six.connections)), (1, 0))
        self.deliver(*dns, "-6")
        self.assertEqual((len(four.connections), len(six.connections)), (1, 1))

    def test_d34_hosts_without_wks_records_get_their_mail(self) -> None:
        dns = self.names("mx-host=example.net,mx.example,5", f"host-record=mx.example,{HERE}")
        self.serve(HERE)
        result = self.deliver(*dns, "-W")
        self.assertEqual(words(result), ["ok3"])
        self.assertIn(b"-W: mx.example has no WKS records for TCP", result.output)

    def test_wks_records_say_whether_a_host_takes_mail(self) -> None:
        address = "c6336401"
        for bits, found in (("06" + "00000040", "ok3"), ("06" + "00000080", "error2"), ("06", "error2")):
            dns = self.names(
                "mx-host=example.net,mx.example,5",
                f"host-record=mx.example,{HERE}",
                f"dns-rr=mx.example,11,{address}{bits}",
            )
            server = self.serve(HERE)
            result = self.deliver(*dns, "-W")
            self.assertEqual((words(result), len(server.connections)), ([found], found == "ok3"))
            if found == "error2":
                why = "WKS checks: no SMTP reception capability registered for host mx.example"
                self.assertIn(why, text(result))
            server.stop()

    def test_wks_of_one_mail_exchanger_leaves_the_others(self) -> None:
        dns = self.names(
            "mx-host=example.net,mx.example,5",
            "mx-host=example.net,mx2.example,10",
            f"host-record=mx.example,{HERE}",
            f"host-record=mx2.example,{THERE}",
            "dns-rr=mx.example,11,c63364010600000080",
        )
        one, two = self.serve(HERE), self.serve(THERE)
        self.assertEqual(words(self.deliver(*dns, "-W")), ["ok3"])
        self.assertEqual((len(one.connections), len(two.connections)), (0, 1))
        two.stop()
        self.assertEqual(words(self.deliver(*dns, "-W")), ["deferall"])
