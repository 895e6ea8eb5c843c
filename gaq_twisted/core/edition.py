"""The interface between the server and the protocols that it serves.

Superset has changed how it sends events to browsers. Each protocol is an *edition*: it
authenticates upgrades, decides what a socket gets when it joins, and reads Redis. Everything else
(sockets, limits, pings, expiry, shutdown, listeners, HTTP, logs) is common to all editions and
depends on none of them.
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
    """A client's request for a WebSocket."""

    cookies: str
    """Its Cookie header, or an empty string."""
    query: Mapping[str, str]
    """The first value of each parameter of the query."""


class Ticket(NamedTuple):
    """What an accepted upgrade grants to its socket."""

    routes: tuple[str, ...]
    """The routes of the socket; the first one is its principal, to which limits apply."""
    expires_at: float | None
    """When the socket must be closed, in seconds since 1970; None for never."""
    resume_from: str | None = None
    """Where the client wants to resume, as it sent it; None if it sent nothing."""


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
    """Its name in settings, logs and messages."""
    query_key: str
    """The query parameter that only its browsers send."""
    services: Sequence[IService]
    """The services that follow Redis."""
    certificates: Sequence[Renewable]
    """The holders of certificates for connections to Redis."""
    dashboard: Dashboard
    """What the status page shows about it."""

    @property
    def channel_count(self) -> int:
        """The number of channels, or principals, that have sockets."""

    def ticket(self, upgrade: Upgrade) -> Ticket:
        """Authenticates an upgrade, and returns its ticket.

        Raises:
            Unauthorized: if the client may not connect.
        """

    def when_ready(self) -> "Deferred[None] | None":
        """Makes an upgrade wait if the edition cannot accept a socket now.

        Returns:
            None if it can; otherwise a Deferred that fires when it can, or fails with
            Unavailable. Cancel it if the client leaves.

        Raises:
            Unavailable: if it cannot, and waiting does not help.
        """

    def fail_waiting(self) -> None:
        """Fails the upgrades that wait, now and later, with Unavailable."""

    def join(self, socket: Socket, ticket: Ticket) -> None:
        """Adds a socket that has just opened, and sends what it missed, now or later.

        Raises:
            NoRoom: if a limit on sockets is reached.
        """

    def progress(self) -> Progress:
        """Returns whether Redis is being followed, and how far."""

    def gauges(self) -> Mapping[Metric, Callable[[], float]]:
        """Returns a function for each gauge that reads its value."""

    def sweep(self) -> None:
        """Removes what is no longer needed; called periodically."""

    def validate(self, settings: Settings) -> None:
        """Checks settings that may change while the server runs.

        Raises:
            ConfigError: if they cannot be used.
        """

    def apply(self, settings: Settings) -> None:
        """Uses these settings from now on; they have been validated."""


def choose(editions: Sequence[Edition], upgrade: Upgrade) -> tuple[Edition, Ticket]:
    """Returns the edition for a client, and its ticket.

    A parameter that only one edition's browsers send decides. Without one, the first edition that
    accepts the cookies is used, because after an upgrade of Superset a browser may have the cookies
    of both.

    Args:
        editions: the editions that are served; if several parameters are sent, the last edition
            wins.
        upgrade: the client's request.

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
