"""A network of its own for one test: port 25 of addresses that are not this machine's, MX records, both
families.

The thread of the test, and the threads and processes that it starts meanwhile, move to a new network
namespace that has nothing but its loopback interface.  192.0.2.9 (label lo:1) and 2001:db8::9 are addresses
of the machine there; 198.51.100.0/24 and 2001:db8:5::/64 lead back to it without being its own, so that
servers can listen on them and agents take them for strangers.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from typing import Any

from twisted.trial.unittest import SkipTest

from tests.agent.agents import AgentCase
from tests.real.nameservers import Dnsmasq
from zsmtp.testing.peer import Behaviour
from zsmtp.testing.scheduler import Job, Result
from zsmtp.testing.server import ScriptedServer
from zsmtp.testing.spool import SpooledMail
from zsmtp.testing.table import Table

__all__ = ["OWN", "OWN6", "IslandCase"]

OWN, OWN6 = "192.0.2.9", "2001:db8::9"
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_SET_UP = (
    "link set lo up",
    f"addr add {OWN}/32 dev lo label lo:1",
    f"-6 addr add {OWN6}/128 dev lo nodad",
    "route add local 198.51.100.0/24 dev lo",
    "-6 route add local 2001:db8:5::/64 dev lo",
)
_libc = ctypes.CDLL(None, use_errno=True)


class IslandCase(AgentCase):
    """Each test has its island, which only root can make."""

    def setUp(self) -> None:
        super().setUp()
        if os.geteuid():
            raise SkipTest("only root can make a network namespace")
        program = shutil.which("ip", path=os.environ.get("PATH", os.defpath) + ":/sbin:/usr/sbin")
        if program is None:
            if "CI" in os.environ:
                self.fail("a program is missing, and CI is set: ip (iproute2)")
            raise SkipTest("ip (iproute2) is not installed")
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self.addCleanup(os.close, home)
        if _libc.unshare(_NEW_NETWORK):
            raise SkipTest(f"no network namespace: {os.strerror(ctypes.get_errno())}")
        self.addCleanup(_libc.setns, home, _NEW_NETWORK)
        for words in _SET_UP:
            subprocess.run([program, *words.split()], check=True, capture_output=True)
        with open("/proc/sys/net/ipv6/ip_nonlocal_bind", "w", encoding="ascii") as file:
            file.write("1")

    def serve(self, address: str, *behaviours: Behaviour, port: int = 25) -> ScriptedServer:
        """Serve SMTP at an address; by default to everybody's satisfaction."""
        return self.server(*(behaviours or (Table(),)), address=address, port=port)

    def names(self, *options: str) -> tuple[str, ...]:
        """Start a name server, and give the option that lets an agent ask it."""
        host, port = Dnsmasq(*options).start(self)
        return ("-O", f"nameserver={host}:{port}")

    def deliver(
        self, *words: str, mail: SpooledMail | None = None, served: tuple[bytes, ...] = (), **options: Any
    ) -> Result:
        """Deliver a mail for example.net by an agent with these options; it may take `served` along."""
        mail = mail or self.spool.add()
        job = Job(mail.name, b"example.net", served=frozenset(served))
        return self.scheduler(*words, jobs=[job], **options).run()
