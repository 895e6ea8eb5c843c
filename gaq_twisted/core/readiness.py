"""Whether this server is of use now, and why not."""

from typing import NamedTuple, Protocol

from gaq_twisted.streams.firehose import Progress


class Follower(Protocol):
    """The part of the Firehose that is asked here."""

    def progress(self) -> Progress:
        """As Firehose.progress."""


class Readiness(NamedTuple):
    """What a load balancer wants to know."""

    reasons: list[str]
    """Why this server is not ready; none if it is."""
    progress: Progress


class ReadinessProbe:
    """Tells whether this server is ready."""

    def __init__(self, follower: Follower, patience_seconds: float) -> None:
        """Take who follows the global stream.

        Args:
            follower: who.
            patience_seconds: how old its last answer of Redis may be.
        """
        self._follower = follower
        self._patience_seconds = patience_seconds
        self.is_draining = False
        """Whether the server is about to stop."""

    def progress(self) -> Progress:
        """Return how far the reading of the global stream is."""
        return self._follower.progress()

    def readiness(self) -> Readiness:
        """Return whether this server is ready."""
        progress = self.progress()
        reasons = []
        if self.is_draining:
            reasons.append("draining")
        if not progress.cursor:
            reasons.append("the global stream has not been read yet")
        elif not progress.is_following:
            reasons.append("Redis cannot be read")
        elif progress.read_age_seconds > self._patience_seconds:
            reasons.append(f"Redis has not answered for {progress.read_age_seconds:.0f} s")
        return Readiness(reasons, progress)
