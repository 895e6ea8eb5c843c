"""HTTP requests other than WebSocket upgrades: health checks, readiness, and all others."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, cast

from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocolFactory,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site
from zope.interface import implementer_only

from gaq_twisted.core.hub import Hub
from gaq_twisted.core.peer import Peer
from gaq_twisted.core.readiness import Readiness

_TIMEOUT_SECONDS = 10.0


class OneRequestChannel(http.HTTPChannel):
    """Serves one request and ends the connection, so that none waits for another request."""

    transport: ITCPTransport
    peer: Peer
    """The client, for the log; the gateway sets it if the client came through a proxy."""
    _end_call: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Counts the connection."""
        self.factory.channel_count += 1
        self.peer = Peer.at(self.transport.getPeer())
        super().connectionMade()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Stops counting the connection."""
        self.factory.channel_count -= 1
        if self._end_call is not None and self._end_call.active():
            self._end_call.cancel()
        super().connectionLost(reason)

    def loseConnection(self) -> None:
        """Ends the connection; a client that must confirm, as with TLS, has a bounded time."""
        super().loseConnection()
        if self._end_call is None:
            self._end_call = self.callLater(_TIMEOUT_SECONDS, self.transport.abortConnection)

    def checkPersistence(self, request: http.Request, version: bytes) -> bool:
        """Announces the connection's end."""
        request.responseHeaders.setRawHeaders(b"connection", [b"close"])
        return False


# With the interfaces of Site, TLS would offer HTTP/2 and change each connection's context.
@implementer_only(IProtocolFactory)
class EventSite(Site):
    """A Site that logs requests as events of level debug, not as an access log.

    Args:
        root: the resources.
        reactor: provides the time.
    """

    _log = Logger()

    noisy = False
    displayTracebacks = False
    protocol: Any = OneRequestChannel

    def __init__(self, root: IResource, *, reactor: IReactorTime) -> None:
        super().__init__(root, timeout=_TIMEOUT_SECONDS, reactor=reactor)
        self.channel_count = 0
        """The number of connections."""

    def log(self, request: http.Request) -> None:
        """Logs a request that was answered."""
        channel = cast(OneRequestChannel, request.channel)
        self._log.debug(
            "{client} {method} {path}: {code}",
            method=request.method.decode("ascii", "replace"),
            path=request.path.decode("ascii", "replace"),
            code=request.code,
            **channel.peer.log_fields,
        )


class NotFound(Resource):
    """Answers 404 to every request.

    Args:
        text: the answer.
    """

    isLeaf = True

    def __init__(self, text: str = "not found") -> None:
        super().__init__()
        self._text = text.encode() + b"\n"

    def render(self, request: Request) -> bytes:
        """Answers 404."""
        return _answer(request, 404, self._text)


class Branch(Resource):
    """A resource with only the children that were added."""

    def getChild(self, path: bytes, request: Request) -> IResource:
        """Returns the resource that answers where there is no child."""
        return NotFound()


class Root(Branch):
    """The root of a port's resources, or a part of the path before them.

    Args:
        not_found: what is answered where there is nothing.
    """

    def __init__(self, not_found: str) -> None:
        super().__init__()
        self._not_found = NotFound(not_found)

    def getChild(self, path: bytes, request: Request) -> IResource:
        """Returns the resource that answers where there is no child."""
        return self._not_found

    def render(self, request: Request) -> bytes:
        """Answers 404."""
        return self._not_found.render(request)


class Start(Branch):
    """Redirects to a page.

    Args:
        page: the path of the page.
        paths: the paths of all pages, for clients that do not follow redirects.
    """

    def __init__(self, page: str, paths: Iterable[str]) -> None:
        super().__init__()
        self._page = page
        self._text = "".join(f"{path}\n" for path in paths)

    def render_GET(self, request: Request) -> bytes:
        """Answers with a redirect."""
        # Relative, because a proxy may have removed a part of the path.
        request.setHeader(b"location", self._page.encode())
        return _answer(request, 302, self._text.encode())


class Health(Branch):
    """Reports that the process is alive."""

    def render(self, request: Request) -> bytes:
        """Answers 200 OK to GET and HEAD, and 405 to other methods."""
        if request.method in (b"GET", b"HEAD"):
            return _answer(request, 200, b"OK")
        request.setHeader(b"allow", b"GET, HEAD")
        return _answer(request, 405, b"only GET and HEAD are allowed here\n")


class Ready(Branch):
    """Reports whether this server is ready for clients.

    Args:
        readiness: determines it.
        hub: has the sockets to count.
    """

    def __init__(self, readiness: Readiness, hub: Hub) -> None:
        super().__init__()
        self._readiness = readiness
        self._hub = hub

    def render_GET(self, request: Request) -> bytes:
        """Answers 200 if it is ready and 503 if not, with reasons and facts as JSON."""
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
    # Twisted itself would remove the body from an answer to HEAD, but log a warning.
    return b"" if request.method == b"HEAD" else text


def resource_tree(
    resources: Mapping[bytes, IResource], base_path: str = "", *, not_found: str = "not found"
) -> Branch:
    """Returns a tree of resources.

    Args:
        resources: the resources by the last part of their path.
        base_path: the path before that, such as `/a/b`.
        not_found: what is answered where there is nothing.
    """
    root = place = Root(not_found)
    for part in base_path.encode().split(b"/")[1:]:
        branch = Root(not_found)
        place.putChild(part, branch)
        place = branch
    for path, resource in resources.items():
        place.putChild(path, resource)
    return root
