"""Settings that change while the server runs."""

from collections.abc import Callable, Sequence

from twisted.logger import Logger

from gaq_twisted.config.catalogue import all_settings, values_by_key
from gaq_twisted.config.load import Loaded
from gaq_twisted.config.settings import Settings
from gaq_twisted.config.types import ConfigError
from gaq_twisted.net.listeners import Listeners


class Reloader:
    """Reads the settings again, and lets all parts go by them."""

    _log = Logger()

    def __init__(
        self,
        settings: Settings,
        read: Callable[[], Loaded],
        listeners: Sequence[Listeners],
        validators: Sequence[Callable[[Settings], None]],
        live: Sequence[Callable[[Settings], None]],
    ) -> None:
        """Take who goes by the settings.

        Args:
            settings: those at the start.
            read: reads the settings; raises ConfigError.
            listeners: have certificates.
            validators: raise ConfigError if new settings cannot be used.
            live: use new settings; they do not fail.
        """
        self._running = values_by_key(settings)
        self._read = read
        self._listeners = listeners
        self._validators = validators
        self._live = live

    def reload(self) -> None:
        """Read the settings and certificates again; where they cannot be used, nothing changes."""
        try:
            loaded = self._read()
            certificates = [one.read_certificates() for one in self._listeners]
            for validate in self._validators:
                validate(loaded.settings)
        except ConfigError as error:
            for fault in error.faults:
                self._log.error(
                    "the settings stay as they were: {fault}", event="reload_failed", fault=fault
                )
            return
        for one, current in zip(self._listeners, certificates, strict=True):
            one.apply(current)
        for apply in self._live:
            apply(loaded.settings)
        self._tell(loaded)

    def _tell(self, loaded: Loaded) -> None:
        for warning in loaded.warnings:
            self._log.warn("{warning}", event="settings_warning", warning=warning)
        values = values_by_key(loaded.settings)
        changed = [one for one in all_settings() if values[one.key] != self._running[one.key]]
        live = [one.key for one in changed if one.is_live]
        self._running.update((key, values[key]) for key in live)
        self._log.info(
            "settings were read again; changed: {keys}",
            event="reloaded",
            keys=", ".join(live) or "none",
        )
        rest = [one.key for one in changed if not one.is_live]
        if rest:
            self._log.warn(
                "these settings change with a restart only: {keys}",
                event="restart_needed",
                keys=", ".join(rest),
            )
