"""Reads settings from the JSON file, the environment, and files with a secret."""

import json
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import fields

from gaq_twisted.config.catalogue import Setting, all_settings, is_section
from gaq_twisted.config.errors import ConfigError
from gaq_twisted.config.secrecy import without_secrets
from gaq_twisted.config.settings import Settings
from gaq_twisted.text import printable, shortened

SHOWN_CHARACTERS = 80
"""How much of a value or key a message shows."""
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,20}")
_FLAGS = {"true": True, "1": True, "false": False, "0": False}
# Kubernetes sets <SERVICE>_PORT for a service of that name.
_SERVICE_LINK = re.compile(r"(?:tcp|udp)://")
_IN_ENVIRONMENT = " in the environment"
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
# Known keys that are not settings. Editors read the first to find the schema of the file. The
# second tunes how Superset's Node.js server shares its time between events.
_OTHER_KEYS = ("$schema", "eventYieldBatchSize")


class Document(NamedTuple):
    """The contents of a configuration file."""

    values: dict[str, Any]
    """The values by dotted key."""
    faults: list[str]


class Found(NamedTuple):
    """A value as it was found, not yet converted."""

    value: Any
    source: str
    text: str = ""
    """The value as the operator wrote it; empty if that is the value's JSON."""


def read_document(file: Path) -> Document:
    """Returns the contents of a configuration file.

    Raises:
        ConfigError: if the file does not hold a JSON object.
    """
    sections = {field.encode_name for field in fields(Settings) if is_section(field.type)}
    document = Document({}, [])
    for key, value in _json_object(file).items():
        if key not in sections:
            # Dots would make it look like a key in a section.
            document.values[json.dumps(key) if "." in key else key] = value
        elif isinstance(value, dict):
            document.values.update({f"{key}.{name}": inner for name, inner in value.items()})
        else:
            document.faults.append(
                f"{key} (in {file}): it must be an object, as in config.example.json"
            )
    return document


def _json_object(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        reason = str(error.strerror)
    except UnicodeDecodeError as error:
        reason = f"it is not UTF-8 (byte {error.start})"
    except json.JSONDecodeError as error:
        reason = f"it is not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as error:
        reason = str(error)
    else:
        if isinstance(document, dict):
            return document
        reason = "it must hold a JSON object"
    raise ConfigError([f"cannot read {file}: {reason}"])


def unknown_keys(document: Document, file: Path) -> Iterator[str]:
    """Yields a warning per unknown key in the file, with the most similar setting."""
    known = [setting.key for setting in all_settings()]
    for key in document.values:
        if key not in known and key not in _OTHER_KEYS:
            near = [one for one in get_close_matches(key, known) if _is_alike(one, key)]
            hint = f"; perhaps {near[0]} is meant" if near else ""
            shown = shortened(printable(key), SHOWN_CHARACTERS)
            yield f"ignored the unknown setting {shown} (in {file}){hint}"


def _is_alike(known: str, key: str) -> bool:
    """Returns whether the names within one section are alike."""
    known_section, _, known_name = known.rpartition(".")
    section, _, name = key.rpartition(".")
    return section in ("", known_section) and bool(get_close_matches(known_name, [name]))


def configured_by(file: Path | None, sources: Mapping[str, str]) -> str:
    """Returns what settings come from, such as `ws.json and 3 variables`.

    Args:
        file: the configuration file, if there is one.
        sources: where each setting comes from, by key.
    """
    variables = {
        name
        for source in sources.values()
        if source.endswith(_IN_ENVIRONMENT)
        for name in source.removesuffix(_IN_ENVIRONMENT).split(", ")
        if _VARIABLE.fullmatch(name)
    }
    parts = [printable(str(file))] if file else []
    if variables:
        parts.append("1 variable" if len(variables) == 1 else f"{len(variables)} variables")
    return " and ".join(parts) or "defaults only"


def in_environment(setting: Setting, environ: Mapping[str, str]) -> Found | None:
    """Returns the value that the environment sets, or None.

    Raises:
        ConfigError: if it names an unusable secret file, or sets both the file and the secret.
    """
    if setting.is_secret:
        return _secret_in_environment(setting.environment_name, environ)
    return in_variable(setting, setting.environment_name, environ)


def in_variable(setting: Setting, name: str, environ: Mapping[str, str]) -> Found | None:
    """Returns a setting's value in a variable of that name, or None."""
    text = environ.get(name, "").strip()
    if not text or _is_service_link(setting, text):
        return None
    return Found(_as_json(setting, text), f"{name}{_IN_ENVIRONMENT}", text)


def ignored_service_links(environ: Mapping[str, str]) -> Iterator[str]:
    """Yields a warning per variable that was set by Kubernetes, not by the operator."""
    for setting in all_settings():
        name = setting.environment_name
        text = environ.get(name, "").strip()
        if _is_service_link(setting, text):
            shown = shortened(printable(without_secrets(text)), SHOWN_CHARACTERS)
            yield f"ignored {name}={shown}: Kubernetes sets it for a service of that name"


def _is_service_link(setting: Setting, text: str) -> bool:
    return setting.base_type is int and _SERVICE_LINK.match(text) is not None


def _secret_in_environment(name: str, environ: Mapping[str, str]) -> Found | None:
    # White space may be part of a secret.
    text = environ.get(name, "")
    file = environ.get(f"{name}_FILE", "").strip()
    if text.strip() and file:
        raise ConfigError([f"{name} and {name}_FILE are both set: remove one of them"])
    if file:
        return Found(_secret_in(Path(file), f"{name}_FILE"), f"{name}_FILE{_IN_ENVIRONMENT}")
    return Found(text, f"{name}{_IN_ENVIRONMENT}") if text.strip() else None


def _secret_in(file: Path, name: str) -> str:
    """Returns a file's text without the trailing newline that editors add."""
    shown = printable(str(file))
    try:
        text = file.read_text(encoding="utf-8-sig").removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise ConfigError([f"cannot read {shown} (set in {name}): {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"cannot read {shown} (set in {name}): it is not UTF-8"]) from None
    if not text.strip():
        raise ConfigError([f"{shown} (set in {name}) is empty"])
    return text


def _as_json(setting: Setting, text: str) -> Any:
    """Returns the value that the JSON file would have; the text itself if there is none."""
    if setting.is_list:
        return [part.strip() for part in text.split(",") if part.strip()]
    if setting.base_type is int and _WHOLE_NUMBER.fullmatch(text):
        return int(text)
    if setting.base_type is bool:
        return _FLAGS.get(text.lower(), text)
    return text
