"""Reloads the settings while the server runs."""

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.logger import Logger

from gaq_twisted.config.catalogue import all_settings, values_by_key
from gaq_twisted.config.errors import ConfigError
from gaq_twisted.config.load import Loaded
from gaq_twisted.config.settings import Settings
from gaq_twisted.core.edition import Renewable


class Live(Protocol):
    """A part of the server that accepts changed settings while it runs."""

    def apply(self, settings: Settings) -> None:
        """Uses these validated settings from now on."""


class Reloader:
    """Reads the settings again, and applies them.

    Args:
        settings: the settings at the start.
        read: reads the settings; raises ConfigError.
        validate: raises ConfigError for settings that some part could not use.
        renewables: the holders of certificates.
        parts: the settings are applied to these.
    """

    _log = Logger()

    def __init__(
        self,
        settings: Settings,
        read: Callable[[], Loaded],
        validate: Callable[[Settings], object],
        renewables: Sequence[Renewable],
        parts: Sequence[Live],
    ) -> None:
        self._running = values_by_key(settings)
        self._read = read
        self._validate = validate
        self._renewables = renewables
        self._parts = parts

    def reload(self) -> None:
        """Reads settings and certificates again; if they cannot be used, nothing changes."""
        try:
            loaded = self._read()
            certificates = [one.read_certificates() for one in self._renewables]
            self._validate(loaded.settings)
        except ConfigError as error:
            for fault in error.faults:
                self._log.error(
                    "reload failed, no setting has changed: {fault}",
                    event="reload_failed",
                    fault=fault,
                )
            return
        for one, current in zip(self._renewables, certificates, strict=True):
            one.renew(current)
        if loaded.settings.protocol != self._running["protocol"]:
            # Other settings may depend on it, such as the names of cookies.
            self._log.warn(
                "changing the protocol from {running} to {read} needs a restart; no setting has"
                " changed",
                event="protocol_changed",
                running=self._running["protocol"],
                read=loaded.settings.protocol,
            )
            return
        for part in self._parts:
            part.apply(loaded.settings)
        self._report(loaded)

    def _report(self, loaded: Loaded) -> None:
        for warning in loaded.warnings:
            self._log.warn("{warning}", event="settings_warning", warning=warning)
        values = values_by_key(loaded.settings)
        changed = [one for one in all_settings() if values[one.key] != self._running[one.key]]
        live = [one.key for one in changed if one.is_live]
        self._running.update((key, values[key]) for key in live)
        self._log.info(
            "settings reloaded; changed: {keys}",
            event="reloaded",
            keys=", ".join(live) or "none",
        )
        rest = [one.key for one in changed if not one.is_live]
        if rest:
            self._log.warn(
                "changes to these settings need a restart: {keys}",
                event="restart_needed",
                keys=", ".join(rest),
            )
