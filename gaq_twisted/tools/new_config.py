"""New configuration files: one with the keys that an installation needs, and one with all."""

import json
import secrets
from typing import Any

from gaq_twisted.tools.reference import example

_SECRET_BYTES = 42
NOTE = """\
jwtSecret is new: set GLOBAL_ASYNC_QUERIES_JWT_SECRET of Superset 1.2 to 6.1 to the same text,
or put Superset's secret here. For Superset 7 that is WEBSOCKET_JWT_SECRET, and protocol is
realtime. allowedOrigins can list the origins of Superset, such as https://bi.example.com.
Only the server may be able to read the file."""
"""Instructions for such a file."""


def minimal() -> str:
    """Returns a file with the few keys that an installation needs."""
    return _json(
        {
            "port": 8080,
            "protocol": "streams",
            "redis": {"url": "redis://127.0.0.1:6379/0"},
            "jwtSecret": _new_secret(),
            "allowedOrigins": ["same-host"],
        }
    )


def with_all_keys() -> str:
    """Returns a file with the keys of config.example.json, which have their defaults."""
    return _json({**json.loads(example()), "jwtSecret": _new_secret()})


def _new_secret() -> str:
    return secrets.token_urlsafe(_SECRET_BYTES)


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2)
