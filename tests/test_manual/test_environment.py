"""smtp(8zm), sections ENVIRONMENT VARIABLES, Z-ENVIRONMENT VARIABLES and FILES."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

from tests.test_manual.manual import MIME_8BIT, ManualCase
from zsmtp.spool.zenv import VARIABLES
from zsmtp.testing.table import Table

HEADER = (
    b"Received: from client.example by relay.example\n\tid <S1>; Mon, 1 Jan 2024 10:00:00 +0000\n"
    b"From:\ta@example.com\n"
)


class Zconfig(ManualCase):
    """ZCONFIG tells where the scheduler's idea of ZENV-variables is located at."""

    def head_with(self, zenv: str, *, tell: bool = True) -> bytes:
        """The header that arrives with such a file; `tell` False: nobody says where the file is."""
        path = os.path.join(self.spool.postoffice, "other.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write(zenv)
        mail = self.spool.add(header=HEADER)
        environment = {"ZCONFIG": path if tell else ""}
        return self.head(self.carry(mails=[mail], environment=environment))

    def test_file_that_it_names_is_read(self) -> None:
        self.assertIn(b"From:\ta@", self.head_with("RFC822TABS=1\n"))

    def test_without_it_every_variable_has_its_default(self) -> None:
        self.assertIn(b"From:   a@", self.head_with("RFC822TABS=1\n", tell=False))


class Variables(ManualCase):
    """TBW: many variables!  (Those of the original that concern what we do.)"""

    def with_zenv(self, header: bytes, body: bytes = b"x\n", **zenv: str) -> tuple[bytes, bytes]:
        """Header and body that arrive at a server without extensions."""
        with open(self.spool.zconfig, "a", encoding="ascii") as file:
            file.writelines(f"{name}={value}\n" for name, value in zenv.items())
        mail = self.spool.add(header=header, body=body)
        run = self.carry(mails=[mail], server=self.server(Table(announce=[])))
        return self.head(run), self.body(run)

    def test_rfc822tabs(self) -> None:
        self.assertIn(b"From:\ta@", self.with_zenv(HEADER, RFC822TABS="1")[0])

    def test_defcharset(self) -> None:
        head, _ = self.with_zenv(b"From: a@example.com\n", b"Gr\xfc\xdfe\n", DEFCHARSET="ISO-8859-1")
        self.assertIn(b"charset=ISO-8859-1\r\n", head)

    def test_noreceivedforclause(self) -> None:
        self.assertIn(b" for <bob@example.net>;", self.with_zenv(HEADER)[0])
        self.assertNotIn(b" for <", self.with_zenv(HEADER, NORECEIVEDFORCLAUSE="1")[0])

    def test_selfaddresses(self) -> None:
        """Addresses that are this machine's own: mail that would come back to us is not sent."""
        names = self.names("example.net MX 10 mx.example.", "mx.example A 192.0.2.77")
        with open(self.spool.zconfig, "a", encoding="ascii") as file:
            file.write("SELFADDRESSES=[192.0.2.77]\n")
        run = self.carry(*names.options, forced=False)
        self.assertEqual(run.report.word, "error2")
        self.assertIn(b"mx.example", run.report.text)

    def test_bindaddr(self) -> None:
        """The local address of connections, unless -L says otherwise."""
        with open(self.spool.zconfig, "a", encoding="ascii") as file:
            file.write("BINDADDR=[127.0.0.4]\n")
        for words, address in (((), "127.0.0.4"), (("-L", "[127.0.0.5]"), "127.0.0.5")):
            run = self.carry(*words)
            self.assertEqual(run.connection.client_address and run.connection.client_address[0], address)

    def test_nameservers(self) -> None:
        """Whom to ask instead of those of /etc/resolv.conf."""
        names = self.names("hub.example A 127.0.0.1")
        with open(self.spool.zconfig, "a", encoding="ascii") as file:
            file.write(f"NAMESERVERS={names.options[1].removeprefix('nameserver=')}\n")
        server = self.server()
        run = self.carry("-F", "hub.example", "-x", "-X", "-p", str(server.port), server=server, forced=False)
        self.assertEqual(run.words, ["ok3"])
        self.assertIn("hub.example A", names.asked)

    def test_syslogflg(self) -> None:
        """Each recipient is told of in the system's log, unless the letter is missing."""
        path = os.path.join(self.spool.postoffice, "log")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
            daemon.bind(path)
            daemon.settimeout(20)
            with open(self.spool.zconfig, "w", encoding="ascii"):
                pass  # without the variable
            self.carry("-O", f"syslog={path}")
            self.assertIn(b"to=<bob@example.net>", daemon.recv(65536))
            with open(self.spool.zconfig, "w", encoding="ascii") as file:
                file.write("SYSLOGFLG=RC\n")
            self.carry("-O", f"syslog={path}")
            daemon.setblocking(False)
            with self.assertRaises(BlockingIOError):
                daemon.recv(65536)

    def test_every_one_that_counts_has_a_test(self) -> None:
        written = Path(__file__).read_text("utf-8")
        for one in VARIABLES:
            if not one.ignored:
                self.assertTrue(re.search(rf"(?i)def test_{one.name}\b", written), one.name)


class Files(ManualCase):
    """What the program reads and writes."""

    def test_message_is_read_from_the_queue_and_marked_in_the_transport_directory(self) -> None:
        mail = self.spool.add(header=MIME_8BIT)
        self.assertEqual(os.path.dirname(mail.message_path), self.spool.queue)
        self.carry(mails=[mail])
        self.assertEqual(mail.tags()[mail.offsets[0]], b"+")
        self.assertNotEqual(mail.now(), mail.control)
