"""The StatsD sender: on a clock and network in memory, and once on a real UDP socket."""

import socket
import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from twisted.internet import defer, reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorUDP,
    IResolutionReceiver,
)
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock, LoopingCall
from twisted.internet.testing import FakeDatagramTransport
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyClass

from gaq_twisted.config.forms import StatsdHost, Tag
from gaq_twisted.config.sections import Statsd
from gaq_twisted.core.metrics import (
    CONNECTED_CLIENT,
    DELIVERY_SECONDS,
    OPEN_SOCKETS,
    UPGRADE_REJECTED,
)
from gaq_twisted.ops.statsd import StatsdReactor, StatsdReports, StatsdService
from gaq_twisted.streams.metrics import READ_AGE_SECONDS, REPLAY_EVENTS
from tests.support.samples import streams_metrics
from tests.support.sessions import DEADLINE_SECONDS

ADDRESS = IPv4Address("UDP", "192.0.2.1", 8125)
ADDRESS_6 = IPv6Address("UDP", "2001:db8::1", 8125)


class FakePort(FakeDatagramTransport):
    """A UDP port that keeps what is written, or fails."""

    def __init__(self, interface: str) -> None:
        super().__init__()
        self.interface = interface
        self.error: OSError | None = None
        self.open = True

    def write(self, packet: bytes, addr: object = None) -> None:
        """Keeps the datagram, or fails."""
        if self.error:
            raise self.error
        super().write(packet, addr)

    def stopListening(self) -> "defer.Deferred[None]":
        """Closes the port."""
        self.open = False
        return defer.succeed(None)


@implementer(IReactorUDP, IHostnameResolver)
class FakeReactor(Clock):
    """A clock with UDP ports, and a resolver whose answers the test gives."""

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[FakePort] = []
        self.asked: list[tuple[str, int, str]] = []
        self._receivers: list[IResolutionReceiver] = []
        self.nameResolver = self

    def listenUDP(
        self,
        port: int,
        protocol: DatagramProtocol,
        interface: str = "",
        maxPacketSize: int = 8192,
    ) -> Any:
        """Opens a port."""
        self.ports.append(FakePort(interface))
        return self.ports[-1]

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Notes the question."""
        self.asked.append((hostName, portNumber, transportSemantics))
        self._receivers.append(resolutionReceiver)
        return resolutionReceiver  # type: ignore[return-value]

    def answer(self, *addresses: IAddress) -> None:
        """Answers the oldest open question."""
        receiver = self._receivers.pop(0)
        receiver.resolutionBegan(None)  # type: ignore[arg-type]
        for address in addresses:
            receiver.addressResolved(address)
        receiver.resolutionComplete()


class FakeReactorTests(SynchronousTestCase):
    """The fake itself."""

    def test_interfaces(self) -> None:
        """It has the methods of the real one."""
        verifyClass(IReactorUDP, FakeReactor)
        verifyClass(IHostnameResolver, FakeReactor)


class StatsdTestCase(SynchronousTestCase):
    """Has a started sender whose host is not resolved yet."""

    def setUp(self) -> None:
        """Starts a sender."""
        self.reactor = FakeReactor()
        self.statsd = self.sender()

    def sender(self, *tags: str) -> StatsdService:
        """Starts a sender with those tags."""
        statsd = StatsdService(
            Statsd(host=StatsdHost("stats.test"), global_tags=tuple(map(Tag, tags))),
            cast(StatsdReactor, self.reactor),
        )
        statsd.startService()
        return statsd

    def sent(self) -> list[bytes]:
        """Returns the datagrams so far."""
        return [datagram for port in self.reactor.ports for datagram, _ in port.written]


class SendingTests(StatsdTestCase):
    """What is sent once the host name is resolved."""

    def setUp(self) -> None:
        """Resolves the host."""
        super().setUp()
        self.reactor.answer(ADDRESS, ADDRESS_6)

    def test_address(self) -> None:
        """The first address of the host is the one that is sent to."""
        self.statsd.increment("a")
        self.reactor.advance(0)
        (port,) = self.reactor.ports
        self.assertEqual(port.written, [(b"a:1|c", ("192.0.2.1", 8125))])
        self.assertEqual(port.interface, "")
        self.assertEqual(self.reactor.asked, [("stats.test", 8125, "UDP")])

    def test_forms(self) -> None:
        """Counters and gauges have the forms that StatsD knows."""
        self.statsd.increment("a", 3)
        self.statsd.gauge("b", 7)
        self.statsd.gauge("c", 0.5)
        self.reactor.advance(0)
        self.assertEqual(self.sent(), [b"a:3|c\nb:7|g\nc:0.5|g"])

    def test_one_turn_one_datagram(self) -> None:
        """What is counted in one turn is sent together, after the turn."""
        for turn in range(2):
            self.statsd.increment("a")
            self.statsd.increment("b")
            self.assertEqual(len(self.sent()), turn)
            # The other one is the next look-up of the name.
            self.assertEqual(len(self.reactor.getDelayedCalls()), 2)
            self.reactor.advance(0)
        self.assertEqual(self.sent(), [b"a:1|c\nb:1|c"] * 2)
        self.reactor.advance(3600)
        self.assertEqual(len(self.sent()), 2)

    def test_tags(self) -> None:
        """Tags are added to every metric in DogStatsD's form."""
        statsd = self.sender("a:b", "c:d")
        self.reactor.answer(ADDRESS)
        statsd.increment("x")
        statsd.gauge("y", 2)
        self.reactor.advance(0)
        self.assertEqual(self.sent(), [b"x:1|c|#a:b,c:d\ny:2|g|#a:b,c:d"])

    def test_datagrams_are_bounded(self) -> None:
        """Lines that fill 1432 bytes exactly stay together, one byte more takes two datagrams."""
        for room, datagrams in ((1432, 1), (1433, 2)):
            before = len(self.sent())
            first = "a" * 700
            second = "b" * (room - len(f"{first}:1|c\n:1|c"))
            self.statsd.increment(first)
            self.statsd.increment(second)
            self.reactor.advance(0)
            sent = self.sent()[before:]
            self.assertEqual(len(sent), datagrams)
            self.assertEqual(b"\n".join(sent), f"{first}:1|c\n{second}:1|c".encode())

    def test_many_metrics(self) -> None:
        """However much is counted, every line arrives whole and in order."""
        for number in range(1000):
            self.statsd.increment(f"metric_{number}")
        self.reactor.advance(0)
        self.assertLessEqual(max(map(len, self.sent())), 1432)
        self.assertGreater(min(map(len, self.sent()[:-1])), 1400)
        lines = b"\n".join(self.sent()).split(b"\n")
        self.assertEqual(lines, [b"metric_%d:1|c" % number for number in range(1000)])

    def test_write_fails(self) -> None:
        """A network that fails costs one log line, and metrics go on when it works again."""
        (port,) = self.reactor.ports
        port.error = OSError(101, "Network is unreachable")
        with capturedLogs() as logs:
            for _ in range(3):
                self.statsd.increment("a")
                self.reactor.advance(0)
        self.assertEqual([event["log_level"] for event in logs], [LogLevel.warn])
        self.assertIn("Network is unreachable", logs[0]["reason"])
        port.error = None
        self.statsd.increment("b")
        self.reactor.advance(0)
        self.assertEqual(self.sent(), [b"b:1|c"])

    def test_stop(self) -> None:
        """Stopping sends what was counted last, closes the port and leaves nothing behind."""
        self.statsd.increment("a")
        stopped = self.statsd.stopService()
        self.assertEqual(self.sent(), [b"a:1|c"])
        self.assertFalse(self.reactor.ports[0].open)
        assert stopped is not None
        self.assertIsNone(self.successResultOf(stopped))
        self.statsd.increment("b")
        self.reactor.advance(3600)
        self.assertEqual(self.sent(), [b"a:1|c"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_start_again(self) -> None:
        """A sender that was stopped can be started again."""
        self.statsd.stopService()
        self.statsd.startService()
        self.reactor.answer(ADDRESS)
        self.statsd.increment("a")
        self.reactor.advance(0)
        self.assertEqual([len(port.written) for port in self.reactor.ports], [0, 1])


class ResolutionTests(StatsdTestCase):
    """What happens while the host name is not resolved."""

    def test_before(self) -> None:
        """What is counted before the host name is resolved is not kept."""
        self.statsd.increment("a")
        self.statsd.gauge("b", 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.reactor.answer(ADDRESS)
        self.reactor.advance(0)
        self.assertEqual(self.sent(), [])

    def test_ipv6(self) -> None:
        """A host that has only an IPv6 address is sent to from an IPv6 port."""
        self.reactor.answer(ADDRESS_6)
        self.statsd.increment("a")
        self.reactor.advance(0)
        (port,) = self.reactor.ports
        self.assertEqual(port.interface, "::")
        self.assertEqual(port.written, [(b"a:1|c", ("2001:db8::1", 8125))])

    def test_does_not_resolve(self) -> None:
        """A name that does not resolve is tried again every minute, and logged once."""
        with capturedLogs() as logs:
            for attempt in range(1, 4):
                self.assertEqual(len(self.reactor.asked), attempt)
                self.reactor.answer()
                self.statsd.increment("lost")
                self.reactor.advance(59)
                self.assertEqual(len(self.reactor.asked), attempt)
                self.reactor.advance(1)
        self.assertEqual([event["log_level"] for event in logs], [LogLevel.warn])
        self.assertEqual(logs[0]["host"], "stats.test")
        self.reactor.answer(ADDRESS)
        self.statsd.increment("a")
        self.reactor.advance(0)
        self.assertEqual(self.sent(), [b"a:1|c"])

    def test_another_address(self) -> None:
        """The name is looked up again every minute, as its address may change, also its family."""
        self.reactor.answer(ADDRESS)
        for address in (IPv4Address("UDP", "192.0.2.2", 8125), ADDRESS_6):
            self.reactor.advance(60)
            self.reactor.answer(address)
            self.statsd.increment("a")
            self.reactor.advance(0)
            port = self.reactor.ports[-1]
            self.assertEqual(port.written[-1], (b"a:1|c", (address.host, 8125)))
        self.assertEqual([port.open for port in self.reactor.ports], [False, True])

    def test_no_longer_resolves(self) -> None:
        """A name that once resolved goes on with the address that it had."""
        self.reactor.answer(ADDRESS)
        self.reactor.advance(60)
        self.reactor.answer()
        self.statsd.increment("a")
        self.reactor.advance(0)
        self.assertEqual(self.sent(), [b"a:1|c"])

    def test_stop_cancels_the_retry(self) -> None:
        """A sender that is stopped does not look up the name again."""
        self.reactor.answer()
        self.assertIsNone(self.statsd.stopService())
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stop_while_looking_up(self) -> None:
        """An answer that comes after the end opens no port and starts no retry."""
        self.statsd.stopService()
        self.reactor.answer(ADDRESS)
        self.sender().stopService()
        self.reactor.answer()
        self.assertEqual((self.reactor.ports, self.reactor.getDelayedCalls()), ([], []))


class UnixTests(SynchronousTestCase):
    """A unix datagram socket, as DogStatsD's agents have one."""

    def setUp(self) -> None:
        """Makes the agent's socket."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = f"{directory.name}/dsd.socket"
        self.agent = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.agent.close)
        self.agent.settimeout(DEADLINE_SECONDS)
        self.clock: Any = Clock()

    def send(self, host: str) -> None:
        """Sends one count."""
        statsd = StatsdService(Statsd(host=StatsdHost(host)), self.clock)
        statsd.startService()
        self.addCleanup(statsd.stopService)
        statsd.increment("ws_x")
        self.clock.advance(0)

    def test_spellings(self) -> None:
        """Datagrams arrive, however the path is written."""
        self.agent.bind(self.path)
        for host in (self.path, f"unix://{self.path}", f"unixgram://{self.path}"):
            self.send(host)
            self.assertEqual(self.agent.recv(100), b"ws_x:1|c")

    def test_missing(self) -> None:
        """A socket that is not there is one line in the log."""
        with capturedLogs() as logs:
            self.send(self.path)
            self.clock.advance(1)
        (line,) = [one for one in logs if one.get("event") == "statsd_unreachable"]
        self.assertEqual((line["place"], line["reason"]), (self.path, "No such file or directory"))


class Line(NamedTuple):
    """A value that was reported."""

    kind: str
    name: str
    value: float
    tags: tuple[str, ...]


class RecordingStatsd(StatsdService):
    """Keeps what is reported instead of sending it."""

    def __init__(self) -> None:
        super().__init__(Statsd(), cast(StatsdReactor, Clock()))
        self.lines: list[Line] = []

    def increment(self, name: str, count: float = 1, *tags: str) -> None:
        """Keeps the rise of a counter."""
        self.lines.append(Line("c", name, count, tags))

    def gauge(self, name: str, value: float, *tags: str) -> None:
        """Keeps a gauge."""
        self.lines.append(Line("g", name, value, tags))

    def timing(self, name: str, milliseconds: float, *tags: str) -> None:
        """Keeps a time."""
        self.lines.append(Line("ms", name, milliseconds, tags))


class ReportTests(SynchronousTestCase):
    """What is reported of the metrics."""

    def setUp(self) -> None:
        """Makes metrics of which nothing was reported."""
        self.metrics, self.statsd = streams_metrics(), RecordingStatsd()
        self.reports = StatsdReports(self.metrics, self.statsd)

    def reported(self) -> list[Line]:
        """Returns what the next report sends."""
        self.statsd.lines.clear()
        self.reports.send()
        return list(self.statsd.lines)

    def test_counters(self) -> None:
        """Of a counter, its rise since the last report is sent by label, if it rose."""
        self.assertEqual(self.reported(), [])
        self.metrics.increment(CONNECTED_CLIENT, 2)
        self.metrics.increment(UPGRADE_REJECTED, label="origin")
        expected = [
            Line("c", "ws_connected_client", 2, ()),
            Line("c", "ws_upgrade_rejected", 1, ("reason:origin",)),
        ]
        self.assertEqual(self.reported(), expected)
        self.assertEqual(self.reported(), [])
        self.metrics.increment(CONNECTED_CLIENT)
        self.assertEqual(self.reported(), [Line("c", "ws_connected_client", 1, ())])

    def test_histograms(self) -> None:
        """Of times, the mean is sent, and of other histograms the sum."""
        for seconds in (0.001, 0.003):
            self.metrics.observe(DELIVERY_SECONDS, seconds)
        for count in (0, 7, 5):
            self.metrics.observe(REPLAY_EVENTS, count, "tail")
        expected = [
            Line("ms", "ws_delivery", 2.0, ()),
            Line("c", "ws_replay_events", 12, ("source:tail",)),
        ]
        self.assertEqual(self.reported(), expected)
        self.assertEqual(self.reported(), [])

    def test_gauges(self) -> None:
        """A gauge is sent with every tenth report, if it is a finite number."""
        self.metrics.read_from(OPEN_SOCKETS, lambda: 3)
        self.metrics.read_from(READ_AGE_SECONDS, lambda: float("inf"))
        expected = [Line("g", "ws_open_sockets", 3, ())]
        for _ in range(2):
            self.assertEqual(self.reported(), expected)
            self.assertEqual([self.reported() for _ in range(9)], [[]] * 9)


class RealTests(TestCase):
    """The sender on the reactor and a UDP socket."""

    @defer.inlineCallbacks
    def test_datagram_arrives(self) -> Any:
        """A peer on the network receives the metric as StatsD expects it."""
        received: defer.Deferred[bytes] = defer.Deferred()

        class Peer(DatagramProtocol):
            def datagramReceived(self, datagram: bytes, addr: Any) -> None:
                if not received.called:
                    received.callback(datagram)

        net: Any = reactor
        port = net.listenUDP(0, Peer(), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        statsd = StatsdService(Statsd(host=StatsdHost("127.0.0.1"), port=port.getHost().port), net)
        statsd.startService()
        self.addCleanup(statsd.stopService)
        # What is counted before the address is looked up, which takes a thread, is not kept.
        counting = LoopingCall(statsd.increment, CONNECTED_CLIENT.name)
        counting.start(0.005)
        self.addCleanup(counting.stop)
        received.addTimeout(10, net)
        datagram = yield received
        self.assertEqual(datagram, b"ws_connected_client:1|c")
