"""The names of all metrics, and what counts them."""

from typing import Protocol

CONNECTED_CLIENT = "ws_connected_client"
"""Counter: a WebSocket was opened (the Node.js server's name)."""

CLIENT_SEND_ERROR = "ws_client_send_error"
"""Counter: writing to a WebSocket failed (the Node.js server's name)."""

INVALID_EVENT = "ws_invalid_event"
"""Counter by reason: a stream entry was skipped because it is not a good event."""

STREAM_GAP = "ws_stream_gap"
"""Counter: events were lost in Redis before they could be read."""

REQUEST_REJECTED = "ws_request_rejected"
"""Counter by reason: a request was answered with an error before it was known what it is."""

UPGRADE_REJECTED = "ws_upgrade_rejected"
"""Counter by reason: an upgrade was refused (the Node.js server's name)."""

CONNECTION_REJECTED = "ws_connection_rejected"
"""Counter by reason: a WebSocket was closed for what its client did, or for want of room (the
Node.js server's name)."""

CLIENT_BACKPRESSURE_DISCONNECT = "ws_client_backpressure_disconnect"
"""Counter: a client was dropped because it does not read (the Node.js server's name)."""

OPEN_SOCKETS = "ws_open_sockets"
"""Gauge: how many WebSockets are open."""

OPEN_CHANNELS = "ws_open_channels"
"""Gauge: how many channels have an open WebSocket."""


class Metrics(Protocol):
    """Takes what is counted; never raises and never blocks."""

    def increment(self, name: str, count: int = 1, *, reason: str = "") -> None:
        """Add to a counter, that of a reason where it has such."""

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge."""
