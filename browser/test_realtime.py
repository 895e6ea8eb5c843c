"""A page of Superset 7 through faults: no chart that waits fails, each is drawn.

The page keeps the rules of Superset's own: it tries to connect again after 1, 2, 4 s and so
on, and fails all waiting charts at the third end in a row without an open.
"""

import time
from typing import Any

from playwright.sync_api import BrowserContext, Page

from browser.chromium import DEADLINE_MS, NOBODY_LISTENS, BrowserTestCase
from browser.realtime_superset import SESSION_COOKIE_NAME, SupersetStandIn
from tests.support.processes import Proxy, Server, environment
from tests.support.samples import SECRET

USER, OTHER_USER = "5", "9"
REALTIME_GAP, EXPIRED = 1012, 1008
# So long that charts are asked for before the token expires.
LIFETIME_SECONDS = 6.0


class SupersetTab:
    """A tab with the page.

    Args:
        visitor: whose tab it is.
        superset: serves the page.
        guest_token: that of the embedding site; none for a user.
    """

    def __init__(
        self, visitor: BrowserContext, superset: SupersetStandIn, guest_token: str = ""
    ) -> None:
        self._superset = superset
        self.page: Page = visitor.new_page()
        self.page.goto(superset.url + (f"?guest={guest_token}" if guest_token else ""))
        self.wait_for("seen.opens === 1")

    def wait_for(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        self.page.wait_for_function(condition, timeout=DEADLINE_MS)

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        self.page.wait_for_timeout(seconds * 1000)

    def ask(self, *charts: str) -> None:
        """Ask for charts, and wait until they wait for their queries."""
        for chart in charts:
            self.page.evaluate("ask", chart)
        for chart in charts:
            self.wait_for(f"seen.charts['{chart}']?.state === 'waiting'")
        self.wait_for("!check.isRunning")

    def seen(self, name: str) -> Any:
        """Return what the page has noted under that name."""
        return self.page.evaluate(f"seen.{name}")

    def task_frames(self) -> list[str]:
        """Return the tasks of the frames that named one, in order of arrival."""
        frames = self.seen("frames")
        return [f["payload"]["task_id"] for f in frames if f["topic"] == "task.status"]

    def assert_drawn(self, *charts: str) -> None:
        """Wait until the charts are drawn or have failed, and fail if any has failed."""
        for chart in charts:
            self.wait_for(f"['drawn', 'failed'].includes(seen.charts['{chart}'].state)")
        found = self.seen("charts")
        for chart in charts:
            if found[chart]["state"] != "drawn" or found[chart]["text"] != f"data of {chart}":
                raise AssertionError(f"{chart}: {found[chart]}, ends: {self.seen('ends')}")

    def seconds_to_drawn(self, chart: str) -> float:
        """Return how long after the end of its query a chart was drawn."""
        drawn_at: float = self.seen("charts")[chart]["at"]
        return drawn_at - self._superset.finished_at[chart]


class RealtimeTestCase(BrowserTestCase):
    """A server for Superset 7, and a Superset."""

    def setUp(self) -> None:
        """Start Redis and Chromium."""
        super().setUp()
        self.redis_port = self.redis.port

    def start(self, **options: float) -> None:
        """Start the server and Superset.

        Args:
            options: further arguments for SupersetStandIn.
        """
        self.environ = environment(self.redis_port, PROTOCOL="realtime")
        self.server = self.started_server()
        self.superset = SupersetStandIn(
            self, self.redis.port, f"ws://127.0.0.1:{self.server.port}/", SECRET, **options
        )

    def started_server(self) -> Server:
        """Start a server that listens where the last one did; wait until it is subscribed."""
        server = Server(self, self.environ)
        server.wait_for_text("subscribed to the realtime channel")
        server.wait_until_healthy()
        return server

    def user_tab(self, user: str = USER) -> SupersetTab:
        """Open a tab of a user who has no other."""
        visitor = self.visitor()
        visitor.add_cookies(
            [{"name": SESSION_COOKIE_NAME, "value": user, "domain": "127.0.0.1", "path": "/"}]
        )
        return SupersetTab(visitor, self.superset)

    def assert_drawn(self, tab: SupersetTab, *charts: str) -> None:
        """Wait until the charts are drawn; print how long after their queries that was."""
        tab.assert_drawn(*charts)
        name = self.id().removeprefix("browser.test_realtime.")
        times = ", ".join(f"{chart} {tab.seconds_to_drawn(chart):.2f} s" for chart in charts)
        print(f"\n{name}: drawn after {times}; closes {tab.seen('ends')}", flush=True)


class ChartTests(RealtimeTestCase):
    """While all is well."""

    def setUp(self) -> None:
        """Start all."""
        super().setUp()
        self.start()

    def test_charts(self) -> None:
        """Charts are drawn by their messages; a chart whose query fails says so."""
        tab = self.user_tab()
        charts = [f"chart{number}" for number in range(8)]
        tab.ask(*charts, "bad")
        checks = tab.seen("checks")
        for chart in charts:
            self.superset.finish(chart)
        self.superset.finish("bad", "failure")
        self.assert_drawn(tab, *charts)
        tab.wait_for("seen.charts.bad.state === 'failed'")
        self.assertEqual(tab.seen("charts")["bad"]["text"], "failure")
        self.assertEqual(tab.seen("checks"), checks)
        self.assertEqual((tab.seen("opens"), tab.seen("ends")), (1, []))

    def test_two_tabs(self) -> None:
        """Each of two tabs of a user gets the ends of its own queries, and all the broadcasts."""
        first = self.user_tab()
        second = SupersetTab(first.page.context, self.superset)
        stranger = self.user_tab(OTHER_USER)
        tabs = {"first": first, "second": second, "stranger": stranger}
        for chart, tab in tabs.items():
            tab.ask(chart)
        for chart in tabs:
            self.superset.finish(chart)
        for chart, tab in tabs.items():
            self.assert_drawn(tab, chart)
        # One more task's broadcasts come after all the messages of the others.
        first.ask("last")
        self.superset.finish("last")
        first.assert_drawn("last")
        for tab in tabs.values():
            tab.wait_for("seen.frames.filter((f) => f.topic === 'entity.changed').length === 8")
            self.assertEqual(tab.task_frames(), tab.seen("tasks"))

    def test_guest(self) -> None:
        """A guest of an embedding site gets the ends of its own queries, beside a user."""
        guest = SupersetTab(self.visitor(), self.superset, guest_token="one.guest.token")
        user = self.user_tab()
        guest.ask("embedded")
        user.ask("own")
        self.superset.finish("embedded")
        self.superset.finish("own")
        self.assert_drawn(guest, "embedded")
        self.assert_drawn(user, "own")
        self.assertEqual(guest.task_frames(), guest.seen("tasks"))
        self.assertEqual(user.task_frames(), user.seen("tasks"))


class ConnectionTests(RealtimeTestCase):
    """The page's connection to the server ends."""

    def test_cut(self) -> None:
        """The network cuts the socket, and the query ends while the page is away."""
        self.start()
        proxy = Proxy(self, self.server.port)
        self.superset.page_settings["websocket_url"] = f"ws://127.0.0.1:{proxy.port}/"
        tab = self.user_tab()
        tab.ask("meanwhile", "later")
        proxy.cut()
        tab.wait_for("seen.ends.length === 1")
        self.superset.finish("meanwhile")
        self.assert_drawn(tab, "meanwhile")
        tab.wait_for("seen.opens === 2")
        self.superset.finish("later")
        self.assert_drawn(tab, "later")

    def test_restart(self) -> None:
        """The server is ended and started again; one query ends in that time."""
        self.expected_complaints = (NOBODY_LISTENS,)
        self.start()
        tab = self.user_tab()
        tab.ask("meanwhile", "later")
        self.assertEqual(self.server.stop(), 0)
        self.superset.finish("meanwhile")
        self.started_server()
        self.assert_drawn(tab, "meanwhile")
        tab.wait_for("seen.opens === 2")
        self.superset.finish("later")
        self.assert_drawn(tab, "later")

    def test_gone(self) -> None:
        """The page has the limit of Superset's: at the third end in a row its charts fail."""
        self.expected_complaints = (NOBODY_LISTENS,)
        self.start()
        tab = self.user_tab()
        tab.ask("chart")
        self.server.stop()
        stopped_at = time.time()
        tab.wait_for("seen.charts.chart.state === 'failed'")
        chart = tab.seen("charts")["chart"]
        self.assertEqual(chart["text"], "Realtime connection unavailable")
        self.assertGreater(chart["at"] - stopped_at, 2.5)
        self.assertEqual(tab.seen("ends")[:3], [1001, 1006, 1006])

    def test_expired(self) -> None:
        """At the token's end the page comes back with the one that a request has renewed."""
        self.start(lifetime_seconds=LIFETIME_SECONDS)
        tab = self.user_tab()
        # Less than half of the first token's life is left when the charts are asked for.
        tab.pause(LIFETIME_SECONDS * 0.6)
        tab.ask("meanwhile", "later")
        tab.wait_for("seen.ends.length === 1")
        self.superset.finish("meanwhile")
        self.assertEqual(tab.seen("ends"), [EXPIRED])
        self.assert_drawn(tab, "meanwhile")
        tab.wait_for("seen.opens === 2")
        self.superset.finish("later")
        self.assert_drawn(tab, "later")

    def test_keepalive(self) -> None:
        """A page that renews its token in time replaces its socket, and none expires."""
        self.start(lifetime_seconds=LIFETIME_SECONDS, keepalive_lifetime_seconds=LIFETIME_SECONDS)
        tab = self.user_tab()
        tab.ask("before", "after")
        tab.wait_for("seen.opens === 2")
        self.superset.finish("before")
        tab.wait_for("seen.opens === 3")
        self.superset.finish("after")
        self.assert_drawn(tab, "before", "after")
        self.assertEqual(tab.seen("ends"), [])


class RedisTests(RealtimeTestCase):
    """Redis is away while charts wait, for less than 10 s."""

    def test_away_1_s(self) -> None:
        """One second."""
        self.check_outage(1)

    def test_away_5_s(self) -> None:
        """Five seconds."""
        self.check_outage(5)

    def test_away_8_s(self) -> None:
        """Eight seconds."""
        self.check_outage(8)

    def check_outage(self, seconds: float) -> None:
        """Check that charts are drawn whose queries end before, at and after Redis's return."""
        self.start()
        tab = self.user_tab()
        tab.ask("meanwhile", "return", "later")
        self.redis.kill()
        self.superset.finish("meanwhile")
        tab.pause(seconds)
        self.redis.start()
        self.superset.finish("return")
        self.assert_drawn(tab, "meanwhile", "return")
        self.assertEqual(tab.seen("ends"), [REALTIME_GAP])
        self.superset.finish("later")
        self.assert_drawn(tab, "later")

    def test_silent(self) -> None:
        """The connection to Redis dies without a word, and a message is lost in it."""
        proxy = Proxy(self, self.redis.port)
        self.redis_port = proxy.port
        self.start()
        tab = self.user_tab()
        tab.ask("meanwhile", "later")
        proxy.swallows = True
        self.superset.finish("meanwhile")
        self.server.wait_for_text("no subscription to the realtime channel")
        self.assertEqual(tab.task_frames(), [])
        proxy.swallows = False
        self.assert_drawn(tab, "meanwhile")
        self.assertEqual(tab.seen("ends"), [REALTIME_GAP])
        tab.wait_for("seen.opens === 2")
        self.superset.finish("later")
        self.assert_drawn(tab, "later")
