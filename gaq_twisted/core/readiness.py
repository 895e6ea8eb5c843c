"""Whether this server can serve browsers now, and why not."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Progress(NamedTuple):
    """Whether an edition follows Redis, and how far."""

    reasons: Sequence[str]
    """Why it cannot serve browsers now; empty if it can."""
    facts: Mapping[str, object]
    """How far it is, by the names in `/ready`."""


class Readiness:
    """The state of the server for load balancers, metrics and the status page.

    Args:
        progress: returns the progress of each edition.
    """

    def __init__(self, progress: Sequence[Callable[[], Progress]]) -> None:
        self._progress = progress
        self.is_draining = False
        """Whether the server is stopping."""

    def now(self) -> Progress:
        """Returns why the server is not ready, and the facts of all editions together."""
        reasons = ["draining"] if self.is_draining else []
        facts: dict[str, object] = {}
        for progress in self._progress:
            of_edition = progress()
            reasons.extend(of_edition.reasons)
            facts.update(of_edition.facts)
        return Progress(reasons, facts)
