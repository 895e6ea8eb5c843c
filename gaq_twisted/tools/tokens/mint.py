"""New cookies for manual tests, and commands that use them."""

import json
import secrets
import shlex
from typing import NamedTuple

from gaq_twisted.config.errors import ConfigError
from gaq_twisted.config.load import Loaded
from gaq_twisted.config.sections import Redis
from gaq_twisted.config.settings import Settings
from gaq_twisted.realtime.edition import channel_of
from gaq_twisted.tools.check.findings import shown_time
from gaq_twisted.tools.check.protocols import REALTIME, STREAMS, judges
from gaq_twisted.tools.cookies import RealtimeSigner, Signer

_NAME_BYTES = 4


class Wish(NamedTuple):
    """What the operator wants; None for any value."""

    protocol: str | None = None
    channel: str | None = None
    user: str | None = None
    url: str | None = None
    expires_seconds: float = 3600.0


class NewCookie(NamedTuple):
    """A new cookie."""

    header: str
    """The Cookie header of a browser that has it."""
    whom: str
    """Its user and its expiry."""
    connect: list[str]
    """Commands that connect with it."""
    publish: str
    """A command that publishes an event that they receive."""


def new_cookie(loaded: Loaded, wish: Wish, now_seconds: float) -> NewCookie:
    """Returns a new cookie that the server accepts.

    Args:
        loaded: the settings of the server, and their sources.
        wish: what the operator wants.
        now_seconds: the time, in seconds since 1970.

    Raises:
        ConfigError: if there is no such cookie.
    """
    settings = loaded.settings
    protocol = _protocol(settings, wish)
    make = _streams_cookie if protocol == STREAMS.protocol else _realtime_cookie
    made = make(settings, wish, int(now_seconds))
    for judge in judges(loaded, now_seconds):
        refusal = judge.refusal(made.header)
        if judge.terms.protocol == protocol and refusal is not None:
            raise ConfigError([f"the server would reject such a token: {refusal}"])
    return made


def _protocol(settings: Settings, wish: Wish) -> str:
    protocol = wish.protocol or settings.protocol
    if protocol == "both":
        raise ConfigError(["the settings serve both protocols: choose one with --protocol"])
    if settings.protocol not in (protocol, "both"):
        raise ConfigError(
            [
                f"the settings serve only the protocol {settings.protocol}: leave out --protocol,"
                f" or set protocol to {protocol} or both"
            ]
        )
    for option, value, its_protocol in (
        ("--channel", wish.channel, STREAMS.protocol),
        ("--user", wish.user, REALTIME.protocol),
    ):
        if value is not None and protocol != its_protocol:
            raise ConfigError([f"{option} is only for the protocol {its_protocol}"])
    return protocol


def _streams_cookie(settings: Settings, wish: Wish, now: int) -> NewCookie:
    channel = _new_name() if wish.channel is None else wish.channel
    expires_at = now + int(wish.expires_seconds)
    header = Signer(settings).cookie_header(channel, expires_at)
    event = {
        "channel_id": channel,
        "job_id": "1",
        "user_id": 1,
        "status": "done",
        "errors": [],
        "result_url": "/",
    }
    stream = f"{settings.redis_stream_prefix}full"
    return NewCookie(
        header,
        f"streams, channel {channel}, valid until {shown_time(expires_at)}",
        _connect(wish.url or _url(settings), header),
        f"{_redis_cli(settings.redis)} XADD {shlex.quote(stream)} '*' data {_quoted(event)}",
    )


def _realtime_cookie(settings: Settings, wish: Wish, now: int) -> NewCookie:
    route = f"user:{_new_name() if wish.user is None else wish.user}"
    expires_at = now + int(wish.expires_seconds)
    header = RealtimeSigner(settings).cookie_header(route, now, expires_at)
    message = {"topic": "try", "scope": "principal", "payload": {"a": 1}, "routes": [route]}
    channel = shlex.quote(channel_of(settings))
    url = wish.url or _url(settings)
    return NewCookie(
        header,
        f"realtime, {route}, valid until {shown_time(expires_at)}",
        _connect(f"{url}{'&' if '?' in url else '?'}tab_id=1", header),
        f"{_redis_cli(settings.realtime_redis)} PUBLISH {channel} {_quoted(message)}",
    )


def _new_name() -> str:
    return f"try-{secrets.token_hex(_NAME_BYTES)}"


def _url(settings: Settings) -> str:
    # `listen` contains endpoints of Twisted, which may be behind a proxy.
    return "ws://HOST:PORT/" if settings.listen else f"ws://127.0.0.1:{settings.port}/"


def _connect(url: str, header: str) -> list[str]:
    frames = f"connect({json.dumps(url)}, additional_headers={json.dumps({'Cookie': header})})"
    python = f"from websockets.sync.client import connect; [print(frame) for frame in {frames}]"
    return [
        f"websocat {shlex.quote(url)} -H={shlex.quote(f'Cookie: {header}')}",
        f"python3 -c {shlex.quote(python)}",
    ]


def _redis_cli(redis: Redis) -> str:
    """Returns the command of a client of Redis, which asks for the password if there is one."""
    words = ["redis-cli"]
    if redis.sentinels:
        words += ["-h", "MASTER"]
    elif redis.unix_socket_path:
        words += ["-s", redis.unix_socket_path]
    else:
        words += ["-h", str(redis.host), "-p", str(redis.port)]
    words += ["-n", str(redis.db)]
    if redis.ssl:
        words.append("--tls")
    if redis.password:
        words += ["--user", redis.username or "default", "--askpass"]
    return shlex.join(words)


def _quoted(document: object) -> str:
    return shlex.quote(json.dumps(document))
