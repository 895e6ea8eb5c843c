"""The settings in the report: their values without secrets, and where they come from."""

import json
from collections.abc import Iterator
from typing import Any

from gaq_twisted.config.catalogue import all_settings, values_by_key
from gaq_twisted.config.derived import DEFAULT, REALTIME_REDIS
from gaq_twisted.config.load import Loaded
from gaq_twisted.config.secrecy import without_secrets


def settings_table(loaded: Loaded) -> Iterator[str]:
    """Yields a line per setting with key, value and source; those that were set first.

    Settings that `realtimeRedis` inherits from `redis` are omitted.
    """
    values = values_by_key(loaded.settings)
    rows = [
        (one.key, _shown_value(values[one.key], one.is_secret), loaded.sources[one.key])
        for one in all_settings()
        if not (one.key.startswith(REALTIME_REDIS) and _is_inherited(loaded.sources[one.key]))
    ]
    key_width = max(len(key) for key, _, _ in rows)
    value_width = max(len(value) for _, value, _ in rows)
    for title, is_default in (("Set:", False), ("Defaults:", True)):
        yield title
        for key, value, source in rows:
            if (source == DEFAULT) is is_default:
                where = "" if is_default else f"  {source}"
                yield f"  {key:<{key_width}}  {value:<{value_width}}{where}".rstrip()


def settings_json(loaded: Loaded) -> dict[str, Any]:
    """Returns value and source of each setting by key; for secrets, only whether they are set."""
    values = values_by_key(loaded.settings)
    return {
        one.key: {
            "value": _state(values[one.key]) if one.is_secret else _masked(values[one.key]),
            "source": loaded.sources[one.key],
        }
        for one in all_settings()
    }


def _is_inherited(source: str) -> bool:
    return source == DEFAULT or source.startswith("as ")


def _shown_value(value: object, is_secret: bool) -> str:
    return _state(value) if is_secret else json.dumps(_masked(value))


def _state(secret: object) -> str:
    return "set" if secret else "empty"


def _masked(value: object) -> object:
    if isinstance(value, tuple):
        return [_masked(one) for one in value]
    return without_secrets(value) if isinstance(value, str) else value
