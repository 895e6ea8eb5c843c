"""A status feed on a clock in memory, and clients of its events."""

from collections.abc import Mapping
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core.rejections import Rejections
from gaq_twisted.web.site import resource_tree
from gaq_twisted.web.status.feed import StatusFeed
from gaq_twisted.web.status.page import StatusJson, StatusPage
from tests.support.memory import Browser
from tests.support.status import (
    SentEvent,
    about,
    ask_redis,
    events_of,
    metrics_with,
    streams_contents,
)


class FeedTestCase(SynchronousTestCase):
    """Has a started feed on a clock in memory, and the page that it belongs to."""

    def setUp(self) -> None:
        """Starts the feed."""
        self.clock = Clock()
        self.clock.advance(1000)
        self.metrics = metrics_with()
        self.refusals = Rejections(self.metrics, self.clock.seconds)
        self.reasons: list[str] = []
        self.reads = 0
        """How often the state was read."""
        self.answers = 0
        """How often Redis was asked what it is."""
        self.feed = StatusFeed(
            self.metrics,
            self.refusals,
            streams_contents(self.ask_redis),
            about(),
            self.read_state,
            self.clock,
            lambda: 0.0,
        )
        self.tree = resource_tree(
            {b"status": StatusPage(self.feed), b"status.json": StatusJson(self.feed)}
        )
        self.feed.startService()

    def read_state(self) -> Mapping[str, object]:
        """Returns the state of the server."""
        self.reads += 1
        return {"reasons": self.reasons, "cursor": "5-1"}

    async def ask_redis(self) -> Mapping[str, str]:
        """Returns what a Redis server says of itself."""
        self.answers += 1
        return await ask_redis()

    def tick(self, count: int = 1) -> None:
        """Lets seconds pass."""
        self.clock.pump([1.0] * count)


class Watching(Browser):
    """A client of the events."""

    def text(self) -> str:
        """Returns the stream so far, without HTTP's chunks."""
        _, _, body = self.received.partition(b"\r\n\r\n")
        text = b""
        while body:
            size, _, rest = body.partition(b"\r\n")
            text, body = text + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        return text.decode()

    def dataReceived(self, data: bytes) -> None:
        """Keeps the bytes."""
        self.received += data

    def events(self, name: str) -> list[SentEvent]:
        """Returns the events of that name."""
        return [event for event in events_of(self.text()) if event.name == name]

    def rows(self) -> list[dict[str, Any]]:
        """Returns the samples."""
        fields = self.events("hello")[0].data["fields"]
        rows = [row for event in self.events("samples") for row in event.data["samples"]]
        return [dict(zip(fields, row, strict=True)) for row in rows]
