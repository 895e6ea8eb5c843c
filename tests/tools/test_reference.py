"""The documentation against the code: what is generated, and what is named."""

import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.config.catalogue import Setting, all_settings
from gaq_twisted.config.derived import DERIVED_KEYS
from gaq_twisted.config.load import make_text
from gaq_twisted.config.neighbours import NEIGHBOURS
from gaq_twisted.core.metrics import CORE, Metrics
from gaq_twisted.realtime.metrics import REALTIME
from gaq_twisted.streams.metrics import STREAMS
from gaq_twisted.tools.reference import ALL_METRICS, TEXTS, prometheus_name
from gaq_twisted.tools.schema import schema
from gaq_twisted.web.prometheus import OurCollector
from tests.support.processes import ROOT
from tests.support.samples import SECRET

FILES = {
    "configuration": "docs/configuration.md",
    "schema": "docs/config.schema.json",
    "example": "config.example.json",
    "metrics": "docs/metrics.md",
    "commands": "docs/commands.md",
}
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
# Values for all kinds of settings, good for some and bad for others.
VALUES: list[Any] = [
    *(True, None, -1, 0, 1, 65535, 65536, 10**6, 10**6 + 1, 2**31 - 1, 2**31, 2**40, 2**40 + 1),
    *("", "x", "info", "json", "/ws", "/ws/", "ws", "x" * 107, "x" * 108, SECRET, SECRET[:31]),
    *([], [1], ["x"], ["HS256"], ["HS257"], ["*"], ["same-host"], ["https://*.example.com:8443"]),
    *(["redis-1:26379", "[::1]:26379", "redis"], ["10.0.0.0/8", "::1", "10.0.0.0/255.0.0.0"], {}),
]
# Texts that the server looks at more closely than JSON Schema can say.
CLOSER = (
    "jwtSecret",
    "previousJwtSecret",
    "realtimeJwtSecret",
    "previousRealtimeJwtSecret",
    "allowedOrigins",
    "trustedProxies",
    "redis.url",
    "realtimeRedis.url",
    "redis.host",
    "realtimeRedis.host",
    "statsd.host",
    "listen",
    "internalListen",
    "redis.sentinels",
    "realtimeRedis.sentinels",
)

# Names of Superset, Kubernetes and hot-shots that look like ours.
FOREIGN = {
    "cacheDns",
    "maxBufferSize",
    "sampleRate",
    *("FEATURE_FLAGS", "SECRET_KEY", "superset_config.py"),
    *("preStop", "terminationGracePeriodSeconds"),
}


class GeneratedTests(SynchronousTestCase):
    """The files that are written from the code."""

    def test_up_to_date(self) -> None:
        """Each is as the code writes it; `make reference` updates them."""
        self.assertEqual(FILES.keys(), TEXTS.keys())
        for name, file in FILES.items():
            self.assertEqual(
                (ROOT / file).read_text(), TEXTS[name](), f"{file}: run make reference"
            )

    def test_prometheus_names(self) -> None:
        """The page has the names that Prometheus gets."""
        registry = CollectorRegistry()
        registry.register(OurCollector(Metrics(ALL_METRICS)))
        shown = set(re.findall(r"^# TYPE (\S+)", generate_latest(registry).decode(), re.M))
        self.assertEqual({prometheus_name(metric) for metric in ALL_METRICS}, shown)

    def test_protocols(self) -> None:
        """The page has the protocol of each metric that one of the editions has."""
        rows = {
            cells[1].strip(" `"): cells[4].strip()
            for line in TEXTS["metrics"]().splitlines()
            if len(cells := line.split("|")) == 7
        }
        for metrics, protocol in ((CORE, ""), (STREAMS, "`streams`"), (REALTIME, "`realtime`")):
            for metric in metrics:
                self.assertEqual(rows[prometheus_name(metric)], protocol)

    def test_labels(self) -> None:
        """Each metric whose label values are words of this server lists them all."""
        for metric in ALL_METRICS:
            is_listed = metric.label in ("reason", "source")
            self.assertEqual(metric.values is not None, is_listed, metric.name)


class SchemaTests(SynchronousTestCase):
    """The JSON Schema of the configuration file."""

    def setUp(self) -> None:
        """Reads the schema."""
        document = schema()
        jsonschema.Draft202012Validator.check_schema(document)
        self.validator = jsonschema.Draft202012Validator(document)

    def test_example(self) -> None:
        """The example fits."""
        self.validator.validate(json.loads((ROOT / "config.example.json").read_text()))

    def test_unknown(self) -> None:
        """Unknown names are marked, on top and in sections."""
        for document in ({"prot": 1}, {"redis": {"pasword": ""}}):
            self.assertFalse(self.validator.is_valid(document), document)

    def test_defaults(self) -> None:
        """It knows all settings, and names the defaults that depend on nothing else."""
        properties = schema()["properties"]
        for setting in all_settings():
            section, _, name = setting.key.rpartition(".")
            place = properties[section]["properties"] if section else properties
            is_fixed = setting.key not in (*DERIVED_KEYS, "jwtSecret")
            self.assertEqual("default" in place[name], is_fixed, setting.key)

    def test_values(self) -> None:
        """It accepts what the server accepts, and nothing else except some texts."""
        for setting in all_settings():
            for value in VALUES:
                fits = self.validator.is_valid(_document(setting, value))
                taken = _takes(setting, value)
                where = f"{setting.key} = {value!r}"
                if setting.key in CLOSER:
                    self.assertTrue(fits or not taken, where)
                else:
                    self.assertEqual(fits, taken, where)


class PageTests(SynchronousTestCase):
    """What the pages name exists."""

    def assert_known(self, pattern: str, is_known: Callable[[str], bool]) -> None:
        """Checks all that the pages have between backticks and that matches as a whole."""
        unknown = [
            f"{page.name} names {code}"
            for page in PAGES
            for code in re.findall(r"`([^`\n]+)`", page.read_text())
            if re.fullmatch(pattern, code) and code not in FOREIGN and not is_known(code)
        ]
        self.assertEqual(unknown, [])

    def test_keys(self) -> None:
        """What looks like a key is a setting, or something else of the code."""
        keys = {setting.key for setting in all_settings()}
        words = {word for text in _sources().values() for word in re.findall(r"\w+", text)}
        self.assert_known(
            r"(?:(?:redis|realtimeRedis|statsd)\.)?[a-z]+(?:[A-Z][a-z]+)+",
            lambda code: code in keys or ("." not in code and code in words),
        )

    def test_variables(self) -> None:
        """What looks like an environment variable is one of ours, or of a known other program."""
        known = {setting.environment_name for setting in all_settings()}
        known |= {f"{one.environment_name}_FILE" for one in all_settings() if one.is_secret}
        known |= set(NEIGHBOURS)
        others = (
            "GLOBAL_ASYNC_QUER",
            "CACHE_",
            "DD_",
            "NODE_",
            "UV_",
            "DATA_CACHE_",
            "SSL_CERT_",
            "LISTEN_",
            "NOTIFY_",
            "WEBSOCKET_",
            "DISTRIBUTED_COORDINATION_",
            "GLOBAL_TASK_FRAMEWORK",
        )
        self.assert_known(
            r"[A-Z]+(?:_[A-Z]+)+", lambda code: code in known or code.startswith(others)
        )

    def test_targets(self) -> None:
        """Targets of make that are named exist."""
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
        self.assert_known(r"make [a-z-]+", lambda code: code.removeprefix("make ") in targets)

    def test_modules(self) -> None:
        """Files of the code that are named exist."""
        folders = [ROOT, ROOT / "gaq_twisted", ROOT / "docs"]
        self.assert_known(
            r"[\w/]+\.py", lambda code: any((folder / code).exists() for folder in folders)
        )

    def test_readme(self) -> None:
        """Files that README.md links to or shows exist; `make docs` checks all other pages."""
        page = (ROOT / "README.md").read_text()
        targets = re.findall(r'\]\(([^)#:]+)[^)]*\)|(?:src|srcset)="([^"]+)"', page)
        files = {"".join(target) for target in targets}
        self.assertIn("LICENSE", files)
        self.assertEqual(sorted(file for file in files if not (ROOT / file).exists()), [])

    def test_folders(self) -> None:
        """The table of folders has a row for each folder of the package, and no other."""
        page = (ROOT / "docs" / "how-it-works.md").read_text()
        rows = re.findall(r"^\| `(\w+)/` \|", page, re.M)
        folders = [file.parent.name for file in (ROOT / "gaq_twisted").glob("*/__init__.py")]
        self.assertEqual(sorted(rows), sorted(folders))

    def test_metrics(self) -> None:
        """What looks like a metric is one."""
        names = {name for metric in ALL_METRICS for name in (metric.name, prometheus_name(metric))}
        self.assert_known(r"ws_[a-z_]+", lambda code: code in names or f"{code}_seconds" in names)

    def test_events(self) -> None:
        """The table of log events has the names and levels that the server's code has."""
        page = (ROOT / "docs" / "operations.md").read_text()
        table = set(re.findall(r"^\| `([a-z_]+)` \| ([a-z, ]+) \|", page, re.M))
        levels: dict[str, set[str]] = {}
        for name, level in _log_events():
            levels.setdefault(name, set()).add(level)
        self.assertEqual(
            table, {(name, ", ".join(sorted(found))) for name, found in levels.items()}
        )


def _document(setting: Setting, value: Any) -> dict[str, Any]:
    section, _, name = setting.key.rpartition(".")
    return {section: {name: value}} if section else {name: value}


def _takes(setting: Setting, value: Any) -> bool:
    try:
        msgspec.convert(value, setting.type, dec_hook=make_text)
    except msgspec.ValidationError:
        return False
    return True


def _sources() -> dict[Path, str]:
    return {file: file.read_text() for file in (ROOT / "gaq_twisted").rglob("*.py")}


def _log_events() -> Iterator[tuple[str, str]]:
    """Yields the name and level of each log event of the server that has a name."""
    tools = ROOT / "gaq_twisted" / "tools"
    for file, source in _sources().items():
        if tools in file.parents:
            continue
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.Call):
                continue
            for keyword in node.keywords:
                if keyword.arg == "event" and isinstance(keyword.value, ast.Constant):
                    called = node.func.attr if isinstance(node.func, ast.Attribute) else None
                    # The sweep chooses between two levels; a failure is critical.
                    level = {None: "debug, warn", "failure": "critical"}.get(called, str(called))
                    yield str(keyword.value.value), level
