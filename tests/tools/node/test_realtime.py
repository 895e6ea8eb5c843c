"""The simulated Node.js server of Superset 7, against its documented behaviour."""

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.tools.node.realtime import realtime_outcomes
from gaq_twisted.tools.node.story import Outcome, Span, Story

ENDED = {"before": 0.5, "meanwhile": 1.2, "after": 9.0}


class RealtimeTests(SynchronousTestCase):
    """What a page shows of three charts, with a fault after one second."""

    def test_nothing_happens(self) -> None:
        """Without a fault each chart is shown when its query has ended."""
        self.assertEqual(
            realtime_outcomes(Story(ended=ENDED)),
            {chart: Outcome(True, at) for chart, at in ENDED.items()},
        )

    def test_cut(self) -> None:
        """A page that is back asks for what has ended meanwhile."""
        self.assertEqual(
            realtime_outcomes(Story(cut_at=1.0, ended=ENDED)),
            {
                "before": Outcome(True, 0.5),
                "meanwhile": Outcome(True, 2.5),
                "after": Outcome(True, 9.0),
            },
        )

    def test_restart(self) -> None:
        """A page whose first try fails comes back with the second one."""
        story = Story(server_down=Span(1.0, 3.0), ended=ENDED)
        self.assertEqual(realtime_outcomes(story)["meanwhile"], Outcome(True, 5.0))

    def test_short_outage(self) -> None:
        """The server refuses upgrades for 3.5 s after Redis is back."""
        story = Story(redis_down=Span(1.0, 1.2), ended=ENDED)
        self.assertEqual(realtime_outcomes(story)["meanwhile"], Outcome(True, 5.0))

    def test_outage(self) -> None:
        """The third end in a row fails all charts that wait."""
        story = Story(redis_down=Span(1.0, 6.0), ended=ENDED)
        self.assertEqual(
            realtime_outcomes(story),
            {
                "before": Outcome(True, 0.5),
                "meanwhile": Outcome(False, 5.0),
                "after": Outcome(False, 9.0),
            },
        )
