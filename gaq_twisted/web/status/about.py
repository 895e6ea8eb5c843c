"""What a server is: its process, its ports, its certificates, and doubtful settings."""

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

# The files of an endpoint string; what they are is of no interest to who looks at a page.
_FILES = re.compile(
    r":(?:privateKey|certKey|extraCertChain|dhParameters|caCertsDir)=(?:\\.|[^\\:])*"
)
_STATM, _OPEN_FILES = Path("/proc/self/statm"), Path("/proc/self/fd")


class Certificate(Struct, frozen=True, rename="camel"):
    """A certificate that the server shows to its clients."""

    endpoint: str
    """Where it is shown."""
    expires_at: float
    """When it expires, in seconds since 1970."""


class Facts(Struct, frozen=True, rename="camel"):
    """What a server is now; numbers that the system does not have are None."""

    host: str
    pid: int
    python: str
    listen: Sequence[str]
    """The public ports, as endpoint strings without the names of files."""
    memory_bytes: int | None
    """The memory of the process that is not swapped out."""
    open_files: int | None
    max_files: int
    certificates: Sequence[Certificate]
    """Those that expire first come first."""
    warnings: Sequence[str]
    """What is probably unintended in the settings."""


class About:
    """Finds out what the server is; no secret and no name of a file is part of it.

    Args:
        settings: the settings.
        max_files: how many files the process may have open.
        expiries: returns when the certificates expire that are in use now, in seconds since
            1970, by endpoint string.
    """

    def __init__(
        self, settings: Settings, max_files: int, expiries: Callable[[], Mapping[str, float]]
    ) -> None:
        self._max_files = max_files
        self._expiries = expiries
        self._listen = [_shown(text) for text in settings.listen or (f"tcp:{settings.port}",)]
        self.apply(settings)

    def apply(self, settings: Settings) -> None:
        """Uses these settings from now on; the ports stay as they are."""
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
        # Linux 6.2 and newer has their number; to list them all takes long.
        return _OPEN_FILES.stat().st_size or len(os.listdir(_OPEN_FILES))
    return None
