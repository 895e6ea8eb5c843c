"""An audience: which sockets a dispatch reaches, and what each is sent."""

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core.audience import Audience, Dispatch
from gaq_twisted.core.hub import Hub
from gaq_twisted.core.metrics import (
    CLIENT_SEND_ERROR,
    DELIVERY_SECONDS,
    FRAME_BYTES_SENT,
    FRAMES_SENT,
)
from tests.support.fakes import FakeSocket, finish
from tests.support.properties import for_any
from tests.support.samples import settings, streams_metrics


class AudienceTestCase(SynchronousTestCase):
    """Has an audience without sockets."""

    def setUp(self) -> None:
        """Make it."""
        self.metrics = streams_metrics()
        self.hub = Hub(self.metrics, lambda: 1000.0, settings())
        self.audience = Audience(self.hub, self.metrics, lambda: 1000.0)

    def join(self, *routes: str, broken: bool = False) -> FakeSocket:
        """Let a socket enter and be admitted."""
        socket = FakeSocket(*routes, broken=broken)
        self.audience.enter(socket)
        self.audience.admit(socket)
        return socket

    def dispatch(self, *dispatches: Dispatch) -> int:
        """Send dispatches; return how many of their events have a listener."""
        heard, steps = self.audience.dispatch(dispatches)
        finish(steps)
        return heard


def to(*routes: str, frames: bytes = b"frame", events: int = 1) -> Dispatch:
    """Return a dispatch to some routes."""
    return Dispatch(routes, frames, events, None)


EVERYBODY = Dispatch(None, b"all", 1, None)


class RouteTests(AudienceTestCase):
    """Whom a dispatch reaches."""

    def test_routes(self) -> None:
        """It reaches the sockets that have one of its routes."""
        tab1, tab2 = self.join("user:5", "user:5:1"), self.join("user:5", "user:5:2")
        other = self.join("user:9", "user:9:1")
        self.assertEqual(self.dispatch(to("user:5"), to("user:5:1"), to("user:9:1", "user:5:2")), 3)
        self.assertEqual([len(one.sent) for one in (tab1, tab2, other)], [2, 2, 1])

    def test_one_copy(self) -> None:
        """A socket that has several of the routes is sent one copy."""
        socket = self.join("user:5", "user:5:1")
        self.dispatch(to("user:5", "user:5:1", "user:5"), EVERYBODY)
        self.assertEqual(socket.sent, [b"frame", b"all"])

    def test_everybody(self) -> None:
        """Without routes it reaches every socket of this audience, and no other."""
        other = Audience(self.hub, self.metrics, lambda: 1000.0)
        stranger = FakeSocket("user:5")
        other.enter(stranger)
        other.admit(stranger)
        sockets = [self.join("user:5", "user:5:1"), self.join("user:6")]
        self.dispatch(EVERYBODY, to("user:5"))
        self.assertEqual([one.sent for one in sockets], [[b"all", b"frame"], [b"all"]])
        self.assertEqual(stranger.sent, [])

    def test_nobody(self) -> None:
        """What nobody listens to is counted so, and does no harm."""
        self.assertEqual(self.dispatch(to("user:5", events=3), to(), EVERYBODY), 0)

    def test_has_any(self) -> None:
        """Routes have sockets or not; in place of all routes, the edition has."""
        self.assertFalse(self.audience.has_any(None))
        self.join("user:5", "user:5:1")
        for routes, expected in (
            (None, True),
            (("user:6", "user:5:1"), True),
            (("user:6",), False),
            ((), False),
        ):
            self.assertIs(self.audience.has_any(routes), expected)

    def test_waiting(self) -> None:
        """A socket that waits hears nothing, is counted, and then is sent what it missed first."""
        socket = FakeSocket("red")
        self.audience.enter(socket)
        self.assertEqual((self.dispatch(to("red"), EVERYBODY), socket.sent), (0, []))
        self.assertEqual((self.audience.count("red"), self.audience.heard_count), (1, 0))
        self.audience.admit(socket, b"missed")
        self.assertEqual((self.dispatch(to("red")), self.audience.heard_count), (1, 1))
        self.assertEqual(socket.sent, [b"missed", b"frame"])

    def test_leaving(self) -> None:
        """Of a socket that has left no route remains; those of others do."""
        gone, stays = self.join("user:5", "user:5:1"), self.join("user:5", "user:5:2")
        self.hub.leave(gone)
        self.assertEqual(set(self.audience.routes), {"user:5", "user:5:2"})
        self.assertEqual(list(self.audience.sockets()), [stays])

    @for_any(st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True)))
    def test_any(self, all_routes: list[list[str]]) -> None:
        """Whatever the routes are: one copy for each socket that has one of them."""
        self.setUp()
        sockets = [self.join(*routes) for routes in all_routes]
        self.dispatch(to("a", "b"))
        for socket, routes in zip(sockets, all_routes, strict=True):
            self.assertEqual(len(socket.sent), int(bool({"a", "b"} & set(routes))))


class SendTests(AudienceTestCase):
    """What is sent, and what is counted."""

    def test_same_object(self) -> None:
        """All sockets are sent the same bytes object."""
        one, other = self.join("red"), self.join("red")
        self.dispatch(to("red"))
        self.assertIs(one.sent[0], other.sent[0])

    def test_instead(self) -> None:
        """Some sockets are sent something else, or nothing."""
        plain, other, none = self.join("red"), self.join("red"), self.join("red")
        self.dispatch(Dispatch(("red",), b"frame", 2, None, {other: b"part", none: b""}))
        self.assertEqual([one.sent for one in (plain, other, none)], [[b"frame"], [b"part"], []])

    def test_broken(self) -> None:
        """A socket that fails is dropped and counted; the others are sent everything."""
        before, broken, after = self.join("a"), self.join("a", broken=True), self.join("a")
        self.dispatch(to("a"), to("a"))
        self.assertEqual([len(one.sent) for one in (before, after)], [2, 2])
        self.assertEqual((broken.open, self.metrics.total(CLIENT_SEND_ERROR)), (False, 1))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_broken_when_admitted(self) -> None:
        """So is one that cannot be sent what it missed."""
        broken = FakeSocket("a", broken=True)
        self.audience.enter(broken)
        self.audience.admit(broken, b"missed")
        self.assertEqual(
            (broken.open, self.hub.socket_count, len(self.audience.routes)), (False, 0, 0)
        )
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_between_steps(self) -> None:
        """One that leaves between steps is sent nothing more; one that joins, nothing of it."""
        first, *_, last = [self.join("a") for _ in range(40)]
        _, steps = self.audience.dispatch([to("a"), to("a")])
        next(steps)
        self.hub.leave(last)
        late = self.join("a")
        finish(steps)
        self.assertEqual([len(one.sent) for one in (first, last, late)], [2, 0, 0])

    def test_steps(self) -> None:
        """Few sockets are sent everything in one go; many, by steps of at most 16 sends."""
        sockets = [self.join("a") for _ in range(16)]
        _, steps = self.audience.dispatch([to("a")])
        self.assertEqual(list(steps), [])
        sockets += [self.join("a") for _ in range(25)]
        _, steps = self.audience.dispatch([to("a"), to("a")])
        sent = sum(len(one.sent) for one in sockets)
        for _ in steps:
            now = sum(len(one.sent) for one in sockets)
            self.assertLessEqual(now - sent, 16)
            sent = now
        self.assertEqual(sent, 16 + 82 - 82 % 16)

    def test_counts(self) -> None:
        """Events and bytes are counted for each socket, delays only where they are known."""
        self.join("a"), self.join("a")
        self.dispatch(Dispatch(("a",), b"four", 3, 999.0), to("a", frames=b"x"))
        self.assertEqual(self.metrics.total(FRAMES_SENT), 8)
        self.assertEqual(self.metrics.total(FRAME_BYTES_SENT), 10)
        histogram = self.metrics.histograms(DELIVERY_SECONDS)[""]
        self.assertEqual((histogram.count, histogram.sum), (1, 1.0))
