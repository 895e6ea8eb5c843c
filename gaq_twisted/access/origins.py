"""Which pages may connect, by the Origin header that browsers send (RFC 6454 section 7).

A browser sends the cookie with every WebSocket, no matter which site's page opened it. Only the
Origin header names the site.
"""

import re
from collections.abc import Sequence

from gaq_twisted.config.forms import (
    ANY_ORIGIN,
    HOST_NAME,
    NULL_ORIGIN,
    SAME_HOST,
    OriginParts,
    OriginPattern,
    host_without_root,
    origin_parts,
)

_HOST = re.compile(rf"{HOST_NAME}(?::[0-9]{{1,5}})?")


class OriginRules:
    """Decides which pages may connect.

    Args:
        patterns: the allowed origins; with none, all are allowed.
    """

    def __init__(self, patterns: Sequence[OriginPattern]) -> None:
        self._any = not patterns or ANY_ORIGIN in patterns
        self._same_host = SAME_HOST in patterns
        self._null = NULL_ORIGIN in patterns
        parts = [part for part in map(origin_parts, patterns) if part is not None]
        self._exact = {part for part in parts if not part.host.startswith("*.")}
        self._below = [part for part in parts if part.host.startswith("*.")]

    def allow(self, origin: str | None, host: str) -> bool:
        """Returns whether a page of that origin may connect.

        A client that sends no Origin is not a browser; no page can make a browser omit it.

        Args:
            origin: the Origin header, or None if there is none.
            host: the Host header.
        """
        if self._any or origin is None:
            return True
        if origin == NULL_ORIGIN:
            return self._null
        parts = origin_parts(origin)
        if parts is None or "*" in parts.host:
            return False
        if parts in self._exact or any(_is_below(parts, one) for one in self._below):
            return True
        match = _HOST.fullmatch(host.lower())
        return self._same_host and match is not None and parts.host == host_without_root(match[1])


def _is_below(parts: OriginParts, pattern: OriginParts) -> bool:
    # With any number of labels, as in CSP (CSP3 section 6.7.2.9).
    return (
        (parts.scheme, parts.port) == (pattern.scheme, pattern.port)
        and parts.host.endswith(pattern.host[1:])
        and not parts.host.startswith(".")
    )
