"""When the subscriber subscribes, probes, and drops the subscription."""

from collections.abc import Callable, Sequence

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.realtime.subscriber import Subscriber
from gaq_twisted.redis.errors import RedisError


class FakeSubscription:
    """A subscription whose replies the test gives."""

    def __init__(self) -> None:
        self.on_loss: Callable[[], None] = lambda: None
        self.asked: list[str] = []
        self.is_closed = False
        self.translates_cancelling = False
        self._reply: Deferred[None] | None = None

    async def open(self) -> None:
        """Asks to subscribe."""
        await self._ask("open")

    async def probe(self) -> None:
        """Probes."""
        await self._ask("probe")

    def close(self) -> None:
        """Records the end."""
        self.is_closed = True

    def answer(self) -> None:
        """Replies to the last question."""
        assert self._reply is not None
        self._reply.callback(None)

    def fail(self, error: Exception) -> None:
        """Fails the last question."""
        assert self._reply is not None
        self._reply.errback(error)

    async def _ask(self, question: str) -> None:
        self.asked.append(question)
        self._reply = Deferred()
        try:
            await self._reply
        except CancelledError:
            if self.translates_cancelling:
                raise RedisError("closed") from None
            raise


class FakeSink:
    """Records the calls, and may fail."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.fails_at: Sequence[str] = ()

    def subscribed(self) -> None:
        """Records the call."""
        self._note("subscribed")

    def lost(self) -> None:
        """Records the call."""
        self._note("lost")

    def stopped(self) -> None:
        """Records the call."""
        self._note("stopped")

    def _note(self, what: str) -> None:
        self.heard.append(what)
        if what in self.fails_at:
            raise ZeroDivisionError


class SubscriberTests(SynchronousTestCase):
    """A subscriber on a clock, with a subscription whose replies the test gives."""

    def setUp(self) -> None:
        """Starts it."""
        self.clock = Clock()
        self.subscription = FakeSubscription()
        self.sink = FakeSink()
        self.subscriber = Subscriber(self.subscription, self.sink, self.clock)
        self.subscriber.startService()

    def stop(self) -> None:
        """Stops the subscriber, and checks that nothing goes on."""
        stopped = self.subscriber.stopService()
        assert stopped is not None
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertTrue(self.subscription.is_closed)
        self.assertEqual(self.sink.heard[-1], "stopped")
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_probes(self) -> None:
        """A subscription that holds is probed 3 s after each reply."""
        self.subscription.answer()
        self.clock.advance(2.9)
        self.assertEqual(self.subscription.asked, ["open"])
        self.clock.advance(0.1)
        self.assertEqual(self.subscription.asked, ["open", "probe"])
        self.clock.advance(2)
        self.subscription.answer()
        self.clock.advance(2.9)
        self.assertEqual(len(self.subscription.asked), 2)
        self.clock.advance(0.1)
        self.assertEqual(len(self.subscription.asked), 3)
        self.assertEqual(self.sink.heard, ["subscribed"])
        self.stop()

    def test_loss(self) -> None:
        """A lost connection is probed at once, and replaced at once."""
        self.subscription.answer()
        self.subscription.on_loss()
        self.assertEqual(self.subscription.asked, ["open", "probe"])
        self.subscription.fail(RedisError("lost"))
        self.assertFalse(self.subscriber.is_subscribed)
        self.clock.advance(0)
        self.assertEqual(self.subscription.asked, ["open", "probe", "open"])
        self.subscription.answer()
        self.assertEqual(self.sink.heard, ["subscribed", "lost", "subscribed"])
        self.assertTrue(self.subscriber.is_subscribed)
        self.stop()

    def test_loss_while_probing(self) -> None:
        """A loss that a probe did not see leads to another probe at once."""
        self.subscription.answer()
        self.clock.advance(3)
        self.subscription.on_loss()
        self.subscription.answer()
        self.assertEqual(self.subscription.asked, ["open", "probe", "probe"])
        self.stop()

    def test_retries(self) -> None:
        """Retries come at once, after 0.25 and 0.5 s, then each second; each outage starts over."""
        for _ in range(2):
            for delay in (0, 0.25, 0.5, 1, 1, 1):
                count = len(self.subscription.asked)
                self.subscription.fail(RedisError("refused"))
                if delay:
                    self.clock.advance(delay - 0.01)
                    self.assertEqual(len(self.subscription.asked), count)
                    self.clock.advance(0.01)
                else:
                    self.clock.advance(0)
                self.assertEqual(self.subscription.asked[count:], ["open"])
            self.subscription.answer()
            self.clock.advance(1)
            self.subscription.on_loss()
        self.assertEqual(self.sink.heard, ["subscribed", "lost", "subscribed"])
        self.stop()

    def test_lost_at_once(self) -> None:
        """A server that accepts a subscription and ends it at once is retried after a pause."""
        self.subscription.answer()
        asked = []
        for _ in range(4):
            self.subscription.on_loss()
            self.subscription.fail(RedisError("closed"))
            self.clock.advance(0)
            asked.append(self.subscription.asked[-1])
            self.clock.advance(1)
            self.subscription.answer()
        self.assertEqual(asked, ["open", "probe", "probe", "probe"])
        self.stop()

    def test_logs_each_state_once(self) -> None:
        """Each state of Redis is logged once in an outage, and its end with the duration."""
        with capturedLogs() as events:
            for state in ("away", "away", "loading", "away"):
                self.subscription.fail(RedisError("text", state))
                self.clock.advance(1)
            self.subscription.answer()
        self.assertEqual(
            [event["event"] for event in events],
            ["cannot_subscribe", "cannot_subscribe", "subscribed"],
        )
        self.assertEqual(_last(events)["seconds"], 4)
        self.stop()

    def test_internal_errors(self) -> None:
        """Neither an error of the subscription nor one of the sink ends the subscriber."""
        self.subscription.fail(ZeroDivisionError())
        self.clock.advance(0)
        self.subscription.fail(CancelledError())
        self.clock.advance(0.25)
        self.sink.fails_at = ("subscribed", "lost")
        self.subscription.answer()
        self.assertFalse(self.subscriber.is_subscribed)
        self.sink.fails_at = ()
        self.clock.advance(1)
        self.subscription.answer()
        self.assertTrue(self.subscriber.is_subscribed)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError, CancelledError)), 4)
        self.stop()

    def test_stops_while_it_subscribes(self) -> None:
        """It can be stopped while it waits for Redis."""
        self.stop()

    def test_stops_while_it_waits_for_a_retry(self) -> None:
        """It can be stopped between two tries."""
        self.subscription.fail(RedisError("refused"))
        self.stop()

    def test_stops_while_it_probes(self) -> None:
        """It can be stopped during a probe, which does not count as a loss."""
        self.subscription.answer()
        self.clock.advance(3)
        self.subscription.translates_cancelling = True
        self.stop()
        self.assertEqual(self.sink.heard, ["subscribed", "stopped"])


def _last(events: Sequence[LogEvent]) -> LogEvent:
    return events[-1]
