"""The settings: defaults, overridden by a JSON file, overridden by the environment.

Keys, environment names and defaults are those of Superset's Node.js server
where that has them.
"""

import json
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import fields

_MIN_JWT_SECRET_BYTES = 32
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,20}")
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]/@,]+))(?::([0-9]{1,5}))?")
_SENTINEL_PORT = 26379
_FLAGS = {"true": True, "1": True, "false": False, "0": False}
# What Kubernetes puts into <SERVICE>_PORT for a service of that name.
_SERVICE_LINK = re.compile(r"(?:tcp|udp)://")


class Secret(str):
    """A text that does not show itself in a repr."""

    def __repr__(self) -> str:
        return "'***'" if self else "''"


class SigningSecret(Secret):
    """A secret long enough to sign with (RFC 7518 section 3.2)."""

    def __new__(cls, text: str) -> "SigningSecret":
        """Raises ValueError if the text is too short."""
        if len(text.encode()) < _MIN_JWT_SECRET_BYTES:
            raise ValueError("too short")
        return super().__new__(cls, text)


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


def _whole_number(low: int, high: int) -> Meta:
    return Meta(ge=low, le=high, description=f"a whole number from {low} to {high}")


Flag = Annotated[bool, Meta(description="true or false")]
Text = Annotated[str, Meta(min_length=1, description="a text that is not empty")]
AnyText = Annotated[str, Meta(description="a text")]
# What fits into Linux's sockaddr_un.
SocketPath = Annotated[str, Meta(max_length=107, description="a path of 107 characters at most")]
Texts = Annotated[tuple[str, ...], Meta(description="a list of texts")]
Sentinels = Annotated[
    tuple[SentinelAddress, ...], Meta(description="a list of addresses such as redis-1:26379")
]
Password = Annotated[Secret, Meta(description="a text")]
JwtSecret = Annotated[
    SigningSecret,
    Meta(
        description=f"the text of {_MIN_JWT_SECRET_BYTES} bytes or more that Superset has as"
        " GLOBAL_ASYNC_QUERIES_JWT_SECRET"
    ),
]
Port = Annotated[int, _whole_number(1, 65535)]
Count = Annotated[int, _whole_number(1, 1_000_000)]
Bytes = Annotated[int, _whole_number(1, 2**40)]
Number = Annotated[int, _whole_number(0, 2**31 - 1)]
Milliseconds = Annotated[int, _whole_number(1, 2**31 - 1)]
MillisecondsOrZero = Annotated[int, _whole_number(0, 2**31 - 1)]
LogLevelName = Annotated[
    Literal["debug", "info", "warn", "warning", "error"],
    Meta(description="one of debug, info, warn, warning, error"),
]
Algorithms = Annotated[
    tuple[Literal["HS256", "HS384", "HS512"], ...],
    Meta(min_length=1, description="a list of one or more of HS256, HS384, HS512"),
]


class Statsd(Struct, frozen=True, kw_only=True, rename="camel"):
    """Where metrics go."""

    host: Text = "127.0.0.1"
    port: Port = 8125
    global_tags: Texts = ()


class Redis(Struct, frozen=True, kw_only=True, rename="camel"):
    """Where events come from."""

    host: Text = "127.0.0.1"
    port: Port = 6379
    username: AnyText = "default"
    password: Password = Secret()
    db: Number = 0
    unix_socket_path: SocketPath = ""
    ssl: Flag = False
    validate_hostname: Flag = True
    ssl_ca_certs: AnyText = ""
    ssl_certfile: AnyText = ""
    ssl_keyfile: AnyText = ""
    sentinels: Sentinels = ()
    sentinel_master: Text = "mymaster"
    sentinel_password: Password = Secret()
    sentinel_ssl: Flag = False


class Settings(Struct, frozen=True, kw_only=True, rename="camel"):
    """Everything that an operator can set."""

    port: Port = 8080
    log_level: LogLevelName = "info"
    log_to_file: Flag = False
    log_filename: Text = "app.log"
    statsd: Statsd = Statsd()
    redis: Redis = Redis()
    redis_stream_prefix: AnyText = "async-events-"
    redis_stream_read_count: Count = 100
    redis_stream_read_block_ms: Milliseconds = 5000
    jwt_secret: JwtSecret
    jwt_algorithms: Algorithms = ("HS256",)
    jwt_cookie_name: Text = "async-token"
    jwt_channel_id_key: Text = "channel"
    socket_response_timeout_ms: Milliseconds = 60_000
    ping_sockets_interval_ms: Milliseconds = 20_000
    gc_channels_interval_ms: Milliseconds = 120_000
    initial_replay_ms: MillisecondsOrZero = 10_000
    tail_max_events: Count = 20_000
    tail_max_bytes: Bytes = 32 * 2**20


class ConfigError(Exception):
    """The settings cannot be used."""

    def __init__(self, faults: list[str]) -> None:
        """Keep the faults, each a line that names the key, what is wrong and what is allowed."""
        super().__init__("\n".join(faults))
        self.faults = faults


class Loaded(NamedTuple):
    """Settings, and what to tell the operator about them."""

    settings: Settings
    warnings: list[str]


class _Leaf(NamedTuple):
    """One setting, by its dotted key in the JSON file."""

    key: str
    type: Any
    required: bool

    @property
    def environment_name(self) -> str:
        return re.sub(r"([A-Z])", r"_\1", self.key).replace(".", "_").upper()

    @property
    def base_type(self) -> Any:
        return get_args(self.type)[0]

    @property
    def is_secret(self) -> bool:
        return isinstance(self.base_type, type) and issubclass(self.base_type, Secret)

    @property
    def allowed(self) -> str:
        return str(get_args(self.type)[1].description)


def load(file: Path | None, environ: Mapping[str, str]) -> Loaded:
    """Return the settings that a file and an environment make.

    Args:
        file: the JSON file to read, or None.
        environ: the environment variables; blank ones count as not set.

    Raises:
        ConfigError: with every fault that was found.
    """
    faults: list[str] = []
    warnings: list[str] = []
    document = dict(_flattened(_read_file(file), file, faults)) if file else {}
    leaves = list(_leaves(Settings))
    values: dict[str, Any] = {}
    for leaf in leaves:
        text = _environment_text(leaf, environ, warnings)
        if text:
            value = _environment_value(leaf, text)
            origin = f"{leaf.key} ({leaf.environment_name} in the environment)"
        elif leaf.key in document:
            value = document[leaf.key]
            origin = f"{leaf.key} (in {file})"
        else:
            if leaf.required:
                faults.append(
                    f"{leaf.key} is not set: it must be {leaf.allowed};"
                    f" set it in the configuration file or as {leaf.environment_name}"
                )
            continue
        try:
            values[leaf.key] = msgspec.convert(value, leaf.type, dec_hook=_make_text)
        except msgspec.ValidationError:
            shown = "its value" if leaf.is_secret else _shortened(json.dumps(text or value))
            faults.append(f"{origin}: {shown} is not allowed: it must be {leaf.allowed}")
    warnings.extend(_unknown_keys(document, [leaf.key for leaf in leaves], file))
    if not faults:
        settings: Settings = _build(Settings, values)
        faults.extend(_contradictions(settings))
    if faults:
        raise ConfigError(faults)
    return Loaded(settings, warnings)


def _read_file(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        reason = str(error.strerror)
    except UnicodeDecodeError as error:
        reason = f"it is not UTF-8 (byte {error.start})"
    except json.JSONDecodeError as error:
        reason = f"it is not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as error:
        reason = str(error)
    else:
        if isinstance(document, dict):
            return document
        reason = "it must hold a JSON object"
    raise ConfigError([f"cannot read {file}: {reason}"])


def _flattened(
    document: dict[str, Any], file: Path, faults: list[str]
) -> Iterator[tuple[str, Any]]:
    """Yield the file's settings by dotted key."""
    sections = {field.encode_name for field in fields(Settings) if _is_section(field.type)}
    for key, value in document.items():
        if key not in sections:
            yield json.dumps(key) if "." in key else key, value
        elif isinstance(value, dict):
            for name, inner in value.items():
                yield f"{key}.{name}", inner
        else:
            faults.append(f"{key} (in {file}): it must be an object, as in config.example.json")


def _leaves(section: type[Struct], prefix: str = "") -> Iterator[_Leaf]:
    for field in fields(section):
        key = prefix + field.encode_name
        if _is_section(field.type):
            yield from _leaves(field.type, f"{key}.")
        else:
            yield _Leaf(key, field.type, field.default is msgspec.NODEFAULT)


def _is_section(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, Struct)


def _build(section: type[Struct], values: Mapping[str, Any], prefix: str = "") -> Any:
    arguments: dict[str, Any] = {}
    for field in fields(section):
        key = prefix + field.encode_name
        if _is_section(field.type):
            arguments[field.name] = _build(field.type, values, f"{key}.")
        elif key in values:
            arguments[field.name] = values[key]
    return section(**arguments)


def _environment_text(leaf: _Leaf, environ: Mapping[str, str], warnings: list[str]) -> str:
    text = environ.get(leaf.environment_name, "")
    if not text.strip():
        return ""
    if leaf.is_secret:
        return text
    text = text.strip()
    if leaf.base_type is int and _SERVICE_LINK.match(text):
        warnings.append(
            f"ignored {leaf.environment_name}={text}: Kubernetes sets it for a service of that name"
        )
        return ""
    return text


def _environment_value(leaf: _Leaf, text: str) -> Any:
    """Return the text as the JSON file would have it, or as it is where that makes no sense."""
    if get_origin(leaf.base_type) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    if leaf.base_type is int and _WHOLE_NUMBER.fullmatch(text):
        return int(text)
    if leaf.base_type is bool:
        return _FLAGS.get(text.lower(), text)
    return text


def _make_text(type_: type, value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("not a text")
    return type_(value)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def _unknown_keys(
    document: Mapping[str, Any], known: list[str], file: Path | None
) -> Iterator[str]:
    for key in document:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            yield f"ignored the unknown setting {_one_line(key)} (in {file}){hint}"


def _contradictions(settings: Settings) -> Iterator[str]:
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
