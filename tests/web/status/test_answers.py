"""Facts that the page asks for."""

from collections.abc import Mapping

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core.dashboard import Question
from gaq_twisted.web.status.answers import Answers


class AnswersTests(SynchronousTestCase):
    """Answers of something that takes its time."""

    def setUp(self) -> None:
        """Has a question that was not asked yet."""
        self.asked: list[Deferred[Mapping[str, str]]] = []
        self.answers = Answers([Question("connections", "isUp", self.ask)])

    async def ask(self) -> Mapping[str, str]:
        """Returns the answer, later."""
        self.asked.append(Deferred())
        return await self.asked[-1]

    def refresh(self, connections: int, *, is_up: bool = True) -> None:
        """Somebody looks."""
        self.answers.refresh({"connections": connections, "isUp": is_up})

    def test_again_after_a_change(self) -> None:
        """A question is asked once, and again when its column has changed."""
        self.refresh(1)
        self.refresh(1)
        self.assertEqual((len(self.asked), self.answers.facts), (1, {}))
        self.asked[0].callback({"version": "7", "server": "a"})
        self.refresh(1)
        self.assertEqual(len(self.asked), 1)
        self.refresh(2)
        self.asked[1].callback({"version": "8"})
        self.assertEqual(self.answers.facts, {"version": "8", "server": "a"})

    def test_not_while_down(self) -> None:
        """Nothing is asked while nobody could answer."""
        self.refresh(0, is_up=False)
        self.assertEqual(self.asked, [])
        self.refresh(0)
        self.assertEqual(len(self.asked), 1)
        self.asked[0].callback({})

    def test_one_at_a_time(self) -> None:
        """A question is not asked again before it was answered."""
        for connections in (1, 2, 3):
            self.refresh(connections)
        self.assertEqual(len(self.asked), 1)
        self.asked[0].callback({})
        self.refresh(3)
        self.assertEqual(len(self.asked), 2)
        self.asked[1].callback({})

    def test_failure(self) -> None:
        """An answer that fails unexpectedly is logged, and what was known stays."""
        self.refresh(1)
        self.asked[0].errback(ZeroDivisionError())
        self.assertEqual(self.answers.facts, {})
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_stop(self) -> None:
        """What was asked is cancelled at the end."""
        self.refresh(1)
        self.answers.stop()
        self.assertTrue(self.asked[0].called)
        self.answers.stop()
