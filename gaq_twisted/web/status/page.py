"""The resources /status and /status/events."""

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

from twisted.web.server import NOT_DONE_YET, Request

from gaq_twisted.web.site import Branch
from gaq_twisted.web.status.feed import StatusFeed

_HEADERS = (
    (b"server", b"gaq-twisted"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


class StatusPage(Branch):
    """The page; it needs nothing from elsewhere but its events."""

    def __init__(self, feed: StatusFeed) -> None:
        """Take where the events come from."""
        super().__init__()
        style, script = _part("page.css"), _part("page.js")
        self._page = _part("page.html").replace(b"/*style*/", style).replace(b"/*script*/", script)
        self._policy = (
            b"default-src 'none'; script-src %b; style-src %b; img-src data:; connect-src 'self';"
            b" base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ) % (_source(script), _source(style))
        self.putChild(b"events", StatusEvents(feed))

    def render_GET(self, request: Request) -> bytes:
        """Answer with the page."""
        _set_headers(request, b"text/html; charset=utf-8")
        request.setHeader(b"content-security-policy", self._policy)
        return self._page


class StatusEvents(Branch):
    """The page's Server-Sent Events (WHATWG HTML, section 9.2)."""

    def __init__(self, feed: StatusFeed) -> None:
        """Take where they come from."""
        super().__init__()
        self._feed = feed

    def render_GET(self, request: Request) -> bytes | int:
        """Answer with events for as long as both sides want, or 503 if too many get them."""
        _set_headers(request, b"text/event-stream")
        # Some proxies would keep them until there are many.
        request.setHeader(b"x-accel-buffering", b"no")
        if self._feed.watch(request, request.getHeader("last-event-id") or ""):
            return NOT_DONE_YET
        request.setResponseCode(503)
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        return b"as many pages are open as there may be\n"

    def render_HEAD(self, request: Request) -> bytes:
        """Answer with the headers."""
        _set_headers(request, b"text/event-stream")
        return b""


def _set_headers(request: Request, kind: bytes) -> None:
    request.setHeader(b"content-type", kind)
    for name, value in _HEADERS:
        request.setHeader(name, value)


def _part(name: str) -> bytes:
    return files(__package__).joinpath(name).read_bytes()


def _source(text: bytes) -> bytes:
    """Return what lets a browser use that text of an element (CSP 3, section 2.3.1)."""
    return b"'sha256-%b'" % b64encode(sha256(text).digest())
