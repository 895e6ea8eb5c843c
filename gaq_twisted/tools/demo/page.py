"""The pages at /demo, one for each protocol."""

from collections.abc import Mapping
from importlib.resources import files
from typing import NamedTuple

from twisted.web.resource import IResource
from twisted.web.server import Request

from gaq_twisted.tools.demo.cookies import CookieResource, Cookies
from gaq_twisted.web.policy import content_security_policy, set_headers
from gaq_twisted.web.site import Branch

REALTIME_PATH = b"7"
"""The path of the page of Superset 7, below the other one."""


class Contents(NamedTuple):
    """What differs from page to page."""

    protocol: str
    """`streams` or `realtime`."""
    has_other: bool
    """Whether there is a page of the other protocol."""
    has_faults: bool
    """Whether the page can cause faults."""
    status_url: str = ""
    """Where the status page is; empty if there is none."""
    docs_path: str = ""
    """Where the documentation is; empty if it is not here."""


class DemoPage(Branch):
    """Serves one of the pages, with a cookie.

    Args:
        contents: its contents.
        cookies: the cookies of its browsers.
        children: the resources that it calls, and further pages, by path.
    """

    def __init__(
        self, contents: Contents, cookies: Cookies, children: Mapping[bytes, IResource]
    ) -> None:
        super().__init__()
        self._cookies = cookies
        self._page = _page(contents)
        self._policy = content_security_policy(self._page)
        self.putChild(b"", self)
        self.putChild(b"cookie", CookieResource(cookies))
        for path, child in children.items():
            self.putChild(path, child)

    def render_GET(self, request: Request) -> bytes:
        """Sends the page, and a cookie if the browser needs one."""
        self._cookies.renew(request)
        set_headers(request, b"text/html; charset=utf-8")
        request.setHeader(b"content-security-policy", self._policy)
        return self._page


def _page(contents: Contents) -> bytes:
    page = _part("page.html")
    script = _part("dashboard.js") + _part(f"{contents.protocol}.js")
    parts = {
        "/*style*/": _part("style.css"),
        "/*script*/": script,
        "@protocol@": contents.protocol,
        "@faults@": str(contents.has_faults).lower(),
        "<!--nav-->": _navigation(contents.protocol) if contents.has_other else "",
        "<!--links-->": _links(contents),
    }
    for mark, part in parts.items():
        page = page.replace(mark, part)
    return page.encode()


def _navigation(protocol: str) -> str:
    """Returns the links to the pages; one of them is the current page."""
    links = (
        ("streams", "/demo", "Superset 1.2 to 6.1"),
        ("realtime", f"/demo/{REALTIME_PATH.decode()}", "Superset 7"),
    )
    return "".join(
        f'<a href="{path}"{" aria-current=page" if name == protocol else ""}>{text}</a>'
        for name, path, text in links
    )


def _links(contents: Contents) -> str:
    links = (
        (contents.status_url, "Status page"),
        (contents.docs_path and f"{contents.docs_path}/how-it-works.md", "How it works"),
        (contents.docs_path and f"{contents.docs_path}/migrating.md", "Compared with Node.js"),
        (contents.docs_path and f"{contents.docs_path}/getting-started.md", "Getting started"),
    )
    return "".join(f'<a href="{url}">{text}</a>' for url, text in links if url)


def _part(file: str) -> str:
    return files(__package__).joinpath(file).read_text()
