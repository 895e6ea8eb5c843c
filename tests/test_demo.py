"""The demo as its visitor meets it."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from twisted.trial.unittest import SynchronousTestCase
from websockets.sync.client import connect

from tests.processes import DEADLINE_SECONDS, Server
from tests.samples import job_data

PLAIN_EVENT = json.loads(job_data())


class DemoTests(SynchronousTestCase):
    """`twistd --nodaemon gaq-ws --demo`."""

    def setUp(self) -> None:
        """Start the demo and open its page."""
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

    def publish(self, kind: str, cookie: str) -> int:
        """Press a button; return the answer's status."""
        request = Request(
            f"http://{self.host}/demo/publish?kind={kind}",
            method="POST",
            headers={"Cookie": cookie},
        )
        try:
            with urlopen(request, timeout=DEADLINE_SECONDS) as answer:
                status: int = answer.status
        except HTTPError as error:
            status = error.code
            error.close()
        return status

    def test_page(self) -> None:
        """The page needs nothing from elsewhere, and a good cookie is kept."""
        self.assertEqual(re.findall(r"""(?:src|href)=["'](?!data:)[^"']*""", self.page), [])
        again = Request(f"http://{self.host}/demo", headers={"Cookie": self.cookie})
        with urlopen(again, timeout=DEADLINE_SECONDS) as answer:
            self.assertNotIn("Set-Cookie", answer.headers)

    def test_buttons(self) -> None:
        """Each button's jobs arrive with the keys that Superset writes, in its order."""
        with connect(f"ws://{self.host}/", additional_headers={"Cookie": self.cookie}) as socket:

            def next_event() -> dict[str, Any]:
                event: dict[str, Any] = json.loads(socket.recv(DEADLINE_SECONDS))
                return event

            for kind, count, status in (
                ("chart", 1, "done"),
                ("dashboard", 20, "done"),
                ("failure", 1, "error"),
            ):
                self.assertEqual(self.publish(kind, self.cookie), 204)
                for _ in range(count):
                    event = next_event()
                    self.assertEqual(list(event), ["id", *PLAIN_EVENT])
                    self.assertEqual(event["status"], status)
                    self.assertEqual(bool(event["errors"]), status == "error")
                    self.assertEqual(bool(event["result_url"]), status == "done")

    def test_bad_requests(self) -> None:
        """Unknown kinds and strangers are refused."""
        self.assertEqual(self.publish("party", self.cookie), 400)
        self.assertEqual(self.publish("chart", "async-token=x"), 401)

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
        self.assertEqual(len(list(self.temporary.iterdir())), 1)
        found = re.search(r"Valkey runs on port (\d+)", self.server.text())
        assert found is not None
        self.server.stop()
        with self.assertRaises(OSError):
            urlopen(f"http://127.0.0.1:{found[1]}", timeout=DEADLINE_SECONDS).close()
        self.assertNotIn("Traceback", self.server.text())
        self.assertEqual(list(self.temporary.iterdir()), [])
