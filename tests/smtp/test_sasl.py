"""Answers of the authentication mechanisms."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zsmtp.smtp.sasl import MECHANISMS, CramMd5, Login, Plain, Unanswerable, mechanisms


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

    def test_scram_needs_something_random(self) -> None:
        all_of_them = mechanisms(b"user", nonce=lambda: b"random")
        self.assertEqual(tuple(each.getName() for each in all_of_them), MECHANISMS)
        self.assertEqual(all_of_them[0].challengeResponse(b"secret", b""), b"n,,n=user,r=random")


class Completeness(SynchronousTestCase):
    """Nothing is confirmed that was not said, and nothing said twice."""

    def test_secret_is_said_once(self) -> None:
        for each, challenge in ((Plain(b"user"), b""), (CramMd5(b"user"), b"<1@mx>")):
            self.assertFalse(each.is_complete)
            each.challengeResponse(b"secret", challenge)
            self.assertTrue(each.is_complete)
            error = self.assertRaises(Unanswerable, each.challengeResponse, b"secret", challenge)
            self.assertNotIn("secret", str(error).replace("user and secret", ""))

    def test_login_is_complete_with_the_secret(self) -> None:
        login = Login(b"user")
        login.challengeResponse(b"secret", b"")
        self.assertFalse(login.is_complete)
        login.challengeResponse(b"secret", b"")
        self.assertTrue(login.is_complete)

    def test_digest_of_nothing_is_not_given(self) -> None:
        self.assertRaises(Unanswerable, CramMd5(b"user").challengeResponse, b"secret", b"")

    def test_only_plain_and_login_tell_the_secret(self) -> None:
        telling = [each.getName() for each in mechanisms(b"u", nonce=lambda: b"n") if each.tells_secret]
        self.assertEqual(telling, [b"PLAIN", b"LOGIN"])
