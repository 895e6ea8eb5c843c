"""The resources /status, /status/events and /status.json."""

from importlib.resources import files

from twisted.web.server import NOT_DONE_YET, Request

from gaq_twisted.web.policy import content_security_policy, set_headers
from gaq_twisted.web.site import Branch
from gaq_twisted.web.status.feed import StatusFeed
from gaq_twisted.web.status.replicas import addresses, is_internal

_SCRIPTS = ("format.js", "plots.js", "replicas.js", "page.js")
_TEXT = b"text/plain; charset=utf-8"


class StatusPage(Branch):
    """The page, which loads nothing from elsewhere except its events.

    Args:
        feed: sends the events.
    """

    def __init__(self, feed: StatusFeed) -> None:
        super().__init__()
        style, script = _part("page.css"), b"\n".join(map(_part, _SCRIPTS))
        self._page = _part("page.html").replace(b"/*style*/", style).replace(b"/*script*/", script)
        self._policy = content_security_policy(self._page)
        self.putChild(b"events", StatusEvents(feed))

    def render_GET(self, request: Request) -> bytes:
        """Answers with the page, which may also connect to the servers in the parameter `with`."""
        (text,) = request.args.get(b"with", [b""])[:1]
        others = addresses(text.decode("ascii", "replace"))
        if others is None:
            request.setResponseCode(400)
            set_headers(request, _TEXT)
            return (
                b"with= takes host:port, or several with commas between them; browsers allow no"
                b" underscores and no IPv6 addresses there\n"
            )
        set_headers(request, b"text/html; charset=utf-8")
        allowed = b" ".join([b"connect-src 'self'", *(other.encode() for other in others)])
        policy = self._policy.replace(b"connect-src 'self'", allowed)
        request.setHeader(b"content-security-policy", policy)
        return self._page


class StatusEvents(Branch):
    """The page's Server-Sent Events (WHATWG HTML, section 9.2).

    Args:
        feed: sends them.
    """

    def __init__(self, feed: StatusFeed) -> None:
        super().__init__()
        self._feed = feed

    def render_GET(self, request: Request) -> bytes | int:
        """Answers with events until either side ends it, or with 503 if too many pages are open."""
        _set_event_headers(request)
        # Some proxies would buffer them.
        request.setHeader(b"x-accel-buffering", b"no")
        if self._feed.watch(request, request.getHeader("last-event-id") or ""):
            return NOT_DONE_YET
        request.setResponseCode(503)
        request.setHeader(b"content-type", _TEXT)
        return b"too many status pages are open; close one\n"

    def render_HEAD(self, request: Request) -> bytes:
        """Answers with the headers."""
        _set_event_headers(request)
        return b""


class StatusJson(Branch):
    """The present contents of the page, for programs.

    Args:
        feed: provides the contents.
    """

    def __init__(self, feed: StatusFeed) -> None:
        super().__init__()
        self._feed = feed

    def render_GET(self, request: Request) -> bytes:
        """Answers with a JSON object."""
        set_headers(request, b"application/json")
        return self._feed.snapshot() + b"\n"


def _set_event_headers(request: Request) -> None:
    """Sets the headers of events, which status pages of other servers in the network may read.

    Without this restriction, any page on the Internet could read them through an operator's
    browser.
    """
    set_headers(request, b"text/event-stream")
    origin = request.getHeader("origin") or ""
    request.setHeader(b"vary", b"origin")
    if is_internal(origin):
        request.setHeader(b"access-control-allow-origin", origin.encode())


def _part(name: str) -> bytes:
    return files(__package__).joinpath(name).read_bytes()
