"""Loads the settings: the environment overrides a JSON file, which overrides the defaults."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import fields

from gaq_twisted.config.catalogue import Setting, all_settings, contradictions, is_section
from gaq_twisted.config.datadog import add_tags, agent_address
from gaq_twisted.config.derived import DEFAULT, derive, expand_urls, unused
from gaq_twisted.config.errors import ConfigError
from gaq_twisted.config.neighbours import ignored_variables
from gaq_twisted.config.secrecy import without_secrets
from gaq_twisted.config.settings import Settings
from gaq_twisted.config.sources import (
    SHOWN_CHARACTERS,
    Document,
    Found,
    ignored_service_links,
    in_environment,
    read_document,
    unknown_keys,
)
from gaq_twisted.text import shortened

_DEFAULT_FILE = Path("config.json")


class Loaded(NamedTuple):
    """Settings, and what operators need to know about them."""

    settings: Settings
    warnings: list[str]
    sources: dict[str, str]
    """Where each setting comes from, by key."""


def file_to_read(option: str | None) -> Path | None:
    """Returns the file that an option names, or config.json if it exists, or None."""
    if option:
        return Path(option)
    return _DEFAULT_FILE if _DEFAULT_FILE.exists() else None


def load(file: Path | None, environ: Mapping[str, str]) -> Loaded:
    """Returns the settings of a file and an environment.

    A secret can also be read from a file: the variable with the suffix `_FILE` contains its path.

    Args:
        file: the JSON file to read, or None.
        environ: the environment variables; blank ones count as not set.

    Raises:
        ConfigError: with every fault that was found.
    """
    document = read_document(file) if file else Document({}, [])
    faults = list(document.faults)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for setting in all_settings():
        sources[setting.key] = DEFAULT
        try:
            found = _found(setting, document, file, environ) or agent_address(setting, environ)
            if found is not None:
                sources[setting.key] = found.source
                values[setting.key] = _converted(setting, found)
        except ConfigError as error:
            faults.extend(error.faults)
    faults.extend(expand_urls(values, sources))
    if not faults:
        add_tags(values, sources, environ)
        derive(values, sources)
        settings: Settings = _build(Settings, values)
        faults.extend(contradictions(settings))
    if faults:
        raise ConfigError(faults)
    warnings = [
        *ignored_service_links(environ),
        *ignored_variables(environ),
        *(unknown_keys(document, file) if file else ()),
        *unused(settings, sources),
    ]
    return Loaded(settings, warnings, sources)


def _found(
    setting: Setting, document: Document, file: Path | None, environ: Mapping[str, str]
) -> Found | None:
    """Returns the value to use; None for the default.

    Raises:
        ConfigError: if the value in the environment cannot be read, or a required one is missing.
    """
    found = in_environment(setting, environ)
    if found is not None:
        return found
    if setting.key in document.values:
        return Found(document.values[setting.key], f"in {file}")
    if setting.is_required:
        raise ConfigError(
            [
                f"{setting.key} is not set: it must be {setting.allowed};"
                f" set it in the configuration file or as {setting.environment_name}",
                *ignored_variables(environ),
            ]
        )
    return None


def _converted(setting: Setting, found: Found) -> Any:
    """Converts a value to the setting's type.

    Raises:
        ConfigError: if it is not allowed.
    """
    try:
        # Bytes that are not UTF-8, and lone surrogates, cannot be sent, logged or compared.
        json.dumps(found.value, ensure_ascii=False).encode()
        return msgspec.convert(found.value, setting.type, dec_hook=make_text)
    except (msgspec.ValidationError, UnicodeEncodeError):
        shown = "its value"
        if not setting.is_secret:
            value = without_secrets(json.dumps(found.text or found.value))
            shown = shortened(value, SHOWN_CHARACTERS)
        fault = f"{setting.key} ({found.source}): {shown} is not allowed"
        raise ConfigError([f"{fault}: it must be {setting.allowed}"]) from None


def make_text(type_: type, value: object) -> object:
    """Converts a string to one of the types that check its form; a msgspec `dec_hook`.

    Raises:
        ValueError: if the value is not a string of that form.
    """
    if not isinstance(value, str):
        raise ValueError("not a text")
    return type_(value)


def _build(section: type[Struct], values: Mapping[str, Any], prefix: str = "") -> Any:
    """Returns a group of settings with the values that were set, by dotted key."""
    arguments: dict[str, Any] = {}
    for field in fields(section):
        key = prefix + field.encode_name
        if is_section(field.type):
            arguments[field.name] = _build(field.type, values, f"{key}.")
        elif key in values:
            arguments[field.name] = values[key]
    return section(**arguments)
