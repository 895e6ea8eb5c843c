"""Facts about a server: its process, ports, certificates and configuration warnings."""

import os
import platform
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from gaq_twisted.config.catalogue import doubts
from gaq_twisted.config.settings import Settings

# The files in an endpoint string, which do not matter to readers of the page.
_FILES = re.compile(
    r":(?:privateKey|certKey|extraCertChain|dhParameters|caCertsDir)=(?:\\.|[^\\:])*"
)
_STATM, _OPEN_FILES = Path("/proc/self/statm"), Path("/proc/self/fd")


class Certificate(Struct, frozen=True, rename="camel"):
    """A certificate that the server presents to its clients."""

    endpoint: str
    """The endpoint that presents it."""
    expires_at: float
    """When it expires, in seconds since 1970."""


class Facts(Struct, frozen=True, rename="camel"):
    """The facts about a server; numbers that the system does not provide are None."""

    host: str
    pid: int
    python: str
    listen: Sequence[str]
    """The public ports, as endpoint strings without the names of files."""
    memory_bytes: int | None
    """The resident memory of the process."""
    open_files: int | None
    max_files: int
    certificates: Sequence[Certificate]
    """The first to expire comes first."""
    warnings: Sequence[str]
    """Settings that are probably unintended."""


class About:
    """Collects facts about the server, without secrets and names of files.

    Args:
        settings: the settings.
        max_files: how many files the process may have open.
        expiries: returns when the certificates in use expire, in seconds since 1970, by endpoint
        string.
    """

    def __init__(
        self, settings: Settings, max_files: int, expiries: Callable[[], Mapping[str, float]]
    ) -> None:
        self._max_files = max_files
        self._expiries = expiries
        self._listen = [_shown(text) for text in settings.listen or (f"tcp:{settings.port}",)]
        self.apply(settings)

    def apply(self, settings: Settings) -> None:
        """Uses these settings from now on, except for the ports."""
        self._warnings = list(doubts(settings))

    def now(self) -> Facts:
        """Returns the facts."""
        certificates = [
            Certificate(_shown(text), expires_at) for text, expires_at in self._expiries().items()
        ]
        return Facts(
            host=socket.gethostname(),
            pid=os.getpid(),
            python=platform.python_version(),
            listen=self._listen,
            memory_bytes=_memory_bytes(),
            open_files=_open_files(),
            max_files=self._max_files,
            certificates=sorted(certificates, key=lambda one: one.expires_at),
            warnings=self._warnings,
        )


def _shown(endpoint: str) -> str:
    """Returns an endpoint string without its files and escapes."""
    return _FILES.sub("", endpoint).replace("\\:", ":")


def _memory_bytes() -> int | None:
    with suppress(OSError):
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None


def _open_files() -> int | None:
    with suppress(OSError):
        # Linux 6.2 and newer provide their number; listing all of them takes long.
        return _OPEN_FILES.stat().st_size or len(os.listdir(_OPEN_FILES))
    return None
