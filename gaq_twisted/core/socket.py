"""The interface of an open WebSocket, for code that does not depend on the network."""

from typing import Protocol

from gaq_twisted.core.close import Close
from gaq_twisted.core.peer import Peer


class Socket(Protocol):
    """An open WebSocket; each is equal only to itself."""

    routes: tuple[str, ...]
    """The addresses of its messages; the first one is its principal."""
    peer: Peer
    """Its client."""
    expires_at: float | None
    """When it must be closed, in seconds since 1970; None for never."""

    def can_send(self) -> bool:
        """Returns whether frames can still be sent."""

    def send(self, frames: bytes) -> None:
        """Sends one or more whole frames, or drops the client if too many bytes wait for it."""

    def send_missed(self, frames: bytes) -> None:
        """Sends frames that the client missed, without a limit, so that it can catch up."""

    def ping(self) -> None:
        """Sends a ping."""

    def close(self, close: Close) -> None:
        """Starts the closing handshake (RFC 6455 section 7.4)."""

    def drop(self) -> None:
        """Ends the connection without a closing handshake."""
