"""What the Node.js server of Superset 1.2 to 6.1 would have delivered, simulated.

docs/migrating.md documents the behaviour that the simulation follows, and ioredis its own retries:

- The server reads the global stream from `$`, which is whatever comes next, and remembers the id of
  the last event that it has read. It has no other memory.
- An event goes to the sockets of its channel that are open when it is read.
- A browser that comes back with a `last_id` gets the events of its channel's stream after that id,
  up to the last event that the server has read. The ids of the two streams differ. A browser
  without a `last_id` gets no earlier events.
- That read waits behind the server's blocking read of the global stream, which ends with the next
  event, or after 5 s.
- ioredis connects to Redis again 50 ms after a loss, then 100 ms after that, and so on up to 2 s.

Superset's page tries again 2.5 s after it has lost a connection or could not make one, six times
at most.
"""

from collections.abc import Callable
from functools import partial

from gaq_twisted.streams.events import StreamId
from gaq_twisted.tools.node.story import Outcome, Position, Publication, Story

_BLOCK_SECONDS = 5.0
_RETRY_SECONDS = 2.5
_MOST_RETRIES = 6
_RECONNECT_STEP_SECONDS = 0.05
_MOST_RECONNECT_SECONDS = 2.0


def streams_outcomes(
    story: Story, last_id: StreamId | None, position: Position
) -> dict[str, Outcome]:
    """Returns the outcome of each chart whose event has been published.

    An outcome may be in the future: it is what happens if nothing more is published.

    Args:
        story: what happened.
        last_id: the id of the last event that the browser had when the dashboard began to load.
        position: where the server was in the global stream by then.
    """
    simulation = _Simulation(last_id, position)
    steps: list[tuple[float, Callable[[float], None]]] = [
        (one.at, partial(simulation.publish, one)) for one in story.publications
    ]
    closed_at = story.cut_at
    if story.redis_down is not None:
        steps.append((story.redis_down.start, simulation.lose_redis))
        steps.append((_reconnected_at(story), simulation.find_redis))
    if story.server_down is not None:
        closed_at = story.server_down.start
        steps.append((closed_at, simulation.stop))
        steps.append((story.server_down.end, simulation.start))
    if closed_at is not None:
        steps.append((closed_at, simulation.close))
        last_at, finds_server = _last_try(story, closed_at)
        steps.append((last_at, simulation.open if finds_server else simulation.give_up))
    # Sorting is stable, so what stops comes before what is published at that time.
    for at, step in sorted(reversed(steps), key=lambda one: one[0]):
        simulation.advance(at)
        step(at)
    simulation.advance(float("inf"))
    return simulation.outcomes


class _Simulation:
    """The server, and the page of one browser."""

    def __init__(self, last_id: StreamId | None, position: Position) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self._last_id = last_id
        self._newest, self._since = position
        self._is_running = True
        self._has_redis = True
        self._is_open = True
        self._has_given_up = False
        self._in_stream: list[Publication] = []
        self._unread: list[Publication] = []
        # What a returning browser asked for, and when the answer comes if no event does.
        self._asked: tuple[StreamId, StreamId | None] | None = None
        self._answer_at = 0.0

    def advance(self, to: float) -> None:
        """Advances the time."""
        if self._asked is not None and self._answer_at <= to:
            self._answer(self._answer_at)

    def publish(self, publication: Publication, at: float) -> None:
        """An event is written to both streams."""
        self._in_stream.append(publication)
        if self._has_given_up:
            self._lose(publication, at)
        if not self._is_running:
            return
        if self._has_redis:
            self._read(publication, at)
        else:
            self._unread.append(publication)

    def lose_redis(self, at: float) -> None:
        """The connection to Redis is lost."""
        self._has_redis = False

    def find_redis(self, at: float) -> None:
        """The server is connected to Redis again, and reads on."""
        self._has_redis = True
        self._since = at
        unread, self._unread = self._unread, []
        for publication in unread:
            if self._newest is not None:
                self._read(publication, at)
            else:
                self._lose(publication, at)

    def stop(self, at: float) -> None:
        """The server ends."""
        self._is_running = False

    def start(self, at: float) -> None:
        """The next server starts."""
        self._is_running = True
        self._newest, self._since = None, at

    def close(self, at: float) -> None:
        """The browser's connection ends."""
        self._is_open = False

    def give_up(self, at: float) -> None:
        """The page stops trying."""
        self._has_given_up = True
        self._lose_all(at)

    def open(self, at: float) -> None:
        """The browser is back."""
        self._is_open = True
        if self._last_id is None:
            self._lose_all(at)
            return
        self._asked = self._last_id, self._newest
        blocks = (at - self._since) // _BLOCK_SECONDS + 1
        self._answer_at = self._since + blocks * _BLOCK_SECONDS

    def _read(self, publication: Publication, at: float) -> None:
        self._newest, self._since = publication.global_id, at
        if self._is_open:
            self._show(publication, at, publication.global_id)
        if self._asked is not None:
            self._answer(at)

    def _answer(self, at: float) -> None:
        """Answers a returning browser."""
        assert self._asked is not None
        (after, until), self._asked = self._asked, None
        for publication in self._in_stream:
            id_ = publication.channel_id
            if after < id_ and (until is None or id_ <= until):
                self._show(publication, at, id_)
            else:
                self._lose(publication, at)

    def _show(self, publication: Publication, at: float, id_: StreamId) -> None:
        self._last_id = id_
        self.outcomes.setdefault(publication.chart, Outcome(True, at))

    def _lose_all(self, at: float) -> None:
        for publication in self._in_stream:
            self._lose(publication, at)

    def _lose(self, publication: Publication, at: float) -> None:
        """No event arrives any more that has not been shown by now."""
        self.outcomes.setdefault(publication.chart, Outcome(False, at))


def _reconnected_at(story: Story) -> float:
    """Returns when ioredis is connected again."""
    assert story.redis_down is not None
    at, delay = story.redis_down.start, 0.0
    while at < story.redis_down.end:
        delay = min(delay + _RECONNECT_STEP_SECONDS, _MOST_RECONNECT_SECONDS)
        at += delay
    return at


def _last_try(story: Story, closed_at: float) -> tuple[float, bool]:
    """Returns when the page tries to connect for the last time, and whether it finds the server."""
    at = closed_at
    for _ in range(_MOST_RETRIES):
        at += _RETRY_SECONDS
        if story.server_down is None or not story.server_down.has(at):
            return at, True
    return at, False
