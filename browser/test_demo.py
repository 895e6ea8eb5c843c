"""The demo's pages as a visitor sees them."""

from playwright.sync_api import BrowserContext

from browser.chromium import CHARTS, NOBODY_LISTENS, NOTHING_LOADED, BrowserTestCase, DemoTab
from tests.support.processes import environment, wait_until
from tests.support.samples import CHANNEL, token

# The page itself shows it for a second or two only.
_NOTE_CLOSE = """() => {
    socket.addEventListener("close", (close) => { window.closedWith = close.code; });
}"""
OTHER_CHANNEL = "121a0484-17a2-480e-a50b-ed5f95c34312"


class FaultTests(BrowserTestCase):
    """The page of `gaq-ws --demo` for Superset 1.2 to 6.1, with a cookie that it gives itself."""

    def setUp(self) -> None:
        """Starts it and opens its page."""
        super().setUp()
        self.port = self.demo()
        self.someone = self.visitor()
        self.tab = DemoTab(self.someone, self.port)
        self.tab.wait_for_text("First visit: there is no last event.")

    def test_load(self) -> None:
        """Without a fault all charts arrive, here and with Node.js."""
        self.tab.press("Just load")
        self.tab.wait_until_loaded()
        self.assertEqual(self.tab.lost_by_node(), 0)
        self.tab.wait_for_counts(events=CHARTS, replayed=0, repeated=0, missing=0)
        self.tab.wait_for_text("Every chart would have arrived.")
        row = self.tab.newest_row()
        self.assertEqual((row["status"], row["result"]), ("done", "ready"))
        self.assertRegex(row["arrived"], r"^\d\d:\d\d:\d\d$")
        self.assertRegex(row["how"], r"^live after \d+ ms$")

    def test_cut(self) -> None:
        """On a first visit Node.js loses what ends while the page is away; nothing is lost here."""
        self.tab.press("Cut the connection")
        self.tab.wait_for_text("The connection was lost. Try 1 of 6 in 2.5 s.")
        self.tab.wait_until_loaded()
        self.assertGreater(self.tab.lost_by_node(), 0)
        self.tab.wait_for_text(
            "It replays nothing to a browser that has not received an event yet."
        )
        self.assertEqual(self.tab.asked_ids(), ["", ""])
        self.tab.wait_for_text("that ended in the meantime arrived as a replay.")

    def test_returning(self) -> None:
        """A page that has had an event asks for what came after it."""
        self.tab.press("Just load")
        self.tab.wait_until_loaded()
        last_id = self.tab.last_id()
        self.tab.page.get_by_label("as on a first visit").uncheck()
        self.tab.press("Cut the connection")
        self.tab.wait_until_loaded()
        self.assertEqual(self.tab.asked_ids(), ["", last_id])
        self.assertEqual(self.tab.lost_by_node(), 0)

    def test_redis(self) -> None:
        """The page stays connected while Redis is stopped."""
        self.tab.press("Stop Redis for 5 s")
        self.tab.wait_until_loaded()
        self.tab.wait_for_text("Redis was started again.")
        self.assertEqual(len(self.tab.sockets), 1)

    def test_restart(self) -> None:
        """The page goes on with the next server."""
        self.expected_complaints = (NOBODY_LISTENS, NOTHING_LOADED)
        self.tab.press("Restart the server")
        self.tab.wait_for_text("Closed with 1001 (the server is stopping). Try 1 of 6 in 2.5 s.")
        self.tab.wait_until_loaded()
        self.tab.wait_for_text("A new server started, with an empty memory.")

    def test_busy(self) -> None:
        """A second tab shows why it cannot cause a fault now."""
        self.expected_complaints = (r"Failed to load resource: .* 409 \(Conflict\)",)
        second = DemoTab(self.someone, self.port)
        self.tab.press("Stop Redis for 5 s")
        self.tab.wait_for_text("Redis was stopped.")
        second.press("Cut the connection")
        second.wait_for_text("another fault is still in progress")
        self.tab.wait_until_loaded()
        second.press("Just load")
        second.wait_until_loaded()

    def test_switch(self) -> None:
        """Each page leads to the other, and both go on where they were."""
        self.tab.press("Just load")
        self.tab.wait_until_loaded()
        last_id = self.tab.last_id()
        self.tab.page.get_by_role("link", name="Superset 7").click()
        self.tab.wait_for_state("connected")
        self.tab.press("Just load")
        self.tab.wait_until_loaded()
        self.tab.page.get_by_role("link", name="Superset 1.2 to 6.1").click()
        self.tab.wait_for_text("Asked for the events after the last one.")
        self.assertEqual(self.tab.asked_ids()[-1], last_id)


class RealtimeFaultTests(BrowserTestCase):
    """The page of `gaq-ws --demo` for Superset 7."""

    def setUp(self) -> None:
        """Opens it."""
        super().setUp()
        self.tab = DemoTab(self.visitor(), self.demo(), "/demo/7")

    def test_redis(self) -> None:
        """Charts wait until Redis is back; with Node.js they fail."""
        self.tab.press("Stop Redis for 5 s")
        self.tab.wait_until_loaded()
        self.assertEqual(self.tab.lost_by_node(), CHARTS)
        self.tab.wait_for_text("12 charts would show “Realtime connection unavailable”.")
        self.tab.wait_for_text("Closed with 1012 (messages may have been missed).")

    def test_cut(self) -> None:
        """The page asks for what it missed, which works with Node.js, too."""
        self.tab.press("Cut the connection")
        self.tab.wait_until_loaded()
        self.assertEqual(self.tab.lost_by_node(), 0)
        self.tab.wait_for_text("because the page asked Superset after reconnecting.")


class RealtimePageTests(BrowserTestCase):
    """The page of Superset 7 with a server and a Redis that really end."""

    def setUp(self) -> None:
        """Starts a server of both protocols with the demo's pages, and opens two tabs."""
        super().setUp()
        self.environ = environment(self.redis.port, PROTOCOL="both")
        self.server, _ = self.demo_server(self.environ)
        self.server.wait_for_text("subscribed to the realtime channel")
        someone = self.visitor()
        self.first, self.second = self.open(someone), self.open(someone)

    def open(self, visitor: BrowserContext) -> DemoTab:
        """Opens the page in a new tab."""
        return DemoTab(visitor, self.server.port, "/demo/7")

    def wait_for_close(self, tab: DemoTab, code: int) -> None:
        """Waits until a watched socket is closed, and checks the code."""
        codes: list[int | None] = []

        def is_closed() -> bool:
            codes.append(tab.page.evaluate("window.closedWith"))
            return codes[-1] is not None

        wait_until(is_closed, lambda: "not closed")
        self.assertEqual(codes[-1], code)

    def test_tabs(self) -> None:
        """A dashboard's messages reach its tab only."""
        self.first.press("Just load")
        self.first.wait_for_counts(events=CHARTS, missing=0)
        row = self.first.newest_row()
        self.assertEqual(
            (row["status"], row["how"], row["result"]), ("success", "live", "task.status")
        )
        self.second.wait_for_counts(events=0)

    def test_redis_restarts(self) -> None:
        """A loss of Redis closes the page, which comes back to a subscription."""
        tabs = (self.first, self.second)
        for tab in tabs:
            tab.page.evaluate(_NOTE_CLOSE)
        self.redis.kill()
        self.redis.start()
        for tab in tabs:
            self.wait_for_close(tab, 1012)
            tab.wait_for_state("connected")
        self.first.press("Just load")
        self.first.wait_for_counts(events=CHARTS)

    def test_server_restarts(self) -> None:
        """The page tries ever more rarely, says when Superset's charts fail, and comes back."""
        self.expected_complaints = (NOBODY_LISTENS, NOTHING_LOADED)
        self.first.page.evaluate(_NOTE_CLOSE)
        self.server.stop()
        self.wait_for_close(self.first, 1001)
        self.first.wait_for_state("unhealthy")
        self.first.wait_for_text("charts that wait have failed by now.")
        self.demo_server(self.environ)
        self.first.wait_for_state("connected")
        self.first.press("Just load")
        self.first.wait_for_counts(events=CHARTS)


class TabTests(BrowserTestCase):
    """Several tabs of one visitor, and other visitors."""

    def test_tabs(self) -> None:
        """All tabs of a visitor hear the same; another visitor hears other events."""
        server, _ = self.demo_server()
        visitor, stranger = self.visitor(token()), self.visitor(token(OTHER_CHANNEL))
        first, second = DemoTab(visitor, server.port), DemoTab(visitor, server.port)
        other = DemoTab(stranger, server.port)
        self.redis.publish("1", "2", channel=CHANNEL)
        self.redis.publish("3", channel=OTHER_CHANNEL)
        first.press("Just load")
        for tab in (first, second):
            tab.wait_for_counts(events=2 + CHARTS, missing=0, repeated=0)
        self.assertEqual(first.jobs()[:2], ["1", "2"])
        self.assertEqual(second.jobs()[:2], ["1", "2"])
        other.wait_for_jobs(["3"])

    def test_later_tab(self) -> None:
        """A tab that is opened or reloaded goes on after the newest event that any tab has had."""
        server, _ = self.demo_server()
        visitor = self.visitor(token())
        first = DemoTab(visitor, server.port)
        self.redis.publish("1")
        first.wait_for_jobs(["1"])
        second = DemoTab(visitor, server.port)
        self.assertEqual(second.asked_ids(), [first.last_id()])
        self.redis.publish("2")
        first.wait_for_jobs(["1", "2"])
        second.wait_for_jobs(["2"])
        first.page.close()
        self.redis.publish("3")
        second.wait_for_jobs(["2", "3"])
        second.page.reload()
        second.wait_for_state("connected")
        self.redis.publish("4")
        second.wait_for_jobs(["4"])

    def test_first_visit(self) -> None:
        """A page that comes a moment after its job has ended hears of it all the same."""
        server, _ = self.demo_server()
        self.redis.publish("1")
        tab = DemoTab(self.visitor(token()), server.port)
        tab.wait_for_jobs(["1"])
        tab.wait_for_counts(events=1, replayed=1)
