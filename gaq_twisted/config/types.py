"""The types of settings: which values are allowed, and how messages describe them."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal, NamedTuple, get_args

from msgspec import Meta

_MIN_JWT_SECRET_BYTES = 32
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]/@,]+))(?::([0-9]{1,5}))?")
_SENTINEL_PORT = 26379
LEAST_SOCKET_BUFFER_BYTES = 64 * 1024
"""Twisted reports a client that does not read once this much waits for it."""
ANY_ORIGIN = "*"
SAME_HOST = "same-host"
NULL_ORIGIN = "null"
HOST_NAME = r"(\[[0-9a-f:.]+\]|[a-z0-9*._-]+)"
"""A pattern for the host part of a URL, without its port, as browsers write it: in ASCII."""
_ORIGIN = re.compile(rf"([a-z][a-z0-9+.-]*)://{HOST_NAME}(?::([0-9]{{1,5}}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class ConfigError(Exception):
    """Raised for settings that cannot be used.

    Args:
        faults: one line per fault, with the key, what is wrong and what is allowed.
    """

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class Secret(str):
    """A text whose repr does not reveal it."""

    def __repr__(self) -> str:
        return "'***'" if self else "''"


class SigningSecret(Secret):
    """A secret long enough for signatures (RFC 7518 section 3.2), or a key as PEM."""

    def __new__(cls, text: str) -> "SigningSecret":
        """Checks the length.

        Raises:
            ValueError: if the text is too short.
        """
        if len(text.encode()) < _MIN_JWT_SECRET_BYTES:
            raise ValueError("too short")
        return super().__new__(cls, text)


class SpareSecret(Secret):
    """A SigningSecret, or empty for none."""

    def __new__(cls, text: str = "") -> "SpareSecret":
        """Checks the length.

        Raises:
            ValueError: if the text is too short, but not empty.
        """
        return super().__new__(cls, text and SigningSecret(text))


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
    """Returns a host name without the dot that makes it absolute."""
    return host.removesuffix(".")


def whole_number(low: int, high: int) -> Meta:
    """Returns the constraint to whole numbers between two bounds, inclusively."""
    return Meta(ge=low, le=high, description=f"a whole number from {low} to {high}")


def about(meaning: str) -> Meta:
    """Returns the meaning of a setting that changes only with a restart."""
    return Meta(extra_json_schema={"description": meaning})


def live(meaning: str) -> Meta:
    """Returns the meaning of a setting that can change without a restart."""
    return Meta(extra_json_schema={"description": meaning, "x-live": True})


Flag = Annotated[bool, Meta(description="true or false")]
Text = Annotated[str, Meta(min_length=1, description="a text that is not empty")]
AnyText = Annotated[str, Meta(description="a text")]
# The limit of Linux's sockaddr_un.
SocketPath = Annotated[str, Meta(max_length=107, description="a path of 107 characters at most")]
Texts = Annotated[tuple[str, ...], Meta(description="a list of texts")]
Sentinels = Annotated[
    tuple[SentinelAddress, ...], Meta(description="a list of addresses such as redis-1:26379")
]
Origins = Annotated[
    tuple[OriginPattern, ...],
    Meta(
        description="a list of origins such as https://bi.example.com or https://*.example.com,"
        " without a path, or same-host, null or *"
    ),
]
Networks = Annotated[
    tuple[Network, ...],
    Meta(description="a list of IP addresses and networks such as 10.0.0.0/8"),
]
Password = Annotated[Secret, Meta(description="a text")]
JwtSecret = Annotated[
    SigningSecret,
    Meta(
        description=f"the text of {_MIN_JWT_SECRET_BYTES} bytes or more that Superset has as"
        " GLOBAL_ASYNC_QUERIES_JWT_SECRET, or Superset 7 as WEBSOCKET_JWT_SECRET"
    ),
]
RealtimeJwtSecret = Annotated[
    SpareSecret,
    Meta(
        description=f"empty, or the text of {_MIN_JWT_SECRET_BYTES} bytes or more that Superset 7"
        " has as WEBSOCKET_JWT_SECRET"
    ),
]
PreviousJwtSecret = Annotated[
    SpareSecret,
    Meta(description=f"empty, or a text of {_MIN_JWT_SECRET_BYTES} bytes or more"),
]
Port = Annotated[int, whole_number(1, 65535)]
Count = Annotated[int, whole_number(1, 1_000_000)]
Bytes = Annotated[int, whole_number(1, 2**40)]
Number = Annotated[int, whole_number(0, 2**31 - 1)]
Milliseconds = Annotated[int, whole_number(1, 2**31 - 1)]
MillisecondsOrZero = Annotated[int, whole_number(0, 2**31 - 1)]
BasePath = Annotated[
    str,
    Meta(
        pattern=r"^(?:/[A-Za-z0-9._~-]+)*$(?!\n)",
        description="empty, or a path such as /ws, without a slash behind it",
    ),
]
ProtocolName = Annotated[
    Literal["streams", "realtime", "both"], Meta(description="streams, realtime or both")
]
LogFormat = Annotated[Literal["text", "json"], Meta(description="text or json")]
LogLevelName = Annotated[
    Literal["debug", "info", "warn", "warning", "error"],
    Meta(description="one of debug, info, warn, warning, error"),
]
_AlgorithmName = Literal[
    "HS256",
    "HS384",
    "HS512",
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
]
Algorithms = Annotated[
    tuple[_AlgorithmName, ...],
    Meta(
        min_length=1, description=f"a list of one or more of {', '.join(get_args(_AlgorithmName))}"
    ),
]
