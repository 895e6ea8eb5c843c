"""The pages at /demo, one for each protocol, and what they call."""

from collections.abc import Mapping
from importlib.resources import files

from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from gaq_twisted.tools.demo.cookies import (
    ChannelCookies,
    CookieResource,
    Cookies,
    PrincipalCookies,
)
from gaq_twisted.tools.demo.publishing import PublishJobs, PublishTask
from gaq_twisted.web.policy import content_security_policy

REALTIME_PATH = b"7"
"""Where the page of Superset 7 is, below the other one."""
_LINKS = ((b"/demo", b"Superset 1.2 to 6.1"), (b"/demo/" + REALTIME_PATH, b"Superset 7"))


class DemoPage(Resource):
    """Serves one of the pages, with a cookie.

    Args:
        file: the name of its file.
        link: which link of the navigation leads here; None for no navigation.
        cookies: the cookies of its browsers.
        children: what it calls, by path.
    """

    def __init__(
        self,
        file: str,
        link: int | None,
        cookies: Cookies,
        children: Mapping[bytes, IResource],
    ) -> None:
        super().__init__()
        self._cookies = cookies
        navigation = b"" if link is None else _navigation(link)
        page = _part(file).replace(b"<!--nav-->", navigation)
        self._page = page.replace(b"/*style*/", _part("style.css"))
        self._policy = content_security_policy(self._page)
        self.putChild(b"", self)
        self.putChild(b"cookie", CookieResource(cookies))
        for path, child in children.items():
            self.putChild(path, child)

    def render_GET(self, request: Request) -> bytes:
        """Sends the page, and a cookie if the browser needs one."""
        self._cookies.renew(request)
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        request.setHeader(b"cache-control", b"no-store")
        request.setHeader(b"content-security-policy", self._policy)
        return self._page


def streams_page(
    cookies: ChannelCookies, publish: PublishJobs, other: "DemoPage | None"
) -> DemoPage:
    """Returns the page that plays the part of a dashboard of Superset 1.2 to 6.1.

    Args:
        cookies: the cookies of its browsers.
        publish: what its buttons call.
        other: the page of Superset 7, if that is served.
    """
    page = DemoPage("streams.html", None if other is None else 0, cookies, {b"publish": publish})
    if other is not None:
        page.putChild(REALTIME_PATH, other)
    return page


def realtime_page(cookies: PrincipalCookies, publish: PublishTask) -> DemoPage:
    """Returns the page that plays the part of a dashboard of Superset 7.

    Args:
        cookies: the cookies of its browsers.
        publish: what its buttons call.
    """
    return DemoPage("realtime.html", 1, cookies, {b"publish": publish})


def _navigation(current: int) -> bytes:
    """Returns the links to the pages, of which one is the current page."""
    links = [
        b'<a href="%b"%b>%b</a>' % (path, b' aria-current="page"' * (number == current), text)
        for number, (path, text) in enumerate(_LINKS)
    ]
    return b'<nav aria-label="Versions of Superset">%b</nav>' % b"".join(links)


def _part(file: str) -> bytes:
    return files(__package__).joinpath(file).read_bytes()
