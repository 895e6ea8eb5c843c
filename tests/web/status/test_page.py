"""The status page, and what it shows."""

import re
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from treq.testing import StubTreq
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core.dashboard import Dashboard
from gaq_twisted.core.reasons import ConnectionReason, RequestReason, UpgradeReason
from gaq_twisted.realtime.dashboard import realtime_dashboard
from gaq_twisted.streams.dashboard import streams_dashboard
from gaq_twisted.web.status.contents import CORE, REASONS, contents
from tests.support.feed import FeedTestCase
from tests.support.samples import settings
from tests.support.status import ask_redis, streams_contents


class PageTests(FeedTestCase):
    """The page."""

    def setUp(self) -> None:
        """Gets the page."""
        super().setUp()
        client: Any = StubTreq(self.tree)
        response = self.successResultOf(client.get("http://gaq.test/status"))
        self.assertEqual(response.code, 200)
        self.headers = response.headers
        self.page: str = self.successResultOf(response.text())

    def test_headers(self) -> None:
        """It is HTML that may not be stored or framed."""
        for name, value in (
            ("content-type", "text/html; charset=utf-8"),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
        ):
            self.assertEqual(self.headers.getRawHeaders(name), [value])

    def test_policy(self) -> None:
        """Browsers run its own script and style only, and fetch nothing but its events."""
        (policy,) = self.headers.getRawHeaders("content-security-policy")
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        self.assertEqual(rules["default-src"], "'none'")
        self.assertEqual(rules["connect-src"], "'self'")
        self.assertEqual(rules["frame-ancestors"], "'none'")
        for element, rule in (("script", "script-src"), ("style", "style-src")):
            (text,) = re.findall(f"<{element}>(.*?)</{element}>", self.page, re.DOTALL)
            digest = b64encode(sha256(text.encode()).digest()).decode()
            self.assertEqual(rules[rule], f"'sha256-{digest}'")
        self.assertNotRegex(self.page, r"<[^>]* (?:style|on[a-z]+)=")

    def test_other_servers(self) -> None:
        """The servers that the address names may be asked too, and nothing else changes."""
        client: Any = StubTreq(self.tree)
        response = self.successResultOf(client.get("http://gaq.test/status?with=a:1,10.0.0.7:2"))
        (before,) = self.headers.getRawHeaders("content-security-policy")
        (policy,) = response.headers.getRawHeaders("content-security-policy")
        self.assertEqual(
            policy, before.replace("connect-src 'self'", "connect-src 'self' a:1 10.0.0.7:2")
        )
        self.assertEqual(self.successResultOf(response.text()), self.page)
        response = self.successResultOf(client.get("http://gaq.test/status?with=*;x"))
        self.assertEqual(response.code, 400)
        self.assertIn("host:port", self.successResultOf(response.text()))

    def test_json(self) -> None:
        """What the page shows is to be had as JSON."""
        self.tick()
        client: Any = StubTreq(self.tree)
        response = self.successResultOf(client.get("http://gaq.test/status.json"))
        self.assertEqual(response.headers.getRawHeaders("content-type"), ["application/json"])
        shown = self.successResultOf(response.json())
        self.assertEqual(
            (shown["ready"], shown["version"], shown["redisServer"], shown["redisVersion"]),
            (True, "1.2", "127.0.0.1:6379, db 0", "Valkey 8.1.0"),
        )
        self.assertEqual((shown["startedAt"], shown["now"]["at"]), (1000.0, 1001.0))
        self.assertEqual((shown["now"]["sockets"], shown["now"]["redisOutages"]), (3, 0))
        self.assertEqual([one["kind"] for one in shown["incidents"]], ["Redis up"])
        self.assertEqual((shown["rejections"], shown["server"]["maxFiles"]), ([], 1024))
        self.reasons.append("draining")
        response = self.successResultOf(client.get("http://gaq.test/status.json"))
        self.assertFalse(self.successResultOf(response.json())["ready"])

    def test_no_assets(self) -> None:
        """It loads nothing from other servers, and uses nothing that it receives as markup."""
        self.assertEqual(re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", self.page), [])
        self.assertNotIn("innerHTML", self.page)

    def test_names(self) -> None:
        """The script itself names only columns that every server has."""
        used = set(re.findall(r"\b(?:sample|last|shown)\.([a-z][A-Za-z0-9]+)", self.page))
        of_all = {column.name for column in CORE.columns}
        self.assertEqual(used - of_all, {"at"})


class ContentsTests(SynchronousTestCase):
    """What the page shows, with and without an edition."""

    def test_names(self) -> None:
        """Each column that the page shows is one that is sent, and each that is sent is shown."""
        for shown in (contents("1.2", []), streams_contents()):
            sent = {"cpu", *(column.name for column in shown.columns)}
            columns = set(_columns_of(shown))
            self.assertEqual(
                columns - sent, {"cursor", "redisServer", "redisVersion"} if shown.up else set()
            )
            self.assertEqual(sent - columns, set())

    def test_reasons(self) -> None:
        """Only reasons that exist have words of their own."""
        known = {*RequestReason, *UpgradeReason, *ConnectionReason}
        self.assertLessEqual(set(REASONS), set(map(str, known)))

    def test_facts(self) -> None:
        """Each fact that a plot needs is one that is sent."""
        shown = streams_contents()
        needed = {line.of for plot in shown.plots for line in plot.series if line.of}
        self.assertEqual(needed, {"tailMaxEvents", "tailMaxBytes"})
        self.assertLessEqual(needed, set(shown.facts))

    def test_tiles_have_a_state(self) -> None:
        """The last state of a tile always holds."""
        for tile in streams_contents().tiles:
            last = tile.states[-1]
            self.assertEqual((last.columns, last.least, last.most), ((), None, None), tile.title)

    def test_words_for_routes(self) -> None:
        """What sockets belong to has the word of the editions."""
        realtime = realtime_dashboard(settings(), ask_redis)
        of_streams = streams_dashboard(settings(), ask_redis)
        for editions, word in (
            ([], "channels"),
            ([of_streams], "channels"),
            ([realtime], "users"),
            ([of_streams, realtime], "channels and users"),
        ):
            sockets = contents("1.2", editions).plots[0]
            self.assertEqual([line.label for line in sockets.series], ["sockets", word])

    def test_plots_have_colours(self) -> None:
        """A plot has three lines at most, and titles differ."""
        plots = streams_contents().plots
        self.assertLessEqual(max(len(plot.series) for plot in plots), 3)
        self.assertEqual(len({plot.title for plot in plots}), len(plots))

    def test_without_editions(self) -> None:
        """What belongs to an edition is not there without it."""
        shown = contents("1.2", [])
        self.assertEqual([tile.title for tile in shown.tiles], ["Since the start"])
        self.assertEqual((shown.process, shown.up), ((), ()))
        titles = {plot.title for plot in shown.plots}
        self.assertEqual(
            titles & {"Events", "Delivery, from Redis to socket", "Redis", "Tail"}, set()
        )


def _columns_of(shown: Dashboard) -> Iterator[str]:
    """Yields the columns that the page shows, or that a state or rule depends on."""
    for plot in shown.plots:
        yield from (line.column for line in (*plot.series, *plot.more))
        yield from (column for state in plot.states for column in state.columns)
    for tile in shown.tiles:
        yield from (row.column for row in tile.rows)
        yield from (column for state in tile.states for column in state.columns)
    yield from (row.column for row in shown.process)
    yield from (rule.column for rule in shown.rules)
    yield from shown.up
