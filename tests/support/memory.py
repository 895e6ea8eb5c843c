"""The server's HTTP and WebSocket side on a clock and a network in memory."""

from collections.abc import Iterator, Sequence
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.logger import LogEvent, eventAsText
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, IOPump, connect, makeFakeClient
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri
from zope.interface import implementer

from gaq_twisted.access.tokens import Authenticator
from gaq_twisted.config.settings import Settings
from gaq_twisted.core.edition import Ticket, Upgrade
from gaq_twisted.core.hub import Hub
from gaq_twisted.core.rejections import Rejections
from gaq_twisted.core.socket import Socket
from gaq_twisted.net.gateway import Capacity, Gateway
from gaq_twisted.net.websocket import EventSocketFactory
from gaq_twisted.streams.resumption import Resumption
from gaq_twisted.streams.tail import Tail
from gaq_twisted.web.site import EventSite, Health, resource_tree
from tests.support.fakes import FakeReader
from tests.support.samples import cookie, settings, streams_metrics

PEER = IPv4Address("TCP", "192.0.2.7", 4711)


@implementer(IPushProducer)
class ServerTransport(FakeTransport):
    """The server's end of a connection; it records every write and whether it was aborted."""

    def __init__(self, protocol: object) -> None:
        super().__init__(protocol, isServer=True, peerAddress=PEER)
        self.writes: list[bytes] = []
        self.aborted = False

    def write(self, data: bytes) -> None:
        """Records the write, even if it is too late to be sent."""
        self.writes.append(data)
        super().write(data)

    def abortConnection(self) -> None:
        """Ends the connection; what was not sent is lost."""
        self.aborted = True
        self.stream.clear()
        super().abortConnection()


class Browser(Protocol):
    """A client: it sends raw bytes, and parses what it receives with the websockets package.

    It offers compression, as browsers do. What websockets would answer (pongs, close frames) is
    sent by `answer` only.

    Args:
        target: the path of the upgrade.
    """

    pump: IOPump
    line: ServerTransport

    def __init__(self, target: str = "/") -> None:
        uri = parse_uri(f"ws://gaq.test{target}")
        self.websocket = ClientProtocol(uri, extensions=[ClientPerMessageDeflateFactory()])
        self.received = b""
        self.lost = False
        self._events: list[object] = []

    def dataReceived(self, data: bytes) -> None:
        """Keeps the bytes and parses them."""
        self.received += data
        self.websocket.receive_data(data)
        self._events.extend(self.websocket.events_received())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Records the end."""
        self.lost = True

    def send(self, data: bytes) -> None:
        """Sends raw bytes and waits for what comes back."""
        assert self.transport is not None
        self.transport.write(data)
        self.pump.flush()

    def answer(self) -> None:
        """Sends what websockets has to send."""
        self.send(b"".join(self.websocket.data_to_send()))

    def upgrade(self, *cookies: str) -> None:
        """Requests a WebSocket, with a Cookie header for each of the cookies."""
        request = self.websocket.connect()
        for one in cookies:
            request.headers["Cookie"] = one
        self.websocket.send_request(request)
        self.answer()

    def lose(self) -> None:
        """Closes the connection without a close frame."""
        assert self.transport is not None
        self.transport.loseConnection()
        self.pump.flush()

    @property
    def response(self) -> Response:
        """The answer to the upgrade."""
        return next(event for event in self._events if isinstance(event, Response))

    @property
    def texts(self) -> list[bytes]:
        """The text messages so far."""
        return [bytes(frame.data) for frame in self.frames(Opcode.TEXT)]

    def frames(self, opcode: Opcode) -> Iterator[Frame]:
        """Yields the frames of that kind so far."""
        for event in self._events:
            if isinstance(event, Frame) and event.opcode is opcode:
                yield event


class MemoryEdition:
    """The streams edition without Redis."""

    name = "streams"
    query_key = "last_id"

    def __init__(self, resumption: Resumption, settings: Settings) -> None:
        self._resumption = resumption
        self.authenticator = Authenticator(settings)

    def ticket(self, upgrade: Upgrade) -> Ticket:
        """As StreamsEdition.ticket."""
        identity = self.authenticator.identify(upgrade.cookies)
        return Ticket((identity.channel,), identity.expires_at, upgrade.query.get("last_id"))

    def when_ready(self) -> "Deferred[None] | None":
        """As StreamsEdition.when_ready."""
        return None

    def join(self, socket: Socket, ticket: Ticket) -> None:
        """As StreamsEdition.join."""
        self._resumption.join(socket, ticket.resume_from)


class MemoryServer:
    """A hub without sockets and events, and the real gateway in front of it.

    Args:
        clock: the time.
        files: how many files the process may open.
        values: settings.
    """

    def __init__(self, clock: Clock, *, files: int = 1_000_000, **values: Any) -> None:
        self.clock = clock
        self.metrics = streams_metrics()
        self.history = FakeReader()
        chosen = settings(**{"initial_replay_ms": 0, **values})
        self.hub = Hub(self.metrics, clock.seconds, chosen)
        self.resumption = Resumption(
            self.hub, Tail(100, 2**20), self.history, self.metrics, clock.seconds, 0
        )
        self.resumption.start([], whole_from=b"0-0")
        self.edition = MemoryEdition(self.resumption, chosen)
        editions: Any = [self.edition]
        self.rejections = Rejections(self.metrics, clock.seconds)
        self.factory = EventSocketFactory(
            editions, self.hub, chosen, self.rejections, self.metrics, clock
        )
        self.site = EventSite(resource_tree({b"health": Health()}), reactor=clock)
        self.gateway = Gateway(
            self.site,
            self.factory,
            self.rejections,
            clock.seconds,
            chosen,
            Capacity.of_files(files),
        )

    def connect(self, target: str = "/") -> Browser:
        """Returns a client that is connected and has asked nothing yet."""
        return connected_browser(self.gateway, self.clock, target)

    def open(self, target: str = "/") -> Browser:
        """Returns a client with an open WebSocket."""
        browser = self.connect(target)
        browser.upgrade(cookie())
        assert browser.response.status_code == 101, browser.received
        return browser


def connected_browser(gateway: Gateway, clock: Clock, target: str = "/") -> Browser:
    """Returns a client that is connected to a gateway and has asked nothing yet."""
    reader = gateway.buildProtocol(PEER)
    browser = Browser(target)
    browser.line = ServerTransport(reader)
    browser.pump = connect(reader, browser.line, browser, makeFakeClient(browser), clock=clock)
    return browser


def shown(events: Sequence[LogEvent]) -> str:
    """Returns all that any log could show of those events."""
    return "\n".join(f"{eventAsText(event)}\n{event!r}" for event in events)
