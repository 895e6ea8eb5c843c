"""Parses Redis URLs into settings."""

import re
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from gaq_twisted.config.forms import HostName, Secret

_NETWORK_SCHEMES = {"redis": False, "rediss": True, "valkey": False, "valkeys": True}
_SOCKET_SCHEMES = ("unix", "redis+socket")
_DATABASE = re.compile(r"[0-9]{1,9}")


class RedisUrl(Secret):
    """The URL of a Redis server, or an empty string."""

    parts: dict[str, Any]
    """The settings of the section `redis` that it contains, by key."""

    def __new__(cls, text: str = "") -> "RedisUrl":
        """Parses the URL.

        Raises:
            ValueError: if the text is not such a URL, or has unknown parameters.
        """
        url = super().__new__(cls, text)
        url.parts = _parts(text) if text else {}
        return url


def _parts(text: str) -> dict[str, Any]:
    url = urlsplit(text)
    parameters = dict(parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query)))
    database = parameters.pop("db", "")
    if parameters or url.fragment or not text.isprintable():
        raise ValueError("parameters")
    parts: dict[str, Any] = {}
    if url.scheme in _SOCKET_SCHEMES:
        if not url.path.startswith("/"):
            raise ValueError("no path")
        parts["unixSocketPath"] = unquote(url.path)
    elif url.scheme in _NETWORK_SCHEMES:
        database = url.path.strip("/") or database
        parts["host"] = HostName(url.hostname or "")
        parts["port"] = url.port or 6379
        if _NETWORK_SCHEMES[url.scheme]:
            parts["ssl"] = True
    else:
        raise ValueError("another scheme")
    if url.username:
        parts["username"] = unquote(url.username, errors="strict")
    if url.password:
        parts["password"] = Secret(unquote(url.password, errors="strict"))
    if database:
        if not _DATABASE.fullmatch(database):
            raise ValueError("no database number")
        parts["db"] = int(database)
    return parts
