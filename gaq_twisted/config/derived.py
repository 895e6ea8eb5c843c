"""Derives defaults from other settings: the protocol, and what realtime shares with streams."""

from collections.abc import Iterator, Mapping
from typing import Any

from gaq_twisted.config.catalogue import REALTIME_COOKIE, all_settings
from gaq_twisted.config.forms import SpareSecret
from gaq_twisted.config.settings import Settings

DEFAULT = "default"
"""The source of a setting that was not set."""
REALTIME_REDIS = "realtimeRedis."
"""The prefix of the keys in the section whose settings default to those of `redis`."""
REALTIME_KEYS = tuple(one.key for one in all_settings() if "realtime" in one.key.lower())
"""The settings that only Superset 7 needs."""
DERIVED_KEYS = (
    "protocol",
    "jwtCookieName",
    *(key for key in REALTIME_KEYS if key != "realtimeChannelPrefix"),
)
"""The settings whose defaults follow from other settings."""
_TLS_FILES = ("sslCaCerts", "sslCertfile", "sslKeyfile")
# Any of these can locate Redis. If one is set, none is inherited from `redis`.
_ADDRESS = ("url", "host", "unixSocketPath", "sentinels")
_ONLY_WITH_SENTINELS = ("sentinelMaster", "sentinelUsername", "sentinelPassword", "sentinelSsl")


def expand_urls(values: dict[str, Any], sources: dict[str, str]) -> Iterator[str]:
    """Sets the settings that Redis URLs contain, and yields a fault per contradicting setting.

    The environment overrides the file, for a URL as for any setting. A setting with its default
    value, as in a copy of the example file, contradicts nothing.

    Args:
        values: the settings that were set, by key.
        sources: where each setting comes from, by key.
    """
    defaults = {one.key: one.default for one in all_settings()}
    for section in ("redis", "realtimeRedis"):
        url_key = f"{section}.url"
        url = values.get(url_key)
        for name, value in url.parts.items() if url else ():
            key = f"{section}.{name}"
            if (
                values.get(key, value) == value
                or values[key] == defaults[key]
                or _is_variable(sources[key]) < _is_variable(sources[url_key])
            ):
                values[key] = value
                sources[key] = f"{url_key}, {sources[url_key]}"
            elif _is_variable(sources[key]) == _is_variable(sources[url_key]):
                yield (
                    f"{url_key} ({sources[url_key]}) and {key} ({sources[key]}) contradict each"
                    " other: remove one of them"
                )


def derive(values: dict[str, Any], sources: dict[str, str]) -> None:
    """Sets the settings that were not set but follow from others.

    With protocol `realtime`, `jwtSecret`, `jwtCookieName` and `redis` are the settings of realtime,
    as in Superset 7's Node.js server. With `both` they are the settings of streams, and realtime
    has its own. With `streams` nothing is derived.

    Args:
        values: the settings that were set, by key.
        sources: where each setting comes from, by key.
    """
    _derive_protocol(values, sources)
    protocol = values.get("protocol", "streams")
    if protocol == "streams":
        return
    if protocol == "realtime":
        if "jwtCookieName" not in values:
            values["jwtCookieName"] = REALTIME_COOKIE
        _follow("realtimeJwtCookieName", "jwtCookieName", values, sources)
    if not values.get("realtimeJwtSecret"):
        _follow("previousRealtimeJwtSecret", "previousJwtSecret", values, sources)
        values.pop("realtimeJwtSecret", None)
        _follow("realtimeJwtSecret", "jwtSecret", values, sources)
    names = list(_inherited_names(values))
    for name in names:
        if name not in _TLS_FILES:
            _follow(f"{REALTIME_REDIS}{name}", f"redis.{name}", values, sources)
    if values.get(f"{REALTIME_REDIS}ssl") or values.get(f"{REALTIME_REDIS}sentinelSsl"):
        for name in _TLS_FILES:
            _follow(f"{REALTIME_REDIS}{name}", f"redis.{name}", values, sources)


def unused(settings: Settings, sources: Mapping[str, str]) -> Iterator[str]:
    """Yields a warning per setting that was set but has no effect with the protocol.

    With protocol `realtime` there is no warning about settings of streams, because files of
    Superset's older Node.js server contain them.

    Args:
        settings: the settings.
        sources: where each setting comes from, by key.
    """
    if settings.protocol == "streams":
        for key in REALTIME_KEYS:
            if sources[key] != DEFAULT:
                yield (
                    f"{key} ({sources[key]}) is not used with protocol streams: set protocol to"
                    " both or realtime"
                )


def protocol_reason(sources: Mapping[str, str]) -> str:
    """Returns why this protocol was chosen, as the end of a sentence.

    Args:
        sources: where each setting comes from, by key.
    """
    source = sources.get("protocol", DEFAULT)
    if source == DEFAULT:
        return "default"
    if source.startswith("because "):
        return source
    return f"set {source}" if source.startswith("in ") else f"set as {source}"


def serves_streams(settings: Settings) -> bool:
    """Returns whether Superset 1.2 to 6.1 is served."""
    return settings.protocol != "realtime"


def serves_realtime(settings: Settings) -> bool:
    """Returns whether Superset 7 is served."""
    return settings.protocol != "streams"


def _is_variable(source: str) -> bool:
    return source.endswith(" in the environment")


def _derive_protocol(values: dict[str, Any], sources: dict[str, str]) -> None:
    if "protocol" in values:
        return
    if "realtimeChannelPrefix" in values:
        reason = "realtimeChannelPrefix is set"
    elif values.get("jwtCookieName") == REALTIME_COOKIE:
        reason = f"jwtCookieName is {REALTIME_COOKIE}"
    else:
        return
    values["protocol"] = "realtime"
    sources["protocol"] = f"because {reason}"


def _inherited_names(values: Mapping[str, Any]) -> Iterator[str]:
    """Yields the names of the settings that `realtimeRedis` inherits from `redis`.

    With an address of its own, it inherits no part of the other address. If its own address is a
    socket or a URL, it does not inherit TLS either.
    """
    has_address = any(values.get(f"{REALTIME_REDIS}{name}") for name in _ADDRESS)
    has_sentinels = bool(values.get(f"{REALTIME_REDIS}sentinels"))
    is_plain = bool(
        values.get(f"{REALTIME_REDIS}unixSocketPath") or values.get(f"{REALTIME_REDIS}url")
    )
    for key in REALTIME_KEYS:
        if not key.startswith(REALTIME_REDIS):
            continue
        name = key.removeprefix(REALTIME_REDIS)
        is_elsewhere = name in _ADDRESS or (name in _ONLY_WITH_SENTINELS and not has_sentinels)
        if not (has_address and is_elsewhere) and not (is_plain and name == "ssl"):
            yield name


def _follow(key: str, twin: str, values: dict[str, Any], sources: dict[str, str]) -> None:
    if key in values or twin not in values:
        return
    value = values[twin]
    values[key] = SpareSecret(value) if key.endswith("JwtSecret") else value
    if sources[twin] != DEFAULT:
        sources[key] = f"as {twin}"
