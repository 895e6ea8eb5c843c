"""The demo's page through faults: what was published meanwhile appears, each once, in order."""

import signal
import time

from browser.chromium import (
    CHARTS,
    NOBODY_LISTENS,
    NOTHING_LOADED,
    REFUSED,
    BrowserTestCase,
    DemoTab,
    give_cookie,
)
from tests.support.processes import Proxy, environment
from tests.support.samples import token

# So long that a page is open and connected before its token expires.
LIFETIME_SECONDS = 5


class ServerTests(BrowserTestCase):
    """The server ends and is started again on its port."""

    def setUp(self) -> None:
        """Start it and open the page."""
        super().setUp()
        self.expected_complaints = (NOBODY_LISTENS, NOTHING_LOADED)
        self.server, self.environ = self.demo_server()
        self.tab = DemoTab(self.visitor(token()), self.server.port)
        self.redis.publish("1")
        self.tab.wait_for_jobs(["1"])

    def test_killed(self) -> None:
        """The page tries until the server is there, and asks for what it missed."""
        self.redis.publish("2")
        self.tab.wait_for_jobs(["1", "2"])
        self.server.stop(signal.SIGKILL)
        self.tab.wait_for_text("The connection was lost. Try 1 of 6 in 2.5 s.")
        self.redis.publish("3", "4")
        self.tab.wait_for_text("The connection could not be made. Try 2 of 6 in 2.5 s.")
        self.demo_server(self.environ)
        self.redis.publish("5")
        self.tab.wait_for_state("connected")
        self.redis.publish("6")
        self.tab.wait_for_jobs(["1", "2", "3", "4", "5", "6"])
        self.tab.wait_for_counts(replayed=3, repeated=0)

    def test_stopped(self) -> None:
        """The page says why it was closed, and goes on with the next server."""
        self.server.stop()
        self.tab.wait_for_text("Closed with 1001 (the server is stopping). Try 1 of 6 in 2.5 s.")
        self.redis.publish("2")
        self.demo_server(self.environ)
        self.tab.wait_for_state("connected")
        self.redis.publish("3")
        self.tab.wait_for_jobs(["1", "2", "3"])

    def test_gives_up(self) -> None:
        """After six tries the page says what to do, and goes on when that is done."""
        clock = self.tab.page.clock
        clock.install()
        self.server.stop(signal.SIGKILL)
        for count in range(1, 7):
            self.tab.wait_for_text(f"Try {count} of 6 in 2.5 s.")
            clock.run_for(2500)
        self.tab.wait_for_state("gave up")
        self.tab.wait_for_text("Check that the server runs, then try again.")
        self.redis.publish("2")
        self.tab.press("Try again")
        self.tab.wait_for_text("Try 1 of 6 in 2.5 s.")
        self.demo_server(self.environ)
        self.tab.press("Try again")
        self.tab.wait_for_jobs(["1", "2"])


class RedisTests(BrowserTestCase):
    """Redis ends and is started again."""

    def test_restart(self) -> None:
        """The page stays connected, or connects without Redis, and goes on when it is back."""
        server, _ = self.demo_server()
        proxy = Proxy(self, server.port)
        visitor = self.visitor(token())
        staying, coming = DemoTab(visitor, server.port), DemoTab(visitor, proxy.port)
        self.redis.publish("1")
        for tab in (staying, coming):
            tab.wait_for_jobs(["1"])
        self.redis.kill()
        server.wait_for_text("cannot follow the global stream")
        proxy.cut()
        coming.wait_for_text("The connection was lost. Try 1 of 6 in 2.5 s.")
        coming.wait_for_state("connected")
        self.redis.start()
        self.redis.publish("2", "3")
        for tab in (staying, coming):
            tab.wait_for_jobs(["1", "2", "3"])
            tab.wait_for_state("connected")
            tab.wait_for_counts(repeated=0)
        self.assertEqual((len(staying.sockets), len(coming.sockets)), (1, 2))


class NetworkTests(BrowserTestCase):
    """The connection between page and server fails."""

    def setUp(self) -> None:
        """Open the page through a proxy."""
        super().setUp()
        pings = {"PING_SOCKETS_INTERVAL_MS": "1000", "SOCKET_RESPONSE_TIMEOUT_MS": "2000"}
        self.server, _ = self.demo_server(environment(self.redis.port, **pings))
        self.proxy = Proxy(self, self.server.port)
        self.tab = DemoTab(self.visitor(token()), self.proxy.port)

    def test_cut(self) -> None:
        """Whenever it is cut, also amid events, the page misses none."""
        jobs = [str(number) for number in range(150)]
        for start in (0, 50, 100):
            self.redis.publish(*jobs[start : start + 25])
            self.proxy.cut()
            self.redis.publish(*jobs[start + 25 : start + 50])
            self.tab.wait_for_jobs(jobs[: start + 50])
        self.tab.wait_for_counts(events=150, repeated=0)
        self.assertEqual(len(self.tab.sockets), 4)

    def test_swallowed(self) -> None:
        """What was sent on a dead connection is sent again on the next one."""
        self.redis.publish("1")
        self.tab.wait_for_jobs(["1"])
        self.proxy.swallows = True
        self.redis.publish("2", "3")
        # The server sends them and takes them for received, until no pings are answered.
        witness = DemoTab(self.visitor(token()), self.server.port)
        witness.wait_for_jobs(["1", "2", "3"])
        self.server.wait_for_text("dropped 1 sockets that did not answer 2 pings")
        # The page cannot know: no packet has reached it.
        self.tab.wait_for_jobs(["1"])
        self.tab.wait_for_state("connected")
        self.proxy.swallows = False
        self.proxy.cut()
        self.tab.wait_for_jobs(["1", "2", "3"])
        self.redis.publish("4")
        self.tab.wait_for_jobs(["1", "2", "3", "4"])
        self.tab.wait_for_counts(repeated=0)


class CookieTests(BrowserTestCase):
    """The cookie is no longer good."""

    def setUp(self) -> None:
        """Start a server; refusals are expected."""
        super().setUp()
        self.expected_complaints = (REFUSED,)
        self.server, self.environ = self.demo_server()

    def expired_tab(self) -> DemoTab:
        """Return a tab whose token has just expired, after job 1 and before job 2."""
        expires_at = int(time.time()) + LIFETIME_SECONDS
        tab = DemoTab(self.visitor(token(exp=expires_at)), self.server.port)
        self.redis.publish("1")
        tab.wait_for_jobs(["1"])
        tab.wait_for_text("Closed with 1008 (token expired). Try 1 of 6 in 2.5 s.")
        self.assertGreaterEqual(time.time(), expires_at)
        self.redis.publish("2")
        tab.wait_for_text(
            "cookie (the token has expired). With a new one, the page continues where it was."
        )
        return tab

    def test_expired(self) -> None:
        """The page says that the token has expired, gets a new one and misses nothing."""
        tab = self.expired_tab()
        tab.press("Get a new cookie and continue")
        tab.wait_for_jobs(["1", "2"])
        self.redis.publish("3")
        tab.wait_for_jobs(["1", "2", "3"])
        tab.wait_for_counts(replayed=1, repeated=0)

    def test_fresh_cookie(self) -> None:
        """With a cookie that Superset has renewed meanwhile, the page goes on by itself."""
        tab = self.expired_tab()
        give_cookie(tab.page.context, token(exp=int(time.time()) + 3600))
        tab.wait_for_jobs(["1", "2"])
        self.assertFalse(tab.page.locator("#trouble").is_visible())

    def test_other_secret(self) -> None:
        """After a change of the secret, the page says so and gets a cookie with a new channel."""
        self.expected_complaints = (REFUSED, NOBODY_LISTENS, NOTHING_LOADED)
        tab = DemoTab(self.visitor(token()), self.server.port)
        self.server.stop()
        self.demo_server({**self.environ, "JWT_SECRET": "another secret, also long enough to sign"})
        tab.wait_for_text("(bad signature: the token is not signed with jwtSecret)")
        tab.press("Get a new cookie and continue")
        tab.wait_for_state("connected")
        tab.press("Just load")
        tab.wait_for_counts(events=CHARTS, missing=0)
