"""The names of all metrics, and what counts them."""

from typing import Protocol

CONNECTED_CLIENT = "ws_connected_client"
"""Counter: a WebSocket was opened (the Node.js server's name)."""

CLIENT_SEND_ERROR = "ws_client_send_error"
"""Counter: writing to a WebSocket failed (the Node.js server's name)."""

INVALID_EVENT = "ws_invalid_event"
"""Counter: a stream entry was skipped because it is not a good event."""

STREAM_GAP = "ws_stream_gap"
"""Counter: events were lost in Redis before they could be read."""

OPEN_SOCKETS = "ws_open_sockets"
"""Gauge: how many WebSockets are open."""

OPEN_CHANNELS = "ws_open_channels"
"""Gauge: how many channels have an open WebSocket."""


class Metrics(Protocol):
    """Takes what is counted; never raises and never blocks."""

    def increment(self, name: str, count: int = 1) -> None:
        """Add to a counter."""

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge."""
