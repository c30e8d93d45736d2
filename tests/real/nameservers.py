"""Real name servers as peers: dnsmasq, and unbound, which validates and asks others.

Each runs privately on one loopback port, UDP and TCP, with a configuration of its own.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import dns.dnssec
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from twisted.trial.unittest import TestCase as DeferredTestCase

from tests.real.peer import ATTEMPTS, free_port
from tests.real.process import Program, ProgramFailed

__all__ = ["Dnsmasq", "NameServerPeer", "SignedZone", "Unbound"]

# Identity 1, recursion desired, one question: "ready.example", A.
_PROBE = b"\0\1\1\0\0\1\0\0\0\0\0\0\x05ready\x07example\0\0\1\0\1"
_PLACES = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))


class NameServerPeer(ABC):
    """A name server that can be started for one test."""

    program_name: str

    def start(self, case: SynchronousTestCase | DeferredTestCase) -> tuple[str, int]:
        """Start it until the end of the test; give address and port.

        Without the program skip the test, or fail it where CI is set.
        """
        program = shutil.which(self.program_name, path=_PLACES)
        if program is None:
            reason = f"{self.program_name} is not installed"
            if "CI" in os.environ:
                case.fail(f"a peer is missing, and CI is set: {reason}")
            raise SkipTest(reason)
        folder = Path(tempfile.mkdtemp(prefix="zsmtp-peer-"))
        case.addCleanup(shutil.rmtree, folder)
        for attempt in range(ATTEMPTS):
            port = free_port()
            running = Program([program, *self._arguments(folder, port)], folder / f"output.{attempt}")
            try:
                running.wait_until(partial(_answers, port), 15.0, self.program_name)
            except ProgramFailed:
                running.stop()
                if attempt == ATTEMPTS - 1:
                    raise
            else:
                case.addCleanup(running.stop)
                break
        return "127.0.0.1", port

    @abstractmethod
    def _arguments(self, folder: Path, port: int) -> list[str]:
        """Write the configuration and give the command line."""


class Dnsmasq(NameServerPeer):
    """Answers from its command line alone: `options` without "--"; it is in charge of example."""

    program_name = "dnsmasq"

    def __init__(self, *options: str) -> None:
        self._options = options

    def _arguments(self, folder: Path, port: int) -> list[str]:
        own = [
            "keep-in-foreground",
            "conf-file=/dev/null",
            "pid-file",
            "no-resolv",
            "no-hosts",
            "bind-interfaces",
            "listen-address=127.0.0.1",
            f"port={port}",
            "local=/example/",
            "host-record=ready.example,192.0.2.1",
            "log-facility=-",
        ]
        if os.geteuid() == 0:
            own += ["user=root", "group=root"]  # the accounts that it would take may be missing
        return [f"--{option}" for option in (*own, *self._options)]


class SignedZone:
    """A zone signed with a fresh key.  `spoil` replaces text in it after that."""

    def __init__(self, name: str, records: Sequence[str], spoil: tuple[str, str] | None = None) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        public = dns.dnssec.make_dnskey(key.public_key(), dns.dnssec.ECDSAP256SHA256, flags=257)
        head = ("$TTL 300", "@ SOA ns root 1 3600 600 86400 30", "@ NS ns", "ns A 127.0.0.1")
        zone = dns.zone.from_text("\n".join((*head, *records, "")), origin=name, relativize=False)
        dns.dnssec.sign_zone(zone, keys=[(key, public)], lifetime=86400)
        self.name = name
        self.anchor = f"{name}. IN DNSKEY {public.to_text()}"
        self.text = zone.to_text(want_origin=True).replace(*spoil or ("", ""))


class Unbound(NameServerPeer):
    """Has `data` of its own, validates `zones`, and asks the servers of `forward` for all below a name."""

    program_name = "unbound"

    def __init__(
        self,
        data: Sequence[str] = (),
        *,
        zones: Sequence[SignedZone] = (),
        forward: Mapping[str, tuple[str, int]] | None = None,
    ) -> None:
        self._data = data
        self._zones = zones
        self._forward = forward or {}

    def _arguments(self, folder: Path, port: int) -> list[str]:
        server = [
            "server:",
            f"interface: 127.0.0.1@{port}",
            f'directory: "{folder}"',
            'chroot: ""',
            'username: ""',
            'pidfile: ""',
            'logfile: ""',
            "use-syslog: no",
            "do-daemonize: no",
            "do-not-query-localhost: no",
            'module-config: "validator iterator"',
            'local-data: "ready.example. A 192.0.2.1"',
            *(f'local-data: "{record}"' for record in self._data),
            *(f'trust-anchor: "{zone.anchor}"' for zone in self._zones),
            "remote-control:",
            "control-enable: no",
        ]
        for zone in self._zones:
            (folder / zone.name).write_text(zone.text)
            server += ["auth-zone:", f'name: "{zone.name}"', f'zonefile: "{folder / zone.name}"']
            server += ["for-upstream: yes", "for-downstream: no"]
        for name, (host, its_port) in self._forward.items():
            server += ["forward-zone:", f'name: "{name}"', f"forward-addr: {host}@{its_port}"]
        configuration = folder / "unbound.conf"
        configuration.write_text("\n".join((*server, "")))
        return ["-d", "-p", "-c", str(configuration)]


def _answers(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.2)
        try:
            probe.connect(("127.0.0.1", port))
            probe.send(_PROBE)
            return probe.recv(512)[:2] == _PROBE[:2]
        except OSError:
            return False
