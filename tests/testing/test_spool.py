"""Spools are made as told, octet by octet."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from zsmtp.testing.spool import Addressee, Group, Origin, SpoolMaker


class Made(SynchronousTestCase):
    """A spool in a temporary folder."""

    def setUp(self) -> None:
        self.spool = SpoolMaker(hash_levels=2, zenv={"DEFCHARSET": "UTF-8"})
        self.addCleanup(self.spool.remove)

    def read(self, path: str) -> bytes:
        with open(path, "rb") as file:
            return file.read()

    def test_mail_needs_no_argument(self) -> None:
        mail = self.spool.add(number=1031)
        self.assertEqual((mail.name, mail.number, len(mail.offsets)), ("N/R/1031", 1031, 1))
        self.assertEqual(mail.feed(b"example.net"), b"N/R/1031\texample.net\n")
        self.assertEqual(mail.feed(), b"N/R/1031\n")
        self.assertEqual(mail.tags(), {mail.offsets[0]: b" "})
        self.assertTrue(mail.message_path.endswith("/queue/N/R/1031"))

    def test_body_offset_tells_the_truth_unless_told_otherwise(self) -> None:
        mail = self.spool.add(body=b"body\n")
        message = self.read(mail.message_path)
        offset = int(mail.control.split(b"\no ")[1].split(b"\n")[0])
        self.assertEqual(message[offset:], b"body\n")
        self.assertIn(b"\no -5\n", self.spool.add(body_offset=-5).control)

    def test_every_line_can_be_had(self) -> None:
        bob = Addressee(
            b"bob@x", b"x", notary=b"NOTIFY=NEVER", ret=b"HDRS", envelope_id=b"Q1", tag=b"~", owner=b"    12"
        )
        mail = self.spool.add(
            recipients=[bob, b"carol@y"],
            sender=b"",
            header=b"Subject: a\n",
            number=7,
            log_identity=None,
            verbose=b"../log",
            form=b"0x3",
            body_offset=9,
        )
        self.assertEqual(
            mail.control,
            b"@ 0x3\nv ../log\ni 7\no 9\ns error <> <> 99\n"
            b"r~    12    smtp x bob@x 99\nN NOTIFY=NEVER\nR HDRS\nn Q1\n"
            b"r           smtp example.net carol@y 99\n"
            b"m\nSubject: a\n\n",
        )

    def test_groups_may_share_headers_or_not(self) -> None:
        mail = self.spool.add(
            groups=[
                Group([b"a@x"], b"one@x", None),
                Group([b"b@x"], Origin(b"two@x", b"host", b"smtp"), b"A: b\n"),
                Group([b"c@x"], header=b"C: d\n"),
            ]
        )
        self.assertIn(
            b"e one@x\ns local one@x one@x 99\nr           smtp example.net a@x 99\n"
            b"e two@x\ns smtp host two@x 99\nr           smtp example.net b@x 99\nm\nA: b\n\n"
            b"e alice@example.com\ns local alice@example.com alice@example.com 99\n",
            mail.control,
        )

    def test_whole_files_can_be_put(self) -> None:
        mail = self.spool.put("1000005-etrn", b"T host\n", None)
        self.assertEqual((mail.number, mail.offsets), (1000005, ()))
        self.assertFalse(os.path.exists(mail.message_path))
        self.assertEqual(self.spool.put("odd", b"", b"m").number, 0)

    def test_marks_and_diagnostics_are_read_back(self) -> None:
        mail = self.spool.add()
        (offset,) = mail.offsets
        with open(mail.control_path, "r+b") as file:
            file.seek(offset + 1)
            file.write(b"-")
            file.seek(0, os.SEEK_END)
            file.write(b"d %d:-1:-1::1\ta\x01b\x01c\x01d\x01e\x01f[1]\ttext\n" % offset)
        self.assertEqual((mail.tags(), mail.problems()), ({offset: b"-"}, []))
        self.assertEqual(mail.diagnostics()[0].text, b"text")

    def test_numbers_are_given_in_turn(self) -> None:
        self.assertEqual([self.spool.add().number for _ in range(3)], [1000001, 1000002, 1000003])
        self.assertEqual(len(self.spool.mails), 3)

    def test_variables_are_in_zmailer_conf(self) -> None:
        self.assertIn(b"DEFCHARSET=UTF-8\n", self.read(self.spool.zconfig))


class Folders(SynchronousTestCase):
    """Where a spool lies."""

    def test_temporary_folder_goes_away(self) -> None:
        with SpoolMaker() as spool:
            path = spool.add().control_path
            self.assertTrue(os.path.exists(path))
        self.assertFalse(os.path.exists(spool.postoffice))

    def test_folder_that_was_given_stays(self) -> None:
        folder = self.mktemp()
        with SpoolMaker(folder, hash_levels=1) as spool:
            self.assertEqual(spool.add(number=27).name, "B/27")
        self.assertTrue(os.path.exists(os.path.join(folder, "transport", "B", "27")))
