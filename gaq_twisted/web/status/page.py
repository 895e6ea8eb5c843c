"""The resources /status and /status/events."""

from importlib.resources import files

from twisted.web.server import NOT_DONE_YET, Request

from gaq_twisted.web.policy import content_security_policy, set_headers
from gaq_twisted.web.site import Branch
from gaq_twisted.web.status.feed import StatusFeed


class StatusPage(Branch):
    """The page; it needs nothing from elsewhere but its events.

    Args:
        feed: where the events come from.
    """

    def __init__(self, feed: StatusFeed) -> None:
        super().__init__()
        style, script = _part("page.css"), _part("page.js")
        self._page = _part("page.html").replace(b"/*style*/", style).replace(b"/*script*/", script)
        self._policy = content_security_policy(self._page)
        self.putChild(b"events", StatusEvents(feed))

    def render_GET(self, request: Request) -> bytes:
        """Answers with the page."""
        set_headers(request, b"text/html; charset=utf-8")
        request.setHeader(b"content-security-policy", self._policy)
        return self._page


class StatusEvents(Branch):
    """The page's Server-Sent Events (WHATWG HTML, section 9.2).

    Args:
        feed: where they come from.
    """

    def __init__(self, feed: StatusFeed) -> None:
        super().__init__()
        self._feed = feed

    def render_GET(self, request: Request) -> bytes | int:
        """Answers with events until either side ends it, or 503 if too many pages are open."""
        set_headers(request, b"text/event-stream")
        # Some proxies would hold them back until there are many.
        request.setHeader(b"x-accel-buffering", b"no")
        if self._feed.watch(request, request.getHeader("last-event-id") or ""):
            return NOT_DONE_YET
        request.setResponseCode(503)
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        return b"as many pages are open as there may be\n"

    def render_HEAD(self, request: Request) -> bytes:
        """Answers with the headers."""
        set_headers(request, b"text/event-stream")
        return b""


def _part(name: str) -> bytes:
    return files(__package__).joinpath(name).read_bytes()
