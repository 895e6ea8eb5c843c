"""Clients that are rejected: counted by reason, and logged without flooding the log."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from twisted.logger import Logger

from gaq_twisted.core.metrics import (
    CLIENT_BACKPRESSURE_DISCONNECT,
    CONNECTION_REJECTED,
    REQUEST_REJECTED,
    UPGRADE_REJECTED,
    Metrics,
)
from gaq_twisted.core.peer import Peer
from gaq_twisted.core.reasons import ConnectionReason, RequestReason, UpgradeReason
from gaq_twisted.core.throttle import Throttle

_MOST_RECENT = 50


@dataclass(frozen=True)
class Rejection:
    """Clients of one network that were rejected for one reason."""

    at: float
    """When the last one was rejected, in seconds since 1970."""
    count: int
    """How many rejections are remembered."""
    kind: str
    """What was rejected: `request`, `upgrade`, `socket`, or `slow client`."""
    code: int | None
    """The status or the close code; None if the connection was dropped without one."""
    reason: str
    """One of this server's words; never anything that the client wrote."""
    peer: str
    """The network; it does not identify the client."""


class Rejections:
    """Counts and logs each rejection, and remembers the last ones.

    Args:
        metrics: where to count.
        seconds: returns the time in seconds.
    """

    _log = Logger()

    def __init__(self, metrics: Metrics, seconds: Callable[[], float]) -> None:
        self._metrics = metrics
        self._seconds = seconds
        self._throttle = Throttle(seconds)
        # A misconfigured health check connects every few seconds.
        self._mismatches = Throttle(seconds, most=3, window_seconds=60.0)
        # The last ones of all kinds, newest last.
        self._recent: dict[tuple[str, int | None, str, str], Rejection] = {}
        self.version = 0
        """Changes with each rejection."""

    def request(self, peer: Peer, status: HTTPStatus, reason: RequestReason, text: str) -> None:
        """Records a request that was answered with an error before its purpose was known.

        Args:
            peer: the client.
            status: the answer's status.
            reason: the label it is counted under.
            text: one line that says why.
        """
        self._metrics.increment(REQUEST_REJECTED, label=reason)
        self._remember("request", status.value, reason, peer)
        if self._throttle.admits():
            self._log.info(
                "rejected a request from {client} with {code}: {reason}",
                event="request_refused",
                code=status.value,
                reason=text,
                **peer.log_fields,
            )

    def mismatch(self, peer: Peer, reason: RequestReason, text: str) -> None:
        """Records a client that speaks another protocol than the port, which a setting can change.

        Args:
            peer: the client.
            reason: the label it is counted under.
            text: one line that says what it did, and which setting to change.
        """
        self._metrics.increment(REQUEST_REJECTED, label=reason)
        self._remember("request", None, reason, peer)
        if self._mismatches.admits():
            self._log.warn(
                "protocol mismatch with {client}: {reason}",
                event="protocol_mismatch",
                reason=text,
                **peer.log_fields,
            )

    def upgrade(self, peer: Peer, status: HTTPStatus, reason: UpgradeReason, text: str) -> None:
        """Records an upgrade that was answered with an error; for the arguments see `request`."""
        self._metrics.increment(UPGRADE_REJECTED, label=reason)
        self._remember("upgrade", status.value, reason, peer)
        if self._throttle.admits():
            self._log.info(
                "rejected the upgrade from {client} with {code}: {reason}",
                event="upgrade_refused",
                code=status.value,
                reason=text,
                **peer.log_fields,
            )

    def connection(self, peer: Peer, code: int, reason: ConnectionReason, text: str) -> None:
        """Records a WebSocket that was closed for a limit or for what its client sent.

        Args:
            peer: the client.
            code: the close code.
            reason: the label it is counted under.
            text: one line that says why.
        """
        self._metrics.increment(CONNECTION_REJECTED, label=reason)
        self._remember("socket", code, reason, peer)
        if self._throttle.admits():
            self._log.info(
                "closed the WebSocket of {client} with {code}: {reason}",
                event="socket_refused",
                code=code,
                reason=text,
                **peer.log_fields,
            )

    def slow_client(self, peer: Peer, max_bytes: float) -> None:
        """Records a client that was dropped because it does not read.

        Args:
            peer: the client.
            max_bytes: how many bytes may wait for it.
        """
        self._metrics.increment(CLIENT_BACKPRESSURE_DISCONNECT)
        self._remember("slow client", None, "does_not_read", peer)
        if self._throttle.admits():
            self._log.info(
                "dropped {client}, which does not read: more than {max_bytes} bytes were waiting"
                " for it",
                event="slow_client_dropped",
                max_bytes=max_bytes,
                **peer.log_fields,
            )

    def summarise(self) -> None:
        """Logs how many rejections were not logged, once a flood of them is over."""
        count = self._throttle.suppressed() + self._mismatches.suppressed()
        if count:
            self._log.info(
                "{count} more clients were rejected or dropped",
                event="refusals_not_logged",
                count=count,
            )

    def newest_first(self) -> Sequence[Rejection]:
        """Returns the last rejections; equal ones are combined."""
        return list(reversed(self._recent.values()))

    def _remember(self, kind: str, code: int | None, reason: str, peer: Peer) -> None:
        key = kind, code, str(reason), peer.network
        last = self._recent.pop(key, None)
        # A flood of one kind takes up one entry only.
        self._recent[key] = Rejection(self._seconds(), last.count + 1 if last else 1, *key)
        if len(self._recent) > _MOST_RECENT:
            del self._recent[next(iter(self._recent))]
        self.version += 1
