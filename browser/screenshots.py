"""Makes the pictures of the demo's pages that the documentation shows."""

from browser.chromium import IMAGES, BrowserTestCase, DemoTab, Scheme


class Screenshots(BrowserTestCase):
    """Pictures in docs/images; for `make screenshots`."""

    def test_desk(self) -> None:
        """On a desk, in both schemes, after the connection was cut."""
        self.take("light", "light", 1200, 880)
        self.take("dark", "dark", 1200, 880)

    def test_superset_7(self) -> None:
        """The page of Superset 7, after Redis was stopped."""
        self.take("superset-7", "light", 1200, 880, path="/demo/7", button="Stop Redis for 5 s")

    def test_phone(self) -> None:
        """On a phone, with more pixels to an inch."""
        self.take("phone", "dark", 390, 1150, scale=1.5)

    def take(
        self,
        name: str,
        scheme: Scheme,
        width: int,
        height: int,
        *,
        scale: float = 1.0,
        path: str = "/demo",
        button: str = "Cut the connection",
    ) -> None:
        """Makes one picture."""
        visitor = self.picture_visitor(scheme, width, height, scale)
        tab = DemoTab(visitor, self.demo(), path)
        tab.press(button)
        tab.wait_until_loaded()
        tab.page.mouse.move(0, 0)
        tab.page.screenshot(path=IMAGES / f"demo-{name}.png")
