"""The file of option -A: when it is read, when it is refused, and what the postmaster hears."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from zsmtp.credentials import LARGEST, Credentials
from zsmtp.destination import Family, Hop
from zsmtp.net.secretsfile import SecretsFile
from zsmtp.trouble import Kind, Trouble

HOP = Hop("192.0.2.25", 25, Family.INET, "mx.example", b"dns; mx.example", "MX 10", "mx.example")
LINE = b"* mx.example bXluYW1l c2VjcmV0\n"


class SecretsFileTest(SynchronousTestCase):
    """A file that only we can read."""

    def setUp(self) -> None:
        self.path = self.mktemp()
        self.warned: list[str] = []

    def write(self, octets: bytes = LINE, mode: int = 0o600) -> None:
        """Put a new file in the place."""
        with open(self.path + ".new", "wb") as file:
            file.write(octets)
        os.chmod(self.path + ".new", mode)
        os.rename(self.path + ".new", self.path)

    def file(self, channel: bytes = b"smtp") -> SecretsFile:
        """Make the object under test."""
        return SecretsFile(self.path, channel=channel, warn=self.warned.append, nonce=lambda: b"random")

    def place(self, file: SecretsFile) -> object:
        """Which line counts for HOP, or the kind of the trouble."""
        found = file.for_hop(HOP)
        if isinstance(found, Credentials):
            return found.place.removeprefix(self.path)
        return found.kind if isinstance(found, Trouble) else found


class Reading(SecretsFileTest):
    """As it is now."""

    def test_line_of_the_host_is_found(self) -> None:
        self.write()
        file = self.file()
        found = file.for_hop(HOP)
        assert isinstance(found, Credentials)
        self.assertEqual((found.secret, found.mechanisms()[0].getName()), (b"secret", b"SCRAM-SHA-256"))
        self.assertIs(file.for_hop(HOP), found, "it is not read again, and keeps what SCRAM has derived")
        self.assertEqual(self.warned, [])

    def test_channel_counts(self) -> None:
        self.write(b"lmtp" + LINE[1:])
        self.assertEqual((self.place(self.file()), self.place(self.file(b"lmtp"))), (None, ":1"))

    def test_change_is_noticed(self) -> None:
        self.write()
        file = self.file()
        self.assertEqual(self.place(file), ":1")
        self.write(b"# moved\n" + LINE)
        self.assertEqual(self.place(file), ":2")
        self.write(b"")
        self.assertIsNone(self.place(file))

    def test_change_in_place_is_noticed(self) -> None:
        self.write()
        file = self.file()
        self.assertEqual(self.place(file), ":1")
        with open(self.path, "r+b") as opened:
            opened.write(b"#")  # as long as before
        os.utime(self.path, ns=(0, 1))  # nor may the clock be too coarse to show it
        self.assertIsNone(self.place(file))

    def test_wrong_line_is_told_once(self) -> None:
        self.write(b"* mx.example x\n")
        file = self.file()
        for _ in range(3):
            self.assertIs(self.place(file), Kind.SECRETS_UNUSABLE)
        (warning,) = self.warned
        self.assertTrue(warning.startswith(f"{self.path}:1: the line has 3 of the four words"), warning)

    def test_thousand_wrong_lines_are_not_all_told(self) -> None:
        self.write(b"x\n" * 1000 + LINE)
        self.assertEqual(self.place(self.file()), ":1001")
        self.assertEqual((len(self.warned), self.warned[-1]), (21, f"{self.path}: and 980 more such lines"))


class Refusing(SecretsFileTest):
    """While the file cannot be used there is no connection, and one warning."""

    def refused(self, file: SecretsFile | None = None) -> str:
        """See that no connection is possible, and give the warning."""
        before = len(self.warned)
        file = file or self.file()
        for _ in range(3):
            found = file.for_hop(HOP)
            assert isinstance(found, Trouble)
            self.assertIs(found.kind, Kind.SECRETS_UNUSABLE)
            self.assertNotIn(self.path.encode(), found.text, "senders read it, too")
        (warning,) = self.warned[before:]
        self.assertTrue(warning.startswith(f"{self.path}: "), warning)
        return warning.removeprefix(f"{self.path}: ")

    def test_a07_file_that_is_not_there(self) -> None:
        self.assertEqual(
            self.refused(),
            "No such file or directory; make it readable for this program; until then mail waits (-A)",
        )

    def test_a07_file_that_cannot_be_read(self) -> None:
        self.write()
        self.path += "/secrets"
        self.assertIn("Not a directory; make it readable for this program", self.refused())

    def test_file_that_others_can_read_or_change(self) -> None:
        for mode in (0o604, 0o602, 0o601, 0o620, 0o644, 0o666, 0o660, 0o777):
            self.write(mode=mode)
            self.assertIn(f"its mode {mode:04o} lets others read or change it; chmod 600", self.refused())

    def test_file_for_a_group(self) -> None:
        for mode in (0o640, 0o440, 0o400, 0o700):
            self.write(mode=mode)
            self.assertEqual((self.place(self.file()), self.warned), (":1", []))

    def test_it_is_used_as_soon_as_it_is_corrected(self) -> None:
        self.write(mode=0o644)
        file = self.file()
        self.refused(file)
        os.chmod(self.path, 0o600)
        self.assertEqual(self.place(file), ":1")
        os.chmod(self.path, 0o644)
        self.refused(file)
        os.unlink(self.path)
        self.refused(file)
        self.write()
        self.assertEqual(self.place(file), ":1")

    def test_what_is_no_file_does_not_hold_us_up(self) -> None:
        os.mkfifo(self.path, 0o600)
        self.assertIn("no regular file", self.refused())
        os.unlink(self.path)
        os.mkdir(self.path, 0o700)
        self.assertIn("Is a directory", self.refused())

    def test_file_without_end(self) -> None:
        self.write(LINE + b"#" * LARGEST)
        self.assertIn(f"larger than {LARGEST} octets", self.refused())
        self.write(LINE + b"#" * (LARGEST - len(LINE)))
        self.assertEqual(self.place(self.file()), ":1")
