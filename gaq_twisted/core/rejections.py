"""Clients that are turned away: counted by reason, and logged without flooding the log."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import IPv6Address, ip_address

from twisted.logger import Logger

from gaq_twisted.core.metrics import (
    CLIENT_BACKPRESSURE_DISCONNECT,
    CONNECTION_REJECTED,
    REQUEST_REJECTED,
    UPGRADE_REJECTED,
    Metrics,
)
from gaq_twisted.core.throttle import Throttle

_MOST_RECENT = 50


@dataclass(frozen=True)
class Rejection:
    """Clients of one neighbourhood that were turned away for one reason."""

    at: float
    """When that was last, in seconds since 1970."""
    count: int
    """How often, as far as it is remembered."""
    kind: str
    """What was refused: `request`, `upgrade`, `socket`, or `slow client`."""
    code: int | None
    """The status or the close code; None if the connection was just ended."""
    reason: str
    """A word of this server; nothing that the client wrote."""
    peer: str
    """The first part of the address, which does not tell who it is."""


class Rejections:
    """Notes each refusal, and remembers the last ones."""

    _log = Logger()

    def __init__(self, metrics: Metrics, seconds: Callable[[], float]) -> None:
        """Take where to count, and what returns the time in seconds."""
        self._metrics = metrics
        self._seconds = seconds
        self._burst = Throttle(seconds)
        # The last ones of all kinds, newest last.
        self._recent: dict[tuple[str, int | None, str, str], Rejection] = {}
        self.version = 0
        """Another number whenever there is something new."""

    def request(self, peer: str, status: HTTPStatus, reason: str, text: str) -> None:
        """Note a request that was answered with an error before it was known what it is.

        Args:
            peer: the client's address.
            status: the answer's status.
            reason: a word to count by.
            text: one line that says why.
        """
        self._metrics.increment(REQUEST_REJECTED, label=reason)
        self._remember("request", status.value, reason, peer)
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
        self._remember("upgrade", status.value, reason, peer)
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
        self._remember("socket", code, reason, peer)
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
        self._remember("slow client", None, "does_not_read", peer)
        if self._burst.admits():
            self._log.info(
                "dropped {peer}, which does not read: more than {max_bytes} bytes wait for it",
                event="slow_client_dropped",
                peer=peer,
                max_bytes=max_bytes,
            )

    def summarise(self) -> None:
        """Log how many refusals were not logged, if a flood of them is over."""
        count = self._burst.suppressed()
        if count:
            self._log.info(
                "{count} more clients were refused or dropped",
                event="refusals_not_logged",
                count=count,
            )

    def newest_first(self) -> Sequence[Rejection]:
        """Return the last refusals, those that are alike as one."""
        return list(reversed(self._recent.values()))

    def _remember(self, kind: str, code: int | None, reason: str, peer: str) -> None:
        key = kind, code, reason, shortened(peer)
        last = self._recent.pop(key, None)
        # A flood of one kind takes the place of one.
        self._recent[key] = Rejection(self._seconds(), last.count + 1 if last else 1, *key)
        if len(self._recent) > _MOST_RECENT:
            del self._recent[next(iter(self._recent))]
        self.version += 1


def shortened(peer: str) -> str:
    """Return the part of a client's address that does not tell who it is.

    Args:
        peer: an address, perhaps as Autobahn writes it (`tcp4:192.0.2.7:4711`), and perhaps
            with the proxy's address behind it.

    Returns:
        The network: `192.0.2.*`, or `2001:db8:7:*`; `local` if it is no IP address.
    """
    client = peer.partition(" by way of ")[0]
    kind, _, place = client.partition(":")
    if kind in ("tcp4", "tcp6"):
        client = place.rpartition(":")[0]
    try:
        address = ip_address(client.strip("[]"))
    except ValueError:
        return "local"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return ":".join(f"{int(part, 16):x}" for part in address.exploded.split(":")[:3]) + ":*"
        address = address.ipv4_mapped
    return str(address).rpartition(".")[0] + ".*"
