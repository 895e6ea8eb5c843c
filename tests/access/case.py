"""Tokens and settings of Superset 7."""

import json
import time
from typing import Any

import jwt

from gaq_twisted.config.forms import SpareSecret
from gaq_twisted.config.settings import Settings
from tests.support.samples import SECRET, settings

REALTIME_COOKIE = "superset-ws-token"
LIFETIME_SECONDS = 900


def realtime_settings(**values: Any) -> Settings:
    """Returns settings for the protocol realtime with the tests' secret and those values."""
    return settings(
        **{"protocol": "realtime", "realtime_jwt_secret": SpareSecret(SECRET), **values}
    )


def realtime_claims(**claims: object) -> dict[str, object]:
    """Returns the claims that Superset 7 writes for user 5, changed or extended by those."""
    now = int(time.time())
    return {
        "channel": "user:5",
        "principal_type": "user",
        "sub": "5",
        "aud": "superset-websocket",
        "iat": now,
        "iss": "superset",
        "exp": now + LIFETIME_SECONDS,
        **claims,
    }


def realtime_token(*, secret: str = SECRET, **claims: object) -> str:
    """Returns a token with these claims."""
    return signed(realtime_claims(**claims), secret)


def signed(claims: object, secret: str = SECRET, algorithm: str = "HS256") -> str:
    """Returns a token with exactly these claims, even those that no library would write."""
    # PyJWT's encode refuses some of them.
    payload = json.dumps(claims).encode()
    return jwt.PyJWS().encode(payload, secret, algorithm, headers={"typ": "JWT"})
