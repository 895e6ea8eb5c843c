"""Datadog's environment variables: the agent's address, and tags.

These are the variables that hot-shots reads, the StatsD client of Superset's Node.js servers.
"""

from collections.abc import Mapping
from typing import Any

from gaq_twisted.config.catalogue import Setting
from gaq_twisted.config.sources import Found, in_variable

_ADDRESS = {"statsd.host": "DD_AGENT_HOST", "statsd.port": "DD_DOGSTATSD_PORT"}
_TAGS = {
    "DD_ENTITY_ID": "dd.internal.entity_id",
    "DD_ENV": "env",
    "DD_SERVICE": "service",
    "DD_VERSION": "version",
}
_TAGS_KEY = "statsd.globalTags"


def agent_address(setting: Setting, environ: Mapping[str, str]) -> Found | None:
    """Returns the value of a setting in Datadog's variables, or None."""
    name = _ADDRESS.get(setting.key)
    return in_variable(setting, name, environ) if name else None


def add_tags(values: dict[str, Any], sources: dict[str, str], environ: Mapping[str, str]) -> None:
    """Adds the tags in Datadog's variables, except those whose names are already used.

    Args:
        values: the settings that were set, by key.
        sources: where each setting comes from, by key.
        environ: the environment variables.
    """
    tags = tuple(values.get(_TAGS_KEY, ()))
    present = {tag.partition(":")[0] for tag in tags}
    used = {
        name: f"{tag}:{_sendable(environ[name].strip())}"
        for name, tag in _TAGS.items()
        if environ.get(name, "").strip() and tag not in present
    }
    if not used:
        return
    origins = [sources[_TAGS_KEY]] if tags else []
    values[_TAGS_KEY] = (*tags, *used.values())
    sources[_TAGS_KEY] = ", ".join([*origins, f"{', '.join(used)} in the environment"])


def _sendable(text: str) -> str:
    """Replaces the characters that would end a tag or cannot be encoded."""
    return "".join(one if one.isprintable() and one not in ",|" else "_" for one in text)
