"""Makes the pictures of the status page that the documentation shows."""

import subprocess
import sys

from playwright.sync_api import expect

from browser.chromium import DEADLINE_MS, IMAGES, BrowserTestCase, Scheme
from tests.support.processes import ROOT
from tests.support.sessions import start


class StatusScreenshots(BrowserTestCase):
    """Pictures in docs/images; for `make screenshots`."""

    def test_desk(self) -> None:
        """On a desk, the whole page, in both schemes."""
        self.take("status", "light", 1600, 900, is_whole=True)
        self.take("status-dark", "dark", 1600, 900, is_whole=True)

    def test_phone(self) -> None:
        """On a phone, what is seen first, with more pixels to an inch."""
        self.take("status-phone", "dark", 390, 1180, scale=1.5)

    def take(
        self,
        name: str,
        scheme: Scheme,
        width: int,
        height: int,
        *,
        scale: float = 1.0,
        is_whole: bool = False,
    ) -> None:
        """Makes one picture."""
        server = start(
            self,
            [sys.executable, "-m", "browser.status_server"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert server.stdout is not None
        self.addCleanup(server.stdout.close)
        port = int(server.stdout.readline())
        visitor = self.picture_visitor(scheme, width, height, scale)
        page = visitor.new_page()
        page.goto(f"http://127.0.0.1:{port}/status#10min")
        expect(page.locator("#link")).to_have_text("live", timeout=DEADLINE_MS)
        expect(page.locator("#redisVersion")).to_have_text("Valkey 8.1.1", timeout=DEADLINE_MS)
        page.screenshot(path=IMAGES / f"{name}.png", full_page=is_whole)
        # Otherwise it would report that the server ended first.
        page.close()
