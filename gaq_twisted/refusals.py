"""Clients that are turned away: counted by reason, and logged without flooding the log."""

from collections.abc import Callable
from http import HTTPStatus

from twisted.logger import Logger

from gaq_twisted.bursts import Burst
from gaq_twisted.metrics import (
    CLIENT_BACKPRESSURE_DISCONNECT,
    CONNECTION_REJECTED,
    REQUEST_REJECTED,
    UPGRADE_REJECTED,
    Metrics,
)


class Refusals:
    """Notes each refusal."""

    _log = Logger()

    def __init__(self, metrics: Metrics, seconds: Callable[[], float]) -> None:
        """Take where to count, and what returns the time in seconds."""
        self._metrics = metrics
        self._burst = Burst(seconds)

    def request(self, peer: str, status: HTTPStatus, reason: str, text: str) -> None:
        """Note a request that was answered with an error before it was known what it is.

        Args:
            peer: the client's address.
            status: the answer's status.
            reason: a word to count by.
            text: one line that says why.
        """
        self._metrics.increment(REQUEST_REJECTED, label=reason)
        if self._burst.admits():
            self._log.info(
                "refused a request of {peer} with {code}: {reason}",
                event="request_refused",
                peer=peer,
                code=status.value,
                reason=text,
            )

    def upgrade(self, peer: str, status: HTTPStatus, reason: str, text: str) -> None:
        """Note an upgrade that was answered with an error; arguments as of `request`."""
        self._metrics.increment(UPGRADE_REJECTED, label=reason)
        if self._burst.admits():
            self._log.info(
                "refused the upgrade of {peer} with {code}: {reason}",
                event="upgrade_refused",
                peer=peer,
                code=status.value,
                reason=text,
            )

    def connection(self, peer: str, code: int, reason: str, text: str) -> None:
        """Note a WebSocket that was closed for what it did or because there is no room for it.

        Args:
            peer: the client's address.
            code: the close code.
            reason: a word to count by.
            text: one line that says why.
        """
        self._metrics.increment(CONNECTION_REJECTED, label=reason)
        if self._burst.admits():
            self._log.info(
                "closed the WebSocket of {peer} with {code}: {reason}",
                event="socket_refused",
                peer=peer,
                code=code,
                reason=text,
            )

    def slow_client(self, peer: str, max_bytes: int) -> None:
        """Note a client that was dropped as it does not read.

        Args:
            peer: the client's address.
            max_bytes: how much may wait for it.
        """
        self._metrics.increment(CLIENT_BACKPRESSURE_DISCONNECT)
        if self._burst.admits():
            self._log.info(
                "dropped {peer}, which does not read: more than {max_bytes} bytes wait for it",
                event="slow_client_dropped",
                peer=peer,
                max_bytes=max_bytes,
            )

    def summarise(self) -> None:
        """Log how many refusals were not logged, if a flood of them is over."""
        count = self._burst.withheld()
        if count:
            self._log.info(
                "{count} more clients were refused or dropped",
                event="refusals_not_logged",
                count=count,
            )
