"""Exits with 0 if the server in this container answers its health check.

It asks where the server listens by its settings: at the first place of `listen`, or `port`, or
`internalListen` if it cannot know where the others are, as with sockets that systemd opened.
"""

import os
import re
import socket
import ssl
from collections.abc import Iterable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

from gaq_twisted.config.load import load
from gaq_twisted.config.settings import Settings

FILE = Path("config.json")
PATIENCE_SECONDS = 4.0
ANY = ("", "0.0.0.0", "::")
# A load balancer sends this for its own health checks.
PROXY_HEADER = b"PROXY UNKNOWN\r\n"


class Place(NamedTuple):
    """Where the server listens, and how it is asked there."""

    address: tuple[str, int] | str
    """A host and port, or the path of a socket."""
    path: str
    """The path of the health check."""
    is_tls: bool = False
    expects_proxy_header: bool = False

    @classmethod
    def of(cls, endpoint: str, path: str) -> "Place | None":
        """Returns the place of an endpoint string, or None if the string does not tell it."""
        expects_proxy_header = endpoint.startswith("haproxy:")
        kind, *words = _words(endpoint.removeprefix("haproxy:"))
        options = dict(word.split("=", 1) for word in words if "=" in word)
        plain = [word for word in words if "=" not in word]
        if kind == "unix":
            address: tuple[str, int] | str = options.get("address") or plain[0]
        elif kind in ("tcp", "tcp6", "ssl"):
            host = options.get("interface", "")
            address = ("localhost" if host in ANY else host, int(options.get("port") or plain[0]))
        else:
            return None
        return cls(address, path, kind == "ssl", expects_proxy_header)

    def connect(self) -> socket.socket:
        """Returns a connection to it."""
        if isinstance(self.address, str):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(PATIENCE_SECONDS)
            connection.connect(self.address)
        else:
            connection = socket.create_connection(self.address, PATIENCE_SECONDS)
        if self.expects_proxy_header:
            connection.sendall(PROXY_HEADER)
        if not self.is_tls:
            return connection
        # The certificate is for the name that browsers use.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(connection)


def _words(endpoint: str) -> list[str]:
    """Returns the parts of an endpoint string, in which a backslash protects a colon."""
    return [re.sub(r"\\(.)", r"\1", word) for word in re.split(r"(?<!\\):", endpoint)]


def places(settings: Settings) -> Iterator[Place]:
    """Yields where the health check can be asked, those for browsers first."""
    public = settings.listen or (f"tcp:{settings.port}",)
    asked: Iterable[tuple[str, str]] = [
        *((endpoint, f"{settings.base_path}/health") for endpoint in public),
        *((endpoint, "/health") for endpoint in settings.internal_listen),
    ]
    for endpoint, path in asked:
        place = Place.of(endpoint, path)
        if place is not None:
            yield place


def main() -> None:
    """Asks.

    Raises:
        SystemExit: if the answer is not 200, or there is no place to ask.
    """
    settings, *_ = load(FILE if FILE.exists() else None, os.environ)
    place = next(places(settings), None)
    if place is None:
        raise SystemExit("no endpoint of listen says where to ask: set internalListen")
    http = HTTPConnection("localhost")
    http.sock = place.connect()
    http.request("GET", place.path)
    status = http.getresponse().status
    if status != 200:
        raise SystemExit(f"{place.path} answered {status}")


if __name__ == "__main__":
    main()
