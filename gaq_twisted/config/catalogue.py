"""Lists the settings with their properties, and finds those that contradict each other."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeGuard, get_args, get_origin

import msgspec
from msgspec import Struct
from msgspec.structs import fields

from gaq_twisted.config.forms import Secret
from gaq_twisted.config.secrecy import guessable
from gaq_twisted.config.sections import Redis
from gaq_twisted.config.settings import Settings
from gaq_twisted.config.types import LEAST_SOCKET_BUFFER_BYTES

STREAMS_COOKIE = "async-token"
"""The default cookie name of Superset 1.2 to 6.1."""
REALTIME_COOKIE = "superset-ws-token"
"""The default cookie name of Superset 7."""


class Setting(NamedTuple):
    """A setting."""

    key: str
    """Its dotted key in the JSON file."""
    type: Any
    """Its annotated type."""
    default: Any
    """Its default; msgspec.NODEFAULT if it is required."""

    @property
    def environment_name(self) -> str:
        """The environment variable that overrides it."""
        return re.sub(r"([A-Z])", r"_\1", self.key).replace(".", "_").upper()

    @property
    def base_type(self) -> Any:
        """Its Python type, without annotations."""
        return get_args(self.type)[0]

    @property
    def is_list(self) -> bool:
        """Whether its value is a list of strings."""
        return get_origin(self.base_type) is tuple

    @property
    def is_required(self) -> bool:
        """Whether it has no default."""
        return self.default is msgspec.NODEFAULT

    @property
    def is_secret(self) -> bool:
        """Whether its value must not be shown."""
        return isinstance(self.base_type, type) and issubclass(self.base_type, Secret)

    @property
    def allowed(self) -> str:
        """The allowed values, for messages."""
        return str(get_args(self.type)[1].description)

    @property
    def meaning(self) -> str:
        """Its description, as Markdown."""
        return str(get_args(self.type)[-1].extra_json_schema["description"])

    @property
    def is_live(self) -> bool:
        """Whether it can change without a restart."""
        return "x-live" in get_args(self.type)[-1].extra_json_schema


def all_settings(section: type[Struct] = Settings, prefix: str = "") -> Iterator[Setting]:
    """Yields every setting, in the order of the documentation."""
    for field in fields(section):
        key = prefix + field.encode_name
        if is_section(field.type):
            yield from all_settings(field.type, f"{key}.")
        else:
            yield Setting(key, field.type, field.default)


def values_by_key(settings: Settings) -> dict[str, Any]:
    """Returns the value of every setting by key."""
    values: dict[str, Any] = {}
    for setting in all_settings():
        value: Any = settings
        for part in setting.key.split("."):
            names = {field.encode_name: field.name for field in fields(value)}
            value = getattr(value, names[part])
        values[setting.key] = value
    return values


def is_section(type_: object) -> TypeGuard[type[Struct]]:
    """Returns whether a type is a group of settings."""
    return isinstance(type_, type) and issubclass(type_, Struct)


def contradictions(settings: Settings) -> Iterator[str]:
    """Yields a line per pair of settings that contradict each other."""
    yield from _redis_contradictions("redis", settings.redis)
    if settings.protocol != "streams" and settings.realtime_redis != settings.redis:
        yield from _redis_contradictions("realtimeRedis", settings.realtime_redis)
    if settings.socket_response_timeout_ms <= settings.ping_sockets_interval_ms:
        yield (
            f"socketResponseTimeoutMs is {settings.socket_response_timeout_ms}: it must be"
            f" greater than pingSocketsIntervalMs ({settings.ping_sockets_interval_ms}), or"
            " every socket would be dropped before it can answer"
        )


def _redis_contradictions(section: str, redis: Redis) -> Iterator[str]:
    if redis.unix_socket_path and (redis.sentinels or redis.ssl):
        other = f"{section}.{'sentinels' if redis.sentinels else 'ssl'}"
        yield f"{section}.unixSocketPath and {other} are both set: remove one of them"
    if redis.sentinel_ssl and not redis.sentinels:
        yield f"{section}.sentinelSsl is true: it needs {section}.sentinels"
    if redis.ssl_keyfile and not redis.ssl_certfile:
        yield f"{section}.sslKeyfile is set: it needs {section}.sslCertfile"
    for key, file in (
        (f"{section}.sslCaCerts", redis.ssl_ca_certs),
        (f"{section}.sslCertfile", redis.ssl_certfile),
    ):
        if file and not (redis.ssl or redis.sentinel_ssl):
            yield f"{key} is set: it needs {section}.ssl, without which nothing is encrypted"


def doubts(settings: Settings) -> Iterator[str]:
    """Yields a line per setting that works but is probably unintended."""
    if not settings.allowed_origins:
        yield (
            "allowedOrigins is empty: any website can read the events of users who visit it;"
            " list the origins of your Superset, or * to allow any website"
        )
    buffer_bytes = settings.max_socket_buffer_bytes
    if 0 < buffer_bytes < LEAST_SOCKET_BUFFER_BYTES:
        yield (
            f"maxSocketBufferBytes is {buffer_bytes}, but {LEAST_SOCKET_BUFFER_BYTES} is used: a"
            " slow client is only detected once that many bytes wait for it; set 0 for no limit"
        )
    yield from _guessable_secrets(settings)
    yield from _cookie_doubts(settings)


def _guessable_secrets(settings: Settings) -> Iterator[str]:
    for key, secret in (
        ("jwtSecret", settings.jwt_secret),
        ("realtimeJwtSecret", settings.realtime_jwt_secret),
        ("previousJwtSecret", settings.previous_jwt_secret),
        ("previousRealtimeJwtSecret", settings.previous_realtime_jwt_secret),
    ):
        reason = guessable(secret)
        is_named_already = key.startswith("realtime") and secret == settings.jwt_secret
        if reason and not is_named_already:
            yield (
                f"{key} {reason}: anyone who guesses it can sign tokens and read all events; set"
                " a random one here and in Superset, for example from `openssl rand -base64 42`"
            )


def _cookie_doubts(settings: Settings) -> Iterator[str]:
    name = settings.realtime_jwt_cookie_name
    if settings.protocol == "both" and settings.jwt_cookie_name == name:
        yield (
            f"jwtCookieName and realtimeJwtCookieName are both {name}: a browser keeps only one"
            " cookie of that name, so two Supersets on the same host overwrite each other's"
            " tokens; use different names"
        )
    elif settings.protocol == "realtime" and name == STREAMS_COOKIE:
        yield (
            f"the protocol is realtime, but its cookie is {name}, the cookie of Superset 1.2 to"
            f" 6.1: remove jwtCookieName, unless WEBSOCKET_JWT_COOKIE_NAME is {name}"
        )
