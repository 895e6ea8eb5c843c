"""What a visitor of the demo's pages sees."""

import re
from pathlib import Path

from playwright.sync_api import BrowserContext

from browser.chromium import NOBODY_LISTENS, NOTHING_LOADED, BrowserTestCase, DemoTab
from tests.support.processes import Server, environment, wait_until
from tests.support.samples import CHANNEL, token

# The page itself shows it for a second or two only.
_NOTE_CLOSE = """() => {
    socket.addEventListener("close", (close) => { window.closedWith = close.code; });
}"""
OTHER_CHANNEL = "121a0484-17a2-480e-a50b-ed5f95c34312"


class DemoCommandTests(BrowserTestCase):
    """`twistd --nodaemon gaq-ws --demo`, with a cookie that the page itself gives."""

    def setUp(self) -> None:
        """Start it and open its page."""
        super().setUp()
        # It is killed at the end, and cannot remove its files.
        temporary = Path(self.mktemp()).resolve()
        temporary.mkdir()
        server = Server(self, {"TMPDIR": str(temporary)}, command=("gaq-ws", "--demo"))
        server.wait_for_text("following the global stream")
        found = re.search(r"open http://localhost:(\d+)/demo", server.text())
        assert found is not None
        self.port = int(found[1])
        self.someone = self.visitor()
        self.tab = DemoTab(self.someone, self.port)

    def test_buttons(self) -> None:
        """Each button's jobs arrive, and the page shows what they are."""
        self.tab.wait_for_text("New here: no last event to ask for.")
        for button, events, newest in (
            ("One chart", 1, "/api/v1/chart/data/qc-"),
            ("Twenty charts", 21, "/api/v1/chart/data/qc-"),
            ("A job that fails", 22, "Error: no such column: naïve ☃"),
        ):
            self.tab.press(button)
            self.tab.wait_for_counts(events=events)
            self.assertIn(newest, self.tab.newest_row()["result"])
        row = self.tab.newest_row()
        self.assertEqual(row["status"], "error")
        self.assertEqual(row["event id"], self.tab.last_id())
        self.assertRegex(row["arrived"], r"^\d\d:\d\d:\d\d$")
        self.assertRegex(row["way"], r"^live after \d+ ms$")
        self.tab.wait_for_counts(events=22, replayed=0, awaited=0, lost=0, repeated=0)

    def test_drop(self) -> None:
        """What is published while the page is away arrives when it is back."""
        self.tab.press("One chart")
        self.tab.wait_for_counts(events=1, awaited=0)
        last_id = self.tab.last_id()
        self.tab.press("Drop and come back")
        self.tab.wait_for_counts(events=1, awaited=2)
        self.tab.wait_for_text("Closed with 1000. Try 1 of 6 in 2.5 s.")
        self.tab.wait_for_text(f"Asked for what came after {last_id}.")
        self.tab.wait_for_counts(events=3, replayed=2, awaited=0, lost=0, repeated=0)
        self.assertRegex(self.tab.newest_row()["way"], r"^replayed after \d")

    def test_switch(self) -> None:
        """Each page leads to the other, and both go on where they were."""
        self.tab.press("One chart")
        self.tab.wait_for_counts(events=1)
        last_id = self.tab.last_id()
        self.tab.page.get_by_role("link", name="Superset 7").click()
        self.tab.wait_for_text("this page is")
        self.tab.wait_for_state("connected")
        self.tab.press("To this tab")
        self.tab.wait_for_counts(messages=1)
        self.tab.page.get_by_role("link", name="Superset 1.2 to 6.1").click()
        self.tab.wait_for_text(f"Asked for what came after {last_id}.")


class RealtimePageTests(BrowserTestCase):
    """The page of Superset 7."""

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
        """Waits until a socket is closed of which that was to be noted, and checks the code."""
        codes: list[int | None] = []

        def is_closed() -> bool:
            codes.append(tab.page.evaluate("window.closedWith"))
            return codes[-1] is not None

        wait_until(is_closed, lambda: "not closed")
        self.assertEqual(codes[-1], code)

    def test_buttons(self) -> None:
        """Each button's message reaches its tab, its user's tabs, or every tab."""
        other = self.open(self.visitor())
        for button, reached, counts in (
            ("To this tab", (1, 0, 0), {"for-tab": 1, "for-user": 0, "for-everybody": 0}),
            ("To this user", (2, 1, 0), {"for-tab": 1, "for-user": 1, "for-everybody": 0}),
            ("To everybody", (3, 2, 1), {"for-tab": 1, "for-user": 1, "for-everybody": 1}),
        ):
            self.first.press(button)
            for tab, messages in zip((self.first, self.second, other), reached, strict=True):
                tab.wait_for_counts(messages=messages)
            self.first.wait_for_counts(missed=0, **counts)
        row = self.first.newest_row()
        self.assertEqual(
            (row["topic"], row["status"], row["for"]), ("task.status", "success", "everybody")
        )
        self.assertRegex(row["way"], r"^after \d+ ms$")
        self.assertEqual(self.second.newest_row()["way"], "from another page")
        self.first.wait_for_text("Published to every socket in ")
        self.first.wait_for_text("tab 1")
        self.second.wait_for_text("tab 2")

    def test_drop(self) -> None:
        """What is published while the page is away is missed, and the page says so."""
        self.first.press("Drop and come back")
        self.first.wait_for_text("nobody keeps messages for it")
        self.first.wait_for_counts(messages=0, missed=1)
        self.second.wait_for_counts(messages=1)
        self.first.wait_for_text("Messages come from now on")
        self.first.press("To this user")
        self.first.wait_for_counts(messages=1, missed=1)

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
            tab.wait_for_counts(missed=0)
        self.first.press("To this user")
        for tab in (self.first, self.second):
            tab.wait_for_counts(messages=1)

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
        self.first.press("To this tab")
        self.first.wait_for_counts(messages=1)


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
        first.press("Twenty charts")
        for tab in (first, second):
            tab.wait_for_counts(events=22, lost=0, repeated=0)
        self.assertEqual(first.jobs(), second.jobs())
        self.assertEqual(first.jobs()[:2], ["1", "2"])
        other.wait_for_jobs(["3"])

    def test_later_tab(self) -> None:
        """A tab that is opened or reloaded goes on after the newest event that any tab has had."""
        server, _ = self.demo_server()
        visitor = self.visitor(token())
        first = DemoTab(visitor, server.port)
        self.redis.publish("1")
        first.wait_for_jobs(["1"])
        second = DemoTab(visitor, server.port)
        second.wait_for_text(f"Asked for what came after {first.last_id()}.")
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
