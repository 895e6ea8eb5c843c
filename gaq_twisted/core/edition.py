"""The seam between the server and the protocols that it serves.

Superset has changed how it hands events to browsers.  Each way is an *edition*: it
decides what an upgrade is worth, what a socket gets when it joins, and who reads
Redis.  Everything else (sockets, limits, pings, expiry, shutdown, listeners, HTTP,
logs) is the same for all and knows none of them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from twisted.application.service import IService
from twisted.internet.defer import Deferred

from gaq_twisted.config.settings import Settings
from gaq_twisted.core.dashboard import Dashboard
from gaq_twisted.core.metrics import Metric
from gaq_twisted.core.readiness import Progress
from gaq_twisted.core.reasons import TokenReason
from gaq_twisted.core.socket import Socket


class Upgrade(NamedTuple):
    """What a client says when it asks for a WebSocket."""

    cookies: str
    """Its Cookie header, or an empty text."""
    query: Mapping[str, str]
    """The first value of each parameter of the query."""


class Ticket(NamedTuple):
    """What a good upgrade is worth."""

    routes: tuple[str, ...]
    """The routes of the socket; the first one is its principal, by which limits count."""
    expires_at: float | None
    """When the socket must be closed, in seconds since 1970; None for never."""
    resume_from: str | None = None
    """Where the client wants to go on, as it said it; None if it said nothing."""


class Unauthorized(Exception):
    """A client may not connect.

    The text is one line that says why, without any part of the token.

    Args:
        reason: the metric's label.
        text: the line.
    """

    def __init__(self, reason: TokenReason, text: str) -> None:
        super().__init__(text)
        self.reason: TokenReason = reason


class Unavailable(Exception):
    """A client cannot be served now; the text is one line that says why.

    Args:
        text: the line.
    """


class Renewable(Protocol):
    """Has files with certificates that can be read again while the server runs."""

    def read_certificates(self) -> Any:
        """Returns what the files hold now; it is not used yet.

        Raises:
            ConfigError: if a file cannot be used.
        """

    def renew(self, certificates: Any) -> None:
        """Uses what was read, for connections that are made from now on."""


class Edition(Protocol):
    """One protocol between Superset, Redis and the browser."""

    name: str
    """What settings, logs and messages call it."""
    query_key: str
    """The parameter of the query that only its browsers send."""
    services: Sequence[IService]
    """What follows Redis."""
    certificates: Sequence[Renewable]
    """What has certificates for connections to Redis."""
    dashboard: Dashboard
    """What the status page shows of it."""

    @property
    def channel_count(self) -> int:
        """The number of channels, or principals, that have sockets."""

    def ticket(self, upgrade: Upgrade) -> Ticket:
        """Returns what an upgrade is worth.

        Raises:
            Unauthorized: if the client may not connect.
        """

    def when_ready(self) -> "Deferred[None] | None":
        """Lets an upgrade wait, if the edition cannot take in a socket now.

        Returns:
            None if it can; otherwise a Deferred that fires when it can, or fails with
            Unavailable. It is to be cancelled if the client leaves.

        Raises:
            Unavailable: if it cannot, and waiting is of no use.
        """

    def fail_waiting(self) -> None:
        """Fails the upgrades that wait, and those that would, with Unavailable."""

    def join(self, socket: Socket, ticket: Ticket) -> None:
        """Takes in a socket that has just opened, and sends what it missed, now or later.

        Raises:
            NoRoom: if there are as many sockets as allowed.
        """

    def progress(self) -> Progress:
        """Returns whether Redis is being followed, and how far."""

    def gauges(self) -> Mapping[Metric, Callable[[], float]]:
        """Returns where the values of its metrics are read that nobody counts."""

    def sweep(self) -> None:
        """Forgets what is no longer needed; called now and then."""

    def validate(self, settings: Settings) -> None:
        """Checks settings that may change while the server runs.

        Raises:
            ConfigError: if they cannot be used.
        """

    def apply(self, settings: Settings) -> None:
        """Uses these settings from now on; they have been validated."""


def choose(editions: Sequence[Edition], upgrade: Upgrade) -> tuple[Edition, Ticket]:
    """Returns the edition that a client speaks, and what its upgrade is worth there.

    A parameter that only one edition's browsers send decides.  Without one, the first
    edition that accepts the cookies does: after Superset was upgraded a browser may hold
    the cookies of both.

    Args:
        editions: the editions that are served, those whose parameter decides last first.
        upgrade: what the client says.

    Raises:
        Unauthorized: if no edition accepts the client; with the reason of the first.
    """
    named = [edition for edition in editions if edition.query_key in upgrade.query]
    if named:
        return named[-1], named[-1].ticket(upgrade)
    refusal: Unauthorized | None = None
    for edition in editions:
        try:
            return edition, edition.ticket(upgrade)
        except Unauthorized as error:
            refusal = refusal or error
    assert refusal is not None
    raise refusal
