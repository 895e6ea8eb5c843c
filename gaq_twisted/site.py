"""The HTTP side: health checks, upgrades to WebSocket, and nothing else."""

from typing import Any

from autobahn.twisted.resource import WebSocketResource
from twisted.logger import Logger
from twisted.web import http
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site

from gaq_twisted.protocol import EventSocketFactory


class EventSite(Site):
    """A Site whose requests are logged as events of level debug, not as an access log."""

    _log = Logger()

    noisy = False
    displayTracebacks = False

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


def _asks_for_websocket(request: Request) -> bool:
    values = request.requestHeaders.getRawHeaders(b"upgrade", [])
    return any(
        token.strip().lower() == b"websocket" for value in values for token in value.split(b",")
    )
