"""The simulated Node.js server of Superset 1.2 to 6.1, against its documented behaviour."""

from collections.abc import Sequence

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.streams.events import StreamId
from gaq_twisted.tools.node.story import Outcome, Position, Publication, Span, Story
from gaq_twisted.tools.node.streams import streams_outcomes
from tests.support.properties import for_any

LONG_AGO = StreamId(1, 0)
RUNNING = Position(LONG_AGO, 0.0)


def published(*times: float) -> list[Publication]:
    """Returns the events of charts named 0, 1 and so on, published at those times."""
    return [
        Publication(str(number), at, _id(at), StreamId(_id(at).ms, 1))
        for number, at in enumerate(times)
    ]


def _id(at: float) -> StreamId:
    return StreamId(1_000_000 + round(1000 * at), 0)


class CutTests(SynchronousTestCase):
    """The browser's connection is cut, and made again 2.5 s later."""

    def outcomes(
        self, publications: Sequence[Publication], last_id: StreamId | None = LONG_AGO
    ) -> dict[str, Outcome]:
        """Returns what becomes of the charts with a cut after one second."""
        story = Story(cut_at=1.0, publications=list(publications))
        return streams_outcomes(story, last_id, RUNNING)

    def test_live(self) -> None:
        """What is published while the socket is open is shown at once."""
        self.assertEqual(
            self.outcomes(published(0.5, 4.0)),
            {"0": Outcome(True, 0.5), "1": Outcome(True, 4.0)},
        )

    def test_first_visit(self) -> None:
        """A browser that has had no event gets none of those that it missed."""
        self.assertEqual(
            self.outcomes(published(1.5, 4.0), last_id=None),
            {"0": Outcome(False, 3.5), "1": Outcome(True, 4.0)},
        )

    def test_first_event_before_the_cut(self) -> None:
        """One event is enough to ask for the later ones."""
        self.assertEqual(
            self.outcomes(published(0.5, 1.5, 4.0), last_id=None)["1"], Outcome(True, 4.0)
        )

    def test_replay_waits_for_an_event(self) -> None:
        """The replay comes with the next event, because the server reads for that first."""
        self.assertEqual(self.outcomes(published(1.5, 3.7))["0"], Outcome(True, 3.7))

    def test_replay_waits_for_the_end_of_the_read(self) -> None:
        """Without another event it comes when the read of the global stream ends, after 5 s."""
        self.assertEqual(self.outcomes(published(1.5)), {"0": Outcome(True, 6.5)})

    def test_id_of_the_other_stream(self) -> None:
        """An event is lost whose id in the channel's stream is below the last global one."""
        seen = Publication("seen", 0.9, StreamId(900, 0), StreamId(902, 0))
        between = Publication("between", 1.1, StreamId(901, 0), StreamId(903, 0))
        later = Publication("later", 1.2, StreamId(904, 0), StreamId(905, 0))
        self.assertEqual(
            self.outcomes([seen, between, later]),
            {
                "seen": Outcome(True, 0.9),
                "between": Outcome(False, 6.2),
                "later": Outcome(True, 6.2),
            },
        )

    def test_nothing_happens(self) -> None:
        """Without a fault every chart is shown when it is ready."""
        story = Story(publications=published(0.5, 1.5))
        self.assertEqual(
            streams_outcomes(story, None, RUNNING),
            {"0": Outcome(True, 0.5), "1": Outcome(True, 1.5)},
        )


class RestartTests(SynchronousTestCase):
    """The server is away for two seconds."""

    def outcomes(self, last_id: StreamId | None, *times: float, end: float = 3.0) -> object:
        """Returns what becomes of charts that are published at those times."""
        story = Story(server_down=Span(1.0, end), publications=published(*times))
        return streams_outcomes(story, last_id, RUNNING)

    def test_return(self) -> None:
        """A browser with a last id gets what was published while the server was away."""
        self.assertEqual(
            self.outcomes(LONG_AGO, 1.5, 3.2, 4.0),
            {"0": Outcome(True, 4.0), "1": Outcome(True, 4.0), "2": Outcome(True, 4.0)},
        )

    def test_nothing_was_read(self) -> None:
        """A server that has read nothing since its start answers with all that there is."""
        self.assertEqual(self.outcomes(LONG_AGO, 1.5), {"0": Outcome(True, 8.0)})

    def test_first_visit(self) -> None:
        """Another one gets nothing of it."""
        self.assertEqual(
            self.outcomes(None, 1.5, 4.0), {"0": Outcome(False, 3.5), "1": Outcome(True, 4.0)}
        )

    def test_second_try(self) -> None:
        """A page that finds no server comes 2.5 s later."""
        self.assertEqual(self.outcomes(None, 1.5, end=4.0), {"0": Outcome(False, 6.0)})

    def test_gives_up(self) -> None:
        """After six tries nothing arrives any more."""
        self.assertEqual(
            self.outcomes(LONG_AGO, 1.5, 40.0, end=17.0),
            {"0": Outcome(False, 16.0), "1": Outcome(False, 40.0)},
        )


class RedisTests(SynchronousTestCase):
    """Redis is away for five seconds; sockets stay."""

    story = Story(redis_down=Span(1.0, 6.0), publications=published(6.1, 8.0))

    def test_goes_on(self) -> None:
        """The server reads on from its last event once it is connected, after 5.25 s."""
        outcomes = streams_outcomes(self.story, None, RUNNING)
        self.assertAlmostEqual(outcomes["0"].at, 6.25)
        self.assertTrue(outcomes["0"].is_shown)
        self.assertEqual(outcomes["1"], Outcome(True, 8.0))

    def test_nothing_was_read(self) -> None:
        """A server that has read nothing since its start misses what comes before."""
        outcomes = streams_outcomes(self.story, None, Position(None, 0.0))
        self.assertFalse(outcomes["0"].is_shown)
        self.assertEqual(outcomes["1"], Outcome(True, 8.0))


class AllTests(SynchronousTestCase):
    """What holds in all stories."""

    @for_any(
        times=st.lists(st.floats(0, 20), max_size=10).map(sorted),
        fault=st.sampled_from(("cut_at", "server_down", "redis_down")),
        at=st.floats(0, 10),
        last_id=st.sampled_from((None, LONG_AGO)),
    )
    def test_each_has_an_outcome(
        self, times: list[float], fault: str, at: float, last_id: StreamId | None
    ) -> None:
        """Each published chart has one outcome, not before it was published.

        While Redis is away nothing is published.
        """
        span = Span(at, at + 2.0)
        story = Story(**{fault: at if fault == "cut_at" else span})  # type: ignore[arg-type]
        kept = [one for one in times if fault != "redis_down" or not span.has(one)]
        story.publications = published(*kept)
        outcomes = streams_outcomes(story, last_id, RUNNING)
        self.assertEqual(outcomes.keys(), {one.chart for one in story.publications})
        for one in story.publications:
            self.assertGreaterEqual(outcomes[one.chart].at, one.at)
