"""SCRAM-SHA-256, from both sides, and SASLprep."""

from __future__ import annotations

import base64
import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.smtp.saslprep import saslprep
from zsmtp.smtp.scram import MOST_ITERATIONS, Keys, ScramSha256, Unanswerable, prepared

# RFC 7677 section 3
NONCE = b"rOprNGfwEbeRWgbNEkqO"
FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
ANSWER = (
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)
LAST = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def begun(keys: Keys | None = None) -> ScramSha256:
    """An exchange whose first message was sent."""
    scram = ScramSha256(b"user", NONCE, keys)
    assert scram.challengeResponse(b"pencil", b"") == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    return scram


class TheExampleOfTheStandard(SynchronousTestCase):
    """RFC 7677 section 3."""

    def test_all_messages(self) -> None:
        scram = begun()
        self.assertEqual(scram.challengeResponse(b"pencil", FIRST), ANSWER)
        self.assertFalse(scram.is_complete, "the server has proved nothing yet")
        self.assertEqual(scram.challengeResponse(b"pencil", LAST), b"")
        self.assertTrue(scram.is_complete)

    def test_keys_are_derived_once_for_a_salt(self) -> None:
        keys: Keys = {}
        begun(keys).challengeResponse(b"pencil", FIRST)
        self.assertEqual(list(keys), [(base64.b64decode(b"W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)])
        kept = next(iter(keys.values()))
        self.assertEqual(begun(keys).challengeResponse(b"pencil", FIRST), ANSWER)
        self.assertIs(next(iter(keys.values())), kept)
        self.assertEqual(repr(kept), "_Pair(...)")

    def test_server_that_salts_anew_each_time_costs_no_memory(self) -> None:
        keys: Keys = {}
        for number in range(40):
            salt = base64.b64encode(b"salt%d" % number)
            begun(keys).challengeResponse(b"pencil", FIRST.replace(b"W22ZaJ0SNY7soEsUEjb6gQ==", salt))
        self.assertLess(len(keys), 20)

    def test_user_with_what_separates_fields(self) -> None:
        first = ScramSha256(b"a=b,c", b"n").challengeResponse(b"x", b"")
        self.assertEqual(first, b"n,,n=a=3Db=2Cc,r=n")


class LyingServer(SynchronousTestCase):
    """What is not answered."""

    def refuses(self, challenge: bytes) -> str:
        """Give the complaint, which shows no secret."""
        error = self.assertRaises(Unanswerable, begun().challengeResponse, b"pencil", challenge)
        self.assertNotIn("pencil", str(error))
        return str(error)

    def test_signature_that_is_false(self) -> None:
        scram = begun()
        scram.challengeResponse(b"pencil", FIRST)
        forged = b"v=" + base64.b64encode(hashlib.sha256(b"guess").digest())
        error = self.assertRaises(Unanswerable, scram.challengeResponse, b"pencil", forged)
        self.assertIn("does not know the secret", str(error))
        self.assertFalse(scram.is_complete)

    def test_signature_for_another_secret(self) -> None:
        scram = begun()
        scram.challengeResponse(b"crayon", FIRST)
        self.assertRaises(Unanswerable, scram.challengeResponse, b"crayon", LAST)

    def test_anything_in_place_of_the_signature(self) -> None:
        for last in (b"", b"v=", b"v=****", b"v=AAAA", b"e=other-error", b"r=x", LAST[:-1], b"v=AAA"):
            scram = begun()
            scram.challengeResponse(b"pencil", FIRST)
            self.assertRaises(Unanswerable, scram.challengeResponse, b"pencil", last)
            self.assertFalse(scram.is_complete)

    def test_nonce_of_somebody_else(self) -> None:
        self.assertIn("somebody else", self.refuses(FIRST.replace(b"r=rOpr", b"r=XXXX")))

    def test_nonce_without_a_part_of_the_server(self) -> None:
        self.assertIn("somebody else", self.refuses(b"r=" + NONCE + FIRST[FIRST.index(b",s=") :]))

    def test_few_iterations_would_make_the_secret_cheap_to_guess(self) -> None:
        for iterations in (b"1", b"4095"):
            self.assertIn("iterations", self.refuses(FIRST.replace(b"4096", iterations)))

    def test_many_iterations_would_keep_us_busy(self) -> None:
        for iterations in (b"%d" % (MOST_ITERATIONS + 1), b"9999999999"):
            self.assertIn("iterations", self.refuses(FIRST.replace(b"4096", iterations)))

    def test_first_message_that_is_none(self) -> None:
        for first in (b"", b"m=x," + FIRST, FIRST + b"x", FIRST.replace(b"s=", b"t="), b"i=4096", b"\xff\0"):
            self.refuses(first)

    def test_refusal_in_the_words_of_scram_is_quoted(self) -> None:
        self.assertIn("unknown-user", self.refuses(b"e=unknown-user"))

    def test_server_that_begins(self) -> None:
        self.assertRaises(Unanswerable, ScramSha256(b"u", b"n").challengeResponse, b"s", b"r=n")

    def test_server_that_does_not_end(self) -> None:
        scram = begun()
        scram.challengeResponse(b"pencil", FIRST)
        scram.challengeResponse(b"pencil", LAST)
        self.assertRaises(Unanswerable, scram.challengeResponse, b"pencil", LAST)

    @given(st.lists(st.binary(max_size=60) | st.sampled_from([b"", FIRST, LAST]), max_size=4))
    def test_whatever_it_says_has_an_answer_or_none(self, challenges: list[bytes]) -> None:
        scram = ScramSha256(b"user", NONCE)
        try:
            for challenge in challenges:
                scram.challengeResponse(b"pencil", challenge)
        except Unanswerable:
            return
        self.assertEqual(scram.is_complete, challenges == [b"", FIRST, LAST])


class OwnServer(SynchronousTestCase):
    """A server written from the standard agrees."""

    def test_secret_beyond_ascii(self) -> None:
        scram = ScramSha256("jürgen".encode(), b"abc")
        first = scram.challengeResponse("pa\u00adß\u00a0x".encode(), b"")
        said = b"r=abcdef,s=c2FsdHNhbHQ=,i=5000"
        answer = scram.challengeResponse("pa\u00adß\u00a0x".encode(), said)
        without, _, proof = answer.rpartition(b",p=")
        salted = hashlib.pbkdf2_hmac("sha256", "paß x".encode(), b"saltsalt", 5000)
        message = first[3:] + b"," + said + b"," + without
        client = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(client).digest(), message, "sha256")
        self.assertEqual(
            bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=True)), client
        )
        server = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), message, "sha256")
        scram.challengeResponse(b"", b"v=" + base64.b64encode(server) + b",ext=1")
        self.assertTrue(scram.is_complete)


class Preparation(SynchronousTestCase):
    """RFC 4013."""

    def test_examples_of_the_standard(self) -> None:
        for text, result in (
            ("I\u00adX", "IX"),
            ("user", "user"),
            ("USER", "USER"),
            ("\u00aa", "a"),
            ("\u2168", "IX"),
        ):
            self.assertEqual(saslprep(text), result)
            self.assertEqual(prepared(text.encode()), result.encode())
        for text in ("\u0007", "\u0627\u0031"):
            self.assertRaises(ValueError, saslprep, text)

    def test_text_from_right_to_left(self) -> None:
        self.assertEqual(saslprep("\u0627\u0031\u0628"), "\u0627\u0031\u0628")
        self.assertRaises(ValueError, saslprep, "\u0627a\u0628")

    def test_blanks_of_all_kinds_are_one(self) -> None:
        self.assertEqual(saslprep("a\u00a0b\u2003c"), "a b c")

    def test_what_cannot_be_prepared_is_not_quoted(self) -> None:
        for octets in (b"geheim\xff", b"geheim\x07", "geheim\ue000".encode(), "\u00ad".encode()):
            error = self.assertRaises(Unanswerable, prepared, octets)
            self.assertNotIn("geheim", str(error))
