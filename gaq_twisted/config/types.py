"""The types of settings: which values are allowed, and how messages describe them."""

from typing import Annotated, Literal, get_args

from msgspec import Meta

from gaq_twisted.config.forms import (
    MIN_JWT_SECRET_BYTES,
    EndpointString,
    FilePath,
    HostName,
    Network,
    OriginPattern,
    Secret,
    SentinelAddress,
    SigningSecret,
    SpareSecret,
    StatsdHost,
    Tag,
)
from gaq_twisted.config.redis_url import RedisUrl

LEAST_SOCKET_BUFFER_BYTES = 64 * 1024
"""Twisted reports a slow client once this many bytes wait for it."""


def whole_number(low: int, high: int) -> Meta:
    """Returns the constraint to whole numbers between two bounds, inclusive."""
    return Meta(ge=low, le=high, description=f"a whole number from {low} to {high}")


def about(meaning: str) -> Meta:
    """Describes a setting that changes only with a restart."""
    return Meta(extra_json_schema={"description": meaning})


def live(meaning: str) -> Meta:
    """Describes a setting that can change without a restart."""
    return Meta(extra_json_schema={"description": meaning, "x-live": True})


Flag = Annotated[bool, Meta(description="true or false")]
Text = Annotated[str, Meta(min_length=1, description="a non-empty string")]
AnyText = Annotated[str, Meta(description="a string")]
# The limit of Linux's sockaddr_un.
SocketPath = Annotated[str, Meta(max_length=107, description="a path of at most 107 characters")]
File = Annotated[FilePath, Meta(description="the path of a file")]
Host = Annotated[
    HostName,
    Meta(
        description="a host name or IP address such as redis.example.com or 2001:db8::1, without"
        " a scheme, port or brackets; put a URL into redis.url"
    ),
]
Endpoints = Annotated[
    tuple[EndpointString, ...],
    Meta(description=r"a list of endpoint strings such as tcp:8081 or tcp:8081:interface=\:\:1"),
]
MetricsHost = Annotated[
    StatsdHost,
    Meta(
        description="a host name or IP address, without a scheme or port, or a unix datagram"
        " socket such as unix:///run/dsd.socket"
    ),
]
Tags = Annotated[
    tuple[Tag, ...], Meta(description="a list of tags such as env:prod, without , and |")
]
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
Url = Annotated[
    RedisUrl,
    Meta(
        description="empty, or a URL such as rediss://user:password@redis.example.com:6380/0,"
        " without other parameters"
    ),
]
Password = Annotated[Secret, Meta(description="a string")]
JwtSecret = Annotated[
    SigningSecret,
    Meta(
        description=f"at least {MIN_JWT_SECRET_BYTES} bytes long, and the same as Superset's"
        " GLOBAL_ASYNC_QUERIES_JWT_SECRET, or Superset 7's WEBSOCKET_JWT_SECRET"
    ),
]
RealtimeJwtSecret = Annotated[
    SpareSecret,
    Meta(
        description=f"empty, or at least {MIN_JWT_SECRET_BYTES} bytes long and the same as"
        " Superset 7's WEBSOCKET_JWT_SECRET"
    ),
]
PreviousJwtSecret = Annotated[
    SpareSecret,
    Meta(description=f"empty, or at least {MIN_JWT_SECRET_BYTES} bytes long"),
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
        description="empty, or a path such as /ws, without a trailing slash",
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
