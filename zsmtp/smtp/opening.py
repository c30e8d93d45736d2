"""From the greeting of the server to the open session, and the farewell.

Greeting, EHLO or LHLO with HELO as the fall-back, STARTTLS with everything learnt in clear forgotten, and the
authentication exchange.  A session that is refused on this way ends with QUIT and a `Broken` that quotes the
server. Source: RFC 5321 sections 3.1, 3.2, 4.1.1.1; RFC 2033 section 4.1; RFC 3207; RFC 4954.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from zsmtp.errors import Misuse
from zsmtp.smtp import command
from zsmtp.smtp.capability import Capabilities, capabilities
from zsmtp.smtp.dialogue import CRLF, Dialogue, Group, State, Table
from zsmtp.smtp.event import Broken, ChallengeReceived, Greeted, Left, MechanismsOffered, SecureNow
from zsmtp.smtp.manner import Esmtp, Manner, Tls
from zsmtp.smtp.patience import Awaits
from zsmtp.trouble import Kind, Trouble

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zsmtp.smtp.reply import Reply

__all__ = ["CHALLENGES", "Opening"]

_SECRET_OCTETS: Final = 4
"""The least that base64 can be; `*` and `=` are no secrets."""

CHALLENGES: Final = 8
"""No mechanism in use asks more than twice; a server that goes on for ever is cut off."""


class Opening(Dialogue):
    """A dialogue that can be opened and closed."""

    __slots__ = ("_challenges", "_given_up", "_otherwise", "_suffices", "is_authenticated", "is_secure")

    def __init__(self, manner: Manner, *, is_secure: bool = False) -> None:
        super().__init__(manner)
        self.is_secure = is_secure
        self.is_authenticated = False
        self._challenges = 0
        self._given_up = b""  # why we gave up the exchange, from then on
        self._otherwise: tuple[bytes, ...] = ()
        self._suffices = False  # whether all is said that the mechanism has to say

    # Inputs

    def secured(self) -> None:
        """The TLS handshake is done: what was learnt in clear is forgotten.  Source: RFC 3207 section 4.2.

        This and the inputs for authentication are passed over once the session has broken, since an event
        that asks for them may have been followed by the end.
        """
        if self._has_ended:
            return
        if self.state is not State.SECURING or self._awaited or self._outgoing:
            raise Misuse("TLS begins out of turn")
        self.is_secure = True
        self.capabilities = Capabilities()
        self._hello()

    def authenticate(
        self,
        mechanism: bytes,
        initial: bytes | None = None,
        *,
        otherwise: tuple[bytes, ...] = (),
        suffices: bool = True,
    ) -> None:
        """Begin an exchange; `initial` is base64, `b""` an empty response.  Source: RFC 4954 section 4.

        Where the server refuses for good, the mechanisms `otherwise` are offered in turn, once.  Its consent
        counts only when all has been said: `suffices`, here and in `answer`, says whether this is so.
        """
        if self._has_ended:
            return
        self._expect_turn(is_answer=False)
        self._otherwise, self._suffices = otherwise, suffices
        self._last_command = b"AUTH " + mechanism
        line = self._last_command if initial is None else self._last_command + b" " + (initial or b"=")
        self._send_secret(line, initial or b"", shown=self._last_command)

    def answer(self, response: bytes, *, suffices: bool = True) -> None:
        """Answer a challenge; `response` is base64."""
        if self._has_ended:
            return
        self._expect_turn(is_answer=True)
        self._suffices = suffices
        self._send_secret(response, response, shown=b"***")

    def give_up(self, why: bytes) -> None:
        """Break off an exchange.  Whatever the server says to that, the session is not used."""
        if self._has_ended:
            return
        self._expect_turn(is_answer=True)
        self._given_up, self._otherwise = why, ()
        self._send_secret(b"*", b"", shown=b"*")

    def hide(self, secrets: Iterable[bytes]) -> None:
        """Let no reply and no report show these octets, until the session is open."""
        self._secrets += [secret for secret in secrets if len(secret) >= _SECRET_OCTETS]

    def decline(self, why: bytes) -> None:
        """Take leave: none of the mechanisms can be used, and without one the session is of no use."""
        if self._has_ended:
            return
        self._expect_turn(is_answer=False)
        self._leave_for(Trouble(Kind.AUTH_FAILED, why))

    def refrain(self) -> None:
        """Go on without authentication."""
        if self._has_ended:
            return
        self._expect_turn(is_answer=False)
        self._open()

    def leave(self) -> None:
        """Say QUIT.  Where that has no place yet, the session is broken off."""
        if self.state is State.READY:
            self._say_quit()
        elif not self._has_ended:
            self._break(Kind.STOPPED, b"the session was ended")

    @property
    def _has_ended(self) -> bool:
        return self.state is State.OVER or self.state is State.LEAVING

    def _expect_turn(self, *, is_answer: bool) -> None:
        """See that it is the owner who is to speak in the authentication exchange."""
        is_ours = self.state is State.AUTHENTICATING and not (self._awaited or self._outgoing)
        if not is_ours or is_answer is not (self._challenges > 0):
            raise Misuse(f"a step of authentication while the session is {self.state.value}")

    # Steps

    def _send_secret(self, line: bytes, secret: bytes, *, shown: bytes) -> None:
        if len(secret) >= _SECRET_OCTETS:
            self._secrets.append(secret)
        self._outgoing.append(Group(command.response(line) + CRLF, ((Awaits.AUTH, None, None),), shown))

    def _greeted(self, reply: Reply, _: None, __: None) -> None:
        manner = self.manner
        says_esmtp = any(b"ESMTP" in line[4:].upper() for line in reply.lines)
        if manner.lmtp or manner.esmtp is Esmtp.ALWAYS or (manner.esmtp is Esmtp.IF_ANNOUNCED and says_esmtp):
            self._hello()
        else:
            self._helo()

    def _hello(self) -> None:
        self.state = State.NEGOTIATING
        self._last_command = command.greeting(b"LHLO" if self.manner.lmtp else b"EHLO", self.manner.name)
        self._send(self._last_command, Awaits.EHLO)

    def _helo(self) -> None:
        self.state = State.NEGOTIATING
        self._last_command = command.greeting(b"HELO", self.manner.name)
        self._send(self._last_command, Awaits.HELO)

    def _hello_accepted(self, reply: Reply, _: None, __: None) -> None:
        # smtp(8zm), -77: no extension is used, in LMTP either, where LHLO cannot be avoided
        if self.manner.esmtp is not Esmtp.NEVER:
            self.capabilities = capabilities(reply.lines)
        self._negotiated(reply)

    def _helo_accepted(self, reply: Reply, _: None, __: None) -> None:
        self._negotiated(reply)

    def _negotiated(self, reply: Reply) -> None:
        """TLS, then authentication, then mail."""
        if self.manner.tls is not Tls.NEVER and not self.is_secure:
            if self.capabilities.starttls:
                self.state = State.SECURING
                self._last_command = command.STARTTLS
                self._send(command.STARTTLS, Awaits.STARTTLS)
                return
            if self.manner.tls is Tls.REQUIRED:
                self._refused(Kind.TLS_REQUIRED, reply)
                return
        if self.manner.authenticate:
            self.state = State.AUTHENTICATING
            self._events.append(MechanismsOffered(self.capabilities.mechanisms))
        else:
            self._open()

    def _hello_refused(self, reply: Reply, _: None, __: None) -> None:
        # RFC 5321 4.1.4: a server that does not know EHLO is greeted with HELO
        if reply.code >= 500 and not self.manner.lmtp and self.manner.falls_back and not self.is_secure:
            self._helo()
        else:
            self._refused(Kind.HELLO_REFUSED, reply)

    def _secure_now(self, reply: Reply, _: None, __: None) -> None:
        self._events.append(SecureNow())

    def _challenged(self, reply: Reply, _: None, __: None) -> None:
        self._challenges += 1
        if self._given_up:
            self._refused(Kind.AUTH_FAILED, reply, self._given_up)
        elif self._challenges > CHALLENGES:
            self._refused(Kind.AUTH_FAILED, reply, b"the server goes on asking for credentials")
        else:
            self._events.append(ChallengeReceived(reply.lines[-1][4:]))

    def _authenticated(self, reply: Reply, _: None, __: None) -> None:
        if self._given_up or not self._suffices:
            why = self._given_up or b"the server accepted credentials that it does not have yet"
            self._refused(Kind.AUTH_FAILED, reply, why)
        else:
            self.is_authenticated = True
            self._open()

    def _auth_refused(self, reply: Reply, _: None, __: None) -> None:
        others, self._otherwise = self._otherwise, ()
        if others and reply.code >= 500:
            self._challenges = 0
            self._events.append(MechanismsOffered(others))
        else:
            self._refused(Kind.AUTH_FAILED, reply, self._given_up)

    def _open(self) -> None:
        self.state = State.READY
        self._secrets.clear()
        self._events.append(Greeted(self.capabilities))

    def _opening_refused(self, reply: Reply, _: None, __: None) -> None:
        match self.state:
            case State.GREETING:
                self._refused(Kind.GREETING_REFUSED, reply)
            case State.SECURING:
                self._refused(Kind.TLS_FAILED, reply)
            case _:
                self._refused(Kind.HELLO_REFUSED, reply)

    def _refused(self, kind: Kind, reply: Reply, why: bytes = b"") -> None:
        """The session cannot be opened: tell, and say goodbye as RFC 5321 3.1 wants it."""
        self._leave_for(Trouble(kind, self._opening_text(reply.lines, why), reply))

    def _leave_for(self, trouble: Trouble) -> None:
        self.ended_in = self.state
        self._say_quit()
        self._events.append(Broken(trouble))

    def _say_quit(self) -> None:
        self.state = State.LEAVING
        self._send(command.QUIT, Awaits.QUIT)

    def _quitted(self, reply: Reply, _: None, __: None) -> None:
        self.state = State.OVER
        self._events.append(Left())

    table: ClassVar[Table] = {
        (Awaits.GREETING, 2): _greeted,
        (Awaits.GREETING, 4): _opening_refused,
        (Awaits.GREETING, 5): _opening_refused,
        (Awaits.EHLO, 2): _hello_accepted,
        (Awaits.EHLO, 4): _hello_refused,
        (Awaits.EHLO, 5): _hello_refused,
        (Awaits.HELO, 2): _helo_accepted,
        (Awaits.HELO, 4): _opening_refused,
        (Awaits.HELO, 5): _opening_refused,
        (Awaits.STARTTLS, 2): _secure_now,
        (Awaits.STARTTLS, 4): _opening_refused,
        (Awaits.STARTTLS, 5): _opening_refused,
        (Awaits.AUTH, 2): _authenticated,
        (Awaits.AUTH, 3): _challenged,
        (Awaits.AUTH, 4): _auth_refused,
        (Awaits.AUTH, 5): _auth_refused,
        (Awaits.QUIT, 2): _quitted,
        (Awaits.QUIT, 4): _quitted,
        (Awaits.QUIT, 5): _quitted,
    }
