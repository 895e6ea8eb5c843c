"""An open WebSocket, as everything that knows no network sees it."""

from typing import Protocol

from gaq_twisted.core.close import Close
from gaq_twisted.core.peer import Peer


class Socket(Protocol):
    """An open WebSocket; each is equal only to itself."""

    routes: tuple[str, ...]
    """What messages for it are addressed to; the first one is its principal."""
    peer: Peer
    """Where its client is."""
    expires_at: float | None
    """When it must be closed, in seconds since 1970; None for never."""

    def can_send(self) -> bool:
        """Returns whether frames can still be sent."""

    def send(self, frames: bytes) -> None:
        """Sends one or more whole frames, or drops a client for which too much is waiting."""

    def send_missed(self, frames: bytes) -> None:
        """Sends what the client missed, of any size; with a limit it could never catch up."""

    def ping(self) -> None:
        """Sends a ping."""

    def close(self, close: Close) -> None:
        """Starts the closing handshake (RFC 6455 section 7.4)."""

    def drop(self) -> None:
        """Ends the connection without a closing handshake."""
