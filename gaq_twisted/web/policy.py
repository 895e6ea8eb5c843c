"""Security headers for pages that load nothing from other sites."""

import re
from base64 import b64encode
from hashlib import sha256

from twisted.web.server import Request

_HEADERS = (
    (b"server", b"gaq-twisted"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


def set_headers(request: Request, content_type: bytes) -> None:
    """Sets the headers that keep other sites from using an answer.

    Args:
        request: the request that is answered.
        content_type: the type of the answer.
    """
    request.setHeader(b"content-type", content_type)
    for name, value in _HEADERS:
        request.setHeader(name, value)


def content_security_policy(page: bytes) -> bytes:
    """Returns the policy that allows a page only its own scripts and styles.

    It also allows connections to the page's server.

    Args:
        page: the HTML, whose script and style elements have no attributes.
    """
    return (
        b"default-src 'none'; script-src %b; style-src %b; img-src data:; connect-src 'self';"
        b" base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ) % (_sources(page, b"script"), _sources(page, b"style"))


def _sources(page: bytes, element: bytes) -> bytes:
    """Returns the hashes that allow the page's elements of that name (CSP 3, section 2.3.1)."""
    texts = re.findall(b"<%b>(.*?)</%b>" % (element, element), page, re.DOTALL)
    return b" ".join(b"'sha256-%b'" % b64encode(sha256(text).digest()) for text in texts)
