"""Answers of the authentication mechanisms."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zsmtp.smtp.sasl import CramMd5, Login, Plain, mechanisms


class Answers(SynchronousTestCase):
    """What is said to a challenge."""

    def test_cram_md5_as_in_the_standard(self) -> None:
        answer = CramMd5(b"tim").challengeResponse(
            b"tanstaaftanstaaf", b"<1896.697170952@postoffice.reston.mci.net>"
        )
        self.assertEqual(answer, b"tim b913a602c7eda7a495b4e6e7334d3890")

    def test_plain_has_an_empty_authorization_identity(self) -> None:
        self.assertEqual(Plain(b"user").challengeResponse(b"secret", b""), b"\0user\0secret")

    def test_plain_cannot_be_read_in_two_ways(self) -> None:
        self.assertRaises(ValueError, Plain(b"us\0er").challengeResponse, b"secret", b"")
        self.assertRaises(ValueError, Plain(b"user").challengeResponse, b"sec\0ret", b"")

    def test_login_answers_twice(self) -> None:
        login = Login(b"user")
        answers = [login.challengeResponse(b"secret", b"Username:"), login.challengeResponse(b"secret", b"?")]
        self.assertEqual(answers, [b"user", b"secret"])
        self.assertRaises(ValueError, login.challengeResponse, b"secret", b"Username:")

    def test_that_which_tells_least_comes_first(self) -> None:
        names = [each.getName() for each in mechanisms(b"user")]
        self.assertEqual(names, [b"CRAM-MD5", b"PLAIN", b"LOGIN"])
