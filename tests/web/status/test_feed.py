"""What is sent to the open status pages."""

from typing import Any

from twisted.test.iosim import connect, makeFakeClient

from gaq_twisted.core import metrics as core
from gaq_twisted.core.peer import Peer
from gaq_twisted.core.reasons import ConnectionReason
from gaq_twisted.web.site import EventSite
from tests.support.feed import FeedTestCase, Watching
from tests.support.memory import ServerTransport
from tests.support.status import streams_contents

MOST_WATCHERS = 10
KEPT_SAMPLES = 600


class FeedTests(FeedTestCase):
    """Events, through the real site and a connection in memory."""

    def connect(self) -> Watching:
        """Returns a client that has not asked for anything."""
        channel = EventSite(self.tree, reactor=self.clock).buildProtocol(None)
        assert channel is not None
        browser = Watching()
        browser.line = ServerTransport(channel)
        client = makeFakeClient(browser)
        browser.pump = connect(channel, browser.line, browser, client, clock=self.clock)
        return browser

    def watch(self, method: str = "GET", last_id: str = "", origin: str = "") -> Watching:
        """Returns a client that has asked for the events."""
        browser = self.connect()
        lines = [f"{method} /status/events HTTP/1.1", "Host: gaq.test"]
        if last_id:
            lines.append(f"Last-Event-ID: {last_id}")
        if origin:
            lines.append(f"Origin: {origin}")
        browser.send("\r\n".join([*lines, "", ""]).encode())
        return browser

    def test_hello(self) -> None:
        """The first event, sent at once, holds what does not change."""
        browser = self.watch()
        head = browser.received.partition(b"\r\n\r\n")[0].lower()
        self.assertIn(b"200 ok", head)
        for line in (b"content-type: text/event-stream", b"cache-control: no-store"):
            self.assertIn(line, head.split(b"\r\n"))
        (hello,) = browser.events("hello")
        self.assertEqual((hello.data["version"], hello.data["startedAt"]), ("1.2", 1000))
        columns = [column.name for column in streams_contents().columns]
        self.assertEqual(hello.data["fields"], ["at", *columns, "cpu"])

    def test_hello_describes_the_page(self) -> None:
        """It describes what is plotted and listed, in the order of the page."""
        (hello,) = self.watch().events("hello")
        self.assertEqual(
            [plot["title"] for plot in hello.data["plots"]],
            [
                "Sockets",
                "Opened and closed",
                "Events",
                "Delivery, from Redis to socket",
                "Frames sent",
                "Bytes sent",
                "Rejected",
                "Slow sockets",
                "Redis",
                "Tail",
                "Reactor stalls",
                "CPU",
            ],
        )
        tiles = {tile["title"]: tile["rows"] for tile in hello.data["tiles"]}
        self.assertEqual(
            {title: [row["label"] for row in rows] for title, rows in tiles.items()},
            {
                "Redis": [
                    "server",
                    "version",
                    "last answer",
                    "behind by",
                    "connections opened",
                    "cursor",
                ],
                "Since the start": [
                    "Redis outages",
                    "Redis down for",
                    "gaps",
                    "entries skipped",
                    "writes failed",
                    "slow clients dropped",
                    "rejected",
                ],
            },
        )
        self.assertEqual(
            [row["label"] for row in hello.data["process"]], ["tail holds", "tail memory"]
        )
        self.assertEqual(hello.data["up"], ["redisUp"])
        self.assertEqual((hello.data["tailMaxEvents"], hello.data["tailMaxBytes"]), (1000, 100_000))

    def test_a_sample_a_second(self) -> None:
        """A sample follows every second, with the present state."""
        browser = self.watch()
        for count in range(1, 4):
            self.metrics.increment(core.FRAMES_SENT, count)
            self.tick()
            browser.pump.flush()
            rows = browser.rows()
            self.assertEqual(len(rows), count)
            self.assertEqual((rows[-1]["at"], rows[-1]["framesPerSecond"]), (1000 + count, count))
        state = browser.events("samples")[-1].data["state"]
        self.assertEqual(state, {"reasons": [], "cursor": "5-1", "redisVersion": "Valkey 8.1.0"})

    def test_server(self) -> None:
        """What the server is comes at once, and then every ten seconds."""
        browser = self.watch()
        self.tick(20)
        browser.pump.flush()
        facts = browser.events("server")
        self.assertEqual([one.data["maxFiles"] for one in facts], [1024] * 3)
        self.assertTrue(facts[0].data["warnings"][0].startswith("allowedOrigins is empty"))

    def test_unwatched(self) -> None:
        """While no page is open, nothing is found out but a sample."""
        self.tick(30)
        self.assertEqual((self.reads, self.answers), (0, 0))
        self.watch()
        self.tick(3)
        self.assertEqual((self.reads, self.answers), (4, 1))

    def test_other_pages(self) -> None:
        """Pages of other servers of the network may read the events; those of others may not."""
        for origin, is_allowed in (("http://10.0.0.7:9090", True), ("https://evil.com", False)):
            head = self.watch(origin=origin).received.partition(b"\r\n\r\n")[0].lower()
            header = b"access-control-allow-origin: " + origin.encode()
            self.assertEqual(header in head.split(b"\r\n"), is_allowed, origin)
            self.assertIn(b"vary: origin", head)
            self.assertNotIn(b"credentials", head)

    def test_history(self) -> None:
        """A page that is opened later gets the last ten minutes."""
        self.tick(KEPT_SAMPLES + 5)
        rows = self.watch().rows()
        self.assertEqual(
            [row["at"] for row in rows], [1000.0 + at for at in range(6, KEPT_SAMPLES + 6)]
        )

    def test_return(self) -> None:
        """A page that reconnects gets what it missed, or all samples if it knew another process."""
        self.tick(5)
        browser = self.watch()
        last_id = browser.events("samples")[-1].id
        self.tick(2)
        back = self.watch(last_id=last_id)
        self.assertEqual([row["at"] for row in back.rows()], [1006.0, 1007.0])
        for other in ("999-3", "x", "-", f"{last_id}x"):
            self.assertEqual(len(self.watch(last_id=other).rows()), 7, other)

    def test_no_time_out(self) -> None:
        """A stream is not ended by the site's timeout for idle connections."""
        silent = self.connect()
        browser = self.watch()
        self.tick(120)
        silent.pump.flush()
        browser.pump.flush()
        self.assertEqual((silent.lost, browser.lost), (True, False))
        self.assertEqual(len(browser.rows()), 120)

    def test_lists(self) -> None:
        """The lists are sent when they change."""
        self.tick()
        browser = self.watch()
        self.tick(3)
        browser.pump.flush()
        (first,) = browser.events("lists")
        self.assertEqual(first.data["rejections"], [])
        self.assertEqual([note["kind"] for note in first.data["incidents"]], ["Redis up"])
        self.refusals.connection(Peer("192.0.2.7"), 1008, ConnectionReason.RATE, "too much")
        self.tick(3)
        browser.pump.flush()
        _, second = browser.events("lists")
        (refusal,) = second.data["rejections"]
        self.assertEqual(
            refusal,
            {
                "at": 1004.0,
                "count": 1,
                "kind": "socket",
                "code": 1008,
                "reason": "rate",
                "peer": "192.0.2.*",
            },
        )

    def test_draining(self) -> None:
        """A server that is about to stop reports that."""
        browser = self.watch()
        self.reasons.append("draining")
        self.tick()
        browser.pump.flush()
        self.assertEqual(browser.events("samples")[-1].data["state"]["reasons"], ["draining"])

    def test_bound(self) -> None:
        """The number of open pages is limited; one that closes makes room."""
        browsers = [self.watch() for _ in range(MOST_WATCHERS)]
        late = self.watch()
        self.assertTrue(late.received.startswith(b"HTTP/1.1 503 "))
        self.assertTrue(late.received.endswith(b"too many status pages are open; close one\n"))
        browsers[0].lose()
        self.assertEqual(len(self.watch().events("hello")), 1)

    def test_slow_watcher(self) -> None:
        """A slow browser gets all samples later; one that does not read at all is disconnected."""
        patient, dead = self.watch(), self.watch()
        channels: list[Any] = [patient.line.protocol, dead.line.protocol]
        for channel in channels:
            channel.pauseProducing()
        self.tick(5)
        for browser in (patient, dead):
            browser.pump.flush()
            self.assertEqual(browser.events("samples"), [])
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
        self.metrics.read_from(core.OPEN_SOCKETS, lambda: 1 / 0)
        self.tick()
        self.metrics.read_from(core.OPEN_SOCKETS, lambda: 9)
        self.tick()
        browser.pump.flush()
        self.assertEqual([row["sockets"] for row in browser.rows()], [9])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_stop(self) -> None:
        """Stopping the server ends all streams, and leaves no timer."""
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
