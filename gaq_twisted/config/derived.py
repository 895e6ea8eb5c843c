"""Defaults that follow from other settings: the protocol, and what realtime shares with streams."""

from typing import Any

from gaq_twisted.config.catalogue import all_settings
from gaq_twisted.config.settings import Settings
from gaq_twisted.config.types import SpareSecret

DEFAULT = "default"
"""The source of a setting that was not set."""
REALTIME_REDIS = "realtimeRedis."
"""What the keys of the section begin with whose settings default to those of `redis`."""
_REALTIME_COOKIE = "superset-ws-token"


def derive(values: dict[str, Any], sources: dict[str, str]) -> None:
    """Gives settings that were not set the value that follows from others.

    With the protocol realtime alone, the settings of Superset 7's Node.js server, which are
    `jwtSecret`, `jwtCookieName` and `redis`, are those of realtime; with both, they are
    those of streams, and realtime has its own.

    Args:
        values: the settings that were set, by key.
        sources: where each setting comes from, by key.
    """
    _derive_protocol(values, sources)
    if values.get("protocol", "streams") == "realtime":
        if "jwtCookieName" not in values:
            values["jwtCookieName"] = _REALTIME_COOKIE
        _follow("realtimeJwtCookieName", "jwtCookieName", values, sources)
    if "realtimeJwtSecret" not in values:
        _follow("previousRealtimeJwtSecret", "previousJwtSecret", values, sources)
    _follow("realtimeJwtSecret", "jwtSecret", values, sources)
    for setting in all_settings():
        if setting.key.startswith(REALTIME_REDIS):
            twin = f"redis.{setting.key.removeprefix(REALTIME_REDIS)}"
            _follow(setting.key, twin, values, sources)


def serves_streams(settings: Settings) -> bool:
    """Returns whether Superset 1.2 to 6.1 is served."""
    return settings.protocol != "realtime"


def serves_realtime(settings: Settings) -> bool:
    """Returns whether Superset 7 is served."""
    return settings.protocol != "streams"


def _derive_protocol(values: dict[str, Any], sources: dict[str, str]) -> None:
    if "protocol" in values:
        return
    if "realtimeChannelPrefix" in values:
        reason = "realtimeChannelPrefix is set"
    elif values.get("jwtCookieName") == _REALTIME_COOKIE:
        reason = f"jwtCookieName is {_REALTIME_COOKIE}"
    else:
        return
    values["protocol"] = "realtime"
    sources["protocol"] = f"because {reason}"


def _follow(key: str, twin: str, values: dict[str, Any], sources: dict[str, str]) -> None:
    if key in values or twin not in values:
        return
    value = values[twin]
    values[key] = SpareSecret(value) if key.endswith("JwtSecret") else value
    if sources[twin] != DEFAULT:
        sources[key] = f"as {twin}"
