"""The status of a real server, and its page in a real browser."""

import json
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import trustme
from twisted.trial.unittest import SynchronousTestCase
from websockets.sync.client import connect as connect_websocket

from tests.support import sessions
from tests.support.processes import (
    DEADLINE_SECONDS,
    RedisProcess,
    Server,
    Tab,
    environment,
    free_port,
    wait_until,
)
from tests.support.samples import SECRET
from tests.support.status import SentEvent, events_of


class ProcessTests(SynchronousTestCase):
    """The status of a real server."""

    def setUp(self) -> None:
        """Starts a server with an internal port."""
        self.redis = RedisProcess(self)
        self.port = free_port()
        self.server = Server(
            self,
            environment(
                self.redis.port,
                INTERNAL_LISTEN=f"tcp:{self.port}:interface=127.0.0.1",
                DRAIN_DELAY_MS="3000",
            ),
        )
        self.server.wait_for_text("following the global stream")

    def ask(self, path: str, port: int | None = None) -> HTTPResponse:
        """Returns the answer of the server."""
        connection = HTTPConnection("127.0.0.1", port or self.port, timeout=DEADLINE_SECONDS)
        self.addCleanup(connection.close)
        connection.request("GET", path)
        return connection.getresponse()

    def events(self) -> Iterator[SentEvent]:
        """Yields events as they come."""
        answer = self.ask("/status/events")
        self.assertEqual(answer.status, 200)
        self.addCleanup(answer.close)
        block = ""
        while line := answer.readline():
            block += line.decode()
            if line == b"\n":
                yield from events_of(block)
                block = ""

    def samples(self) -> Iterator[dict[str, Any]]:
        """Yields samples as they come, with the state."""
        fields: list[str] = []
        for event in self.events():
            if event.name == "hello":
                fields = event.data["fields"]
            elif event.name == "samples":
                for row in event.data["samples"]:
                    yield dict(zip(fields, row, strict=True)) | event.data["state"]

    def test_places(self) -> None:
        """The page is available only on the internal port."""
        for path in ("/status", "/status/events", "/status.json"):
            self.assertEqual(self.ask(path, self.server.port).status, 404)
        answer = self.ask("/status")
        self.assertEqual(answer.status, 200)
        self.assertIn(b"</html>", answer.read())

    def test_not_without_inside(self) -> None:
        """A server without an internal port has no status page."""
        server = Server(self, environment(self.redis.port))
        server.wait_for_text("following the global stream")
        for path in ("/status", "/status/events"):
            self.assertEqual(self.ask(path, server.port).status, 404)

    def test_life(self) -> None:
        """Samples show sockets, events, rejections, outages and shutdown, about one a second."""
        samples = self.samples()

        def until(name: str, condition: Any) -> dict[str, Any]:
            """Returns the next sample that meets the condition."""
            for _ in range(int(DEADLINE_SECONDS)):
                sample = next(samples)
                if condition(sample):
                    return sample
            raise AssertionError(f"{name}: {sample}")

        with Tab(self.server.port) as tab:
            until("socket", lambda sample: (sample["sockets"], sample["channels"]) == (1, 1))
            (last_id,) = self.redis.publish("one")
            self.assertEqual(tab.jobs(1), ["one"])
            sample = until("event", lambda sample: sample["cursor"] == last_id)
            self.assertEqual((sample["redisUp"], sample["redisConnections"]), (True, 1))
            self.assertEqual(sample["tailEvents"], 1)
        with socket.create_connection(("127.0.0.1", self.server.port)) as client:
            client.sendall(b"HELO\r\n\r\n")
            until("refusal", lambda sample: sample["rejectedRequestsPerSecond"])
        self.redis.kill()
        sample = until("down", lambda sample: not sample["redisUp"])
        self.assertEqual(sample["reasons"], ["Redis cannot be read"])
        self.redis.start()
        sample = until("up", lambda sample: sample["redisUp"])
        self.assertEqual((sample["redisOutages"], sample["rejected"]), (1, 1))
        self.assertGreater(sample["redisDownSeconds"], 0)
        first, second, third = (next(samples)["at"] for _ in range(3))
        self.assertLess(first, second)
        self.assertLess(second, third)
        self.server.process.terminate()
        until("end", lambda sample: sample["isDraining"] and sample["reasons"] == ["draining"])
        rest = list(samples)
        self.assertTrue(all(sample["isDraining"] for sample in rest))
        self.assertEqual(self.server.wait(), 0)
        self.assertNotIn("Traceback", self.server.text())

    def test_json(self) -> None:
        """The same is to be had as JSON, with what Redis says of itself once it was asked."""

        def shown() -> Any:
            return json.load(self.ask("/status.json"))

        wait_until(lambda: "redisVersion" in shown(), lambda: str(shown()))
        status = shown()
        self.assertTrue(status["ready"])
        self.assertEqual(status["redisServer"], f"127.0.0.1:{self.redis.port}, db 0")
        self.assertRegex(status["redisVersion"], r"^(Redis|Valkey) \d")
        self.assertEqual(status["server"]["pid"], self.server.process.pid)
        self.assertEqual(status["server"]["listen"], [f"tcp:{self.server.port}"])
        self.assertGreater(status["server"]["memoryBytes"], 2**20)
        self.assertTrue(0 < status["server"]["openFiles"] < status["server"]["maxFiles"])
        self.assertEqual(len(status["server"]["warnings"]), 1)
        self.assertNotIn(SECRET, repr(status))

    def test_certificates(self) -> None:
        """When a certificate expires is shown, and the new moment once it was replaced."""
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        file, port, internal = directory / "both.pem", free_port(), free_port()
        authority = trustme.CA()

        def issue(year: int) -> None:
            issued = authority.issue_cert("localhost", not_after=datetime(year, 1, 1, tzinfo=UTC))
            issued.private_key_and_cert_chain_pem.write_to_path(str(file))

        issue(2098)
        server = Server(
            self,
            environment(
                self.redis.port,
                LISTEN=rf"ssl:{port}:privateKey={file}:interface=127.0.0.1",
                INTERNAL_LISTEN=f"tcp:{internal}:interface=127.0.0.1",
            ),
        )
        server.wait_for_text("following the global stream")

        def expiry() -> tuple[str, int]:
            (one,) = json.load(self.ask("/status.json", internal))["server"]["certificates"]
            return one["endpoint"], datetime.fromtimestamp(one["expiresAt"], UTC).year

        endpoint = f"ssl:{port}:interface=127.0.0.1"
        self.assertEqual(expiry(), (endpoint, 2098))
        issue(2099)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: expiry() == (endpoint, 2099), lambda: str(expiry()))

    def test_no_channels(self) -> None:
        """Nothing that is sent names a channel, a token or a whole address."""
        events = self.events()
        with Tab(self.server.port) as tab:
            self.redis.publish("one")
            tab.jobs(1)
            with socket.create_connection(("127.0.0.1", self.server.port)) as client:
                client.sendall(b"HELO\r\n\r\n")
                sent = [next(events)]
                while not (sent[-1].name == "lists" and sent[-1].data["rejections"]):
                    sent.append(next(events))
            for secret in ("090916f0", SECRET):
                self.assertNotIn(secret, repr(sent))
            self.assertNotIn("127.0.0.1", repr(sent[-1]))


class Chromium:
    """A page in a headless browser, controlled by its DevTools protocol."""

    program = shutil.which("chromium") or shutil.which("google-chrome")

    def __init__(self, test: SynchronousTestCase, url: str) -> None:
        """Opens the page; the test ends the browser."""
        assert self.program is not None
        directory = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        test.addCleanup(directory.cleanup)
        sessions.start(
            test,
            [
                self.program,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-sync",
                "--disable-component-update",
                "--remote-debugging-port=0",
                f"--user-data-dir={directory.name}",
                "about:blank",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        ready = Path(directory.name) / "DevToolsActivePort"
        wait_until(
            lambda: ready.exists() and "\n" in ready.read_text(),
            lambda: "the browser did not start",
        )
        port = ready.read_text().split("\n")[0]
        ask = Request(f"http://127.0.0.1:{port}/json/new?{url}", method="PUT")
        with urlopen(ask, timeout=DEADLINE_SECONDS) as answer:
            tools = json.load(answer)["webSocketDebuggerUrl"]
        self._tools = connect_websocket(tools, max_size=None, open_timeout=DEADLINE_SECONDS)
        test.addCleanup(self._tools.close)
        self._count = 0
        self.complaints: list[str] = []
        """What the browser reports: errors, and violations of the page's policy."""
        self.command("Log.enable")
        self.command("Runtime.enable")

    def command(self, method: str, **parameters: object) -> Any:
        """Returns the result of a command."""
        self._count += 1
        command = {"id": self._count, "method": method, "params": parameters}
        self._tools.send(json.dumps(command))
        while True:
            message = json.loads(self._tools.recv(DEADLINE_SECONDS))
            if message.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(message["params"]))
            elif message.get("method") == "Log.entryAdded":
                entry = message["params"]["entry"]
                # Where the server is away, it says so.
                if entry["source"] != "network":
                    self.complaints.append(entry["text"])
            elif message.get("id") == self._count:
                return message["result"]

    def value(self, script: str) -> Any:
        """Returns the value of a script."""
        result = self.command("Runtime.evaluate", expression=script, returnByValue=True)
        return result["result"].get("value")

    def wait_for(self, text: str, selector: str) -> None:
        """Waits until an element shows a text."""
        script = f"(document.querySelector({json.dumps(selector)}) || {{}}).textContent"
        wait_until(
            lambda: self.value(script) == text,
            lambda: f"{selector} is {self.value(script)!r}, not {text!r}; {self.complaints}",
        )


class BrowserTests(SynchronousTestCase):
    """The page in a real browser."""

    if Chromium.program is None:
        skip = "there is no Chromium here"

    def test_several_servers(self) -> None:
        """A page shows other servers too, each with its state; one that is away has none."""
        redis = RedisProcess(self)
        ports = [free_port() for _ in range(3)]
        here, other, away = (f"127.0.0.1:{port}" for port in ports)
        servers = [
            Server(
                self,
                environment(redis.port, INTERNAL_LISTEN=f"tcp:{port}:interface=127.0.0.1"),
            )
            for port in ports[:2]
        ]
        for server in servers:
            server.wait_for_text("following the global stream")
        browser = Chromium(self, f"http://{here}/status?with={other},{away},{here}")

        def cell(row: int, column: int) -> str:
            return f"#replicas tr:nth-child({row}) td:nth-child({column})"

        with Tab(servers[1].port), Tab(servers[1].port), Tab(servers[0].port):
            for row, (name, state, sockets) in enumerate(
                ((here, "ready", "1"), (other, "ready", "2"), (away, "no data", "")), 1
            ):
                browser.wait_for(name, cell(row, 1))
                browser.wait_for(state, cell(row, 2))
                browser.wait_for(sockets, cell(row, 3))
            browser.wait_for("3", "#all-sockets")
        browser.wait_for("Redis upno faults", cell(2, 5))
        self.assertEqual(browser.value("document.querySelectorAll('#replicas tr').length"), 3)
        link = browser.value(f"document.querySelector({cell(2, 1)!r}).firstChild.href")
        self.assertEqual(link, f"http://{other}/status?with={here},{away}")
        redis.kill()
        browser.wait_for("Redis downfaults", cell(2, 5))
        redis.start()
        browser.wait_for("Redis upfaults", cell(2, 5))
        servers[1].stop()
        browser.wait_for("no data", cell(2, 2))
        # It comes back by itself, with the header that says what the page has.
        Server(self, servers[1].environ)
        browser.wait_for("ready", cell(2, 2))
        self.assertEqual(browser.complaints, [])

    def test_foreign_page(self) -> None:
        """A page that anybody could have cannot read the events, in a browser that is here."""
        redis, port = RedisProcess(self), free_port()
        environ = environment(redis.port, INTERNAL_LISTEN=f"tcp:{port}:interface=127.0.0.1")
        Server(self, environ).wait_for_text("following the global stream")
        # Its origin is opaque.
        browser = Chromium(self, "data:text/html,<title>foreign</title>")
        browser.value(
            f"source = new EventSource('http://127.0.0.1:{port}/status/events');"
            "source.addEventListener('hello', () => document.title = 'read');"
            "source.onerror = () => document.title = 'blocked'; 0"
        )
        browser.wait_for("blocked", "title")

    def test_page(self) -> None:
        """It shows what the server does, that it is gone, and without a reload that it is back."""
        redis, port = RedisProcess(self), free_port()
        environ = environment(redis.port, INTERNAL_LISTEN=f"tcp:{port}:interface=127.0.0.1")
        server = Server(self, environ)
        server.wait_for_text("following the global stream")
        browser = Chromium(self, f"http://127.0.0.1:{port}/status")
        browser.wait_for("live", "#link")
        browser.wait_for("ready", "#readiness")
        with Tab(server.port) as tab:
            browser.wait_for("1", "#plots dd")
            (last_id,) = redis.publish("one")
            tab.jobs(1)
            browser.wait_for(last_id, "#cursor")
        lines = "[...document.querySelectorAll('#plots path.first')].map(p => p.getAttribute('d'))"
        plots = browser.value(lines)
        self.assertEqual(len(plots), 12)
        self.assertFalse([line for line in plots if re.search("NaN|undefined|Infinity", line)])
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"HELO\r\n\r\n")
            browser.wait_for("not HTTP/1.1", "#rejections td:nth-child(4)")
        redis.kill()
        browser.wait_for("not ready: Redis cannot be read", "#readiness")
        browser.wait_for("down", "#redis")
        redis.start()
        browser.wait_for("ready", "#readiness")
        browser.wait_for("1", "#redisOutages")
        browser.wait_for("1", "#rejected")
        self.assertRegex(browser.value("document.querySelector('#redisVersion').textContent"), " ")
        self.assertRegex(browser.value("document.querySelector('#memory').textContent"), r" MB$")
        warning = browser.value("document.querySelector('#warnings li').textContent")
        self.assertIn("allowedOrigins is empty", warning)
        for peaks, top in (
            ("[...Array(60).fill(10), 1000, 900]", 10),
            ("[...Array(60).fill(10), ...Array(9).fill(1000)]", 1000),
            ("[...Array(60).fill(10), 25]", 25),
            ("[...Array(595).fill(0), 3, 50]", 50),
            ("[]", 1),
        ):
            self.assertEqual(browser.value(f"highest({peaks}, 1)"), top, "only spikes are cut")
        for window in ("60", "600"):
            browser.value(f"document.querySelector('[value=\"{window}\"]').click()")
            self.assertEqual(browser.value("String(windowSeconds)"), window)
        for width in (320, 390, 768, 1280, 1600, 1920):
            browser.command(
                "Emulation.setDeviceMetricsOverride",
                width=width,
                height=844,
                deviceScaleFactor=1,
                mobile=False,
            )
            self.assertLessEqual(browser.value("document.documentElement.scrollWidth"), width)
        before = browser.value("source.close(); setLink('lost'); connect(); samples.length")
        browser.wait_for("live", "#link")
        self.assertGreaterEqual(browser.value("samples.length"), before)
        self.assertTrue(browser.value("samples.every((s, i) => !i || s.at > samples[i - 1].at)"))
        server.stop()
        browser.wait_for("reconnecting", "#link")
        browser.wait_for("was ready", "#readiness")
        self.assertIn("no data", browser.value("document.title"))
        again = Server(self, environ)
        browser.wait_for("live", "#link")
        self.assertLess(browser.value("samples.length"), 30)
        self.assertEqual(browser.complaints, [])
        self.assertEqual(again.stop(), 0)
