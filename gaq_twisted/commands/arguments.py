"""The forms of arguments: durations, numbers and shares."""

import re
from argparse import ArgumentTypeError
from collections.abc import Callable

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def duration_seconds(text: str) -> float:
    """Returns the seconds of a duration, such as `90`, `90s`, `3m` or `1h`.

    Raises:
        ArgumentTypeError: if it is not a duration above 0.
    """
    match = _DURATION.fullmatch(text)
    seconds = float(match[1]) * _UNIT_SECONDS[match[2]] if match else 0.0
    if not seconds:
        raise ArgumentTypeError(f"{text} is not a duration above 0, such as 90s, 3m or 1h")
    return seconds


def count(text: str) -> int:
    """Returns a whole number above 0.

    Raises:
        ArgumentTypeError: if it is something else.
    """
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def above_zero(text: str) -> float:
    """Returns a number above 0.

    Raises:
        ArgumentTypeError: if it is something else.
    """
    return _number(text, lambda number: 0 < number < float("inf"), "a number above 0")


def from_zero(text: str) -> float:
    """Returns a number of 0 or more.

    Raises:
        ArgumentTypeError: if it is something else.
    """
    return _number(text, lambda number: 0 <= number < float("inf"), "a number of 0 or more")


def share(text: str) -> float:
    """Returns a number from 0 to 1.

    Raises:
        ArgumentTypeError: if it is something else.
    """
    return _number(text, lambda number: 0 <= number <= 1, "a number from 0 to 1")


def _number(text: str, is_allowed: Callable[[float], bool], allowed: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not is_allowed(number):
        raise ArgumentTypeError(f"{text} is not {allowed}")
    return number
