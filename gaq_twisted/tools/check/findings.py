"""Findings: one line each for operators, and how times, names and ids are shown in them.

Nothing here shows a secret, a token or a whole channel id.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from gaq_twisted.text import printable, shortened

CLOCK_TOLERANCE_SECONDS = 1.0
"""How far clocks may differ before a finding says so."""
_CHANNEL_CHARACTERS = 8
_NAME_CHARACTERS = 40
_MINUTE_SECONDS, _HOUR_SECONDS, _DAY_SECONDS = 60, 3600, 86_400
_UNITS = ((_DAY_SECONDS, "days"), (_HOUR_SECONDS, "h"), (_MINUTE_SECONDS, "min"))
# A rounded "1 h" could be anything from 30 to 90 minutes.
_LEAST_UNITS = 2


class Mark(StrEnum):
    """The severity of a finding."""

    OK = "ok"
    NOTE = "note"
    WARN = "warn"
    FAIL = "FAIL"


class Finding(NamedTuple):
    """The result of one check."""

    mark: Mark
    topic: str
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f". Remedy: {self.remedy}" if self.remedy else ""
        # Messages of other programs may end with a full stop.
        return f"{self.mark:<4}  {self.topic}: {self.text.removesuffix('.')}{remedy}"


def cut(identifier: str) -> str:
    """Returns the beginning of a confidential id."""
    return f"{identifier[: min(_CHANNEL_CHARACTERS, len(identifier) // 2)]}..."


def duration(seconds: float) -> str:
    """Returns a time span in the largest unit of which there are at least two."""
    for unit, name in _UNITS:
        if abs(seconds) >= _LEAST_UNITS * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def shown_name(name: str) -> str:
    """Returns a name from outside: shortened, and quoted if it holds escapes."""
    short = shortened(name, _NAME_CHARACTERS)
    return short if short.isprintable() else f"'{printable(short)}'"


def shown_time(seconds: float) -> str:
    """Returns the date and time of a Unix timestamp, which may be absurd."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return f"{seconds:.0f} s after 1970"
