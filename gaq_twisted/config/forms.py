"""String types that check their form when they are created, such as addresses and secrets."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import NamedTuple

MIN_JWT_SECRET_BYTES = 32
"""The length of the digest of HS256 (RFC 7518 section 3.2)."""
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]/@,]+))(?::([0-9]{1,5}))?")
_SENTINEL_PORT = 26379
_HOST_NAME = re.compile(r"[^\s:/@\[\]\\?#,;\"']{1,255}")
_STATSD_SOCKET = re.compile(r"(?:unix://|unixgram://)?/[^\0\r\n]+")
_ENDPOINT = re.compile(r"[A-Za-z][A-Za-z0-9-]*:")
ANY_ORIGIN = "*"
SAME_HOST = "same-host"
NULL_ORIGIN = "null"
HOST_NAME = r"(\[[0-9a-f:.]+\]|[a-z0-9*._-]+)"
"""A pattern for the host of a URL, without its port, in ASCII as browsers write it."""
_ORIGIN = re.compile(rf"([a-z][a-z0-9+.-]*)://{HOST_NAME}(?::([0-9]{{1,5}}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class Secret(str):
    """A string whose repr does not reveal it."""

    def __repr__(self) -> str:
        return "'***'" if self else "''"


class SigningSecret(Secret):
    """A secret long enough for signatures (RFC 7518 section 3.2), or a PEM key."""

    def __new__(cls, text: str) -> "SigningSecret":
        """Checks the length.

        Raises:
            ValueError: if the text is too short.
        """
        if len(text.encode()) < MIN_JWT_SECRET_BYTES:
            raise ValueError("too short")
        return super().__new__(cls, text)


class SpareSecret(Secret):
    """A SigningSecret, or an empty string."""

    def __new__(cls, text: str = "") -> "SpareSecret":
        """Checks the length.

        Raises:
            ValueError: if the text is too short, but not empty.
        """
        return super().__new__(cls, text and SigningSecret(text))


class HostName(str):
    """A host name, or an IP address without brackets."""

    def __new__(cls, text: str) -> "HostName":
        """Checks the form.

        Raises:
            ValueError: if the text is anything else, such as a URL or a host with a port.
        """
        # A byte order mark is neither white space nor printable.
        if not _HOST_NAME.fullmatch(text) or not text.isprintable():
            ip_address(text)
        return super().__new__(cls, text)


class StatsdHost(str):
    """A host name, an IP address, or the path of a unix socket as DogStatsD's clients write it."""

    def __new__(cls, text: str) -> "StatsdHost":
        """Checks the form.

        Raises:
            ValueError: if the text is none of these.
        """
        if not _STATSD_SOCKET.fullmatch(text):
            HostName(text)
        return super().__new__(cls, text)


class FilePath(str):
    """The path of a file, or an empty string; never the contents of the file."""

    def __new__(cls, text: str = "") -> "FilePath":
        """Checks the form.

        Raises:
            ValueError: if the text is a key or certificate.
        """
        if "-----BEGIN" in text or not text.isprintable():
            raise ValueError("not a path")
        return super().__new__(cls, text)


class EndpointString(str):
    """A Twisted endpoint string: where to listen."""

    def __new__(cls, text: str) -> "EndpointString":
        """Checks that it begins with an endpoint type.

        Raises:
            ValueError: if it does not.
        """
        if not _ENDPOINT.match(text):
            raise ValueError("no kind of endpoint")
        return super().__new__(cls, text)


class Tag(str):
    """A tag for metrics."""

    def __new__(cls, text: str) -> "Tag":
        """Checks that it can be sent to StatsD.

        Raises:
            ValueError: if it contains a separator or an unprintable character.
        """
        if not text.isprintable() or set(text) & set(",|"):
            raise ValueError("holds a separator")
        return super().__new__(cls, text)


class SentinelAddress(str):
    """The address of a Sentinel: `host`, `host:port` or `[IPv6 address]:port`."""

    host: str
    port: int

    def __new__(cls, text: str) -> "SentinelAddress":
        """Parses the address.

        Raises:
            ValueError: if the text is not an address.
        """
        match = _ADDRESS.fullmatch(text)
        port = int(match[3] or _SENTINEL_PORT) if match else 0
        if not match or not 1 <= port <= 65535:
            raise ValueError("not an address")
        address = super().__new__(cls, text)
        address.host, address.port = match[1] or match[2], port
        return address


class Network(str):
    """An IP address, or a network such as `10.0.0.0/8`."""

    network: IPv4Network | IPv6Network

    def __new__(cls, text: str) -> "Network":
        """Parses the network.

        Raises:
            ValueError: if the text is neither.
        """
        network = super().__new__(cls, text)
        network.network = ip_network(text)
        return network


class OriginParts(NamedTuple):
    """The parts of an origin."""

    scheme: str
    host: str
    port: int


class OriginPattern(str):
    """One entry of `allowedOrigins`: an origin, one with `*.` before its host, or a keyword."""

    def __new__(cls, text: str) -> "OriginPattern":
        """Checks the form.

        Raises:
            ValueError: if the text is none of these.
        """
        if text not in (ANY_ORIGIN, SAME_HOST, NULL_ORIGIN):
            parts = origin_parts(text)
            if parts is None or "*" in parts.host.removeprefix("*."):
                raise ValueError("not an origin")
        return super().__new__(cls, text)


def origin_parts(origin: str) -> OriginParts | None:
    """Returns the parts of an origin, or None if the text is not an origin."""
    match = _ORIGIN.fullmatch(origin.lower())
    if match is None or int(match[3] or 0) > 65535:
        return None
    scheme, host, port = match.groups()
    return OriginParts(scheme, host_without_root(host), int(port or _DEFAULT_PORTS.get(scheme, 0)))


def host_without_root(host: str) -> str:
    """Returns a host name without its trailing dot."""
    return host.removesuffix(".")
