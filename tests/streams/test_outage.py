"""The failures in a row of the reader of the global stream."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.redis.errors import RedisError
from gaq_twisted.streams.outage import Outage


class OutageTests(SynchronousTestCase):
    """Failures, waits and log lines; the waits are 1, 2, 4, … seconds."""

    def setUp(self) -> None:
        """Begin without failures."""
        self.clock = Clock()
        self.outage = Outage(self.clock, lambda failures: 2.0**failures)

    def fail_once(self, error: Exception, wait_seconds: float) -> list[str]:
        """Fail, check how long the wait is, and return the errors that were logged."""
        with capturedLogs() as logs:
            waiting = Deferred.fromCoroutine(self.outage.wait_after(error))
            self.clock.advance(wait_seconds - 0.1)
            self.assertNoResult(waiting)
            self.clock.advance(0.1)
            self.successResultOf(waiting)
        return [line["error"] for line in logs]

    def test_waits(self) -> None:
        """Waits grow with each failure, and start again after the end."""
        for _ in range(2):
            self.assertFalse(self.outage)
            for wait_seconds in (1, 2, 4):
                self.fail_once(RedisError("away"), wait_seconds)
                self.assertTrue(self.outage)
            self.outage.end()

    def test_log(self) -> None:
        """Each state of Redis is logged once in an outage, in the words of its first error."""
        first, again = RedisError("GET: away", "away"), RedisError("PUT: away", "away")
        for _ in range(2):
            self.assertEqual(self.fail_once(first, 1), ["GET: away"])
            self.assertEqual(self.fail_once(again, 2), [])
            self.assertEqual(self.fail_once(ValueError("a bug"), 4), ["a bug"])
            with capturedLogs() as logs:
                self.outage.end()
                self.outage.end()
            self.assertEqual([line["event"] for line in logs], ["following_again"])

    def test_cancel(self) -> None:
        """A cancelled wait ends at once, without an error."""
        waiting = Deferred.fromCoroutine(self.outage.wait_after(RedisError("away")))
        waiting.cancel()
        self.successResultOf(waiting)
        self.assertEqual(self.clock.getDelayedCalls(), [])
