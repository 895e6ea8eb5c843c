"""Which pages may connect, by the Origin header that browsers send (RFC 6454 section 7).

A browser sends the cookie with every WebSocket, whichever site's page opened it;
the Origin header is what tells the sites apart.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

_ANY = "*"
_SAME_HOST = "same-host"
_NULL = "null"
# Browsers write international names in ASCII.
_HOST_NAME = r"(\[[0-9a-f:.]+\]|[a-z0-9*._-]+)"
_ORIGIN = re.compile(rf"([a-z][a-z0-9+.-]*)://{_HOST_NAME}(?::([0-9]{{1,5}}))?")
_HOST = re.compile(rf"{_HOST_NAME}(?::[0-9]{{1,5}})?")
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class _Parts(NamedTuple):
    scheme: str
    host: str
    port: int


class OriginPattern(str):
    """One entry of `allowedOrigins`: an origin, one with `*.` before its host, or a keyword."""

    def __new__(cls, text: str) -> "OriginPattern":
        """Raises ValueError if the text is none of these."""
        if text not in (_ANY, _SAME_HOST, _NULL):
            parts = _parts(text)
            if parts is None or "*" in parts.host.removeprefix("*."):
                raise ValueError("not an origin")
        return super().__new__(cls, text)


class OriginRules:
    """Decides which pages may connect."""

    def __init__(self, patterns: Sequence[OriginPattern]) -> None:
        """Take what is allowed; nothing means everything."""
        self._any = not patterns or _ANY in patterns
        self._same_host = _SAME_HOST in patterns
        self._null = _NULL in patterns
        parts = [part for part in map(_parts, patterns) if part is not None]
        self._exact = {part for part in parts if not part.host.startswith("*.")}
        self._below = [part for part in parts if part.host.startswith("*.")]

    def allow(self, origin: str | None, host: str) -> bool:
        """Return whether a page of that origin may connect.

        A client without an Origin is no browser, and no page can make a browser
        leave it out.

        Args:
            origin: the Origin header, or None if there is none.
            host: the Host header.
        """
        if self._any or origin is None:
            return True
        if origin == _NULL:
            return self._null
        parts = _parts(origin)
        if parts is None or "*" in parts.host:
            return False
        if parts in self._exact or any(_is_below(parts, one) for one in self._below):
            return True
        match = _HOST.fullmatch(host.lower())
        return self._same_host and match is not None and parts.host == _host_name(match[1])


def _is_below(parts: _Parts, pattern: _Parts) -> bool:
    # As many labels as there are, as in CSP (CSP3 section 6.7.2.9).
    return (
        (parts.scheme, parts.port) == (pattern.scheme, pattern.port)
        and parts.host.endswith(pattern.host[1:])
        and not parts.host.startswith(".")
    )


def _parts(origin: str) -> _Parts | None:
    """Return the parts of an origin, or None if it is none."""
    match = _ORIGIN.fullmatch(origin.lower())
    if match is None or int(match[3] or 0) > 65535:
        return None
    scheme, host, port = match.groups()
    return _Parts(scheme, _host_name(host), int(port or _DEFAULT_PORTS.get(scheme, 0)))


def _host_name(host: str) -> str:
    # A host name may be written as absolute.
    return host.removesuffix(".")
