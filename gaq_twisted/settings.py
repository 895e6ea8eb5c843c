"""Everything that an operator can set: names, types, defaults, what is allowed, what it means.

Keys and defaults are those of Superset's Node.js server where that has them.
`config.py` reads them from a file and the environment.
"""

import re
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import fields

from gaq_twisted.origins import OriginPattern

_MIN_JWT_SECRET_BYTES = 32
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]/@,]+))(?::([0-9]{1,5}))?")
_SENTINEL_PORT = 26379
# Twisted tells that a client does not read once so much waits for it.
_LEAST_SOCKET_BUFFER_BYTES = 64 * 1024


class Secret(str):
    """A text that does not show itself in a repr."""

    def __repr__(self) -> str:
        return "'***'" if self else "''"


class SigningSecret(Secret):
    """A secret long enough to sign with (RFC 7518 section 3.2), or a key as PEM."""

    def __new__(cls, text: str) -> "SigningSecret":
        """Raises ValueError if the text is too short."""
        if len(text.encode()) < _MIN_JWT_SECRET_BYTES:
            raise ValueError("too short")
        return super().__new__(cls, text)


class SpareSecret(Secret):
    """As SigningSecret, or empty if there is none."""

    def __new__(cls, text: str = "") -> "SpareSecret":
        """Raises ValueError if the text is too short, but not empty."""
        return super().__new__(cls, text and SigningSecret(text))


class SentinelAddress(str):
    """Where a Sentinel is, as `host`, `host:port` or `[IPv6 address]:port`."""

    host: str
    port: int

    def __new__(cls, text: str) -> "SentinelAddress":
        """Raises ValueError if the text is not an address."""
        match = _ADDRESS.fullmatch(text)
        port = int(match[3] or _SENTINEL_PORT) if match else 0
        if not match or not 1 <= port <= 65535:
            raise ValueError("not an address")
        address = super().__new__(cls, text)
        address.host, address.port = match[1] or match[2], port
        return address


class Network(str):
    """An IP address, or a network as `10.0.0.0/8`."""

    network: IPv4Network | IPv6Network

    def __new__(cls, text: str) -> "Network":
        """Raises ValueError if the text is neither."""
        network = super().__new__(cls, text)
        network.network = ip_network(text)
        return network


def _whole_number(low: int, high: int) -> Meta:
    return Meta(ge=low, le=high, description=f"a whole number from {low} to {high}")


def _about(meaning: str) -> Meta:
    return Meta(extra_json_schema={"description": meaning})


def _live(meaning: str) -> Meta:
    """Describe a setting that can change without a restart."""
    return Meta(extra_json_schema={"description": meaning, "x-live": True})


Flag = Annotated[bool, Meta(description="true or false")]
Text = Annotated[str, Meta(min_length=1, description="a text that is not empty")]
AnyText = Annotated[str, Meta(description="a text")]
# What fits into Linux's sockaddr_un.
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
_JWT_SECRET = (
    f"the text of {_MIN_JWT_SECRET_BYTES} bytes or more that Superset has as"
    " GLOBAL_ASYNC_QUERIES_JWT_SECRET"
)
JwtSecret = Annotated[SigningSecret, Meta(description=_JWT_SECRET)]
PreviousJwtSecret = Annotated[
    SpareSecret,
    Meta(description=f"empty, or a text of {_MIN_JWT_SECRET_BYTES} bytes or more"),
]
Port = Annotated[int, _whole_number(1, 65535)]
Count = Annotated[int, _whole_number(1, 1_000_000)]
Bytes = Annotated[int, _whole_number(1, 2**40)]
Number = Annotated[int, _whole_number(0, 2**31 - 1)]
Milliseconds = Annotated[int, _whole_number(1, 2**31 - 1)]
MillisecondsOrZero = Annotated[int, _whole_number(0, 2**31 - 1)]
BasePath = Annotated[
    str,
    Meta(
        pattern=r"^(?:/[A-Za-z0-9._~-]+)*$(?!\n)",
        description="empty, or a path such as /ws, without a slash behind it",
    ),
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


class Statsd(Struct, frozen=True, kw_only=True, rename="camel"):
    """Where metrics go."""

    host: Annotated[Text, _about("where metrics go, by UDP")] = "127.0.0.1"
    port: Annotated[Port, _about("where metrics go, by UDP")] = 8125
    global_tags: Annotated[Texts, _about("tags of every metric, such as `env:prod`")] = ()


class Redis(Struct, frozen=True, kw_only=True, rename="camel"):
    """Where events come from."""

    host: Annotated[Text, _about("where Redis (5.0 or newer) or Valkey is")] = "127.0.0.1"
    port: Annotated[Port, _about("where Redis (5.0 or newer) or Valkey is")] = 6379
    username: Annotated[AnyText, _about("the user of Redis to be")] = "default"
    password: Annotated[Password, _about("that user's password; empty for none")] = Secret()
    db: Annotated[Number, _about("the database number")] = 0
    unix_socket_path: Annotated[
        SocketPath, _about("connect to this socket instead of `redis.host` and `redis.port`")
    ] = ""
    ssl: Annotated[Flag, _about("use TLS")] = False
    validate_hostname: Annotated[
        Flag,
        _about(
            "with TLS, the certificate must be for the host name or IP address that was asked"
            " for; if false, it must still be of a trusted CA"
        ),
    ] = True
    ssl_ca_certs: Annotated[
        AnyText,
        _about(
            "a PEM file with the CAs to trust; if empty, the system's CAs (or those in the file"
            " that `SSL_CERT_FILE` names)"
        ),
    ] = ""
    ssl_certfile: Annotated[
        AnyText, _about("a PEM file with the client's certificate, with its chain")
    ] = ""
    ssl_keyfile: Annotated[
        AnyText, _about("a PEM file with the client's key, if that is in another file")
    ] = ""
    sentinels: Annotated[
        Sentinels,
        _about(
            "ask these Sentinels, `host:port` each, where the master is, instead of `redis.host`"
            " and `redis.port`"
        ),
    ] = ()
    sentinel_master: Annotated[Text, _about("the master's name")] = "mymaster"
    sentinel_password: Annotated[Password, _about("the Sentinels' password")] = Secret()
    sentinel_ssl: Annotated[
        Flag, _about("use TLS to the Sentinels, with the files of `redis.ssl…`")
    ] = False


class Settings(Struct, frozen=True, kw_only=True, rename="camel"):
    """Everything that an operator can set."""

    port: Annotated[Port, _about("the one port for everything, unless `listen` is set")] = 8080
    listen: Annotated[
        Texts,
        _about(
            "where to listen, as Twisted's endpoint strings, such as"
            " `ssl:8443:privateKey=key.pem:certKey=chain.pem`, `unix:/run/gaq.sock`,"
            " `systemd:domain=INET:index=0` or `haproxy:tcp:8080`; if empty, `tcp:` and the port."
            " Certificates are read again when settings are"
        ),
    ] = ()
    internal_listen: Annotated[
        Texts,
        _about(
            "where `/ready`, `/metrics` and `/status` are served, such as"
            " `tcp:9090:interface=127.0.0.1`; if empty, `/ready` and `/metrics` are served with"
            " all else, and `/status` is not"
        ),
    ] = ()
    reuse_port: Annotated[
        Flag,
        _about("let several processes of this machine listen on the same TCP ports, and share"),
    ] = False
    base_path: Annotated[
        BasePath,
        _about("what the paths of all HTTP resources begin with; an upgrade is taken on any path"),
    ] = ""
    log_level: Annotated[LogLevelName, _live("the least level that is logged")] = "info"
    log_format: Annotated[
        LogFormat, _about("lines of text, or a JSON object a line (not with syslog)")
    ] = "text"
    log_to_file: Annotated[
        Flag,
        _about("log to `logFilename`, unless twistd's `--logfile` or `--syslog` says otherwise"),
    ] = False
    log_filename: Annotated[Text, _about("the file for `logToFile`")] = "app.log"
    statsd: Statsd = Statsd()
    redis: Redis = Redis()
    redis_stream_prefix: Annotated[
        AnyText, _about("Superset's `GLOBAL_ASYNC_QUERIES_REDIS_STREAM_PREFIX`")
    ] = "async-events-"
    redis_stream_read_count: Annotated[
        Count,
        _about(
            "how many entries a read that waits for new ones returns at most; a backlog is read"
            " 1,000 at a time, or so many if that is more"
        ),
    ] = 100
    redis_stream_read_block_ms: Annotated[
        Milliseconds, _about("how long a read waits for an entry")
    ] = 5000
    jwt_secret: Annotated[
        JwtSecret,
        _live(
            "Superset's `GLOBAL_ASYNC_QUERIES_JWT_SECRET`, 32 bytes or more, required; a PEM key"
            " (the public one will do) where `jwtAlgorithms` are not HS…"
        ),
    ]
    previous_jwt_secret: Annotated[
        PreviousJwtSecret,
        _live("tokens signed with this are accepted too, while the secret is being changed"),
    ] = SpareSecret()
    jwt_algorithms: Annotated[
        Algorithms,
        _live(
            "which algorithms are accepted, all of one kind: HS…, or RS… and PS…, or ES…, or EdDSA"
        ),
    ] = ("HS256",)
    jwt_cookie_name: Annotated[Text, _live("the cookie that holds the token")] = "async-token"
    jwt_channel_id_key: Annotated[Text, _live("the claim that names the channel")] = "channel"
    allowed_origins: Annotated[
        Origins,
        _live(
            "the pages that may connect: origins, `https://*.example.com` for all below a domain,"
            " `same-host` for pages of the host that is connected to, `*` for any; if empty, any,"
            " with a warning"
        ),
    ] = ()
    trusted_proxies: Annotated[
        Networks,
        _live(
            "the proxies whose `Forwarded` and `X-Forwarded-For` headers tell the log where a"
            " client is"
        ),
    ] = ()
    max_total_connections: Annotated[
        Number, _live("how many sockets may be open; more are closed with 1013; 0 for any number")
    ] = 0
    max_connections_per_channel: Annotated[
        Number, _live("how many of them may be of one channel; 0 for any number")
    ] = 0
    max_socket_buffer_bytes: Annotated[
        int,
        _whole_number(_LEAST_SOCKET_BUFFER_BYTES, 2**40),
        _live("a client that does not read is dropped when more than this waits for it"),
    ] = 2**20
    max_inbound_message_bytes: Annotated[
        Bytes, _live("a client that sends a larger message is closed with 1009")
    ] = 4096
    max_inbound_bytes_per_second: Annotated[
        Bytes, _live("a client that sends more is closed with 1008")
    ] = 16_384
    max_request_header_bytes: Annotated[
        Bytes, _live("a request with longer headers is refused with 431")
    ] = 16_384
    request_timeout_ms: Annotated[
        Milliseconds, _live("a connection on which no whole request comes within this is closed")
    ] = 10_000
    socket_response_timeout_ms: Annotated[
        Milliseconds,
        _live(
            "a socket that answers no ping for so long, rounded up to whole intervals, is ended;"
            " more than the interval"
        ),
    ] = 60_000
    ping_sockets_interval_ms: Annotated[Milliseconds, _live("how often each socket is pinged")] = (
        20_000
    )
    gc_channels_interval_ms: Annotated[
        Milliseconds,
        _live("how often the server looks for sockets and channels that should not be there"),
    ] = 120_000
    drain_delay_ms: Annotated[
        MillisecondsOrZero,
        _live(
            "after SIGTERM, how long to go on as before, but not ready, so that load balancers"
            " notice"
        ),
    ] = 0
    drain_ms: Annotated[
        MillisecondsOrZero, _live("over how long sockets are then closed, evenly, with 1001")
    ] = 5000
    initial_replay_ms: Annotated[
        MillisecondsOrZero,
        _live(
            "a browser without `last_id` gets its channel's events of this last time; 0 for none."
            " It compares Redis's clock with this machine's."
        ),
    ] = 10_000
    tail_max_events: Annotated[Count, _about("how many events are kept in memory")] = 20_000
    tail_max_bytes: Annotated[
        Bytes,
        _about("how much memory these may take; an event takes its data and 223 to 380 bytes more"),
    ] = 32 * 2**20


class Setting(NamedTuple):
    """One setting, by its dotted key in the JSON file."""

    key: str
    type: Any
    default: Any
    """Its default; msgspec.NODEFAULT if there is none, so that it must be set."""

    @property
    def environment_name(self) -> str:
        """The variable that overrides it."""
        return re.sub(r"([A-Z])", r"_\1", self.key).replace(".", "_").upper()

    @property
    def base_type(self) -> Any:
        """Its Python type."""
        return get_args(self.type)[0]

    @property
    def is_list(self) -> bool:
        """Whether it holds several texts."""
        return get_origin(self.base_type) is tuple

    @property
    def is_required(self) -> bool:
        """Whether there is no start without it."""
        return self.default is msgspec.NODEFAULT

    @property
    def is_secret(self) -> bool:
        """Whether its value must not be shown."""
        return isinstance(self.base_type, type) and issubclass(self.base_type, Secret)

    @property
    def allowed(self) -> str:
        """What it can be, for messages."""
        return str(get_args(self.type)[1].description)

    @property
    def meaning(self) -> str:
        """What it does, as Markdown."""
        return str(get_args(self.type)[-1].extra_json_schema["description"])

    @property
    def is_live(self) -> bool:
        """Whether it can change without a restart."""
        return "x-live" in get_args(self.type)[-1].extra_json_schema


def all_settings(section: type[Struct] = Settings, prefix: str = "") -> Iterator[Setting]:
    """Yield every setting, in the order of the documentation."""
    for field in fields(section):
        key = prefix + field.encode_name
        if is_section(field.type):
            yield from all_settings(field.type, f"{key}.")
        else:
            yield Setting(key, field.type, field.default)


def values_by_key(settings: Settings) -> dict[str, Any]:
    """Return the value of every setting."""
    values: dict[str, Any] = {}
    for setting in all_settings():
        value: Any = settings
        for part in setting.key.split("."):
            names = {field.encode_name: field.name for field in fields(value)}
            value = getattr(value, names[part])
        values[setting.key] = value
    return values


def is_section(type_: Any) -> bool:
    """Return whether that is the type of a group of settings."""
    return isinstance(type_, type) and issubclass(type_, Struct)


def contradictions(settings: Settings) -> Iterator[str]:
    """Yield a line for each pair of settings that do not go together."""
    redis = settings.redis
    if redis.unix_socket_path and (redis.sentinels or redis.ssl):
        other = "redis.sentinels" if redis.sentinels else "redis.ssl"
        yield f"redis.unixSocketPath and {other} are both set: leave out one of them"
    if redis.sentinel_ssl and not redis.sentinels:
        yield "redis.sentinelSsl is true: it needs redis.sentinels"
    if redis.ssl_keyfile and not redis.ssl_certfile:
        yield "redis.sslKeyfile is set: it needs redis.sslCertfile"
    for key, file in (
        ("redis.sslCaCerts", redis.ssl_ca_certs),
        ("redis.sslCertfile", redis.ssl_certfile),
    ):
        if file and not (redis.ssl or redis.sentinel_ssl):
            yield f"{key} is set: it needs redis.ssl, or nothing would be encrypted"
    if settings.socket_response_timeout_ms <= settings.ping_sockets_interval_ms:
        yield (
            f"socketResponseTimeoutMs is {settings.socket_response_timeout_ms}: it must be more"
            f" than pingSocketsIntervalMs, which is {settings.ping_sockets_interval_ms},"
            " or every socket would be ended before it can answer"
        )


def doubts(settings: Settings) -> Iterator[str]:
    """Yield a line for each setting that works but is hardly meant."""
    if not settings.allowed_origins:
        yield (
            "allowedOrigins is empty: pages of any site can read the events of their visitors;"
            " list the origins of your Superset, or * if this is meant"
        )
