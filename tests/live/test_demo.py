"""The demo as its visitor meets it."""

import json
import os
import re
import signal
from pathlib import Path
from typing import Any, cast
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from uuid import uuid4

import jwt
from treq.testing import StubTreq
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from gaq_twisted.access.principals import PrincipalAuthenticator
from gaq_twisted.config.settings import Settings
from gaq_twisted.redis.server import IClientReactor
from gaq_twisted.tools.cookies import RealtimeSigner
from gaq_twisted.tools.demo import make_page
from gaq_twisted.web.site import resource_tree
from tests.support.processes import DEADLINE_SECONDS, Server
from tests.support.samples import CHANNEL, SECRET, job_data, settings, token

PLAIN_EVENT = json.loads(job_data())


class DemoTests(SynchronousTestCase):
    """`twistd --nodaemon gaq-ws --demo`."""

    def setUp(self) -> None:
        """Starts the demo and open its page."""
        self.temporary = Path(self.mktemp()).resolve()
        self.temporary.mkdir()
        self.server = Server(self, {"TMPDIR": str(self.temporary)}, command=("gaq-ws", "--demo"))
        self.server.wait_for_text("following the global stream")
        found = re.search(r"open http://localhost:(\d+)/demo", self.server.text())
        assert found is not None
        self.host = f"127.0.0.1:{found[1]}"
        with urlopen(f"http://{self.host}/demo", timeout=DEADLINE_SECONDS) as answer:
            self.page = answer.read().decode()
            self.cookie = answer.headers["Set-Cookie"].partition(";")[0]

    def ask(self, method: str, path: str, cookie: str) -> tuple[int, bytes, str]:
        """Do as the page's script does; return the answer's status and body, and its cookie."""
        request = Request(
            f"http://{self.host}/demo/{path}", method=method, headers={"Cookie": cookie}
        )
        try:
            with urlopen(request, timeout=DEADLINE_SECONDS) as answer:
                new_cookie = answer.headers.get("Set-Cookie", "").partition(";")[0]
                return answer.status, answer.read(), new_cookie
        except HTTPError as error:
            with error:
                return error.code, error.read(), ""

    def publish(self, kind: str) -> list[dict[str, str]]:
        """Presses a button; return the jobs that were published."""
        status, body, _ = self.ask("POST", f"publish?kind={kind}", self.cookie)
        self.assertEqual(status, 200)
        jobs: list[dict[str, str]] = json.loads(body)["jobs"]
        return jobs

    def refusal(self, cookie: str) -> str | None:
        """Returns why that cookie is refused."""
        status, body, _ = self.ask("GET", "cookie", cookie)
        self.assertEqual(status, 200)
        refusal: str | None = json.loads(body)["refusal"]
        return refusal

    def test_page(self) -> None:
        """The page needs nothing from elsewhere, and a good cookie is kept."""
        self.assertEqual(re.findall(r"""(?:src|href)=["'](?!data:|/demo)[^"']*""", self.page), [])
        again = Request(f"http://{self.host}/demo", headers={"Cookie": self.cookie})
        with urlopen(again, timeout=DEADLINE_SECONDS) as answer:
            self.assertNotIn("Set-Cookie", answer.headers)

    def test_buttons(self) -> None:
        """Each button's jobs arrive, with the keys that Superset writes, in its order."""
        with connect(f"ws://{self.host}/", additional_headers={"Cookie": self.cookie}) as socket:

            def next_event() -> dict[str, Any]:
                event: dict[str, Any] = json.loads(socket.recv(DEADLINE_SECONDS))
                return event

            for kind, count, status in (
                ("chart", 1, "done"),
                ("dashboard", 20, "done"),
                ("failure", 1, "error"),
            ):
                jobs = self.publish(kind)
                self.assertEqual(len(jobs), count)
                for job in jobs:
                    event = next_event()
                    self.assertEqual({key: event[key] for key in job}, job)
                    self.assertEqual(list(event), ["id", *PLAIN_EVENT])
                    self.assertEqual(event["status"], status)
                    self.assertEqual(bool(event["errors"]), status == "error")
                    self.assertEqual(bool(event["result_url"]), status == "done")

    def test_realtime_buttons(self) -> None:
        """Each button of the page of Superset 7 reaches the tabs that it says, and no others."""
        cookie, other = self.realtime_cookie(), self.realtime_cookie()
        pages = [
            self.enterContext(
                connect(
                    f"ws://{self.host}/?tab_id={tab}",
                    # The server has to know by the tab which of the cookies counts.
                    additional_headers={"Cookie": f"{self.cookie}; {one}"},
                )
            )
            for one, tab in ((cookie, "1"), (cookie, "2"), (other, "1"))
        ]
        for to, reached in (("tab", 1), ("user", 2), ("everybody", 3)):
            task_id = str(uuid4())
            query = f"7/publish?to={to}&task_id={task_id}&tab_id=1"
            status, body, _ = self.ask("POST", query, cookie)
            self.assertEqual((status, json.loads(body)["servers"]), (200, 1))
            payload = json.dumps({"task_id": task_id, "status": "success"})
            frame = f'{{"topic":"task.status","payload":{payload}}}'
            for page in pages[:reached]:
                self.assertEqual(page.recv(DEADLINE_SECONDS), frame)
        # Had others been sent anything more, it would have come first.
        for page in pages:
            page.close()
            self.assertRaises(ConnectionClosed, page.recv, DEADLINE_SECONDS)

    def realtime_cookie(self) -> str:
        """Returns the cookie of a new visitor of the page of Superset 7."""
        with urlopen(f"http://{self.host}/demo/7", timeout=DEADLINE_SECONDS) as answer:
            self.assertIn("; Max-Age=900;", answer.headers["Set-Cookie"])
            cookie: str = answer.headers["Set-Cookie"].partition(";")[0]
            return cookie

    def test_bad_realtime_requests(self) -> None:
        """What means nothing, and strangers, are refused."""
        cookie = self.realtime_cookie()
        for query, one, expected in (
            ("to=all", cookie, (400, b"to must be tab, user or everybody\n")),
            ("to=tab&task_id=x", cookie, (400, b"task_id must be a UUID\n")),
            (f"to=tab&task_id={uuid4()}", "", (401, b"no cookie named superset-ws-token\n")),
        ):
            status, body, _ = self.ask("POST", f"7/publish?{query}", one)
            self.assertEqual((status, body), expected)

    def test_bad_requests(self) -> None:
        """Unknown kinds and strangers are refused."""
        for kind, cookie, expected in (
            ("party", self.cookie, (400, b"kind must be chart, dashboard or failure\n")),
            ("chart", "", (401, b"no cookie named async-token\n")),
        ):
            status, body, _ = self.ask("POST", f"publish?kind={kind}", cookie)
            self.assertEqual((status, body), expected)

    def test_cookie(self) -> None:
        """A page learns why its cookie is refused, and gets a new one, but only then."""
        self.assertIsNone(self.refusal(self.cookie))
        self.assertEqual(self.ask("POST", "cookie", self.cookie), (204, b"", ""))

        self.assertEqual(self.refusal(""), "no cookie named async-token")
        _, _, new_cookie = self.ask("POST", "cookie", "")
        self.assertIsNone(self.refusal(new_cookie))
        self.assertNotEqual(new_cookie, self.cookie)

    def test_second_demo(self) -> None:
        """Demos that are started at the same time take different ports."""
        others = [
            Server(self, {"TMPDIR": str(self.temporary)}, command=("gaq-ws", "--demo"))
            for _ in range(2)
        ]
        for other in others:
            other.wait_for_text("following the global stream")
            self.assertNotIn(f"http://localhost:{self.host.partition(':')[2]}/", other.text())

    def test_nothing_is_left(self) -> None:
        """The Valkey ends with the demo, and its files go."""
        self.assertEqual(self.server.stop(), 0)
        self.assert_nothing_is_left()

    def test_terminal_closed(self) -> None:
        """So it is when the terminal is closed."""
        os.killpg(self.server.process.pid, signal.SIGHUP)
        self.assertEqual(self.server.wait(), 0)
        self.assert_nothing_is_left()

    def assert_nothing_is_left(self) -> None:
        """Checks that neither Valkey nor files are there."""
        found = re.search(r"Valkey runs on port (\d+)", self.server.text())
        assert found is not None
        with self.assertRaises(OSError):
            urlopen(f"http://127.0.0.1:{found[1]}", timeout=DEADLINE_SECONDS).close()
        self.assertNotIn("Traceback", self.server.text())
        self.assertEqual(list(self.temporary.iterdir()), [])


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
