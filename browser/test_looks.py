"""The look of the demo's pages: in both colour schemes, on phones and on desktops."""

from typing import Any, Literal

from browser.chromium import CHARTS, REFUSED, BrowserTestCase, DemoTab, give_cookie
from tests.support.processes import PREFIX
from tests.support.samples import job_data, token

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
WIDTHS = (320, 390, 768, 1280)
# WCAG 2.2, success criterion 1.4.3.
LEAST_CONTRAST = 4.5

# Returns the text and the box of each element that reaches beyond the sides of the window.
_OVERFLOWS = """() => [...document.querySelectorAll("body *")]
    .filter((element) => element.checkVisibility())
    .map((element) => [element.textContent.trim(), element.getBoundingClientRect()])
    .filter(([, box]) => box.left < 0 || box.right > document.documentElement.clientWidth)
    .map(([text, box]) => [text, box.left, box.right])"""

# Returns each text with the contrast between its colour and what is behind it (WCAG 2.2).
_CONTRASTS = """() => {
    const channels = (color) => color.match(/[\\d.]+/g).map(Number);
    const isClear = (color) => channels(color)[3] === 0;
    const luminance = (color) => {
        const [r, g, b] = channels(color).map((value) => value / 255)
            .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
        const color = getComputedStyle(element).backgroundColor;
        return isClear(color) ? ground(element.parentElement) : color;
    };
    const hasText = (element) => [...element.childNodes]
        .some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    return [...document.querySelectorAll("body *")]
        .filter((element) => element.checkVisibility() && hasText(element))
        .map((element) => {
            const lights = [getComputedStyle(element).color, ground(element)].map(luminance);
            const [dark, light] = lights.sort((a, b) => a - b);
            return [element.textContent, (light + 0.05) / (dark + 0.05)];
        });
}"""


class LooksTests(BrowserTestCase):
    """The pages before and after a fault, with all kinds of events, and with a rejected cookie."""

    def assert_looks_well(self, tab: DemoTab) -> None:
        """Check that nothing reaches beyond the window, and all text can be read."""
        for width in WIDTHS:
            tab.page.set_viewport_size({"width": width, "height": 800})
            self.assertEqual(tab.page.evaluate(_OVERFLOWS), [], f"{width} pixels")
            contrasts = tab.page.evaluate(_CONTRASTS)
            self.assertGreater(len(contrasts), 20)
            weak = [(text, ratio) for text, ratio in contrasts if ratio < LEAST_CONTRAST]
            self.assertEqual(weak, [], f"{width} pixels")

    def test_light(self) -> None:
        """Dark on light."""
        self.check_scheme("light")

    def test_dark(self) -> None:
        """Light on dark."""
        self.check_scheme("dark")

    def test_realtime(self) -> None:
        """The page of Superset 7, in both schemes, while charts wait and when they have failed."""
        port = self.demo()
        for scheme in SCHEMES:
            visitor = self.visitor(color_scheme=scheme, reduced_motion="reduce")
            tab = DemoTab(visitor, port, "/demo/7")
            tab.press("Stop Redis for 5 s")
            tab.wait_for_text("Redis was stopped.")
            self.assert_looks_well(tab)
            tab.wait_until_loaded()
            self.assertEqual(tab.lost_by_node(), CHARTS)
            self.assert_looks_well(tab)

    def check_scheme(self, scheme: Literal["light", "dark"]) -> None:
        """Checks the page in that scheme."""
        visitor = self.visitor(color_scheme=scheme, reduced_motion="reduce")
        tab = DemoTab(visitor, self.demo())
        self.assert_looks_well(tab)
        tab.press("Cut the connection")
        tab.wait_until_loaded()
        self.assertGreater(tab.lost_by_node(), 0)
        tab.show_events()
        self.assert_looks_well(tab)

        self.expected_complaints = (REFUSED,)
        server, _ = self.demo_server()
        visitor = self.visitor(token(), color_scheme=scheme, reduced_motion="reduce")
        tab = DemoTab(visitor, server.port)
        tab.show_events()
        data: Any = {"data": job_data(status="error", errors=[{"message": "m" * 500}])}
        self.redis.client.xadd(f"{PREFIX}full", data)
        tab.wait_for_text("m" * 500)
        give_cookie(visitor, token(secret="another secret, also long enough to sign"))
        tab.page.evaluate("socket.close()")
        tab.wait_for_text("(bad signature: the token is not signed with jwtSecret)")
        self.assert_looks_well(tab)
