"""Events that were sent to sockets before the global stream delivered them."""

from collections.abc import Sequence

from gaq_twisted.core.socket import Socket
from gaq_twisted.streams.events import Event


class EarlyEvents:
    """Events from streams of channels that the global stream may still deliver.

    A publisher writes to the channel's stream first. A socket that catches up at that moment
    is sent the event. It must not get it again when the global stream delivers it.
    """

    def __init__(self) -> None:
        self._by_socket: dict[Socket, list[Event]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_socket)

    def __contains__(self, socket: Socket) -> bool:
        return socket in self._by_socket

    def add(self, socket: Socket, events: list[Event]) -> None:
        """Records events that a socket was sent early."""
        if events:
            self._by_socket[socket] = events

    def left_of(self, socket: Socket, events: Sequence[Event]) -> list[Event]:
        """Returns the events that a socket was not sent early.

        Each early event is forgotten once it has been delivered.
        """
        return [event for event in events if not self._was_early(socket, event)]

    def forget(self, socket: Socket) -> None:
        """Forgets a socket."""
        self._by_socket.pop(socket, None)

    def forget_before(self, ms: int) -> None:
        """Forgets events that were published before a time in milliseconds since 1970."""
        for socket, events in list(self._by_socket.items()):
            events[:] = [event for event in events if event.stream_id().ms >= ms]
            if not events:
                del self._by_socket[socket]

    def _was_early(self, socket: Socket, event: Event) -> bool:
        events = self._by_socket.get(socket, [])
        for index, early in enumerate(events):
            if early.data == event.data:
                del events[index]
                if not events:
                    del self._by_socket[socket]
                return True
        return False
