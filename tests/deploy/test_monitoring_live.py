"""The rules and the dashboard of `deploy/monitoring`, in the hands of a real Prometheus.

They need Debian's prometheus: `make test-deploy` installs it.
"""

import json
import math
import socket
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml
from twisted.trial.unittest import SynchronousTestCase
from websockets.exceptions import ConnectionClosed, InvalidStatus

from deploy.monitoring.dashboard import dashboard
from gaq_twisted.core.metrics import Kind
from gaq_twisted.tools.reference import ALL_METRICS
from tests.support.processes import (
    DEADLINE_SECONDS,
    PREFIX,
    Page,
    Program,
    RedisProcess,
    Server,
    Tab,
    answer,
    environment,
    free_port,
    wait_until,
)
from tests.support.samples import envelope
from tests.tools.test_monitoring import MONITORING, queries, rules

JOB = "gaq-ws"
SCRAPE_INTERVAL = "200ms"
# What Grafana would put in: at least four times the interval, but a busy machine has gaps.
VARIABLES = {"$__rate_interval": "1m", "$__range": "1m", "$job": JOB, "$instance": ".+"}


class PromtoolTests(SynchronousTestCase):
    """What Prometheus's own tool says."""

    def promtool(self, *arguments: str) -> str:
        """Return what it prints; it must be content."""
        ended = subprocess.run(
            ["promtool", *arguments],
            cwd=MONITORING,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_SECONDS,
        )
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        return ended.stdout

    def test_configuration(self) -> None:
        """The configuration is one."""
        self.promtool("check", "config", "prometheus.yml")

    def test_check(self) -> None:
        """The rules are rules, and none is there twice."""
        self.assertIn(
            f"SUCCESS: {len(rules())} rules found",
            self.promtool("check", "rules", "--lint-fatal", "alerts.yml"),
        )

    def test_rules(self) -> None:
        """Each alert fires when it should, and the others do not."""
        self.assertIn("SUCCESS", self.promtool("test", "rules", "alerts_test.yml"))


class Prometheus:
    """A Prometheus that reads one server."""

    def __init__(self, test: SynchronousTestCase, port: int) -> None:
        """Start it with our configuration, as far as it is not about places and times."""
        directory = Path(test.mktemp()).resolve()
        directory.mkdir()
        read = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
        (job,) = read["scrape_configs"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
        for interval in ("scrape_interval", "evaluation_interval"):
            read["global"][interval] = SCRAPE_INTERVAL
        read["global"]["scrape_timeout"] = SCRAPE_INTERVAL
        read["rule_files"] = [str(MONITORING / file) for file in read["rule_files"]]
        (directory / "prometheus.yml").write_text(yaml.safe_dump(read))
        self._url = f"http://127.0.0.1:{(own := free_port())}"
        self.program = Program(
            test,
            [
                *("prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data"),
                f"--web.listen-address=127.0.0.1:{own}",
            ],
            directory=directory,
        )
        self.program.wait_until(self._is_there, "Prometheus does not answer")

    def _is_there(self) -> bool:
        try:
            self.get("status/runtimeinfo")
        except OSError:
            return False
        return True

    def get(self, path: str, **arguments: str) -> Any:
        """Return what a place of its API answers with."""
        url = f"{self._url}/api/v1/{path}?{urlencode(arguments)}"
        with urlopen(url, timeout=DEADLINE_SECONDS) as answer:
            return json.load(answer)["data"]

    def ask(self, expr: str) -> list[float]:
        """Return the values of an expression that are numbers."""
        try:
            result = self.get("query", query=expr)["result"]
        except HTTPError as error:
            raise AssertionError(f"{expr}: {error.read().decode()}") from None
        values = (float(one["value"][1]) for one in result)
        return [value for value in values if not math.isnan(value)]

    def wait_for(self, expr: str) -> None:
        """Wait until an expression has a value that is a number."""
        self.program.wait_until(lambda: bool(self.ask(expr)), f"{expr} has no value")


class PrometheusTests(SynchronousTestCase):
    """A real Prometheus that reads a real server."""

    def setUp(self) -> None:
        """Start Redis, the server and Prometheus."""
        self.redis = RedisProcess(self)
        environ = environment(self.redis.port, PROTOCOL="both", MAX_CONNECTIONS_PER_CHANNEL="2")
        self.server = Server(self, environ)
        self.server.wait_until_ready()
        self.prometheus = Prometheus(self, self.server.port)
        self.prometheus.wait_for("ws_build_info")

    def tab(self, **options: Any) -> Tab:
        """Return a new tab, which the test closes."""
        tab = Tab(self.server.port, **options)
        self.addCleanup(tab.connection.close)
        return tab

    def do_everything(self) -> None:
        """Let whatever is counted by a label happen once, and events flow."""
        first = self.tab()
        before, *_ = self.redis.publish("a", "b")
        first.events(2)
        first.connection.close()
        # One finds what it missed in memory, the other one has been away for longer.
        tabs = [self.tab(last_id=last_id) for last_id in (before, "1-1")]
        for tab in tabs:
            tab.events(1)
        with self.assertRaises(ConnectionClosed):
            self.tab().events(1)
        with self.assertRaises(InvalidStatus):
            self.tab(token="none")
        with socket.create_connection(("127.0.0.1", self.server.port)) as stranger:
            stranger.sendall(b"What is this?\r\n\r\n")
            self.assertTrue(stranger.recv(2**16))
        self.redis.client.xadd(f"{PREFIX}full", {"data": "not JSON"})
        for tab in tabs:
            tab.connection.close()
        self.do_everything_of_realtime()

    def do_everything_of_realtime(self) -> None:
        """Lets messages come to Superset 7's pages, and the subscription be lost."""
        client = self.redis.client
        page = Page(self.server.port)
        self.addCleanup(page.connection.close)
        client.publish("realtime", envelope("a"))
        page.read()
        client.publish("realtime", "not JSON")
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        self.assertEqual(page.close_frame()[0], 1012)
        wait_until(lambda: answer(self.server.port, "/ready")[0] == 200, self.server.text)

    def do_everything_twice(self) -> None:
        """Let everything happen so that it has a rate.

        A counter with a label begins with the first that it counts, and rises with the next.
        """
        self.do_everything()
        for metric in ALL_METRICS:
            if metric.label and metric.kind is not Kind.GAUGE:
                end = "_count" if metric.kind is Kind.HISTOGRAM else "_total"
                self.prometheus.wait_for(metric.name + end)
        self.do_everything()

    def test_dashboard(self) -> None:
        """Each query of the dashboard is answered with a number, once everything has happened."""
        self.do_everything_twice()
        for _, expr, _ in queries():
            for variable, value in VARIABLES.items():
                expr = expr.replace(variable, value)
            self.prometheus.wait_for(expr)

    def test_marks(self) -> None:
        """The dashboard marks when the server was started, in milliseconds."""
        (marks,) = dashboard()["annotations"]["list"]
        expr = marks["expr"].replace("$job", JOB).replace("$instance", ".+")
        (started_ms,) = self.prometheus.ask(expr)
        self.assertLess(abs(started_ms / 1000 - time.time()), DEADLINE_SECONDS)

    def test_alerts(self) -> None:
        """Each rule can be evaluated; what is no event fires the one for it alone."""
        self.do_everything()
        self.prometheus.wait_for('ALERTS{alertname="GaqInvalidEvents", alertstate="firing"}')
        (group,) = self.prometheus.get("rules")["groups"]
        self.assertEqual({rule["health"] for rule in group["rules"]}, {"ok"})
        firing = {
            alert["labels"]["alertname"]: alert["annotations"]["summary"]
            for alert in self.prometheus.get("alerts")["alerts"]
            if alert["state"] == "firing"
        }
        self.assertLessEqual(set(firing), {"GaqInvalidEvents", "GaqMessagesDropped"})
        self.assertEqual(
            firing["GaqInvalidEvents"],
            f"127.0.0.1:{self.server.port} skips entries of the global stream",
        )

    def test_no_redis(self) -> None:
        """Without Redis the alert for that waits for its time."""
        self.redis.kill()
        self.prometheus.wait_for('ALERTS{alertname="GaqRedisNotFollowed", alertstate="pending"}')
