"""The HTTP side: health checks, upgrades to WebSocket, and nothing else."""

import re
from typing import Any

from autobahn.twisted.resource import WebSocketResource
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site

from gaq_twisted.protocol import EventSocketFactory

# RFC 9112 sections 3 and 5, without what is allowed but not sent by browsers.
_USUAL = re.compile(
    rb"GET [!-~]+ HTTP/1\.1\r\n(?:[-!#$%&'*+.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r\n)+\r\n"
)
_USUAL_BYTES = 16_384
_PATIENCE_SECONDS = 60.0


class Doorman(Protocol):
    """Decides by the first bytes of a connection who serves it.

    A whole upgrade request, as browsers send it, goes straight to an
    EventSocket; that takes a third less time than by way of the Site, and
    leaves nothing of HTTP in memory. All else is the Site's, which also knows
    how to hand over an upgrade.
    """

    def __init__(self, site: "EventSite", address: IAddress | None) -> None:
        """Take who knows the others, and where the client is."""
        self._site = site
        self._address = address

    def connectionMade(self) -> None:
        """Wait for the first bytes, but not for ever."""
        self._patience = self._site.reactor.callLater(_PATIENCE_SECONDS, self._give_up)

    def dataReceived(self, data: bytes) -> None:
        """Hand over the connection."""
        self._patience.cancel()
        protocol = self._site.next_protocol(self._address, data)
        transport: Any = self.transport
        if isinstance(transport, ProtocolWrapper):
            transport.wrappedProtocol = protocol
        else:
            transport.protocol = protocol
        self.transport = None
        protocol.makeConnection(transport)
        protocol.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Stop waiting."""
        self._patience.cancel()

    def _give_up(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()


class EventSite(Site):
    """A Site whose requests are logged as events of level debug, not as an access log."""

    _log = Logger()

    noisy = False
    displayTracebacks = False

    def __init__(self, root: "Root", *, reactor: Any) -> None:
        """Take the resources, and a reactor that provides IReactorTime."""
        super().__init__(root, reactor=reactor)
        self._root = root

    def buildProtocol(self, address: IAddress | None) -> Any:
        """Return who serves a new connection at first."""
        return Doorman(self, address)

    def next_protocol(self, address: IAddress | None, data: bytes) -> Any:
        """Return who serves a connection that begins with those bytes."""
        if _is_whole_upgrade(data):
            return self._root.sockets.buildProtocol(address)
        return super().buildProtocol(address)

    def log(self, request: http.Request) -> None:
        """Note one request that was answered."""
        self._log.debug(
            "{peer} {method} {path}: {code}",
            peer=str(request.getClientAddress()),
            method=request.method.decode("ascii", "replace"),
            path=request.path.decode("ascii", "replace"),
            code=request.code,
        )


class NotFound(Resource):
    """Answers 404 to everything."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        """Answer 404."""
        return _answer(request, 404, b"not found; a WebSocket upgrade is taken on any path\n")


class Branch(Resource):
    """A resource with no children but those that were put there."""

    def getChild(self, path: bytes, request: Request) -> IResource:
        """Return what answers where there is nothing."""
        return NotFound()


class Root(Branch):
    """Takes an upgrade on any path; other requests go to the children."""

    def __init__(self, factory: EventSocketFactory) -> None:
        """Make the tree of resources."""
        super().__init__()
        self.sockets = factory
        self._upgrade = Upgrade(factory)
        self.putChild(b"health", Health())

    def getChildWithDefault(self, path: bytes, request: Request) -> IResource:
        """Return the resource that answers the request."""
        if _asks_for_websocket(request):
            return self._upgrade
        child: IResource = super().getChildWithDefault(path, request)
        return child


class Health(Branch):
    """Says that the process lives."""

    def render(self, request: Request) -> bytes:
        """Answer 200 OK to GET and HEAD, and 405 to all else."""
        if request.method in (b"GET", b"HEAD"):
            return _answer(request, 200, b"OK")
        request.setHeader(b"allow", b"GET, HEAD")
        return _answer(request, 405, b"only GET and HEAD are allowed here\n")


class Upgrade(WebSocketResource):  # type: ignore[misc]
    """Hands the connection of a request over to an EventSocket."""

    def render(self, request: Request) -> int | bytes:
        """Hand over, with what the request's HTTP side would get in the way of put aside."""
        headers = request.requestHeaders
        cookies = headers.getRawHeaders(b"cookie", [])
        if len(cookies) > 1:
            # They would be joined by a comma, which is not how cookies are joined
            # (RFC 6265 section 5.4).
            headers.setRawHeaders(b"cookie", [b"; ".join(cookies)])
        # The HTTP channel no longer decides when the transport reads.
        transport: Any = request.channel.transport
        transport.unregisterProducer()
        answer: int | bytes = super().render(request)
        return answer


def _answer(request: Request, code: int, text: bytes) -> bytes:
    request.setResponseCode(code)
    request.setHeader(b"server", b"gaq-twisted")
    request.setHeader(b"content-type", b"text/plain; charset=utf-8")
    request.setHeader(b"content-length", b"%d" % len(text))
    # Twisted would cut the body from an answer to HEAD by itself, but complain in the log.
    return b"" if request.method == b"HEAD" else text


def _is_whole_upgrade(data: bytes) -> bool:
    """Return whether that is an upgrade request, whole and without anything unusual."""
    if len(data) > _USUAL_BYTES or not data.endswith(b"\r\n\r\n") or not _USUAL.fullmatch(data):
        return False
    names = data.lower()
    return (
        b"\r\nupgrade: websocket\r\n" in names
        and names.count(b"\r\ncookie:") < 2
        and b"\r\ncontent-length:" not in names
        and b"\r\ntransfer-encoding:" not in names
    )


def _asks_for_websocket(request: Request) -> bool:
    values = request.requestHeaders.getRawHeaders(b"upgrade", [])
    return any(
        token.strip().lower() == b"websocket" for value in values for token in value.split(b",")
    )
