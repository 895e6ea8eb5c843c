"""The HTTP side: health checks, and whatever else is no WebSocket."""

import json
from collections.abc import Mapping
from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site
from zope.interface import implementer_only

from gaq_twisted.core.hub import Hub
from gaq_twisted.core.readiness import Readiness

_PATIENCE_SECONDS = 10.0


def host_of(address: object) -> str:
    """Return what the log calls the other end of a connection: its host, where it has one."""
    return str(getattr(address, "host", address))


class OneRequestChannel(http.HTTPChannel):
    """Serves one request, so that nobody needs to wait for a second one."""

    peer = ""
    """The address of the client, for the log."""
    _end_call: Any = None

    def connectionMade(self) -> None:
        """Be one more."""
        self.factory.channel_count += 1
        transport: Any = self.transport
        self.peer = host_of(transport.getPeer())
        super().connectionMade()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Be one less."""
        self.factory.channel_count -= 1
        if self._end_call is not None and self._end_call.active():
            self._end_call.cancel()
        super().connectionLost(reason)

    def loseConnection(self) -> None:
        """End the connection, and not wait for ever for a client that must agree, as with TLS."""
        super().loseConnection()
        if self._end_call is None:
            transport: Any = self.transport
            self._end_call = self.callLater(_PATIENCE_SECONDS, transport.abortConnection)

    def checkPersistence(self, request: http.Request, version: bytes) -> bool:
        """Announce the connection's end."""
        request.responseHeaders.setRawHeaders(b"connection", [b"close"])
        return False


# Over TLS a Site would offer HTTP/2, and change the context of each connection for that.
@implementer_only(IProtocolFactory)
class EventSite(Site):
    """A Site whose requests are logged as events of level debug, not as an access log."""

    _log = Logger()

    noisy = False
    displayTracebacks = False
    protocol: Any = OneRequestChannel

    def __init__(self, root: IResource, *, reactor: Any) -> None:
        """Take the resources, and a reactor that provides IReactorTime."""
        super().__init__(root, timeout=_PATIENCE_SECONDS, reactor=reactor)
        self.channel_count = 0
        """How many connections it serves."""

    def log(self, request: http.Request) -> None:
        """Note one request that was answered."""
        channel: Any = request.channel
        self._log.debug(
            "{peer} {method} {path}: {code}",
            peer=channel.peer,
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


class Health(Branch):
    """Says that the process lives."""

    def render(self, request: Request) -> bytes:
        """Answer 200 OK to GET and HEAD, and 405 to all else."""
        if request.method in (b"GET", b"HEAD"):
            return _answer(request, 200, b"OK")
        request.setHeader(b"allow", b"GET, HEAD")
        return _answer(request, 405, b"only GET and HEAD are allowed here\n")


class Ready(Branch):
    """Says whether this server is of use now."""

    def __init__(self, readiness: Readiness, hub: Hub) -> None:
        """Take who knows it, and whose sockets are counted."""
        super().__init__()
        self._readiness = readiness
        self._hub = hub

    def render_GET(self, request: Request) -> bytes:
        """Answer 200 if it is and 503 if not, with the reasons and facts as JSON."""
        reasons, facts = self._readiness.now()
        answer = {
            "ready": not reasons,
            "reasons": reasons,
            **facts,
            "sockets": self._hub.socket_count,
        }
        text = json.dumps(answer).encode() + b"\n"
        return _answer(request, 503 if reasons else 200, text, b"application/json")


def _answer(
    request: Request, code: int, text: bytes, kind: bytes = b"text/plain; charset=utf-8"
) -> bytes:
    request.setResponseCode(code)
    request.setHeader(b"server", b"gaq-twisted")
    request.setHeader(b"content-type", kind)
    request.setHeader(b"content-length", b"%d" % len(text))
    # Twisted would cut the body from an answer to HEAD by itself, but complain in the log.
    return b"" if request.method == b"HEAD" else text


def resource_tree(resources: Mapping[bytes, IResource], base_path: str = "") -> Branch:
    """Return resources as one.

    Args:
        resources: by the last part of their path.
        base_path: what comes before that, as `/a/b`.
    """
    root = place = Branch()
    for part in base_path.encode().split(b"/")[1:]:
        branch = Branch()
        place.putChild(part, branch)
        place = branch
    for path, resource in resources.items():
        place.putChild(path, resource)
    return root
