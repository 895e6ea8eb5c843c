"""A real browser, and what its tabs show and send."""

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.sync_api import Browser, BrowserContext, Response, sync_playwright

from e2e.stack import PASSWORD, USER
from e2e.waiting import DEADLINE_SECONDS, wait_until

CHROMIUM = Path("/usr/bin/chromium")
_ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
# So high that all charts of the dashboard are in sight: Superset draws no others.
_VIEWPORT: Any = {"width": 1600, "height": 1200}

# Tells which of the charts, given with the texts that they must show, are drawn. A chart
# without texts is a picture: it must have shapes on it, so several colours.
_FIND_DRAWN = """
(charts) => {
    const isPicture = (canvas) => {
        const { width, height } = canvas;
        if (!width || !height) return false;
        const pixels = new Uint32Array(
            canvas.getContext("2d").getImageData(0, 0, width, height).data.buffer
        );
        return new Set(pixels).size > 3;
    };
    const isDrawn = ([id, texts]) => {
        const element = document.getElementById(`chart-id-${id}`);
        if (!element) return false;
        if (texts) return texts.every((text) => element.innerText.includes(text));
        return [...element.querySelectorAll("canvas")].some(isPicture);
    };
    return Object.entries(charts).filter(isDrawn).map(([id]) => id);
}
"""


@dataclass
class Socket:
    """A WebSocket of a tab."""

    url: str
    is_open: bool = False
    was_open: bool = False
    done_jobs: list[str] = field(default_factory=list)
    """The jobs of the frames that say `done`, in the order of their arrival."""

    @property
    def has_last_id(self) -> bool:
        """Whether the page said which event it had last."""
        return "last_id=" in self.url


class Tab:
    """A tab, which remembers its WebSockets and the queries that it asked for."""

    def __init__(self, context: BrowserContext) -> None:
        """Open it, empty."""
        self.jobs: list[str] = []
        """The jobs that Superset promised with status 202."""
        self.loads = 0
        """How many documents were loaded."""
        self.polls = 0
        """How often the page asked Superset's polling API."""
        self.sockets: dict[str, Socket] = {}
        self.page = context.new_page()
        self.page.on("response", self._on_response)
        self.page.on("domcontentloaded", self._on_load)
        network = context.new_cdp_session(self.page)
        for event, handler in (
            ("webSocketCreated", self._on_socket),
            ("webSocketHandshakeResponseReceived", self._on_open),
            ("webSocketFrameReceived", self._on_frame),
            ("webSocketClosed", self._on_closed),
        ):
            network.on(f"Network.{event}", handler)
        network.send("Network.enable")

    def go(self, url: str) -> None:
        """Load a page; do not wait for what it shows."""
        self.page.goto(url, wait_until="commit", timeout=DEADLINE_SECONDS * 1000)

    def log_in(self, site_url: str, path: str) -> None:
        """Log in on Superset's page, which then loads the page of that path."""
        self.go(f"{site_url}/login/?next={quote(path, safe='')}")
        deadline_ms = DEADLINE_SECONDS * 1000
        self.page.fill("#username", USER, timeout=deadline_ms)
        self.page.fill("#password", PASSWORD)
        with self.page.expect_navigation(wait_until="load", timeout=deadline_ms):
            self.page.press("#password", "Enter")

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition holds, while the tab's events are noticed.

        Raises:
            TooLate: with `what`, if it does not hold before the deadline.
        """
        wait_until(condition, lambda: what, lambda s: self.page.wait_for_timeout(s * 1000))

    def drawn(self, charts: Mapping[str, Sequence[str] | None]) -> set[str]:
        """Return which of the charts are drawn.

        Args:
            charts: for each chart's id the texts that it must show, or None for a picture.
        """
        return set(self.page.evaluate(_FIND_DRAWN, charts))

    @property
    def is_connected(self) -> bool:
        """Whether a WebSocket is open."""
        return any(socket.is_open for socket in self.sockets.values())

    @property
    def open_count(self) -> int:
        """How many WebSockets were opened, closed ones included."""
        return sum(socket.was_open for socket in self.sockets.values())

    @property
    def last_socket(self) -> Socket:
        """The WebSocket that was opened last."""
        return [socket for socket in self.sockets.values() if socket.was_open][-1]

    @property
    def done_frames(self) -> Counter[str]:
        """How many frames said `done`, for each job."""
        return Counter(job for socket in self.sockets.values() for job in socket.done_jobs)

    def _on_load(self, _: object) -> None:
        self.loads += 1

    def _on_response(self, response: Response) -> None:
        if "/api/v1/async_event/" in response.url:
            self.polls += 1
        if response.status == 202 and "/api/v1/chart/data" in response.url:
            self.jobs.append(response.json()["job_id"])

    def _on_socket(self, event: Mapping[str, Any]) -> None:
        self.sockets[event["requestId"]] = Socket(event["url"])

    def _on_open(self, event: Mapping[str, Any]) -> None:
        socket = self.sockets[event["requestId"]]
        socket.is_open = socket.was_open = event["response"]["status"] == 101

    def _on_frame(self, event: Mapping[str, Any]) -> None:
        if event["response"]["opcode"] == 1:
            told = json.loads(event["response"]["payloadData"])
            if told["status"] == "done":
                self.sockets[event["requestId"]].done_jobs.append(told["job_id"])

    def _on_closed(self, event: Mapping[str, Any]) -> None:
        self.sockets[event["requestId"]].is_open = False


class Profile:
    """A browser profile: cookies and local storage of its own."""

    def __init__(self, browser: Browser) -> None:
        """Make a fresh one."""
        self._context = browser.new_context(viewport=_VIEWPORT)

    @contextlib.contextmanager
    def tab(self, picture_of_failure: Path) -> Iterator[Tab]:
        """Open a tab for the time of the context.

        Args:
            picture_of_failure: where to save what the tab shows when an error ends it.
        """
        tab = Tab(self._context)
        try:
            yield tab
        except Exception:
            tab.page.screenshot(path=picture_of_failure)
            tab.page.close()
            raise
        # Not if the program is to end: the tab ends with the browser.
        tab.page.close()

    def close(self) -> None:
        """Close it, and forget all."""
        self._context.close()


@contextlib.contextmanager
def running_browser() -> Iterator[Browser]:
    """Run Chromium without a window for the time of the context."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()
