"""Makes the pictures of the demo's page that the documentation shows."""

from typing import Literal

from browser.chromium import BrowserTestCase, DemoTab
from tests.support.processes import ROOT

IMAGES = ROOT / "docs" / "images"
Scheme = Literal["light", "dark"]


class Screenshots(BrowserTestCase):
    """Pictures in docs/images; for `make screenshots`."""

    def test_desk(self) -> None:
        """On a desk, in both schemes."""
        self.take("light", "light", 1000, 700)
        self.take("dark", "dark", 1000, 700)

    def test_phone(self) -> None:
        """On a phone, with more pixels to an inch."""
        self.take("phone", "dark", 390, 844, scale=1.5)

    def take(
        self, name: str, scheme: Scheme, width: int, height: int, *, scale: float = 1.0
    ) -> None:
        """Make one picture."""
        server, _ = self.demo_server()
        visitor = self.visitor(
            color_scheme=scheme,
            reduced_motion="reduce",
            viewport={"width": width, "height": height},
            device_scale_factor=scale,
        )
        tab = DemoTab(visitor, server.port)
        tab.show_all_kinds()
        tab.page.mouse.move(0, 0)
        IMAGES.mkdir(exist_ok=True)
        tab.page.screenshot(path=IMAGES / f"demo-{name}.png")
