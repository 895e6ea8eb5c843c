"""Direct writes, on real sockets."""

import socket
from typing import Any
from unittest import mock

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.internet.tcp import Server
from twisted.trial.unittest import SynchronousTestCase, TestCase

from gaq_twisted.core.direct_write import write, write_now, writer_for
from tests.support.memory import ServerTransport
from tests.support.processes import DEADLINE_SECONDS

MEGABYTE = bytes(range(256)) * 4096


class Sink(Protocol):
    """A server's end whose transport the test uses."""

    def __init__(self) -> None:
        self.made: Deferred[None] = Deferred()
        self.lost: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """Reports to the test."""
        self.made.callback(None)

    def connectionLost(self, reason: object = None) -> None:
        """Reports to the test."""
        self.lost.callback(None)


class Reader(Protocol):
    """A client that keeps what it reads."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.made: Deferred[None] = Deferred()
        self.wanted = 0
        self.enough: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """Reports to the test."""
        self.made.callback(None)

    def dataReceived(self, data: bytes) -> None:
        """Keeps it."""
        self.received += data
        if len(self.received) >= self.wanted and not self.enough.called:
            self.enough.callback(None)


class WriteNowTests(TestCase):
    """A connection through the operating system."""

    async def connected(self) -> tuple[Any, Any]:
        """Returns the server's transport and the client's protocol."""
        net: Any = reactor
        self.sink, reader = Sink(), Reader()
        listening = net.listenTCP(0, Factory.forProtocol(lambda: self.sink), interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        port = listening.getHost().port
        net.connectTCP("127.0.0.1", port, ClientFactory.forProtocol(lambda: reader))
        await self.sink.made
        await reader.made
        transport: Any = self.sink.transport
        self.addCleanup(transport.abortConnection)
        return transport, reader

    async def until(self, reader: Any, count: int) -> None:
        """Waits until the client has so many bytes."""
        reader.wanted = count
        if len(reader.received) < count:
            await reader.enough.addTimeout(DEADLINE_SECONDS, reactor)

    async def test_at_once(self) -> None:
        """What the system takes is with it when the call returns; the reactor is not asked."""
        transport, reader = await self.connected()
        self.assertIs(writer_for(transport), write_now)
        with mock.patch.object(Server, "startWriting") as asked:
            write_now(transport, b"hello")
        self.assertEqual(asked.call_count, 0)
        await self.until(reader, 5)
        self.assertEqual(bytes(reader.received), b"hello")

    async def test_back_pressure(self) -> None:
        """What the system has no room for follows when it has, in order, whichever way it came."""
        transport, reader = await self.connected()
        reader.transport.pauseProducing()
        texts = [MEGABYTE, b"one", b"two" * 100_000, MEGABYTE[::-1], b"three"]
        for index, text in enumerate(texts):
            (write if index % 2 else write_now)(transport, text)
        self.assertGreater(len(transport.dataBuffer) + len(transport._tempDataBuffer), 0)
        reader.transport.resumeProducing()
        await self.until(reader, sum(map(len, texts)))
        self.assertEqual(bytes(reader.received), b"".join(texts))
        write_now(transport, b"four")
        reader.enough = Deferred()
        await self.until(reader, sum(map(len, texts)) + 4)
        self.assertTrue(reader.received.endswith(b"threefour"))

    async def test_failure(self) -> None:
        """A connection that cannot be written to ends by way of the reactor, not in the call."""
        transport, _ = await self.connected()
        transport.socket.shutdown(socket.SHUT_WR)
        write_now(transport, b"too late")
        self.assertFalse(self.sink.lost.called)
        await self.sink.lost.addTimeout(DEADLINE_SECONDS, reactor)

    async def test_lost(self) -> None:
        """What is written to a connection that was lost is ignored, as Twisted does it."""
        transport, reader = await self.connected()
        reader.transport.abortConnection()
        await self.sink.lost.addTimeout(DEADLINE_SECONDS, reactor)
        write_now(transport, b"too late")


class OtherTransportTests(SynchronousTestCase):
    """Transports that have no socket to write to."""

    def test_buffer(self) -> None:
        """They are written to in their own way."""
        transport = ServerTransport(Protocol())
        writer_for(transport)(transport, b"hello")
        self.assertEqual(transport.writes, [b"hello"])
