"""All open sockets: their limits, pings, expiry and closing.

Each call is atomic, because it completes within one turn of the reactor.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from math import ceil
from typing import Protocol

from twisted.logger import Logger

from gaq_twisted.config.settings import Settings
from gaq_twisted.core.close import TOKEN_EXPIRED, Close
from gaq_twisted.core.deadlines import Deadlines
from gaq_twisted.core.metrics import (
    CLIENT_SEND_ERROR,
    CONNECTED_CLIENT,
    TOKEN_EXPIRED_DISCONNECT,
    Metrics,
)
from gaq_twisted.core.reasons import ConnectionReason
from gaq_twisted.core.socket import Socket


class NoRoom(Exception):
    """Raised if a limit on the number of sockets is reached.

    The text is one line that names the limit.

    Args:
        reason: the metric's label.
        text: the line.
    """

    def __init__(self, reason: ConnectionReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Membership(Protocol):
    """The registry of one edition's sockets by route."""

    def count(self, principal: str) -> int:
        """Returns how many sockets of a principal are registered."""

    def remove(self, socket: Socket) -> None:
        """Removes a socket that has left."""


class Hub:
    """Owns the open sockets.

    Args:
        metrics: count sockets and failures.
        seconds: returns the time in seconds since 1970.
        settings: how many sockets may be open.
    """

    _log = Logger()

    def __init__(self, metrics: Metrics, seconds: Callable[[], float], settings: Settings) -> None:
        self._metrics = metrics
        self._seconds = seconds
        self.apply(settings)
        self._memberships: dict[Socket, Membership] = {}
        # The round of pings in which each socket last answered, or entered.
        self._last_pong: dict[Socket, int] = {}
        self._ping_round = 0
        self._expiring: Deadlines[Socket] = Deadlines()
        # How new sockets are closed while the server is stopping.
        self._closing: Close | None = None

    def apply(self, settings: Settings) -> None:
        """Uses these limits from now on; open sockets stay."""
        self._max_sockets = settings.max_total_connections
        self._max_per_principal = settings.max_connections_per_channel

    @property
    def sockets(self) -> Mapping[Socket, Membership]:
        """All sockets that entered and have not left, in that order."""
        return self._memberships

    @property
    def socket_count(self) -> int:
        """The number of sockets that entered and have not left."""
        return len(self._memberships)

    def enter(self, socket: Socket, membership: Membership) -> bool:
        """Adds a socket that has just opened.

        Args:
            socket: the socket; it must not have entered before.
            membership: where it will be registered.

        Returns:
            False if the server is stopping; the socket was closed.

        Raises:
            NoRoom: if the maximum number of sockets is reached.
        """
        if self._closing is not None:
            socket.close(self._closing)
            return False
        self._check_room(socket.routes[0], membership)
        self._memberships[socket] = membership
        # It has a full round to answer the first ping.
        self._last_pong[socket] = self._ping_round + 1
        self._metrics.increment(CONNECTED_CLIENT)
        if socket.expires_at is not None:
            self._expiring.add(socket, ceil(socket.expires_at))
        return True

    def _check_room(self, principal: str, membership: Membership) -> None:
        if self._max_sockets and len(self._memberships) >= self._max_sockets:
            raise NoRoom(
                ConnectionReason.TOTAL, f"there are already {self._max_sockets} connections"
            )
        if self._max_per_principal:
            count = membership.count(principal)
            if count >= self._max_per_principal:
                raise NoRoom(
                    ConnectionReason.CHANNEL, f"the channel already has {count} connections"
                )

    def leave(self, socket: Socket) -> bool:
        """Removes a socket; returns whether it was present."""
        membership = self._memberships.pop(socket, None)
        if membership is None:
            return False
        del self._last_pong[socket]
        if socket.expires_at is not None:
            self._expiring.discard(socket, ceil(socket.expires_at))
        membership.remove(socket)
        return True

    def pong(self, socket: Socket) -> None:
        """Records that a client has answered."""
        if socket in self._last_pong:
            self._last_pong[socket] = self._ping_round

    def ping(self, silent_rounds: int) -> Iterator[bool]:
        """Starts a round of pings, which drops clients that have been silent for too long.

        Time is counted in calls of this method, so that no client is dropped because this
        process itself was blocked.

        Args:
            silent_rounds: how many rounds after its last answer a client is dropped, 2 or
            more.

        Returns:
            The steps of the round, one for each socket, which may be spread over time. Each step
            is whether the socket was dropped.
        """
        self._ping_round += 1
        return self._pinging(list(self._last_pong), self._ping_round - silent_rounds)

    def _pinging(self, sockets: Sequence[Socket], latest: int) -> Iterator[bool]:
        for socket in sockets:
            last = self._last_pong.get(socket)
            if last is None:
                continue
            is_silent = last <= latest
            if is_silent:
                self._log.debug("{client} did not answer pings", **socket.peer.log_fields)
                self.drop(socket)
            else:
                try:
                    socket.ping()
                except Exception:
                    self.fail(socket)
            yield is_silent

    def close_all(self, close: Close) -> None:
        """Closes all sockets, and from now on every new one."""
        self._closing = close
        self.close_oldest(len(self._memberships), close)

    def close_oldest(self, count: int, close: Close) -> None:
        """Closes some sockets, the oldest first.

        Args:
            count: the number of sockets.
            close: how.
        """
        for socket in list(islice(self._memberships, count)):
            self.close_one(socket, close)

    def close_one(self, socket: Socket, close: Close) -> None:
        """Removes a socket, and closes it."""
        self.leave(socket)
        socket.close(close)

    def expire(self, most: int) -> bool:
        """Closes sockets whose token has expired.

        Args:
            most: the most sockets to close, so that it does not take long.

        Returns:
            Whether there may be more.
        """
        for _ in range(most):
            socket = self._expiring.pop(self._seconds())
            if socket is None:
                return False
            self._metrics.increment(TOKEN_EXPIRED_DISCONNECT)
            socket.close(TOKEN_EXPIRED)
        return True

    def sweep(self) -> int:
        """Removes sockets that were closed without having left; returns how many."""
        closed = [socket for socket in self._memberships if not socket.can_send()]
        for socket in closed:
            self.leave(socket)
        return len(closed)

    def fail(self, socket: Socket) -> None:
        """Drops a client after a failed write; called while the error is handled."""
        self._log.failure("cannot send to {client}", event="send_failed", **socket.peer.log_fields)
        self._metrics.increment(CLIENT_SEND_ERROR)
        self.drop(socket)

    def drop(self, socket: Socket) -> None:
        """Removes a socket, and ends its connection without a closing handshake."""
        self.leave(socket)
        socket.drop()
