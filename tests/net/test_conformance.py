"""RFC 6455, case by case; the cases are in tests/rfc6455.py."""

from collections.abc import Callable

import txaio
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.memory import Browser, MemoryServer
from tests.support.processes import ROOT, RedisProcess, Server, environment
from tests.support.raw import RawClient
from tests.support.rfc6455 import (
    Case,
    Frame,
    Handshake,
    all_cases,
    conduct,
    document,
    handshakes,
    parse,
)

# More than any case sends.
BYTES_PER_SECOND = 2**20
GOOD = Handshake(sent="", section="", status=101)


class MemoryLine:
    """A Line in memory."""

    def __init__(self, server: MemoryServer) -> None:
        self._clock = server.clock
        self._browser: Browser = server.connect()
        self._browser.send(GOOD.request())
        assert not GOOD.faults(self._browser.received), self._browser.received

    def send(self, data: bytes) -> None:
        """Sends bytes; those for a connection that has ended are lost."""
        self._browser.send(data)

    def _frames(self) -> list[Frame]:
        return list(parse(self._browser.received.partition(b"\r\n\r\n")[2]))

    def read_until(self, is_last: Callable[[Frame], bool]) -> list[Frame]:
        """Returns all frames so far; no more will arrive."""
        frames = self._frames()
        assert any(map(is_last, frames)), f"no answer, only {frames}"
        return frames

    def read_to_end(self) -> list[Frame]:
        """Returns all frames, after the server's timeout."""
        self._clock.advance(5)
        self._browser.pump.flush()
        assert self._browser.lost, "the server does not end the connection"
        return self._frames()


class ConformanceTestCase(SynchronousTestCase):
    """Provides a server in memory."""

    def setUp(self) -> None:
        """Makes the server; Autobahn's timers follow txaio's loop."""
        self.clock = Clock()
        self.patch(txaio.config, "loop", self.clock)
        self.server = MemoryServer(self.clock, max_inbound_bytes_per_second=BYTES_PER_SECOND)


class FrameTests(ConformanceTestCase):
    """What clients send over an open WebSocket; a test method for each case."""


def _frame_test(case: Case) -> Callable[[FrameTests], None]:
    def test(self: FrameTests) -> None:
        self.assertEqual(conduct(case, MemoryLine(self.server)), case.frames)

    test.__doc__ = f"RFC 6455 section {case.section}: {case.sent} -> {case.answer}."
    return test


for _case in all_cases():
    assert not hasattr(FrameTests, f"test_{_case.name}"), _case.sent
    setattr(FrameTests, f"test_{_case.name}", _frame_test(_case))


class HandshakeTests(ConformanceTestCase):
    """Requests; a test method for each case."""

    def check(self, case: Handshake, *segments: bytes) -> None:
        """Sends a request in those segments and checks the answer."""
        browser = self.server.connect()
        for segment in segments:
            browser.send(segment)
        self.assertEqual(case.faults(browser.received), [])
        self.assertEqual(self.server.hub.socket_count, int(case.status == 101))
        browser.lose()


def _handshake_test(case: Handshake) -> Callable[[HandshakeTests], None]:
    def test(self: HandshakeTests) -> None:
        request = case.request()
        self.check(case, request)
        self.check(case, *(request[at : at + 1] for at in range(len(request))))

    test.__doc__ = f"RFC 6455 section {case.section}: {case.sent} -> {case.answer}."
    return test


for _handshake in handshakes():
    assert not hasattr(HandshakeTests, f"test_{_handshake.name}"), _handshake.sent
    setattr(HandshakeTests, f"test_{_handshake.name}", _handshake_test(_handshake))


class ProcessTests(SynchronousTestCase):
    """The same cases over TCP."""

    def test_all(self) -> None:
        """A server process answers every case as the server in memory does, and keeps running."""
        redis = RedisProcess(self)
        server = Server(
            self,
            environment(redis.port, MAX_INBOUND_BYTES_PER_SECOND=str(BYTES_PER_SECOND)),
        )
        server.wait_until_ready()
        for case in all_cases():
            with RawClient(server.port, GOOD.request()) as line:
                self.assertEqual(conduct(case, line), case.frames, case.sent)
        for handshake in handshakes():
            with RawClient(server.port, handshake.request()) as client:
                self.assertEqual(handshake.faults(client.head), [], handshake.sent)
        self.assertNotIn("Traceback", server.text())


class DocumentTests(SynchronousTestCase):
    """docs/conformance.md."""

    def test_up_to_date(self) -> None:
        """It shows these cases; `python -m tests.support.rfc6455` prints it."""
        self.assertEqual((ROOT / "docs" / "conformance.md").read_text(), document())

    def test_names(self) -> None:
        """Each case has a unique name, and the table's cells contain no bar."""
        sent = [*(one.sent for one in all_cases()), *(one.sent for one in handshakes())]
        self.assertEqual(len(sent), len(set(sent)))
        self.assertEqual([text for text in sent if "|" in text], [])
