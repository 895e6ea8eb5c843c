"""The demo as its visitor meets it."""

import json
import os
import re
import signal
import socket
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import jwt
from treq.testing import StubTreq
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from gaq_twisted.access.principals import PrincipalAuthenticator
from gaq_twisted.config.settings import Settings
from gaq_twisted.redis.server import IClientReactor
from gaq_twisted.tools.cookies import RealtimeSigner
from gaq_twisted.tools.demo import make_page
from gaq_twisted.web.site import resource_tree
from tests.support.processes import DEADLINE_SECONDS, Server, free_port, wait_until
from tests.support.samples import CHANNEL, SECRET, job_data, settings, token

PLAIN_EVENT = json.loads(job_data())
CHARTS = 12


class Answer(NamedTuple):
    """An answer to what a page asks."""

    status: int
    body: bytes
    cookie: str


class DemoTestCase(SynchronousTestCase):
    """A demo of `gaq-ws --demo`."""

    def setUp(self) -> None:
        """Makes the directory for its files."""
        self.temporary = Path(self.mktemp()).resolve()
        self.temporary.mkdir()

    def start(self, **environ: str) -> Server:
        """Starts a demo."""
        environ = {"TMPDIR": str(self.temporary), **environ}
        return Server(self, environ, command=("gaq-ws", "--demo"))

    def started(self, **environ: str) -> tuple[Server, str]:
        """Starts a demo; returns it and its host once it has printed where its page is."""
        server = self.start(**environ)
        server.wait_for_text("/demo\n")
        found = re.search(r"http://localhost:(\d+)/demo", server.text())
        assert found is not None
        return server, f"127.0.0.1:{found[1]}"


class PageTestCase(DemoTestCase):
    """The pages of a demo."""

    def setUp(self) -> None:
        """Starts the demo and opens its page."""
        super().setUp()
        # Other demos that run now look for a port from 8080 on, also while this one's is not open.
        self.server, self.host = self.started(PORT=str(free_port()))
        self.cookie, self.page = self.opened("/demo")

    def opened(self, path: str) -> tuple[str, str]:
        """Opens a page as a new visitor; returns the cookie and the page."""
        with urlopen(f"http://{self.host}{path}", timeout=DEADLINE_SECONDS) as answer:
            cookie: str = answer.headers["Set-Cookie"].partition(";")[0]
            self.headers = answer.headers
            return cookie, answer.read().decode()

    def ask(self, method: str, path: str, cookie: str) -> Answer:
        """Does what the page's script does; returns the answer."""
        request = Request(
            f"http://{self.host}/demo/{path}", method=method, headers={"Cookie": cookie}
        )
        try:
            with urlopen(request, timeout=DEADLINE_SECONDS) as answer:
                new_cookie = answer.headers.get("Set-Cookie", "").partition(";")[0]
                return Answer(answer.status, answer.read(), new_cookie)
        except HTTPError as error:
            with error:
                return Answer(error.code, error.read(), "")

    def load(self, fault: str, *, last_id: str = "") -> tuple[str, list[str]]:
        """Presses a button; returns the dashboard's id and its charts."""
        answer = self.ask("POST", f"dashboard?fault={fault}&last_id={last_id}", self.cookie)
        self.assertEqual(answer.status, 200, answer.body)
        begun = json.loads(answer.body)
        self.assertEqual(len(begun["charts"]), CHARTS)
        return begun["id"], begun["charts"]

    def report(self, dashboard: str, prefix: str = "") -> dict[str, Any]:
        """Returns what has happened to a dashboard so far."""
        answer = self.ask("GET", f"{prefix}dashboard?id={dashboard}", "")
        self.assertEqual(answer.status, 200, answer.body)
        report: dict[str, Any] = json.loads(answer.body)
        return report

    def outcome(self, dashboard: str, prefix: str = "") -> tuple[int, int]:
        """Returns how many charts Node.js would show and lose, once that is certain."""
        found: list[tuple[int, int]] = []

        def is_certain() -> bool:
            node = self.report(dashboard, prefix)["node"]
            found.append((len(node["shown"]), len(node["lost"])))
            return sum(found[-1]) == CHARTS

        wait_until(is_certain, lambda: str(found))
        return found[-1]

    def socket(self, *, last_id: str | None = None) -> ClientConnection:
        """Returns a WebSocket of the page."""
        query = "" if last_id is None else f"?last_id={last_id}"
        return self.enterContext(
            connect(f"ws://{self.host}/{query}", additional_headers={"Cookie": self.cookie})
        )

    def jobs_until_closed(self, socket: ClientConnection) -> tuple[list[str], int | None]:
        """Returns the jobs that arrive until a WebSocket is closed, and the close code."""
        jobs: list[str] = []
        while True:
            try:
                jobs.append(json.loads(socket.recv(DEADLINE_SECONDS))["job_id"])
            except ConnectionClosed as closed:
                return jobs, None if closed.rcvd is None else closed.rcvd.code


class PageTests(PageTestCase):
    """What the pages are and say."""

    def test_page(self) -> None:
        """The page needs nothing from elsewhere, and a good cookie is kept."""
        links = r"""(?:src|href)=["'](?!data:|/demo|http://localhost:\d+/status)[^"']*"""
        self.assertEqual(re.findall(links, self.page), [])
        policy = self.headers["Content-Security-Policy"]
        self.assertIn("default-src 'none'; script-src 'sha256-", policy)
        self.assertNotIn("unsafe", policy)
        again = Request(f"http://{self.host}/demo", headers={"Cookie": self.cookie})
        with urlopen(again, timeout=DEADLINE_SECONDS) as answer:
            self.assertNotIn("Set-Cookie", answer.headers)

    def test_links(self) -> None:
        """The links of both pages lead somewhere."""
        for page in (self.page, self.opened("/demo/7")[1]):
            links = re.findall(r'<a href="([^"]*)"', page)
            self.assertEqual(len(links), 6)
            for link in links:
                url = link if link.startswith("http") else f"http://{self.host}{link}"
                with urlopen(url, timeout=DEADLINE_SECONDS) as answer:
                    self.assertEqual(answer.status, 200)

    def test_bad_requests(self) -> None:
        """What means nothing, and strangers, are rejected."""
        for method, path, cookie, expected in (
            ("POST", "dashboard?fault=x", self.cookie, (400, "fault must be none, cut, redis,")),
            ("POST", "dashboard?fault=none", "", (401, "no cookie named async-token")),
            ("POST", "7/dashboard?fault=none", "", (401, "no cookie named superset-ws-token")),
            ("GET", "dashboard?id=x", "", (404, "no such dashboard")),
        ):
            answer = self.ask(method, path, cookie)
            self.assertEqual(answer.status, expected[0])
            self.assertIn(expected[1], answer.body.decode())

    def test_cookie(self) -> None:
        """A page gets to know why its cookie is rejected, and gets a new one, but only then."""
        self.assertIsNone(self.refusal(self.cookie))
        self.assertEqual(self.ask("POST", "cookie", self.cookie), (204, b"", ""))

        self.assertEqual(self.refusal(""), "no cookie named async-token")
        new_cookie = self.ask("POST", "cookie", "").cookie
        self.assertIsNone(self.refusal(new_cookie))
        self.assertNotEqual(new_cookie, self.cookie)

    def refusal(self, cookie: str) -> str | None:
        """Returns why that cookie is rejected."""
        answer = self.ask("GET", "cookie", cookie)
        self.assertEqual(answer.status, 200)
        refusal: str | None = json.loads(answer.body)["refusal"]
        return refusal


class LoadTests(PageTestCase):
    """Dashboards of Superset 1.2 to 6.1."""

    def test_load(self) -> None:
        """Each chart's event arrives, with the keys that Superset writes, in its order."""
        socket = self.socket()
        dashboard, charts = self.load("none")
        for chart in charts:
            event = json.loads(socket.recv(DEADLINE_SECONDS))
            self.assertEqual(list(event), ["id", *PLAIN_EVENT])
            self.assertEqual((event["job_id"], event["status"]), (chart, "done"))
        self.assertEqual(self.outcome(dashboard), (CHARTS, 0))
        report = self.report(dashboard)
        self.assertEqual(report["ended"], charts)
        self.assertEqual([report[fault] for fault in ("cut", "redis", "server")], [None] * 3)

    def test_cut(self) -> None:
        """The WebSocket ends without a close frame, and the next one gets all charts."""
        socket = self.socket()
        dashboard, charts = self.load("cut")
        jobs, code = self.jobs_until_closed(socket)
        self.assertIsNone(code)
        returned = self.socket()
        jobs += [json.loads(returned.recv(DEADLINE_SECONDS))["job_id"] for _ in charts[len(jobs) :]]
        self.assertEqual(jobs, charts)
        shown, lost = self.outcome(dashboard)
        self.assertGreater(lost, 0)
        self.assertGreater(shown, 0)

    def test_redis(self) -> None:
        """The WebSocket stays, and gets all charts when Redis is back."""
        socket = self.socket()
        dashboard, charts = self.load("redis")
        jobs = {json.loads(socket.recv(DEADLINE_SECONDS))["job_id"] for _ in charts}
        self.assertEqual(jobs, set(charts))
        start, end = self.report(dashboard)["redis"]
        self.assertGreaterEqual(end - start, 5)
        self.assertEqual(self.outcome(dashboard), (CHARTS, 0))

    def test_one_fault_at_a_time(self) -> None:
        """While one fault is not over there cannot be another."""
        dashboard, _ = self.load("redis")
        wait_until(lambda: self.report(dashboard)["redis"] is not None, lambda: "no fault")
        answer = self.ask("POST", "dashboard?fault=cut", self.cookie)
        self.assertEqual(answer.status, 409)
        self.assertIn("another fault is still in progress", answer.body.decode())

    def test_restart(self) -> None:
        """The WebSocket is closed with 1001, and one to the next server gets all charts."""
        socket = self.socket()
        dashboard, charts = self.load("restart")
        jobs, code = self.jobs_until_closed(socket)
        self.assertEqual((jobs, code), ([], 1001))

        def is_back() -> bool:
            try:
                return self.ask("GET", "cookie", self.cookie).status == 200
            except OSError:
                return False

        wait_until(is_back, self.server.text)
        returned = self.socket()
        jobs = [json.loads(returned.recv(DEADLINE_SECONDS))["job_id"] for _ in charts]
        self.assertEqual(sorted(jobs), sorted(charts))
        start, end = self.report(dashboard)["server"]
        self.assertGreaterEqual(end - start, 2)

    def test_last_id(self) -> None:
        """To a browser that has had an event Node.js would replay as well."""
        dashboard, _ = self.load("cut", last_id="1-0")
        self.assertEqual(self.outcome(dashboard), (CHARTS, 0))


class RealtimeLoadTests(PageTestCase):
    """Dashboards of Superset 7."""

    def setUp(self) -> None:
        """Opens the page."""
        super().setUp()
        self.cookie, _ = self.opened("/demo/7")
        self.assertIn("; Max-Age=900;", self.headers["Set-Cookie"])

    def begin(self, fault: str) -> tuple[str, list[str]]:
        """Presses a button; returns the dashboard's id and its charts."""
        answer = self.ask("POST", f"7/dashboard?fault={fault}&tab_id=1", self.cookie)
        begun = json.loads(answer.body)
        return begun["id"], begun["charts"]

    def test_load(self) -> None:
        """The messages reach the page's tab, and no other one."""
        first, second = (
            self.enterContext(
                connect(
                    f"ws://{self.host}/?tab_id={tab}", additional_headers={"Cookie": self.cookie}
                )
            )
            for tab in (1, 2)
        )
        dashboard, charts = self.begin("none")
        for chart in charts:
            payload = json.dumps({"task_id": chart, "status": "success"})
            frame = f'{{"topic":"task.status","payload":{payload}}}'
            self.assertEqual(first.recv(DEADLINE_SECONDS), frame)
        # Had it been sent anything, that would have come first.
        second.close()
        self.assertRaises(ConnectionClosed, second.recv, DEADLINE_SECONDS)
        self.assertEqual(self.report(dashboard, "7/")["ended"], charts)

    def test_redis(self) -> None:
        """All queries end while Redis is away; with Node.js their charts would fail."""
        dashboard, charts = self.begin("redis")
        self.assertEqual(self.outcome(dashboard, "7/"), (0, CHARTS))
        self.assertEqual(self.report(dashboard, "7/")["ended"], charts)


class PlaceTests(DemoTestCase):
    """Where the demo listens, and what it prints."""

    def test_banner(self) -> None:
        """The last line is the URL, and by then the server is ready."""
        server, host = self.started()
        status, demo = server.text().splitlines()[-2:]
        self.assertEqual(
            demo.split(), ["Demo:", f"http://localhost:{host.rpartition(':')[2]}/demo"]
        )
        status_url = status.split()[-1]
        self.assertTrue(status_url.endswith("/status"))
        ready_url = status_url.removesuffix("status") + "ready"
        with urlopen(ready_url, timeout=DEADLINE_SECONDS) as answer:
            self.assertEqual(answer.status, 200)

    def test_second_demo(self) -> None:
        """Demos that are started at the same time take different ports."""
        servers = [self.start() for _ in range(3)]
        urls: list[str] = []
        for server in servers:
            server.wait_for_text("/demo\n")
            urls += re.findall(r"http://\S+", server.text())
        self.assertEqual(len(set(urls)), 6)

    def test_chosen_ports(self) -> None:
        """PORT and INTERNAL_LISTEN are used."""
        port, internal = free_port(), free_port()
        server, host = self.started(PORT=str(port), INTERNAL_LISTEN=f"tcp:{internal}")
        self.assertEqual(host, f"127.0.0.1:{port}")
        self.assertIn(f"http://localhost:{internal}/status\n", server.text())

    def test_port_in_use(self) -> None:
        """A port that is in use is named."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            server = self.start(PORT=str(port))
            self.assertEqual(server.wait(), 1)
            self.assertIn(f"port {port} of 127.0.0.1 is not free: set PORT", server.text())

    def test_bad_variables(self) -> None:
        """Variables that cannot be used are named."""
        for environ, text in (
            ({"PORT": "x"}, "gaq-ws: port (PORT in the environment): "),
            ({"INTERNAL_LISTEN": "unix:/run/x"}, "gaq-ws: the demo shows its status page by HTTP"),
            ({"INTERNAL_LISTEN": "tcp:x"}, "gaq-ws: the demo shows its status page by HTTP"),
            ({"INTERNAL_LISTEN": "x"}, "gaq-ws: internalListen (INTERNAL_LISTEN in"),
        ):
            server = self.start(**environ)
            self.assertEqual(server.wait(), 1)
            self.assertIn(text, server.text())
            self.assertNotIn("Traceback", server.text())


class EndTests(DemoTestCase):
    """The demo ends: nothing of it is left."""

    def test_stop(self) -> None:
        """Valkey ends with the demo, and its files go."""
        server, _ = self.started()
        self.assertTrue(self.left())
        self.assertEqual(server.stop(signal.SIGINT), 0)
        self.assertNotIn("Traceback", server.text())
        self.assertEqual(self.left(), [])

    def test_terminal_closed(self) -> None:
        """It also ends when the terminal is closed, even if that is signalled more than once."""
        server, _ = self.started()
        for _ in range(3):
            os.killpg(server.process.pid, signal.SIGHUP)
        server.wait()
        wait_until(lambda: not self.left(), lambda: str(self.left()))

    def test_killed(self) -> None:
        """Valkey ends and its files go even if the demo cannot see to that."""
        server, _ = self.started()
        server.stop(signal.SIGKILL)
        wait_until(lambda: not self.left(), lambda: str(self.left()))

    def test_stop_while_redis_is_stopped(self) -> None:
        """The files go, too, if the demo ends while its Valkey is stopped."""
        server, host = self.started()
        with urlopen(f"http://{host}/demo", timeout=DEADLINE_SECONDS) as answer:
            cookie = answer.headers["Set-Cookie"].partition(";")[0]
        request = Request(
            f"http://{host}/demo/dashboard?fault=redis", method="POST", headers={"Cookie": cookie}
        )
        urlopen(request, timeout=DEADLINE_SECONDS).close()
        server.wait_for_text("cannot follow the global stream")
        self.assertEqual(server.stop(), 0)
        self.assertEqual(self.left(), [])

    def left(self) -> list[str]:
        """Returns the files that are there, and the processes that use them."""
        left = [file.name for file in self.temporary.iterdir()]
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = command.read_text()
            except OSError:
                continue  # It has ended.
            if str(self.temporary) in words:
                left.append(words.replace("\0", " "))
        return left


class CookieTests(SynchronousTestCase):
    """Cookies for browsers that have a bad one."""

    def new_channel(self, old_token: str) -> object:
        """Returns the channel that a browser with that token is given."""
        client: Any = StubTreq(
            resource_tree({b"demo": make_page(settings(), cast(IClientReactor, Clock()))})
        )
        response = self.successResultOf(
            client.post("http://gaq.test/demo/cookie", cookies={"async-token": old_token})
        )
        self.assertEqual(response.code, 204)
        (cookie,) = response.headers.getRawHeaders("set-cookie")
        new_token = cookie.partition(";")[0].partition("=")[2]
        claims = jwt.decode(new_token, SECRET, algorithms=["HS256"])
        self.assertNotIn("exp", claims)
        channel: object = claims["channel"]
        return channel

    def test_expired(self) -> None:
        """Whose token has expired keeps the channel, and so hears what was missed."""
        self.assertEqual(self.new_channel(token(exp=1)), CHANNEL)

    def test_others(self) -> None:
        """All others are given a channel of their own."""
        for bad in (
            token(secret="another secret, also long enough to sign", exp=1),
            token(None, exp=1),
            token(""),
            "no token",
        ):
            channel = self.new_channel(bad)
            self.assertIsInstance(channel, str)
            self.assertNotIn(channel, (CHANNEL, ""))


class PrincipalCookieTests(SynchronousTestCase):
    """Cookies for browsers of the page of Superset 7."""

    def setUp(self) -> None:
        """Makes the page."""
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.settings: Settings = settings(protocol="both", realtime_jwt_secret=SECRET)
        self.signer = RealtimeSigner(self.settings)
        self.resources = resource_tree(
            {b"demo": make_page(self.settings, cast(IClientReactor, self.clock))}
        )

    def renewed(self, old_token: str) -> str | None:
        """Returns the user of the cookie that a browser with that token gets, if it gets one."""
        # A client keeps cookies, so each browser is one of its own.
        client: Any = StubTreq(self.resources)
        response = self.successResultOf(
            client.post("http://gaq.test/demo/7/cookie", cookies={"superset-ws-token": old_token})
        )
        self.assertEqual(response.code, 204)
        cookies = response.headers.getRawHeaders("set-cookie")
        if cookies is None:
            return None
        header = cookies[0].partition(";")[0]
        principal = PrincipalAuthenticator(self.settings, self.clock.seconds).identify(header)
        self.assertEqual(principal.expires_at, self.clock.seconds() + 900)
        return principal.route

    def test_renewal(self) -> None:
        """A token is renewed for its user once half of its life is over, or all of it."""
        now = int(self.clock.seconds())
        for left_seconds, user in ((451, None), (450, "user:5"), (-1000, "user:5")):
            token = self.signer.token("user:5", now, now + left_seconds)
            self.assertEqual(self.renewed(token), user)

    def test_others(self) -> None:
        """All others get a user of their own."""
        other = RealtimeSigner(settings(realtime_jwt_secret=SECRET[::-1]))
        for bad in (other.token("user:5", 0, 2**33), token(), "no token"):
            self.assertRegex(str(self.renewed(bad)), r"^user:\d+$")
            self.assertNotEqual(self.renewed(bad), "user:5")
