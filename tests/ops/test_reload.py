"""Reloading of settings."""

from typing import Any, NoReturn

from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent, Logger
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.access.tokens import Authenticator
from gaq_twisted.config.errors import ConfigError
from gaq_twisted.config.load import Loaded
from gaq_twisted.config.settings import Settings
from gaq_twisted.net.listeners import Certificates, Listeners
from gaq_twisted.ops.reload import Reloader
from tests.support.samples import settings


class RecordingPart:
    """A Live that records the settings it is given."""

    def __init__(self) -> None:
        self.applied: list[Settings] = []

    def apply(self, settings: Settings) -> None:
        """Records the settings."""
        self.applied.append(settings)


class RecordingListeners(Listeners):
    """Listeners without endpoints that record the calls."""

    def __init__(self) -> None:
        reactor: Any = MemoryReactorClock()
        super().__init__([], Factory(), reactor)
        self.renewed = 0
        self.broken = False

    def read_certificates(self) -> Certificates:
        """Returns none, or fails."""
        if self.broken:
            raise ConfigError(["a broken certificate"])
        return super().read_certificates()

    def renew(self, certificates: Certificates) -> None:
        """Counts the call."""
        self.renewed += 1


class ReloaderTests(SynchronousTestCase):
    """What changes, what does not, and what is logged."""

    def setUp(self) -> None:
        """Makes a server of two parts."""
        self.new = settings()
        self.warnings: list[str] = []
        self.parts = [RecordingPart(), RecordingPart()]
        self.listeners = RecordingListeners()
        self.reloader = Reloader(settings(), self.read, Authenticator, [self.listeners], self.parts)

    def read(self) -> Loaded:
        """Returns the settings that the test has chosen."""
        return Loaded(self.new, self.warnings, {})

    def reload(self) -> list[tuple[str, str]]:
        """Reloads; returns each line's event and the fact in it."""
        logs: list[LogEvent] = []
        # Trial takes any event with the key `warning` for one of Python's warnings.
        observer: Any = logs.append
        self.patch(Reloader, "_log", Logger(observer=observer))
        self.reloader.reload()
        facts = ("fault", "keys", "warning")
        return [(one["event"], *(one[key] for key in facts if key in one)) for one in logs]

    def test_nothing_new(self) -> None:
        """Without changes the same settings are applied, and the certificates are renewed."""
        self.assertEqual(self.reload(), [("reloaded", "none")])
        self.assertEqual([part.applied for part in self.parts], [[self.new], [self.new]])
        self.assertEqual(self.listeners.renewed, 1)

    def test_changes(self) -> None:
        """Live settings are named once; others are named until the server is restarted."""
        self.new = settings(drain_ms=1, port=9)
        restart = ("restart_needed", "port")
        self.assertEqual(self.reload(), [("reloaded", "drainMs"), restart])
        self.assertEqual(self.reload(), [("reloaded", "none"), restart])

    def test_another_protocol(self) -> None:
        """With another protocol no setting is applied, because other settings depend on it."""
        self.new = settings(protocol="realtime", jwt_cookie_name="superset-ws-token")
        self.assertEqual(self.reload(), [("protocol_changed",)])
        self.assertEqual([part.applied for part in self.parts], [[], []])
        self.assertEqual(self.listeners.renewed, 1)

    def test_warnings(self) -> None:
        """Warnings of the new settings are logged."""
        self.warnings = ["an odd value"]
        self.assertEqual(
            self.reload(), [("settings_warning", "an odd value"), ("reloaded", "none")]
        )

    def assert_unchanged(self, fault: str) -> None:
        """Checks that a reload fails with this fault, and reaches no part."""
        self.assertEqual(self.reload(), [("reload_failed", fault)])
        self.assertEqual([part.applied for part in self.parts], [[], []])
        self.assertEqual(self.listeners.renewed, 0)

    def test_unreadable(self) -> None:
        """Settings that cannot be read change nothing."""

        def fail() -> NoReturn:
            raise ConfigError(["no such file"])

        self.patch(self.reloader, "_read", fail)
        self.assert_unchanged("no such file")

    def test_broken_certificate(self) -> None:
        """A certificate that cannot be used changes nothing."""
        self.listeners.broken = True
        self.assert_unchanged("a broken certificate")

    def test_invalid(self) -> None:
        """Settings that one part could not use reach none."""
        self.new = settings(jwt_algorithms=("RS256",), drain_ms=1)
        self.assert_unchanged(
            "jwtSecret contains no RS256 key: it must be the public key in PEM format"
            " (jwtAlgorithms is RS256)"
        )
