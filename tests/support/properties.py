"""Properties: tests that are called with many inputs."""

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy


def for_any(
    *strategies: SearchStrategy[Any], **named: SearchStrategy[Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Returns a decorator that calls a test with many inputs, however busy the machine is.

    Args:
        strategies: what makes the test's arguments.
        named: the same for arguments by name.
    """
    patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    return lambda test: patient(given(*strategies, **named)(test))
