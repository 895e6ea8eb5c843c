"""A headless Chromium for tests, its visitors, and what they see of the demo's page."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import (
    BrowserContext,
    ConsoleMessage,
    Page,
    WebSocket,
    expect,
    sync_playwright,
)
from twisted.trial.unittest import SynchronousTestCase

from tests.support.processes import DEADLINE_SECONDS, ROOT, RedisProcess, Server, environment

CHROMIUM = "/usr/bin/chromium"
DEADLINE_MS = DEADLINE_SECONDS * 1000
CHARTS = 12
"""How many charts the demo's dashboard has."""
IMAGES = ROOT / "docs" / "images"
"""Where the documentation has its pictures."""
Scheme = Literal["light", "dark"]
"""The colours that a visitor prefers."""

# What Chromium itself writes to the console; no script can prevent it.
REFUSED = (
    r"WebSocket connection to 'ws://127\.0\.0\.1:\d+/\S*' failed:"
    r" HTTP Authentication failed; no valid credentials available"
)
NOBODY_LISTENS = (
    r"WebSocket connection to 'ws://127\.0\.0\.1:\d+/\S*' failed:"
    r" Error in connection establishment: net::ERR_CONNECTION_REFUSED"
)
NOTHING_LOADED = r"Failed to load resource: net::ERR_CONNECTION_(REFUSED|RESET)"

_OPTIONS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_DEMO_SERVER = Path(__file__).with_name("demo_server.py")


class BrowserTestCase(SynchronousTestCase):
    """A test with a Redis and a Chromium; no page may complain in the console."""

    def setUp(self) -> None:
        """Start both."""
        self.complaints: list[str] = []
        self.expected_complaints: tuple[str, ...] = ()
        self.redis = RedisProcess(self)
        playwright = sync_playwright().start()
        self.addCleanup(playwright.stop)
        self.chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=_OPTIONS, chromium_sandbox=False
        )
        self.addCleanup(self.chromium.close)

    def tearDown(self) -> None:
        """Look at what the pages wrote to the console."""
        for context in self.chromium.contexts:
            for page in context.pages:
                page.evaluate("0")  # What was written earlier is reported before the answer.
        unexpected = [
            text
            for text in self.complaints
            if not any(re.fullmatch(pattern, text) for pattern in self.expected_complaints)
        ]
        self.assertEqual(unexpected, [])

    def visitor(self, cookie_token: str | None = None, **options: Any) -> BrowserContext:
        """Return a new visitor, who has nothing stored but perhaps a cookie.

        Args:
            cookie_token: what is in the cookie; None for no cookie.
            options: how the browser shows pages, as playwright names it.
        """
        context = self.chromium.new_context(locale="en-GB", timezone_id="UTC", **options)
        context.set_default_timeout(DEADLINE_MS)
        context.on("console", self._note)
        context.on("weberror", lambda found: self.complaints.append(str(found.error)))
        if cookie_token is not None:
            give_cookie(context, cookie_token)
        return context

    def picture_visitor(
        self, scheme: Scheme, width: int, height: int, scale: float
    ) -> BrowserContext:
        """Returns a new visitor for a picture in IMAGES, for whom nothing moves.

        Args:
            scheme: the colours that the visitor prefers.
            width: of the window, in CSS pixels.
            height: of the window, in CSS pixels.
            scale: how many pixels of the picture a CSS pixel has each way.
        """
        IMAGES.mkdir(exist_ok=True)
        return self.visitor(
            color_scheme=scheme,
            reduced_motion="reduce",
            viewport={"width": width, "height": height},
            device_scale_factor=scale,
        )

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def demo_server(self, environ: dict[str, str] | None = None) -> tuple[Server, dict[str, str]]:
        """Start a server with the demo's page; return it, and its environment to start it again."""
        if environ is None:
            environ = environment(self.redis.port)
        server = Server(
            self, environ, arguments=("--nodaemon", "--python", str(_DEMO_SERVER)), command=()
        )
        server.wait_until_ready()
        return server, environ

    def demo(self) -> int:
        """Starts `gaq-ws --demo`, which can cause faults; returns its port."""
        # It is killed at the end. Its Valkey then ends by itself, and removes its files.
        server = Server(self, {}, command=("gaq-ws", "--demo"))
        server.wait_for_text("/demo\n")
        found = re.search(r"http://localhost:(\d+)/demo", server.text())
        assert found is not None
        return int(found[1])


def give_cookie(visitor: BrowserContext, cookie_token: str) -> None:
    """Give a visitor the cookie that Superset would give, with that token."""
    visitor.add_cookies(
        [
            {
                "name": "async-token",
                "value": cookie_token,
                "domain": "127.0.0.1",
                "path": "/",
                "httpOnly": True,
            }
        ]
    )


class DemoTab:
    """A tab with one of the demo's pages, which is connected.

    Args:
        visitor: whose tab it is.
        port: the server's.
        path: the page's.
    """

    def __init__(self, visitor: BrowserContext, port: int, path: str = "/demo") -> None:
        self.sockets: list[WebSocket] = []
        """All that it has opened so far."""
        self.page: Page = visitor.new_page()
        self.page.on("websocket", lambda socket: self.sockets.append(socket))
        self.page.goto(f"http://127.0.0.1:{port}{path}")
        self.wait_for_state("connected")

    def press(self, button: str) -> None:
        """Presses the button whose text starts with that."""
        self.page.get_by_role("button", name=re.compile(f"^{button}")).click()

    def wait_until_loaded(self) -> None:
        """Waits until the dashboard that was loaded last has all its charts, and Node.js's too."""
        button = self.page.get_by_role("button", name="Just load")
        expect(button).to_have_attribute("aria-disabled", "false", timeout=DEADLINE_MS)
        expect(self.page.locator("#our-score")).to_have_text(f"{CHARTS} of {CHARTS}")

    def lost_by_node(self) -> int:
        """Returns how many charts of the dashboard Node.js would have lost."""
        return self.page.locator("#node-tiles .lost").count()

    def show_events(self) -> None:
        """Unfolds the list of events."""
        self.page.get_by_text("All events of this page").click()

    def wait_for_state(self, state: str) -> None:
        """Wait until the page says that this is the state of its connection."""
        expect(self.page.locator("#state")).to_have_text(state, timeout=DEADLINE_MS)

    def wait_for_text(self, text: str) -> None:
        """Wait until the page shows that."""
        expect(self.page.get_by_text(text)).to_be_visible(timeout=DEADLINE_MS)

    def wait_for_jobs(self, jobs: Sequence[str]) -> None:
        """Wait until the page lists events of exactly these jobs, in this order of arrival."""
        cells = self.page.locator("#rows td.job")
        expect(cells).to_have_text(list(reversed(jobs)), timeout=DEADLINE_MS)

    def wait_for_counts(self, **counts: int) -> None:
        """Wait until the page shows those counts."""
        for name, count in counts.items():
            expect(self.page.locator(f"#{name}")).to_have_text(str(count), timeout=DEADLINE_MS)

    def jobs(self) -> list[str]:
        """Return the jobs that it lists, in order of arrival."""
        return list(reversed(self.page.locator("#rows td.job").all_text_contents()))

    def newest_row(self) -> dict[str, str]:
        """Return the cells of the newest event by the names of their columns."""
        names = self.page.locator("th").all_text_contents()
        cells = self.page.locator("#rows tr:first-child td").all_text_contents()
        return dict(zip(names, cells, strict=True))

    def last_id(self) -> str:
        """Return the id that it will ask with."""
        return str(self.page.evaluate("lastId"))

    def asked_ids(self) -> list[str]:
        """Returns the last id that each of its sockets asked with; empty for none."""
        queries = [parse_qs(urlsplit(socket.url).query) for socket in self.sockets]
        return [query.get("last_id", [""])[0] for query in queries]
