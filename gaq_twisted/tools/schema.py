"""The JSON Schema of the configuration file, for editors, written from the settings."""

from collections.abc import Mapping
from typing import Any

import msgspec

from gaq_twisted.config.catalogue import Setting, all_settings
from gaq_twisted.config.derived import DERIVED_KEYS
from gaq_twisted.config.forms import (
    EndpointString,
    FilePath,
    HostName,
    Network,
    OriginPattern,
    Secret,
    SentinelAddress,
    SigningSecret,
    SpareSecret,
    StatsdHost,
    Tag,
)
from gaq_twisted.config.redis_url import RedisUrl

# A secret has 32 bytes or more, which are 8 characters if each takes 4 bytes.
_LEAST_SECRET = {"type": "string", "minLength": 8}
# JSON Schema's approximation of checks on texts; never stricter than the checks.
_TEXTS: Mapping[type, dict[str, Any]] = {
    Secret: {"type": "string"},
    RedisUrl: {"type": "string", "pattern": r"^$|^(?:rediss?|valkeys?|unix|redis\+socket)://"},
    HostName: {"type": "string", "pattern": r"^[^\s/@\[\]]+$"},
    StatsdHost: {"type": "string", "minLength": 1},
    FilePath: {"type": "string"},
    EndpointString: {"type": "string", "pattern": r"^[A-Za-z][A-Za-z0-9-]*:"},
    Tag: {"type": "string", "pattern": r"^[^,|\r\n]*$"},
    SigningSecret: _LEAST_SECRET,
    SpareSecret: {"anyOf": [{"const": ""}, _LEAST_SECRET]},
    SentinelAddress: {
        "type": "string",
        "pattern": r"^(?:\[[0-9A-Fa-f:.]+\]|[^\s:\[\]/@,]+)(?::[0-9]{1,5})?$",
    },
    OriginPattern: {
        "type": "string",
        "pattern": r"^(?:\*|same-host|null|[A-Za-z][A-Za-z0-9+.-]*://.+)$",
    },
    Network: {"type": "string", "pattern": r"^[0-9A-Fa-f.:]+(?:%[^/]+)?(?:/[0-9.]+)?$"},
}


def schema() -> dict[str, Any]:
    """Returns the JSON Schema of the configuration file."""
    root = _object("The settings of gaq-twisted.")
    root["properties"]["$schema"] = {"type": "string"}
    for setting in all_settings():
        section, _, name = setting.key.rpartition(".")
        place = root if not section else root["properties"].setdefault(section, _object(""))
        place["properties"][name] = {
            **msgspec.json.schema(setting.type, schema_hook=_TEXTS.__getitem__),
            "description": f"{setting.meaning}\n\nIn the environment: {setting.environment_name}",
            **({"default": setting.default} if has_fixed_default(setting) else {}),
        }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root}


def has_fixed_default(setting: Setting) -> bool:
    """Returns whether a setting has a default that depends on no other setting."""
    return not setting.is_required and setting.key not in DERIVED_KEYS


def _object(description: str) -> dict[str, Any]:
    return {
        **({"description": description} if description else {}),
        "type": "object",
        "properties": {},
        # The server ignores them, with a warning; who writes them should see that at once.
        "additionalProperties": False,
    }
