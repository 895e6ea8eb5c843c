"""The settings: defaults, overridden by a JSON file, overridden by the environment."""

import json
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import fields

from gaq_twisted.config.catalogue import Setting, all_settings, contradictions, is_section
from gaq_twisted.config.settings import Settings
from gaq_twisted.config.types import ConfigError

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,20}")
_FLAGS = {"true": True, "1": True, "false": False, "0": False}
# What Kubernetes puts into <SERVICE>_PORT for a service of that name.
_SERVICE_LINK = re.compile(r"(?:tcp|udp)://")
_DEFAULT_FILE = Path("config.json")
DEFAULT = "default"
"""The source of a setting that was not set."""


class Loaded(NamedTuple):
    """Settings, and what to tell the operator about them."""

    settings: Settings
    warnings: list[str]
    sources: dict[str, str]
    """Where each setting comes from, by key."""


class _Found(NamedTuple):
    value: Any
    source: str
    shown: str = ""
    """What messages call the value, if not as JSON has it."""


def file_to_read(option: str | None) -> Path | None:
    """Return the file that holds the settings: the one that an option names, else config.json.

    Returns:
        None if there is no option and no such file in the working directory.
    """
    if option:
        return Path(option)
    return _DEFAULT_FILE if _DEFAULT_FILE.exists() else None


def load(file: Path | None, environ: Mapping[str, str]) -> Loaded:
    """Return the settings that a file and an environment make.

    A secret can also be in a file of its own, which the variable with `_FILE`
    after its name names.

    Args:
        file: the JSON file to read, or None.
        environ: the environment variables; blank ones count as not set.

    Raises:
        ConfigError: with every fault that was found.
    """
    faults: list[str] = []
    warnings: list[str] = []
    document = dict(_flattened(_read_file(file), file, faults)) if file else {}
    settings = list(all_settings())
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for setting in settings:
        sources[setting.key] = DEFAULT
        try:
            found = _in_environment(setting, environ, warnings)
        except ConfigError as error:
            faults.extend(error.faults)
            continue
        if found is None and setting.key in document:
            found = _Found(document[setting.key], f"in {file}")
        if found is None:
            if setting.is_required:
                faults.append(
                    f"{setting.key} is not set: it must be {setting.allowed};"
                    f" set it in the configuration file or as {setting.environment_name}"
                )
            continue
        sources[setting.key] = found.source
        try:
            values[setting.key] = _converted(found.value, setting)
        except (msgspec.ValidationError, UnicodeEncodeError):
            faults.append(_refusal(setting, found))
    warnings.extend(_unknown_keys(document, [setting.key for setting in settings], file))
    if not faults:
        result: Settings = _build(Settings, values)
        faults.extend(contradictions(result))
    if faults:
        raise ConfigError(faults)
    return Loaded(result, warnings, sources)


def _converted(value: Any, setting: Setting) -> Any:
    """Return a value of JSON as the setting's type.

    Raises:
        msgspec.ValidationError: if it is not allowed.
        UnicodeEncodeError: if it holds bytes of the environment that are not UTF-8, or half a
            surrogate pair; none could be sent, logged or compared.
    """
    json.dumps(value, ensure_ascii=False).encode()
    return msgspec.convert(value, setting.type, dec_hook=make_text)


def _refusal(setting: Setting, found: _Found) -> str:
    shown = "its value" if setting.is_secret else _shortened(json.dumps(found.shown or found.value))
    return f"{setting.key} ({found.source}): {shown} is not allowed: it must be {setting.allowed}"


def _read_file(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
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


def _flattened(
    document: dict[str, Any], file: Path, faults: list[str]
) -> Iterator[tuple[str, Any]]:
    """Yield the file's settings by dotted key."""
    sections = {field.encode_name for field in fields(Settings) if is_section(field.type)}
    for key, value in document.items():
        if key not in sections:
            yield json.dumps(key) if "." in key else key, value
        elif isinstance(value, dict):
            for name, inner in value.items():
                yield f"{key}.{name}", inner
        else:
            faults.append(f"{key} (in {file}): it must be an object, as in config.example.json")


def _build(section: type[Struct], values: Mapping[str, Any], prefix: str = "") -> Any:
    arguments: dict[str, Any] = {}
    for field in fields(section):
        key = prefix + field.encode_name
        if is_section(field.type):
            arguments[field.name] = _build(field.type, values, f"{key}.")
        elif key in values:
            arguments[field.name] = values[key]
    return section(**arguments)


def _in_environment(
    setting: Setting, environ: Mapping[str, str], warnings: list[str]
) -> _Found | None:
    """Return what the environment sets, or None.

    Raises:
        ConfigError: if a file that it names cannot be used, or is not all that it names.
    """
    name = setting.environment_name
    text = environ.get(name, "")
    if setting.is_secret:
        file = environ.get(f"{name}_FILE", "").strip()
        if text.strip() and file:
            raise ConfigError([f"{name} and {name}_FILE are both set: leave out one of them"])
        if file:
            return _Found(_secret_in(Path(file), f"{name}_FILE"), f"{name}_FILE in the environment")
        return _Found(text, f"{name} in the environment") if text.strip() else None
    text = text.strip()
    if setting.base_type is int and _SERVICE_LINK.match(text):
        shown = _shortened(_printable(text))
        warnings.append(f"ignored {name}={shown}: Kubernetes sets it for a service of that name")
        return None
    if not text:
        return None
    return _Found(_environment_value(setting, text), f"{name} in the environment", text)


def _secret_in(file: Path, name: str) -> str:
    """Return a file's text without the line end that editors put behind it."""
    shown = _printable(str(file))
    try:
        text = file.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise ConfigError([f"cannot read {shown}, which {name} names: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"cannot read {shown}, which {name} names: it is not UTF-8"]) from None
    if not text.strip():
        raise ConfigError([f"{shown}, which {name} names, is empty"])
    return text


def _environment_value(setting: Setting, text: str) -> Any:
    """Return the text as the JSON file would have it, or as it is where that makes no sense."""
    if setting.is_list:
        return [part.strip() for part in text.split(",") if part.strip()]
    if setting.base_type is int and _WHOLE_NUMBER.fullmatch(text):
        return int(text)
    if setting.base_type is bool:
        return _FLAGS.get(text.lower(), text)
    return text


def make_text(type_: type, value: object) -> object:
    """Return a text as one of the types that are texts of a certain form; a msgspec `dec_hook`."""
    if not isinstance(value, str):
        raise ValueError("not a text")
    return type_(value)


def _printable(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def _unknown_keys(
    document: Mapping[str, Any], known: list[str], file: Path | None
) -> Iterator[str]:
    for key in document:
        # Editors look there for the schema of the file.
        if key not in known and key != "$schema":
            near = get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            shown = _shortened(_printable(key))
            yield f"ignored the unknown setting {shown} (in {file}){hint}"
