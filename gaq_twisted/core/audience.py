"""The sockets of one edition by route, and the sending of messages to them."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from gaq_twisted.core.hub import Hub
from gaq_twisted.core.metrics import DELIVERY_SECONDS, FRAME_BYTES_SENT, FRAMES_SENT, Metrics
from gaq_twisted.core.socket import Socket

# Sockets per step. A step for each socket would cost a third of sending a frame.
_SOCKETS_PER_STEP = 16
_NOTHING: Mapping[Socket, bytes] = {}


class Dispatch(msgspec.Struct, frozen=True, gc=False):
    """A message to send, and its recipients."""

    routes: tuple[str, ...] | None
    """The routes that it is for; None for every socket of the edition."""
    frames: bytes
    """Whole frames, built once for all sockets."""
    events: int
    """How many events they carry."""
    published_at: float | None
    """When the last event was published, in seconds since 1970; None if not observed."""
    instead: Mapping[Socket, bytes] = _NOTHING
    """What to send to sockets that already have a part of it."""


class Audience:
    """The sockets of one edition.

    A socket that has entered is counted. Once admitted, it is sent what is dispatched. Between
    the two, its edition looks up what it missed.

    Args:
        hub: the hub, in which all sockets are.
        metrics: count frames.
        seconds: returns the time in seconds since 1970.
        on_leave: called with each socket that leaves.
    """

    def __init__(
        self,
        hub: Hub,
        metrics: Metrics,
        seconds: Callable[[], float],
        on_leave: Callable[[Socket], None] = lambda _: None,
    ) -> None:
        self._hub = hub
        self._metrics = metrics
        self._seconds = seconds
        self._on_leave = on_leave
        self._routes: dict[str, dict[Socket, None]] = {}
        self._principal_count = 0
        # Sockets that have entered and are not admitted yet.
        self._waiting: set[Socket] = set()

    @property
    def routes(self) -> Mapping[str, Mapping[Socket, None]]:
        """The sockets by route, including those that are waiting to be admitted."""
        return self._routes

    @property
    def heard_count(self) -> int:
        """The number of routes with an admitted socket."""
        waiting = {route for socket in self._waiting for route in socket.routes}
        silent = [route for route in waiting if self._waiting.issuperset(self._routes[route])]
        return len(self._routes) - len(silent)

    @property
    def principal_count(self) -> int:
        """The number of principals with a socket."""
        return self._principal_count

    def count(self, principal: str) -> int:
        """Returns how many sockets have a route."""
        return len(self._routes.get(principal, ()))

    def has_any(self, routes: tuple[str, ...] | None) -> bool:
        """Returns whether any of these routes has a socket; None stands for all sockets."""
        if routes is None:
            return bool(self._routes)
        return not self._routes.keys().isdisjoint(routes)

    def sockets(self) -> Iterator[Socket]:
        """Yields all sockets of this edition."""
        for socket, membership in self._hub.sockets.items():
            if membership is self:
                yield socket

    def enter(self, socket: Socket) -> bool:
        """Registers a socket that waits for `admit`; see Hub.enter."""
        if not self._hub.enter(socket, self):
            return False
        self._principal_count += socket.routes[0] not in self._routes
        for route in socket.routes:
            self._routes.setdefault(route, {})[socket] = None
        self._waiting.add(socket)
        return True

    def admit(self, socket: Socket, missed: bytes = b"") -> None:
        """Sends a socket what it missed; from now on it is sent what is dispatched.

        Args:
            socket: a socket that has entered and not left.
            missed: whole frames, or nothing.
        """
        self._waiting.discard(socket)
        if missed:
            try:
                socket.send_missed(missed)
            except Exception:
                self._hub.fail(socket)

    def remove(self, socket: Socket) -> None:
        """Removes a socket; called by the hub."""
        for route in socket.routes:
            sockets = self._routes[route]
            del sockets[socket]
            if not sockets:
                del self._routes[route]
        self._principal_count -= socket.routes[0] not in self._routes
        self._waiting.discard(socket)
        self._on_leave(socket)

    def dispatch(self, dispatches: Sequence[Dispatch]) -> tuple[int, Iterator[None]]:
        """Sends each dispatch to the sockets that its routes have now, one copy a socket.

        Args:
            dispatches: what to send, in order.

        Returns:
            How many of the events have a listener, and the steps that send them, some sockets a
            step. A last step with few sockets is taken without a pause after it. A socket that is
            admitted between two steps is not sent these dispatches. One that has left is sent
            nothing more.
        """
        to_send = []
        heard = 0
        for one in dispatches:
            listeners = self._listeners(one.routes)
            if listeners:
                to_send.append((listeners, one))
                heard += one.events
        return heard, self._sending(to_send)

    def _listeners(self, routes: tuple[str, ...] | None) -> list[Socket]:
        if routes is None:
            found = list(self.sockets())
        elif len(routes) == 1:
            found = list(self._routes.get(routes[0], ()))
        else:
            once: dict[Socket, None] = {}
            for route in routes:
                once.update(self._routes.get(route, {}))
            found = list(once)
        if self._waiting:
            return [socket for socket in found if socket not in self._waiting]
        return found

    def _sending(self, to_send: Sequence[tuple[list[Socket], Dispatch]]) -> Iterator[None]:
        open_sockets = self._hub.sockets
        sent_frames = sent_bytes = 0
        left_of_step = _SOCKETS_PER_STEP
        for listeners, dispatch in to_send:
            frames, instead = dispatch.frames, dispatch.instead
            for socket in listeners:
                if left_of_step == 0:
                    yield
                    left_of_step = _SOCKETS_PER_STEP
                left_of_step -= 1
                if socket not in open_sockets:
                    continue
                own = instead.get(socket, frames) if instead else frames
                if own:
                    try:
                        socket.send(own)
                    except Exception:
                        self._hub.fail(socket)
            sent_frames += dispatch.events * len(listeners)
            sent_bytes += len(frames) * len(listeners)
            if dispatch.published_at is not None:
                delay_seconds = max(0.0, self._seconds() - dispatch.published_at)
                self._metrics.observe(DELIVERY_SECONDS, delay_seconds)
        self._metrics.increment(FRAMES_SENT, sent_frames)
        self._metrics.increment(FRAME_BYTES_SENT, sent_bytes)
