"""The demo's course: messages into the spool, servers and agents up, the work watched, and everything closed.

Knows when it is over: when both agents have answered for all and are gone, when one of them fails, when the
time is up, or when somebody interrupts.  Whatever the reason, no process, port or connection stays.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from email.utils import formatdate
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from zsmtp.ctl import demotext
from zsmtp.ctl.demoagents import AgentFailed, AgentProcess
from zsmtp.ctl.democheck import Posted, check, copies, fates
from zsmtp.ctl.demomail import Letter, letters
from zsmtp.ctl.demoservers import Office, ServerOf, Store
from zsmtp.ctl.demoservers import store as store_in_maildir
from zsmtp.ctl.screen import Screen
from zsmtp.errors import ZsmtpError
from zsmtp.spool.submit import Addressee, make_postoffice, submit
from zsmtp.testing import marks
from zsmtp.testing.certificate import certificate
from zsmtp.testing.feeding import Feeding, Job
from zsmtp.testing.report import Report

__all__ = ["Play"]

_CHANNELS: Final = {"smtp": "far.example", "lmtp": "home.example"}
_OVERFEED: Final = 5
"""orders that an agent may have ahead, as `overfeed` in scheduler.conf"""
_LONGEST_PATH: Final = 107
"""octets in the path of a UNIX socket"""
_REDRAW_SECONDS: Final = 0.1


class Play:
    """One run of the demo in `folder`, which is empty.  See `zsmtp.ctl.demo.run` for the other arguments."""

    def __init__(
        self,
        reactor: Any,
        screen: Screen,
        folder: str,
        *,
        agent: Sequence[str],
        seconds: float,
        clean: bool = False,
        store: Store | None = None,
    ) -> None:
        self.interrupted_by: int | None = None
        self._reactor = reactor
        self._screen = screen
        self._folder = folder
        self._agent = list(agent)
        self._seconds = seconds
        self._clean = clean
        self._transport = os.path.join(folder, "postoffice", "transport")
        self._mail = os.path.join(folder, "mail")
        self._store = store or store_in_maildir
        self._agents: list[AgentProcess] = []
        self._ports: list[Any] = []
        self._factories: list[ServerOf] = []
        self._spare_folder: str | None = None
        self._reports: dict[tuple[int, int], Report] = {}
        self._over: Deferred[None] = Deferred()

    def interrupt(self, number: int) -> None:
        """End because of a signal: `perform` fails when everything is closed."""
        self.interrupted_by = number
        self._end(Failure(ZsmtpError(f"interrupted by signal {number}")))

    async def perform(self) -> int:
        """Do everything and return the exit status; fail with ZsmtpError or OSError."""
        posted = self._post()
        answers = {reader.address: reader.answer for each in posted for reader in each.letter.readers}
        office = Office(self._mail, answers, self._store)
        failure = ""
        try:
            scene = self._open_servers(office)
            demotext.introduce(self._screen, scene, posted)
            begin = self._reactor.seconds()
            self._start_agents(scene, posted)
            await self._watch(office, sum(len(each.letter.readers) for each in posted))
        except AgentFailed as error:
            failure = str(error)
        finally:
            self._screen.clear()
            await self._close()
        took = self._reactor.seconds() - begin
        self._screen.line(f"{len(self._reports)} recipients were reported on in {took:.1f} seconds.")
        self._screen.line()
        return self._judge(posted, office, scene, failure)

    def _judge(self, posted: list[Posted], office: Office, scene: demotext.Scene, failure: str) -> int:
        now = {each.path: self._control_file(each.path) or b"" for each in posted}
        results = fates(posted, self._reports, office.seen, now)
        problems = [failure] if failure else check(results, copies(self._mail))
        if self._reports:
            demotext.show(self._screen, results, scene.ways)
        demotext.verdict(self._screen, results, problems)
        if not problems:
            demotext.explain(self._screen, posted, results, now)
        if problems or not self._clean:
            demotext.tell_where(self._screen, self._folder, results, all_well=not problems)
        return 1 if problems else os.EX_OK

    # The spool

    def _post(self) -> list[Posted]:
        """Make the spool and put the messages into it."""
        postoffice = os.path.join(self._folder, "postoffice")
        make_postoffice(postoffice)
        for name in ("mail", "sent", "postoffice/log"):
            os.mkdir(os.path.join(self._folder, name))
        return [self._submit(postoffice, letter) for letter in letters(formatdate(localtime=True))]

    def _submit(self, postoffice: str, letter: Letter) -> Posted:
        with open(os.path.join(self._folder, "sent", str(letter.number)), "wb") as file:
            file.write(letter.octets)
        submitted = submit(
            postoffice,
            sender=letter.sender.encode(),
            recipients=[
                Addressee(reader.channel.encode(), reader.host.encode(), reader.address.encode())
                for reader in letter.readers
            ],
            message=letter.octets,
        )
        before = self._control_file(submitted.path) or b""
        offsets = {line.user.decode(): line.offset for line in marks.recipients(before)}
        return Posted(
            letter,
            submitted.path,
            submitted.file_id,
            before,
            tuple(offsets[reader.address] for reader in letter.readers),
        )

    def _control_file(self, path: str) -> bytes | None:
        try:
            with open(os.path.join(self._transport, path), "rb") as file:
                return file.read()
        except OSError:
            return None

    # Servers and agents

    def _open_servers(self, office: Office) -> demotext.Scene:
        made = certificate("far.example", "127.0.0.1")
        context = PrivateCertificate.loadPEM(made.certificate + made.key).options()
        self._factories = [
            ServerOf(office, b"far.example", context=context),
            ServerOf(office, b"home.example", lmtp=True),
        ]
        path = self._socket_path()
        try:
            self._ports.append(self._reactor.listenTCP(0, self._factories[0], interface="127.0.0.1"))
            self._ports.append(self._reactor.listenUNIX(path, self._factories[1], mode=0o600))
        except CannotListenError as error:
            raise ZsmtpError(f"the servers cannot be started: {error}") from error
        number = self._ports[0].getHost().port
        common = {channel: ["-l", f"../log/{channel}"] for channel in _CHANNELS}
        return demotext.Scene(
            self._folder,
            {"smtp": f"SMTP 127.0.0.1:{number}", "lmtp": f"LMTP {os.path.basename(path)}"},
            {"smtp": f"127.0.0.1:{number}", "lmtp": path},
            {
                "smtp": ["-c", "smtp", "-F", f"[127.0.0.1]:{number}", *common["smtp"]],
                "lmtp": ["-c", "lmtp", "-M", "-F", f"UNIX:{path}", *common["lmtp"]],
            },
        )

    def _socket_path(self) -> str:
        """Find a place for the socket: its path must be short, and the user's folder may be deep."""
        path = os.path.join(self._folder, "lmtp.sock")
        if len(os.fsencode(path)) > _LONGEST_PATH:
            self._spare_folder = tempfile.mkdtemp(prefix="zsmtp-demo-", dir="/tmp")
            path = os.path.join(self._spare_folder, "lmtp.sock")
        return path

    def _start_agents(self, scene: demotext.Scene, posted: Sequence[Posted]) -> None:
        # An agent of the user's real ZMailer would find its settings by this variable.
        environment = {name: value for name, value in os.environ.items() if name != "ZCONFIG"}
        for channel, host in _CHANNELS.items():
            jobs = [
                Job(each.path, host.encode())
                for each in posted
                if any(reader.channel == channel for reader in each.letter.readers)
            ]
            feeding = Feeding(jobs, read=self._control_file, overfeed=_OVERFEED, channel=channel.encode())
            agent = AgentProcess(
                self._reactor, channel, [*self._agent, *scene.options[channel]], feeding, self._told
            )
            agent.ended.addCallbacks(self._one_has_ended, self._end)
            agent.start(self._transport, environment)
            self._agents.append(agent)

    def _told(self, report: Report) -> None:
        self._reports[report.number, report.offset] = report

    # The end

    async def _watch(self, office: Office, count: int) -> None:
        """Show how things go until it is over."""

        def draw() -> None:
            text = demotext.progress(self._screen, len(self._reports), count, office.octets)
            self._screen.live(text)

        redraw = LoopingCall(draw)
        redraw.clock = self._reactor
        limit = self._reactor.callLater(self._seconds, self._time_is_up)
        redraw.start(_REDRAW_SECONDS).addErrback(self._end)
        try:
            await self._over
        finally:
            if redraw.running:
                redraw.stop()
            if limit.active():
                limit.cancel()

    def _one_has_ended(self, result: None) -> None:
        if all(agent.is_over for agent in self._agents):
            self._end(None)

    def _time_is_up(self) -> None:
        late = next(agent for agent in self._agents if not agent.is_over)
        self._end(Failure(late.failure(f"was not done within {self._seconds:g} seconds, and was killed")))

    def _end(self, result: Failure | None) -> None:
        """Have it over, whatever the reason; the first one counts."""
        if not self._over.called:
            self._over.callback(result)

    async def _close(self) -> None:
        for agent in self._agents:
            agent.kill()
        await DeferredList([agent.ended for agent in self._agents])
        for factory in self._factories:
            factory.end_connections()
        await DeferredList([maybeDeferred(port.stopListening) for port in self._ports])
        if self._spare_folder is not None:
            shutil.rmtree(self._spare_folder, ignore_errors=True)
        self._over.addErrback(lambda _: None)
