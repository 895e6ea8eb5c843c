"""The internals of Autobahn and Twisted that `gaq_twisted.net` uses.

Neither project promises to keep them. When one of these tests fails after an upgrade, its message
says what no longer works in this server.
"""

import socket
from typing import Any

import trustme
import txaio
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.application.strports import service
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.protocols.haproxy._wrapper import HAProxyProtocolWrapper
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.net.slim import HANDSHAKE_ATTRIBUTES
from tests.support.memory import MemoryServer
from tests.support.samples import cookie, upgrade_request


class AutobahnTests(SynchronousTestCase):
    """Attributes that net/slim.py and net/websocket.py use."""

    def setUp(self) -> None:
        """Makes a connection; Autobahn's timers follow txaio's loop."""
        self.clock = Clock()
        self.patch(txaio.config, "loop", self.clock)

    def test_entry_points(self) -> None:
        """The methods behind Autobahn's own Twisted adapter exist."""
        for name, breaks in (
            ("_dataReceived", "sockets receive nothing"),
            ("_connectionLost", "sockets never leave the hub"),
            ("_connectionMade", "the class with default attributes cannot be made"),
            ("sendCloseFrame", "a socket gets events after its close frame"),
            ("dropConnection", "closing connections stay open without a bound"),
            ("failHandshake", "refused upgrades are answered in Autobahn's way"),
            ("onMessageFrameData", "what clients send is kept in memory"),
            ("onMessageFrameEnd", "what clients send is kept in memory"),
        ):
            method = getattr(WebSocketServerProtocol, name, None)
            self.assertTrue(callable(method), f"Autobahn has no {name}: {breaks}")

    def test_options(self) -> None:
        """The options that each socket copies are named by CONFIG_ATTRS."""
        names = getattr(WebSocketServerProtocol, "CONFIG_ATTRS", ())
        self.assertGreater(len(names), 10, "no CONFIG_ATTRS: each socket has a copy of all options")
        factory = WebSocketServerFactory(reactor=self.clock)
        missing = [name for name in names if not hasattr(factory, name)]
        self.assertEqual(missing, [], "options that the factory lacks: no socket can be made")

    def test_connection_count(self) -> None:
        """Autobahn counts connections, from before the handshake to their end."""
        server = MemoryServer(self.clock)
        browser = server.connect()
        browser.send(upgrade_request())
        counts = [server.factory.countConnections]
        browser.lose()
        counts.append(server.factory.countConnections)
        self.assertEqual(
            counts, [1, 0], "countConnections: limits on connections and the drain are wrong"
        )

    def test_handshake_attributes(self) -> None:
        """The attributes that are removed after the handshake are those that Autobahn sets."""
        server = MemoryServer(self.clock)
        kept: list[set[str]] = []
        factory = server.factory
        own = factory.kept

        def record(attributes: dict[str, Any]) -> dict[str, Any]:
            kept.append(set(attributes))
            return own(attributes)

        self.patch(factory, "kept", record)
        server.connect().upgrade(cookie())
        # The factory's class has an empty queue, so Autobahn's own is the one that is removed.
        self.assertEqual(
            HANDSHAKE_ATTRIBUTES - kept[0],
            set(),
            "attributes of a handshake have other names: each socket keeps 1 kB and its cookie",
        )

    def test_states(self) -> None:
        """The states, flags and objects that are read or removed exist on an open socket."""
        server = MemoryServer(self.clock)
        browser = server.open()
        socket_: Any
        (socket_,) = server.hub.sockets
        for name, breaks in (
            ("STATE_OPEN", "the hub takes open sockets for closed ones"),
            ("STATE_CONNECTING", "the limit on inbound bytes counts the handshake"),
            ("STATE_CLOSED", "data of closed sockets is kept"),
            ("state", "the hub takes open sockets for closed ones"),
            ("data", "data of closed sockets is kept, and pongs are seen within frames"),
            ("current_frame", "bytes within a frame are taken for pongs"),
            ("is_closed", "sockets are only freed by the garbage collector"),
            ("failedByMe", "close frames that name a violation are not sent"),
            ("wasClean", "browsers report clean closes as unclean"),
            ("wasNotCleanReason", "the log lacks the reason of a refused upgrade"),
        ):
            self.assertTrue(hasattr(socket_, name), f"a socket has no {name}: {breaks}")
        browser.lose()


class TwistedTests(SynchronousTestCase):
    """Attributes that the other modules of net/ use."""

    def connection(self, protocol: Protocol) -> Connection:
        """Returns a transport of TCP or unix sockets."""
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        self.addCleanup(ours.close)
        reactor: Any = Clock()
        return Connection(ours, protocol, reactor)

    def test_direct_write(self) -> None:
        """direct_write can read all waiting bytes, and the socket itself."""
        transport = self.connection(Protocol())
        for name, breaks in (
            ("dataBuffer", "frames overtake bytes that wait"),
            ("_tempDataBuffer", "frames overtake bytes that wait"),
            ("socket", "nothing can be written directly"),
            ("connected", "writes to lost connections fail"),
            ("TLS", "frames bypass TLS"),
        ):
            self.assertTrue(hasattr(transport, name), f"Connection has no {name}: {breaks}")
        self.patch(transport, "connected", True)
        self.patch(transport, "startWriting", lambda: None)
        transport.write(b"waits")
        self.assertTrue(
            transport.dataBuffer or transport._tempDataBuffer,
            "bytes that wait are elsewhere: frames overtake them",
        )

    def test_gateway(self) -> None:
        """The protocol of a connection can be replaced on each kind of transport."""
        breaks = "the gateway cannot hand a connection over"
        protocol = Protocol()
        self.assertIs(self.connection(protocol).protocol, protocol, f"TCP: {breaks}")
        wrapper = ProtocolWrapper(WrappingFactory(Factory()), protocol)
        self.assertIs(wrapper.wrappedProtocol, protocol, f"PROXY: {breaks}")
        self.assertTrue(issubclass(TLSMemoryBIOProtocol, ProtocolWrapper), f"TLS: {breaks}")
        self.assertTrue(issubclass(HAProxyProtocolWrapper, ProtocolWrapper), f"PROXY: {breaks}")

    def test_listeners(self) -> None:
        """An endpoint string listens with the method of the reactor that it is given."""
        asked: list[str] = []

        class Recorder:
            def __getattr__(self, name: str) -> Any:
                asked.append(name)
                return lambda *_, **__: None

        factory: Any = None
        recorder: Any = Recorder()
        serverFromString(recorder, "tcp:0").listen(factory)
        self.assertEqual(
            asked[-1:], ["listenTCP"], "not our listenTCP: the backlog and reusePort are ignored"
        )
        file = self.mktemp()
        trustme.CA().issue_cert("a.test").private_key_and_cert_chain_pem.write_to_path(file)
        serverFromString(recorder, f"ssl:0:privateKey={file}").listen(factory)
        self.assertEqual(
            asked[-1:], ["listenSSL"], "not our listenSSL: certificates cannot be captured"
        )
        one = service("tcp:0", Factory(), reactor=recorder)
        self.assertTrue(hasattr(one, "endpoint"), "a server cannot listen at an endpoint object")
