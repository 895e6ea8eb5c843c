"""Events, entries and tokens as Superset writes them."""

import json
import time
from typing import Any

import jwt

from gaq_twisted.config.forms import SigningSecret
from gaq_twisted.config.settings import Settings
from gaq_twisted.core.metrics import CORE, Metrics
from gaq_twisted.streams.events import Event, parse_event
from gaq_twisted.streams.metrics import STREAMS

SECRET = "a secret of the tests, long enough to sign"
CHANNEL = "090916f0-2b0e-4920-aacc-45e26bc9a8eb"
REALTIME_COOKIE = "superset-ws-token"


def settings(**values: Any) -> Settings:
    """Return settings with the tests' secret and those values."""
    return Settings(**{"jwt_secret": SigningSecret(SECRET), **values})


def streams_metrics() -> Metrics:
    """Return the metrics of a server of the streams edition."""
    return Metrics((*CORE, *STREAMS))


def job_data(channel: str = CHANNEL, job: str = "job", status: str = "done", **more: Any) -> bytes:
    """Return the field `data` of a stream entry, key by key as Superset 6.1 writes it."""
    event = {
        "channel_id": channel,
        "job_id": job,
        "user_id": 1,
        "status": status,
        "errors": [],
        "result_url": f"/api/v1/chart/data/{job}" if status == "done" else None,
    }
    return json.dumps({**event, **more}).encode()


def job_event(stream_id: str, channel: str = CHANNEL, job: str = "job") -> Event:
    """Return an event with that stream id."""
    return parse_event(stream_id.encode(), job_data(channel, job))


def token(channel: object = CHANNEL, *, secret: str = SECRET, **claims: object) -> str:
    """Return a JWT as Superset signs it for a logged-in user."""
    return jwt.encode({"channel": channel, "sub": "1", **claims}, secret, algorithm="HS256")


def cookie(channel: object = CHANNEL) -> str:
    """Return the Cookie header of a browser that is logged in to Superset."""
    return f"async-token={token(channel, exp=int(time.time()) + 3600)}; session=.eJw"


def realtime_token(
    subject: object = "5", *, kind: str = "user", secret: str = SECRET, **claims: object
) -> str:
    """Returns a JWT as Superset 7 signs it.

    Args:
        subject: the user's id, or the guest's route.
        kind: `user` or `guest`.
        secret: the key.
        claims: other claims, or other values of these; None leaves one out.
    """
    route = f"user:{subject}" if kind == "user" else subject
    now = int(time.time())
    every = {
        "channel": route,
        "principal_type": kind,
        "sub": subject,
        "aud": "superset-websocket",
        "iat": now,
        "iss": "superset",
        "exp": now + 900,
        **claims,
    }
    present = {name: value for name, value in every.items() if value is not None}
    # PyJWT signs no subject that is not a text, which is one of the cases.
    return jwt.api_jws.encode(json.dumps(present).encode(), secret, algorithm="HS256")


def realtime_cookie(subject: object = "5", **more: Any) -> str:
    """Returns the Cookie header of a browser of Superset 7; arguments as of `realtime_token`."""
    return f"{REALTIME_COOKIE}={realtime_token(subject, **more)}; session=.eJw"


def envelope(topic: str = "t", scope: str = "authenticated_global", **fields: Any) -> bytes:
    """Returns a message as Superset 7 publishes it."""
    return json.dumps({"topic": topic, "scope": scope, **fields}).encode()


def upgrade_request(
    *more: str, target: str = "/ws", channel: object = CHANNEL, cookies: str | None = None
) -> bytes:
    """Return the shortest request for a WebSocket that is let in, with further headers.

    Args:
        more: the further headers.
        target: what is requested.
        channel: the channel in the cookie.
        cookies: the Cookie header instead of one for that channel; an empty text for none.
    """
    cookies = cookie(channel) if cookies is None else cookies
    lines = (
        f"GET {target} HTTP/1.1",
        "Host: gaq.test",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *([f"Cookie: {cookies}"] if cookies else []),
        *more,
    )
    return "\r\n".join([*lines, "", ""]).encode()
