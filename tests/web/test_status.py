"""The status page: its samples, what is sent of them, and what browsers may do with it."""

import json
import re
import shutil
import socket
import subprocess
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from http import HTTPStatus
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

from treq.testing import StubTreq
from twisted.internet.task import Clock
from twisted.test.iosim import connect, makeFakeClient
from twisted.trial.unittest import SynchronousTestCase
from websockets.sync.client import connect as connect_websocket

from gaq_twisted.core import metrics as names
from gaq_twisted.core.metrics import DELIVERY_SECONDS, REACTOR_STALL_SECONDS, Metrics
from gaq_twisted.core.peer import Peer
from gaq_twisted.core.readiness import Follower, ReadinessProbe
from gaq_twisted.core.reasons import ConnectionReason, RequestReason
from gaq_twisted.core.rejections import Rejections
from gaq_twisted.streams.firehose import Progress
from gaq_twisted.web.site import EventSite, resource_tree
from gaq_twisted.web.status.feed import StatusFeed
from gaq_twisted.web.status.incidents import Incidents, Level
from gaq_twisted.web.status.page import StatusPage
from gaq_twisted.web.status.sampler import FIELDS, History, Sample, Sampler, at_most, quantile
from tests.support.memory import Browser, ServerTransport
from tests.support.processes import (
    DEADLINE_SECONDS,
    RedisProcess,
    Server,
    Tab,
    environment,
    free_port,
    wait_until,
)
from tests.support.samples import SECRET

MOST_WATCHERS = 10
KEPT_SAMPLES = 600
GAUGES = {
    names.OPEN_SOCKETS: 3,
    names.OPEN_CHANNELS: 2,
    names.SLOW_SOCKETS: 1,
    names.UNSENT_BYTES: 4096,
    names.TAIL_EVENTS: 7,
    names.TAIL_BYTES: 900,
    names.REDIS_CONNECTIONS: 5,
    names.REDIS_UP: True,
    names.CURSOR_LAG_SECONDS: 0.0,
    names.READ_AGE_SECONDS: 0.25,
    names.DRAINING: False,
}


class Following(Follower):
    """Follows the stream."""

    def progress(self) -> Progress:
        """Return where."""
        return Progress(True, "5-1", 0.0, 0.25)


def metrics_with(**gauges: float) -> Metrics:
    """Return metrics whose gauges can be read; those that are named have that value."""
    metrics = Metrics()
    for metric, value in GAUGES.items():
        metrics.read_from(metric, partial(float, gauges.get(metric.name, value)))
    return metrics


class QuantileTests(SynchronousTestCase):
    """What histograms tell of their values."""

    def test_interpolation(self) -> None:
        """Values are taken to be spread evenly within a bucket, the first of which begins at 0."""
        bounds, counts = (1.0, 2.0, 4.0), (4, 0, 4, 0)
        for part, value in ((0.25, 0.5), (0.5, 1.0), (0.75, 3.0), (1.0, 4.0)):
            self.assertEqual(quantile(bounds, counts, part), value, part)

    def test_none(self) -> None:
        """Without values there is no quantile."""
        self.assertIsNone(quantile((1.0, 2.0), (0, 0, 0), 0.5))

    def test_overflow(self) -> None:
        """Above the last bound nothing more is known."""
        self.assertEqual(quantile((1.0, 2.0), (1, 0, 9), 0.5), 2.0)

    def test_at_most(self) -> None:
        """No value exceeds the bound of its bucket, nor the sum of all."""
        for counts, total, value in (
            ((0, 0, 0), 0.0, 0.0),
            ((10, 0, 0), 0.5, 0.5),
            ((9, 1, 0), 3.5, 2.0),
            ((9, 0, 1), 7.5, 7.5),
        ):
            self.assertEqual(at_most((1.0, 2.0), counts, total), value, counts)


class SamplerTests(SynchronousTestCase):
    """Samples of metrics."""

    def test_rates(self) -> None:
        """Counters are shown by how much they rose a second, since the sample before."""
        metrics = metrics_with()
        metrics.increment(names.FRAMES_SENT, 1_000_000)
        sampler = Sampler(metrics, 100.0, 1.0)
        metrics.increment(names.FRAMES_SENT, 6)
        metrics.increment(names.CLOSED, 2, "1001")
        metrics.increment(names.CLOSED, 1, "1006")
        metrics.increment(names.CONNECTION_REJECTED, 1, "rate")
        metrics.increment(names.CLIENT_BACKPRESSURE_DISCONNECT, 3)
        sample = sampler.sample(102.0, 1.5)
        self.assertEqual(sample.frames_per_second, 3.0)
        self.assertEqual(sample.closes_per_second, 1.5)
        self.assertEqual(sample.connects_per_second, 0.0)
        self.assertEqual(sample.sockets_refused_per_second, 2.0)
        self.assertEqual(sample.slow_clients_dropped, 3)
        self.assertEqual(sample.cpu, 0.25)
        self.assertEqual(sampler.sample(103.0, 1.5).frames_per_second, 0.0)

    def test_clock_is_set_back(self) -> None:
        """Nobody knows what happened a second if time went back, but in the next one."""
        metrics = metrics_with()
        sampler = Sampler(metrics, 100.0, 0.0)
        metrics.increment(names.EVENTS_READ)
        sample = sampler.sample(50.0, 0.0)
        self.assertIsNone(sample.events_read_per_second)
        self.assertIsNone(sample.cpu)
        metrics.increment(names.EVENTS_READ, 4)
        self.assertEqual(sampler.sample(52.0, 0.0).events_read_per_second, 2.0)

    def test_gauges(self) -> None:
        """Gauges are shown as they are."""
        sample = Sampler(metrics_with(), 100.0, 0.0).sample(101.0, 0.0)
        self.assertEqual((sample.at, sample.sockets, sample.channels), (101.0, 3, 2))
        self.assertEqual((sample.slow_sockets, sample.unsent_bytes), (1, 4096))
        self.assertEqual((sample.tail_events, sample.tail_bytes), (7, 900))
        self.assertEqual((sample.redis_up, sample.redis_connections), (True, 5))
        self.assertEqual((sample.lag_seconds, sample.read_age_seconds), (0.0, 0.25))
        self.assertFalse(sample.is_draining)

    def test_never_read(self) -> None:
        """An age that is infinite is told as none, which JSON can say."""
        metrics = metrics_with(**{names.READ_AGE_SECONDS.name: float("inf")})
        self.assertIsNone(Sampler(metrics, 100.0, 0.0).sample(101.0, 0.0).read_age_seconds)

    def test_histograms(self) -> None:
        """Quantiles are of what came since the sample before."""
        metrics = metrics_with()
        for _ in range(1000):
            metrics.observe(DELIVERY_SECONDS, 9.0)
            metrics.observe(REACTOR_STALL_SECONDS, 9.0)
        sampler = Sampler(metrics, 100.0, 0.0)
        for _ in range(100):
            metrics.observe(DELIVERY_SECONDS, 0.02)
        metrics.observe(REACTOR_STALL_SECONDS, 0.003)
        metrics.observe(REACTOR_STALL_SECONDS, 0.2)
        sample = sampler.sample(101.0, 0.0)
        self.assertEqual(sample.delivery_p50_seconds, 0.0175)
        self.assertEqual(sample.delivery_p99_seconds, 0.02485)
        self.assertAlmostEqual(sample.stall_seconds, 0.203)
        sample = sampler.sample(102.0, 0.0)
        self.assertIsNone(sample.delivery_p50_seconds)
        self.assertEqual(sample.stall_seconds, 0.0)

    def test_field_names(self) -> None:
        """Each place of a sample has a name."""
        self.assertEqual(len(FIELDS), len(Sample.__struct_fields__))
        self.assertEqual(FIELDS[:2], ("at", "sockets"))
        self.assertIn("deliveryP50Seconds", FIELDS)


class HistoryTests(SynchronousTestCase):
    """The ring."""

    def test_bound(self) -> None:
        """Only the last rows are kept, and each has the same number for ever."""
        history = History(3)
        self.assertEqual(history.since(0), [])
        for number in range(5):
            history.add(b"%d" % number)
        self.assertEqual(history.end, 5)
        for number, rows in ((0, [b"2", b"3", b"4"]), (4, [b"4"]), (5, []), (99, [])):
            self.assertEqual(history.since(number), rows, number)


class NotesTests(SynchronousTestCase):
    """What is worth a line."""

    def sample(self, at: float, **values: Any) -> Sample:
        """Return a sample of a healthy server, but for those values."""
        healthy = Sampler(metrics_with(), at - 1, 0.0).sample(at, 0.0)
        changed = {name: getattr(healthy, name) for name in Sample.__struct_fields__}
        return Sample(**(changed | values))

    def kinds(self, *samples: Sample) -> list[tuple[str, int]]:
        """Return the kinds and counts of what is noted of samples, the newest first."""
        notes, before = Incidents(), None
        for sample in samples:
            notes.compare(before, sample)
            before = sample
        return [(note.kind, note.count) for note in notes.newest_first()]

    def test_redis(self) -> None:
        """Redis lost and found are two lines each time; what stays as it is has none."""
        up, down = self.sample(1), self.sample(2, redis_up=False)
        self.assertEqual(
            self.kinds(up, up, down, down, up),
            [("Redis up", 1), ("Redis down", 1), ("Redis up", 1)],
        )
        self.assertEqual(self.kinds(down, down), [])

    def test_each(self) -> None:
        """Each fault has a line, with how bad it is."""
        fine = self.sample(1)
        for values, kind, level in (
            ({"gaps": 2}, "gap", Level.BAD),
            ({"invalid_events": 1}, "skipped", Level.WARN),
            ({"send_errors": 1}, "send failed", Level.BAD),
            ({"stall_seconds": 0.3}, "stall", Level.WARN),
            ({"is_draining": True}, "draining", Level.WARN),
        ):
            notes, now = Incidents(), self.sample(2, **values)
            notes.compare(fine, now)
            (note,) = notes.newest_first()
            self.assertEqual((note.at, note.kind, note.level), (2, kind, level))
            version = notes.version
            notes.compare(now, self.sample(3, **{**values, "stall_seconds": 0.0}))
            self.assertEqual(notes.version, version, f"{kind} is told once")

    def test_bound(self) -> None:
        """What goes on is one line with a count; and there are 50 lines at most."""
        fine = self.sample(1)
        stalls = [self.sample(at, stall_seconds=1.0) for at in range(2, 5)]
        self.assertEqual(self.kinds(fine, *stalls), [("stall", 3), ("Redis up", 1)])
        flapping = [self.sample(at, redis_up=at % 2 == 0) for at in range(200)]
        self.assertEqual(len(self.kinds(*flapping)), 50)


class RecentRefusalsTests(SynchronousTestCase):
    """Who was turned away of late."""

    def setUp(self) -> None:
        """Have refused nobody."""
        self.clock = Clock()
        self.refusals = Rejections(Metrics(), self.clock.seconds)

    def test_alike(self) -> None:
        """Those of one network for one reason are one line, which is where the newest is."""
        for peer, reason in (("192.0.2.7", "host"), ("192.0.2.7", "body"), ("192.0.2.8", "host")):
            self.clock.advance(1)
            self.refusals.request(
                Peer(peer), HTTPStatus.BAD_REQUEST, RequestReason(reason), "for the log"
            )
        first, second = self.refusals.newest_first()
        self.assertEqual(
            (first.at, first.count, first.kind, first.reason, first.peer),
            (3, 2, "request", "host", "192.0.2.*"),
        )
        self.assertEqual((second.at, second.count, second.reason), (2, 1, "body"))

    def test_bound(self) -> None:
        """The last 50 are remembered."""
        for number in range(60):
            self.refusals.connection(
                Peer(f"10.0.{number}.1"), 1008, ConnectionReason.RATE, "too much"
            )
        peers = [refusal.peer for refusal in self.refusals.newest_first()]
        self.assertEqual(peers, [f"10.0.{number}.*" for number in range(59, 9, -1)])


class Told(NamedTuple):
    """A Server-Sent Event."""

    name: str
    data: Any
    id: str


def events_of(text: str) -> Iterator[Told]:
    """Yield the whole events of a stream's text."""
    for block in text.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        yield Told(fields["event"], json.loads(fields["data"]), fields.get("id", ""))


class FeedTestCase(SynchronousTestCase):
    """Has a feed on a clock in memory, and the site before it."""

    def setUp(self) -> None:
        """Start it."""
        self.clock = Clock()
        self.clock.advance(1000)
        self.metrics = metrics_with()
        self.refusals = Rejections(self.metrics, self.clock.seconds)
        self.lookout = ReadinessProbe(Following(), 10)
        self.feed = StatusFeed(
            *(self.metrics, self.refusals, self.lookout, {"version": "1.2"}),
            *(self.clock, lambda: 0.0),
        )
        self.tree = resource_tree({b"status": StatusPage(self.feed)})
        self.feed.startService()

    def tick(self, count: int = 1) -> None:
        """Let seconds pass."""
        self.clock.pump([1.0] * count)


class Watching(Browser):
    """A client of the events."""

    def text(self) -> str:
        """Return the stream so far, without HTTP's chunks."""
        _, _, body = self.received.partition(b"\r\n\r\n")
        text = b""
        while body:
            size, _, rest = body.partition(b"\r\n")
            text, body = text + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        return text.decode()

    def dataReceived(self, data: bytes) -> None:
        """Keep the bytes."""
        self.received += data

    def told(self, name: str) -> list[Told]:
        """Return the events of that name."""
        return [event for event in events_of(self.text()) if event.name == name]

    def rows(self) -> list[dict[str, Any]]:
        """Return the samples."""
        fields = self.told("hello")[0].data["fields"]
        rows = [row for event in self.told("samples") for row in event.data["samples"]]
        return [dict(zip(fields, row, strict=True)) for row in rows]


class FeedTests(FeedTestCase):
    """Events, through the real site and a connection in memory."""

    def connect(self) -> Watching:
        """Return a client that has not asked for anything."""
        channel = EventSite(self.tree, reactor=self.clock).buildProtocol(None)
        assert channel is not None
        browser = Watching()
        browser.line = ServerTransport(channel)
        browser.pump = connect(
            *(channel, browser.line, browser, makeFakeClient(browser)), clock=self.clock
        )
        return browser

    def watch(self, method: str = "GET", last_id: str = "") -> Watching:
        """Return a client that has asked for the events."""
        browser = self.connect()
        lines = [f"{method} /status/events HTTP/1.1", "Host: gaq.test"]
        if last_id:
            lines.append(f"Last-Event-ID: {last_id}")
        browser.send("\r\n".join([*lines, "", ""]).encode())
        return browser

    def test_hello(self) -> None:
        """First comes what does not change, at once."""
        browser = self.watch()
        head = browser.received.partition(b"\r\n\r\n")[0].lower()
        self.assertIn(b"200 ok", head)
        for line in (b"content-type: text/event-stream", b"cache-control: no-store"):
            self.assertIn(line, head.split(b"\r\n"))
        (hello,) = browser.told("hello")
        self.assertEqual((hello.data["version"], hello.data["startedAt"]), ("1.2", 1000))
        self.assertEqual(hello.data["fields"], list(FIELDS))

    def test_a_sample_a_second(self) -> None:
        """Then comes a sample every second, with what holds now."""
        browser = self.watch()
        for count in range(1, 4):
            self.metrics.increment(names.FRAMES_SENT, count)
            self.tick()
            browser.pump.flush()
            rows = browser.rows()
            self.assertEqual(len(rows), count)
            self.assertEqual((rows[-1]["at"], rows[-1]["framesPerSecond"]), (1000 + count, count))
        state = browser.told("samples")[-1].data["state"]
        self.assertEqual(state, {"reasons": [], "cursor": "5-1"})

    def test_history(self) -> None:
        """Who comes late gets the last ten minutes."""
        self.tick(KEPT_SAMPLES + 5)
        rows = self.watch().rows()
        self.assertEqual(
            [row["at"] for row in rows], [1000.0 + at for at in range(6, KEPT_SAMPLES + 6)]
        )

    def test_return(self) -> None:
        """Who returns gets what it missed, and all if it was another process that it knew."""
        self.tick(5)
        browser = self.watch()
        last_id = browser.told("samples")[-1].id
        self.tick(2)
        back = self.watch(last_id=last_id)
        self.assertEqual([row["at"] for row in back.rows()], [1006.0, 1007.0])
        for other in ("999-3", "x", "-", f"{last_id}x"):
            self.assertEqual(len(self.watch(last_id=other).rows()), 7, other)

    def test_no_time_out(self) -> None:
        """A stream outlives the site's patience with connections that say nothing."""
        silent = self.connect()
        browser = self.watch()
        self.tick(120)
        silent.pump.flush()
        browser.pump.flush()
        self.assertEqual((silent.lost, browser.lost), (True, False))
        self.assertEqual(len(browser.rows()), 120)

    def test_lists(self) -> None:
        """The lists come when they change."""
        self.tick()
        browser = self.watch()
        self.tick(3)
        browser.pump.flush()
        (first,) = browser.told("lists")
        self.assertEqual(first.data["refusals"], [])
        self.assertEqual([note["kind"] for note in first.data["notes"]], ["Redis up"])
        self.refusals.connection(Peer("192.0.2.7"), 1008, ConnectionReason.RATE, "too much")
        self.tick(3)
        browser.pump.flush()
        _, second = browser.told("lists")
        (refusal,) = second.data["refusals"]
        self.assertEqual(
            refusal,
            {
                **{"at": 1004.0, "count": 1, "kind": "socket", "code": 1008},
                **{"reason": "rate", "peer": "192.0.2.*"},
            },
        )

    def test_draining(self) -> None:
        """A server that is about to stop says so until its end."""
        browser = self.watch()
        self.lookout.is_draining = True
        self.tick()
        browser.pump.flush()
        self.assertEqual(browser.told("samples")[-1].data["state"]["reasons"], ["draining"])

    def test_bound(self) -> None:
        """So many may watch, and no more until one goes."""
        browsers = [self.watch() for _ in range(MOST_WATCHERS)]
        late = self.watch()
        self.assertTrue(late.received.startswith(b"HTTP/1.1 503 "))
        self.assertTrue(late.received.endswith(b"as many pages are open as there may be\n"))
        browsers[0].lose()
        self.assertEqual(len(self.watch().told("hello")), 1)

    def test_slow_watcher(self) -> None:
        """Who reads late gets all in the end; who reads nothing for long is dropped."""
        patient, dead = self.watch(), self.watch()
        channels: list[Any] = [patient.line.protocol, dead.line.protocol]
        for channel in channels:
            channel.pauseProducing()
        self.tick(5)
        for browser in (patient, dead):
            browser.pump.flush()
            self.assertEqual(browser.told("samples"), [])
        channels[0].resumeProducing()
        self.tick()
        channels[0].pauseProducing()
        self.tick(9)
        channels[0].resumeProducing()
        self.tick()
        for browser in (patient, dead):
            browser.pump.flush()
        self.assertEqual([row["at"] for row in patient.rows()], [1001.0 + at for at in range(16)])
        self.assertEqual((patient.line.aborted, dead.line.aborted), (False, True))
        self.assertTrue(dead.lost)

    def test_failure(self) -> None:
        """A sample that cannot be taken is logged, and the next one is tried."""
        browser = self.watch()
        self.metrics.read_from(names.OPEN_SOCKETS, lambda: 1 / 0)
        self.tick()
        self.metrics.read_from(names.OPEN_SOCKETS, lambda: 9)
        self.tick()
        browser.pump.flush()
        self.assertEqual([row["sockets"] for row in browser.rows()], [9])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_stop(self) -> None:
        """The end of the server is the end of all streams, and leaves no timer."""
        browser = self.watch()
        self.tick()
        self.feed.stopService()
        browser.pump.flush()
        self.assertTrue(browser.lost)
        self.assertEqual(len(browser.rows()), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertTrue(self.watch().received.startswith(b"HTTP/1.1 503 "))

    def test_head(self) -> None:
        """HEAD is answered without a stream."""
        browser = self.watch(method="HEAD")
        self.assertTrue(browser.lost)
        self.assertTrue(browser.received.startswith(b"HTTP/1.1 200 "))
        self.assertEqual(browser.received.partition(b"\r\n\r\n")[2], b"")


class PageTests(FeedTestCase):
    """The page."""

    def setUp(self) -> None:
        """Get it."""
        super().setUp()
        client: Any = StubTreq(self.tree)
        response = self.successResultOf(client.get("http://gaq.test/status"))
        self.assertEqual(response.code, 200)
        self.headers = response.headers
        self.page: str = self.successResultOf(response.text())

    def test_headers(self) -> None:
        """It is HTML that nobody may keep or frame."""
        for name, value in (
            ("content-type", "text/html; charset=utf-8"),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
        ):
            self.assertEqual(self.headers.getRawHeaders(name), [value])

    def test_policy(self) -> None:
        """Browsers run its own script and style only, and fetch nothing but its events."""
        (policy,) = self.headers.getRawHeaders("content-security-policy")
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        self.assertEqual(rules["default-src"], "'none'")
        self.assertEqual(rules["connect-src"], "'self'")
        self.assertEqual(rules["frame-ancestors"], "'none'")
        for element, rule in (("script", "script-src"), ("style", "style-src")):
            (text,) = re.findall(f"<{element}>(.*?)</{element}>", self.page, re.DOTALL)
            digest = b64encode(sha256(text.encode()).digest()).decode()
            self.assertEqual(rules[rule], f"'sha256-{digest}'")
        self.assertNotRegex(self.page, r"<[^>]* (?:style|on[a-z]+)=")

    def test_no_assets(self) -> None:
        """It needs nothing from elsewhere, and makes nothing that comes into markup."""
        self.assertEqual(re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", self.page), [])
        self.assertNotIn("innerHTML", self.page)

    def test_names(self) -> None:
        """Each number that the page draws is one that is sent."""
        plots = self.page[self.page.index("const PLOTS") : self.page.index("const REASONS")]
        lines = "".join(re.findall(r"(?:series|more): (\[\[.*?\]\])", plots))
        drawn = set(re.findall(r'\["([a-zA-Z0-9]+)", "', lines))
        self.assertGreater(len(drawn), 15)
        of_its_own = {"tailEventsPart", "tailBytesPart"}
        self.assertEqual(drawn - of_its_own - set(FIELDS), set())
        used = set(re.findall(r"\bsample\.([a-z][A-Za-z0-9]+)", self.page))
        self.assertEqual(used - of_its_own - set(FIELDS), set())


class ProcessTests(SynchronousTestCase):
    """The status of a real server."""

    def setUp(self) -> None:
        """Start a server with a port for who looks from outside."""
        self.redis = RedisProcess(self)
        self.port = free_port()
        self.server = Server(
            self,
            environment(
                self.redis.port,
                INTERNAL_LISTEN=f"tcp:{self.port}:interface=127.0.0.1",
                DRAIN_DELAY_MS="3000",
            ),
        )
        self.server.wait_for_text("following the global stream")

    def ask(self, path: str, port: int | None = None) -> HTTPResponse:
        """Return the answer of the server."""
        connection = HTTPConnection("127.0.0.1", port or self.port, timeout=DEADLINE_SECONDS)
        self.addCleanup(connection.close)
        connection.request("GET", path)
        return connection.getresponse()

    def events(self) -> Iterator[Told]:
        """Yield events as they come."""
        answer = self.ask("/status/events")
        self.assertEqual(answer.status, 200)
        self.addCleanup(answer.close)
        block = ""
        while line := answer.readline():
            block += line.decode()
            if line == b"\n":
                yield from events_of(block)
                block = ""

    def samples(self) -> Iterator[dict[str, Any]]:
        """Yield samples as they come, with what holds."""
        fields: list[str] = []
        for event in self.events():
            if event.name == "hello":
                fields = event.data["fields"]
            elif event.name == "samples":
                for row in event.data["samples"]:
                    yield dict(zip(fields, row, strict=True)) | event.data["state"]

    def test_places(self) -> None:
        """The page is served inside only."""
        for path in ("/status", "/status/events"):
            self.assertEqual(self.ask(path, self.server.port).status, 404)
        answer = self.ask("/status")
        self.assertEqual(answer.status, 200)
        self.assertIn(b"</html>", answer.read())

    def test_not_without_inside(self) -> None:
        """A server with one port for all serves no status."""
        server = Server(self, environment(self.redis.port))
        server.wait_for_text("following the global stream")
        for path in ("/status", "/status/events"):
            self.assertEqual(self.ask(path, server.port).status, 404)

    def test_life(self) -> None:
        """Samples tell of sockets, events, refusals, Redis and the end, about one a second."""
        samples = self.samples()

        def until(name: str, condition: Any) -> dict[str, Any]:
            """Return the next sample that has what is waited for."""
            for _ in range(int(DEADLINE_SECONDS)):
                sample = next(samples)
                if condition(sample):
                    return sample
            raise AssertionError(f"{name}: {sample}")

        with Tab(self.server.port) as tab:
            until("socket", lambda sample: (sample["sockets"], sample["channels"]) == (1, 1))
            (last_id,) = self.redis.publish("one")
            self.assertEqual(tab.jobs(1), ["one"])
            sample = until("event", lambda sample: sample["cursor"] == last_id)
            self.assertEqual((sample["redisUp"], sample["redisConnections"]), (True, 1))
            self.assertEqual(sample["tailEvents"], 1)
        with socket.create_connection(("127.0.0.1", self.server.port)) as client:
            client.sendall(b"HELO\r\n\r\n")
            until("refusal", lambda sample: sample["requestsRefusedPerSecond"])
        self.redis.kill()
        sample = until("down", lambda sample: not sample["redisUp"])
        self.assertEqual(sample["reasons"], ["Redis cannot be read"])
        self.redis.start()
        until("up", lambda sample: sample["redisUp"])
        first, second, third = (next(samples)["at"] for _ in range(3))
        self.assertLess(first, second)
        self.assertLess(second, third)
        self.server.process.terminate()
        until("end", lambda sample: sample["isDraining"] and sample["reasons"] == ["draining"])
        rest = list(samples)
        self.assertTrue(all(sample["isDraining"] for sample in rest))
        self.assertEqual(self.server.wait(), 0)
        self.assertNotIn("Traceback", self.server.text())

    def test_no_channels(self) -> None:
        """Nothing that is sent names a channel, a token or a whole address."""
        events = self.events()
        with Tab(self.server.port) as tab:
            self.redis.publish("one")
            tab.jobs(1)
            with socket.create_connection(("127.0.0.1", self.server.port)) as client:
                client.sendall(b"HELO\r\n\r\n")
                told = [next(events)]
                while not (told[-1].name == "lists" and told[-1].data["refusals"]):
                    told.append(next(events))
            text = repr(told)
            for secret in ("090916f0", SECRET, "127.0.0.1"):
                self.assertNotIn(secret, text)


class Chromium:
    """A page in a real browser without a window, led by its DevTools protocol."""

    program = shutil.which("chromium") or shutil.which("google-chrome")

    def __init__(self, test: SynchronousTestCase, url: str) -> None:
        """Open the page; the test ends the browser."""
        assert self.program is not None
        directory = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        test.addCleanup(directory.cleanup)
        process = subprocess.Popen(
            [
                *(self.program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
                *("--no-first-run", "--disable-background-networking", "--disable-sync"),
                *("--disable-component-update", "--remote-debugging-port=0"),
                *(f"--user-data-dir={directory.name}", "about:blank"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        test.addCleanup(process.wait)
        test.addCleanup(process.kill)
        ready = Path(directory.name) / "DevToolsActivePort"
        wait_until(
            lambda: ready.exists() and "\n" in ready.read_text(),
            lambda: "the browser did not start",
        )
        port = ready.read_text().split("\n")[0]
        ask = Request(f"http://127.0.0.1:{port}/json/new?{url}", method="PUT")
        with urlopen(ask, timeout=DEADLINE_SECONDS) as answer:
            tools = json.load(answer)["webSocketDebuggerUrl"]
        self._tools = connect_websocket(tools, max_size=None, open_timeout=DEADLINE_SECONDS)
        test.addCleanup(self._tools.close)
        self._count = 0
        self.complaints: list[str] = []
        """What the browser has to say against the page: errors, and breaches of its policy."""
        self.command("Log.enable")
        self.command("Runtime.enable")

    def command(self, method: str, **parameters: object) -> Any:
        """Return the result of a command."""
        self._count += 1
        command = {"id": self._count, "method": method, "params": parameters}
        self._tools.send(json.dumps(command))
        while True:
            message = json.loads(self._tools.recv(DEADLINE_SECONDS))
            if message.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(message["params"]))
            elif message.get("method") == "Log.entryAdded":
                entry = message["params"]["entry"]
                # Where the server is away, it says so.
                if entry["source"] != "network":
                    self.complaints.append(entry["text"])
            elif message.get("id") == self._count:
                return message["result"]

    def value(self, script: str) -> Any:
        """Return what a piece of script results in."""
        result = self.command("Runtime.evaluate", expression=script, returnByValue=True)
        return result["result"].get("value")

    def wait_for(self, text: str, selector: str) -> None:
        """Wait until an element shows a text."""
        script = f"(document.querySelector({json.dumps(selector)}) || {{}}).textContent"
        wait_until(
            lambda: self.value(script) == text,
            lambda: f"{selector} is {self.value(script)!r}, not {text!r}; {self.complaints}",
        )


class BrowserTests(SynchronousTestCase):
    """The page in a real browser."""

    if Chromium.program is None:
        skip = "there is no Chromium here"

    def test_page(self) -> None:
        """It shows what the server does, that it is away, and by itself that it is back."""
        redis, port = RedisProcess(self), free_port()
        environ = environment(redis.port, INTERNAL_LISTEN=f"tcp:{port}:interface=127.0.0.1")
        server = Server(self, environ)
        server.wait_for_text("following the global stream")
        browser = Chromium(self, f"http://127.0.0.1:{port}/status")
        browser.wait_for("live", "#link")
        browser.wait_for("ready", "#readiness")
        with Tab(server.port) as tab:
            browser.wait_for("1", "#plots dd")
            (last_id,) = redis.publish("one")
            tab.jobs(1)
            browser.wait_for(last_id, "#cursor")
        lines = "[...document.querySelectorAll('#plots path.first')].map(p => p.getAttribute('d'))"
        plots = browser.value(lines)
        self.assertEqual(len(plots), 12)
        self.assertFalse([line for line in plots if re.search("NaN|undefined|Infinity", line)])
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"HELO\r\n\r\n")
            browser.wait_for("not HTTP/1.1", "#refusals td:nth-child(4)")
        redis.kill()
        browser.wait_for("not ready: Redis cannot be read", "#readiness")
        browser.wait_for("down", "#redis")
        redis.start()
        browser.wait_for("ready", "#readiness")
        for width in (390, 768, 1280, 1920):
            browser.command(
                "Emulation.setDeviceMetricsOverride",
                **{"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": False},
            )
            self.assertLessEqual(browser.value("document.documentElement.scrollWidth"), width)
        before = browser.value("source.close(); setLink('lost'); connect(); samples.length")
        browser.wait_for("live", "#link")
        self.assertGreaterEqual(browser.value("samples.length"), before)
        self.assertTrue(browser.value("samples.every((s, i) => !i || s.at > samples[i - 1].at)"))
        server.stop()
        browser.wait_for("reconnecting", "#link")
        browser.wait_for("was ready", "#readiness")
        self.assertIn("no data", browser.value("document.title"))
        again = Server(self, environ)
        browser.wait_for("live", "#link")
        self.assertLess(browser.value("samples.length"), 30)
        self.assertEqual(browser.complaints, [])
        self.assertEqual(again.stop(), 0)
