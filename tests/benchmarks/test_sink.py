"""The C sink counts and records what was sent, however it is cut into packets."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from random import Random

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from benchmarks import sink

ENVELOPE = (
    b"MAIL FROM:<s@x.example> SIZE=1\r\nRCPT TO:<a@x.example>\r\nRCPT TO:<b@x.example> NOTIFY=NEVER\r\n"
)
MESSAGE = b"X-Token: one\r\nTo: a\r\n\r\n..dot\r\n.\rnot the end\r\n.. \r\ntext\r\n"
PIPELINED = ENVELOPE + b"DATA\r\n" + MESSAGE + b".\r\n" + ENVELOPE + b"DATA\r\n.\r\nRSET\r\nQUIT\r\n"
CHUNKED = (
    ENVELOPE
    + b"BDAT 10\r\nX-Token: t"
    + ENVELOPE[:0]
    + b"BDAT 9 LAST\r\nwo\r\n\r\n.\r\n"
    + ENVELOPE
    + b"BDAT 0 LAST\r\nQUIT\r\n"
)


class SinkCase(SynchronousTestCase):
    """Builds the sink once for the module."""

    program: Path | None = None

    def setUp(self) -> None:
        if shutil.which("cc") is None:
            raise SkipTest("there is no C compiler (Debian: gcc, libc6-dev)")
        if SinkCase.program is None:
            directory = Path(self.mktemp()).resolve()
            directory.mkdir(parents=True)
            SinkCase.program = sink.build(directory, flags=("-O1", "-Wall", "-Wextra"))
        self.record = Path(self.mktemp()).resolve()
        self.record.parent.mkdir(parents=True, exist_ok=True)

    def start(self, **how: object) -> sink.Sink:
        """Start a sink that ends with the test."""
        assert SinkCase.program is not None
        server = sink.Sink(SinkCase.program, record=self.record, **how)  # type: ignore[arg-type]
        self.addCleanup(server.__exit__, None, None, None)
        return server

    def talk(self, server: sink.Sink, octets: bytes, pieces: list[int]) -> bytes:
        """Send in pieces of these sizes (the rest in one) and read until the sink closes."""
        kind = socket.AF_UNIX if server.address.startswith("unix:") else socket.AF_INET
        to = server.address[5:] if kind == socket.AF_UNIX else ("127.0.0.1", server.port)
        with socket.socket(kind) as client:
            client.settimeout(30)
            client.connect(to)
            for size in pieces:
                client.sendall(octets[:size])
                octets = octets[size:]
            client.sendall(octets)
            answer = b""
            while piece := client.recv(65536):
                answer += piece
        return answer


def codes(answer: bytes) -> list[int]:
    """The reply codes of final reply lines."""
    return [int(line[:3]) for line in answer.split(b"\r\n") if line[3:4] == b" "]


class InputCutAnywhere(SinkCase):
    GREETING = b"EHLO c.example\r\n"
    EXPECTED = (220, 250, *(250, 250, 250, 354, 250) * 2, 250, 221)

    def test_one_octet_at_a_time_is_understood(self) -> None:
        server = self.start()
        octets = self.GREETING + PIPELINED
        self.assertEqual(codes(self.talk(server, octets, [1] * len(octets))), list(self.EXPECTED))

    def test_one_packet_is_understood(self) -> None:
        server = self.start()
        self.assertEqual(codes(self.talk(server, self.GREETING + PIPELINED, [])), list(self.EXPECTED))

    def test_random_cuts_change_nothing_in_the_counters(self) -> None:
        server = self.start()
        random = Random(1)
        octets = self.GREETING + PIPELINED
        for _ in range(100):
            cuts = [random.randint(1, 40) for _ in range(random.randint(0, 8))]
            self.assertEqual(codes(self.talk(server, octets, cuts)), list(self.EXPECTED))
        counters = server.stop()
        self.assertEqual(
            (counters.connections, counters.messages, counters.recipients, counters.octets, counters.lost),
            (100, 200, 400, 100 * len(MESSAGE), 0),
        )

    def test_chunks_cut_anywhere_arrive_whole(self) -> None:
        server = self.start()
        random = Random(2)
        octets = self.GREETING + CHUNKED
        for _ in range(50):
            cuts = [random.randint(1, 30) for _ in range(random.randint(0, 8))]
            answer = codes(self.talk(server, octets, cuts))
            self.assertEqual(answer, [220, 250, *(250,) * 5, *(250,) * 4, 221])
        counters = server.stop()
        self.assertEqual((counters.messages, counters.octets, counters.chunks), (100, 50 * 19, 150))


class TheRecord(SinkCase):
    def test_it_names_token_octets_and_each_recipient(self) -> None:
        server = self.start()
        self.talk(server, b"EHLO c\r\n" + PIPELINED, [])
        server.stop()
        size = len(MESSAGE)
        self.assertEqual(
            sink.read_record(self.record),
            [
                ("one", size, "a@x.example"),
                ("one", size, "b@x.example"),
                ("-", 0, "a@x.example"),
                ("-", 0, "b@x.example"),
            ],
        )

    def test_it_is_complete_while_the_sink_runs(self) -> None:
        server = self.start()
        self.talk(server, b"EHLO c\r\n" + CHUNKED, [])
        counters = server.counters()
        self.assertEqual(
            (counters.messages, sink.read_record(self.record)[0]), (2, ("two", 19, "a@x.example"))
        )

    def test_a_message_cut_off_is_not_recorded(self) -> None:
        server = self.start()
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"EHLO c\r\n" + ENVELOPE + b"DATA\r\n" + MESSAGE)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
        counters = server.stop()
        self.assertEqual((counters.messages, counters.lost, sink.read_record(self.record)), (0, 1, []))


class Lmtp(SinkCase):
    def test_each_recipient_has_a_final_reply(self) -> None:
        path = self.record.with_name("s")
        server = self.start(lmtp=True, listen=f"unix:{path}")
        answer = codes(self.talk(server, b"LHLO c\r\n" + PIPELINED, []))
        self.assertEqual(answer, [220, 250, *(250, 250, 250, 354, 250, 250) * 2, 250, 221])

    def test_ehlo_is_refused(self) -> None:
        server = self.start(lmtp=True)
        self.assertEqual(codes(self.talk(server, b"EHLO c\r\nQUIT\r\n", [])), [220, 500, 221])


class CommandsOutOfOrder(SinkCase):
    def test_they_are_refused_and_counted(self) -> None:
        server = self.start(announce="8BITMIME")
        script = (
            b"MAIL FROM:<a@x>\r\nHELO c\r\nRCPT TO:<b@x>\r\nDATA\r\nMAIL FROM:<a@x>\r\nMAIL FROM:<a@x>\r\n"
        )
        script += b"DATA\r\nVRFY x\r\nBDAT 3\r\n"
        answer = codes(self.talk(server, script, []))
        self.assertEqual(answer, [220, 503, 250, 503, 503, 250, 503, 554, 500, 502])
        self.assertEqual(server.stop().errors, 7)

    def test_a_chunk_without_recipients_is_swallowed(self) -> None:
        server = self.start()
        answer = codes(
            self.talk(server, b"EHLO c\r\nMAIL FROM:<a@x>\r\nBDAT 6 LAST\r\nQUIT\r\nQUIT\r\n", [50])
        )
        self.assertEqual(answer, [220, 250, 250, 503, 221])


class Delays(SinkCase):
    def test_delayed_replies_keep_their_order(self) -> None:
        server = self.start(delay=0.001, final_delay=0.005)
        answer = codes(self.talk(server, b"EHLO c\r\n" + PIPELINED, []))
        self.assertEqual(answer, list(InputCutAnywhere.EXPECTED))


class Announcements(SinkCase):
    def test_only_what_is_asked_for_is_announced(self) -> None:
        server = self.start(announce="CHUNKING")
        answer = self.talk(server, b"EHLO c\r\nQUIT\r\n", [])
        self.assertEqual(
            [line[4:] for line in answer.split(b"\r\n") if line.startswith(b"250")][1:],
            [b"CHUNKING", b"ENHANCEDSTATUSCODES"],
        )
