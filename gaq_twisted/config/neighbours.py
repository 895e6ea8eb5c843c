"""Finds environment variables that look intended for this server but are not read."""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from gaq_twisted.config.catalogue import all_settings

# Names in Superset's configuration, its Helm chart and Compose files, Node.js, and other servers.
NEIGHBOURS = {
    "GLOBAL_ASYNC_QUERIES_JWT_SECRET": "JWT_SECRET",
    "GLOBAL_ASYNC_QUERIES_JWT_COOKIE_NAME": "JWT_COOKIE_NAME",
    "GLOBAL_ASYNC_QUERIES_REDIS_STREAM_PREFIX": "REDIS_STREAM_PREFIX",
    "WEBSOCKET_JWT_SECRET": "JWT_SECRET",
    "WEBSOCKET_JWT_COOKIE_NAME": "JWT_COOKIE_NAME",
    "ALLOWED_ORIGIN": "ALLOWED_ORIGINS",
    "CORS_ORIGIN": "ALLOWED_ORIGINS",
    "LOGLEVEL": "LOG_LEVEL",
    "LOGFORMAT": "LOG_FORMAT",
    "NODE_EXTRA_CA_CERTS": "REDIS_SSL_CA_CERTS",
    "NODE_TLS_REJECT_UNAUTHORIZED": "REDIS_VALIDATE_HOSTNAME",
    "REDIS_CA_CERT": "REDIS_SSL_CA_CERTS",
    "REDIS_DATABASE": "REDIS_DB",
    "REDIS_PASS": "REDIS_PASSWORD",
    "REDIS_PROTO": "REDIS_SSL",
    "REDIS_SOCKET": "REDIS_UNIX_SOCKET_PATH",
    "REDIS_SSL_CERT_REQS": "REDIS_VALIDATE_HOSTNAME",
    "REDIS_TLS": "REDIS_SSL",
    "REDIS_USER": "REDIS_USERNAME",
}
"""The name that is read, by the name that is not."""
_PREFIX = re.compile(r"(?:JWT|PREVIOUS_JWT|REDIS|REALTIME|STATSD)_")
_LEAST_LIKENESS = 0.88
_SETTINGS = {one.environment_name: one for one in all_settings()}
_READ = {*_SETTINGS, *(f"{name}_FILE" for name, one in _SETTINGS.items() if one.is_secret)}


def ignored_variables(environ: Mapping[str, str]) -> Iterator[str]:
    """Yields a warning per variable that is set but not read, with the name that is read.

    There is no warning if both variables have the same value.
    """
    for name, text in environ.items():
        near = _meant(name)
        if near and text.strip() and text.strip() != environ.get(near, "").strip():
            yield (
                f"{name} in the environment is not read: use {near} instead, which sets"
                f" {_SETTINGS[near].key}"
            )


def _meant(name: str) -> str:
    if name in NEIGHBOURS:
        return NEIGHBOURS[name]
    if name in _READ or not _PREFIX.match(name):
        return ""
    near = get_close_matches(name, _SETTINGS, n=1, cutoff=_LEAST_LIKENESS)
    return near[0] if near else ""
