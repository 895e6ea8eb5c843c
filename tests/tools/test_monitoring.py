"""The dashboard and the alerts of `deploy/monitoring`, compared with the metrics."""

import json
import re
from collections.abc import Iterator
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple

import yaml
from prometheus_client.parser import text_string_to_metric_families
from treq.testing import StubTreq
from twisted.trial.unittest import SynchronousTestCase

from deploy.monitoring.dashboard import COLUMNS, dashboard
from gaq_twisted.core.metrics import Kind, Metrics
from gaq_twisted.tools.reference import ALL_METRICS
from gaq_twisted.web.prometheus import Exposition
from gaq_twisted.web.site import resource_tree
from tests.support.processes import ROOT

MONITORING = ROOT / "deploy" / "monitoring"
# What Prometheus adds to whatever it reads.
TARGET_LABELS = {"job", "instance"}
# Grafana's own panels that need no more than a Prometheus.
PANEL_TYPES = {"row", "stat", "state-timeline", "timeseries"}
# https://grafana.com/docs/grafana/latest/panels-visualizations/configure-standard-options
UNITS = {"short", "s", "bytes", "binBps", "cps", "cpm", "eps", "percentunit"}

_TOKEN = re.compile(
    r"""(?P<string>"[^"]*")|(?P<range>\[[^]]*\])|(?P<variable>\$\w+)
    |(?P<word>[a-zA-Z_:][\w:]*)|(?P<number>[\d.]+[a-z]*)|(?P<other>\S)""",
    re.VERBOSE,
)
_OPERATORS = {"and", "or", "unless", "offset", "bool"}
_BEHIND_FUNCTIONS = {"(", "by", "without"}
_GROUPINGS = {"by", "without", "on", "ignoring", "group_left", "group_right"}


class Selector(NamedTuple):
    """A metric in an expression, and the labels by which it is chosen."""

    metric: str
    labels: set[str]


class Expression:
    """The parts of an expression of PromQL.

    Args:
        text: the expression.
    """

    def __init__(self, text: str) -> None:
        self.selectors: list[Selector] = []
        self.grouped_by: set[str] = set()
        tokens = [(str(match.lastgroup), match[0]) for match in _TOKEN.finditer(text)]
        place = ""
        for (kind, word), (_, following) in zip(tokens, [*tokens[1:], ("", "")], strict=True):
            if word in ("{", "("):
                place = "labels" if word == "{" else place
            elif word in ("}", ")"):
                place = ""
            elif kind == "word" and place == "labels":
                self.selectors[-1].labels.add(word)
            elif kind == "word" and place == "grouping":
                self.grouped_by.add(word)
            elif word in _GROUPINGS:
                place = "grouping"
            elif kind == "word" and word not in _OPERATORS and following not in _BEHIND_FUNCTIONS:
                self.selectors.append(Selector(word, set()))


def queries() -> list[tuple[str, str, str]]:
    """Returns all of the dashboard: the panel's title, the expression and the legend."""
    return [
        (panel["title"], target["expr"], target["legendFormat"])
        for panel in dashboard()["panels"]
        for target in panel.get("targets", [])
    ]


def rules() -> list[dict[str, Any]]:
    """Returns all alert rules."""
    (group,) = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


class ExpressionTests(SynchronousTestCase):
    """The tests' own understanding of PromQL."""

    def test_selectors(self) -> None:
        """Metrics are distinguished from functions, labels, strings, ranges and variables."""
        expression = Expression(
            'histogram_quantile(0.9, sum by (le, job) (rate(a_bucket{x="b{c}", y=~"$d"}[5m])))'
            " / on (job) group_left () 1e3 * (e_total offset 1d) and time() > f"
        )
        self.assertEqual(
            expression.selectors, [("a_bucket", {"x", "y"}), ("e_total", set()), ("f", set())]
        )
        self.assertEqual(expression.grouped_by, {"le", "job"})


class NameTests(SynchronousTestCase):
    """The metrics that expressions name exist."""

    def setUp(self) -> None:
        """Collects all metrics, each with a value, as Prometheus reads them."""
        metrics = Metrics(ALL_METRICS)
        for metric in ALL_METRICS:
            label = "some" if metric.label else ""
            if metric.kind is Kind.HISTOGRAM:
                metrics.observe(metric, 1, label)
            elif metric.kind is Kind.COUNTER:
                metrics.increment(metric, label=label)
            else:
                metrics.read_from(metric, partial(dict[str, float], {label: 1}))
        client: Any = StubTreq(resource_tree({b"metrics": Exposition(metrics)}))
        response = self.successResultOf(client.get("http://gaq.test/metrics"))
        text = self.successResultOf(response.text())
        self.labels: dict[str, set[str]] = {"up": TARGET_LABELS}
        """The labels of each metric in Prometheus."""
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self.labels[sample.name] = {*sample.labels, *TARGET_LABELS}

    def check(self, text: str) -> set[str]:
        """Checks an expression; returns the labels of its metrics."""
        expression = Expression(text)
        self.assertTrue(expression.selectors, text)
        known: set[str] = set()
        for metric, labels in expression.selectors:
            self.assertIn(metric, self.labels, text)
            self.assertLessEqual(labels, self.labels[metric], text)
            known |= self.labels[metric]
        self.assertLessEqual(expression.grouped_by, known, text)
        return known

    def test_dashboard(self) -> None:
        """Each panel's metrics and labels; legends name only what the sum is grouped by."""
        for title, expr, legend in queries():
            self.check(expr)
            named = set(re.findall(r"\{\{(\w+)\}\}", legend))
            self.assertLessEqual(named, Expression(expr).grouped_by, title)

    def test_dashboard_is_selected(self) -> None:
        """Each metric of the dashboard is limited to the servers that were chosen."""
        for title, expr, _ in queries():
            for metric, labels in Expression(expr).selectors:
                self.assertLessEqual(TARGET_LABELS, labels, (title, metric))

    def test_dashboard_is_complete(self) -> None:
        """Each metric of this server is on the dashboard."""
        shown = {metric for _, expr, _ in queries() for metric, _ in Expression(expr).selectors}
        for metric in ALL_METRICS:
            ends = {
                Kind.COUNTER: {"_total"},
                Kind.GAUGE: {""},
                Kind.HISTOGRAM: {"_bucket", "_count"},
            }
            self.assertTrue(shown & {metric.name + end for end in ends[metric.kind]}, metric.name)

    def test_variables(self) -> None:
        """The values to choose from, and the marks, are of metrics that exist."""
        made = dashboard()
        (marks,) = made["annotations"]["list"]
        self.check(marks["expr"])
        _, *variables = made["templating"]["list"]
        for variable in variables:
            match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert match is not None
            self.assertEqual(match[2], variable["name"])
            self.assertIn(match[2], self.check(match[1]))

    def test_alerts(self) -> None:
        """Each alert's metrics and labels, and those in its texts."""
        for rule in rules():
            known = self.check(rule["expr"])
            for text in rule["annotations"].values():
                self.assertLessEqual(set(re.findall(r"\$labels\.(\w+)", text)), known, text)


class BucketTests(SynchronousTestCase):
    """The buckets that expressions name."""

    def test_all(self) -> None:
        """Each is a bucket of the histogram, spelt as Prometheus spells it."""
        found = 0
        for expr in [*(expr for _, expr, _ in queries()), *(rule["expr"] for rule in rules())]:
            for name, bound in re.findall(r'(\w+)_bucket\{[^}]*\ble="([^"]+)"', expr):
                (metric,) = (metric for metric in ALL_METRICS if metric.name == name)
                self.assertIn(bound, map(str, metric.buckets), expr)
                found += 1
        self.assertGreater(found, 1)


class DashboardTests(SynchronousTestCase):
    """The dashboard as Grafana takes it."""

    def setUp(self) -> None:
        """Makes the dashboard."""
        self.made = dashboard()
        self.panels: list[dict[str, Any]] = self.made["panels"]

    def test_file(self) -> None:
        """The file is what the program prints."""
        self.assertEqual(json.loads((MONITORING / "dashboard.json").read_text()), self.made)

    def test_ids(self) -> None:
        """Panels, and the queries of each, have ids of their own."""
        ids = [panel["id"] for panel in self.panels]
        self.assertEqual(len(set(ids)), len(ids))
        for panel in self.panels:
            refs = [target["refId"] for target in panel.get("targets", [])]
            self.assertEqual(len(set(refs)), len(refs))

    def test_places(self) -> None:
        """No panel overlaps another or the edge, and there are no holes."""
        cells = {panel["id"]: set(_cells(panel["gridPos"])) for panel in self.panels}
        for one, other in combinations(cells.values(), 2):
            self.assertFalse(one & other)
        covered = set().union(*cells.values())
        for x, y in covered:
            self.assertLess(x, COLUMNS)
            self.assertTrue(y == 0 or (x, y - 1) in covered, (x, y))

    def test_rows_are_full(self) -> None:
        """Each line of panels is as wide as the dashboard."""
        widths: dict[int, int] = {}
        for panel in self.panels:
            place = panel["gridPos"]
            widths[place["y"]] = widths.get(place["y"], 0) + place["w"]
        self.assertEqual(set(widths.values()), {COLUMNS})

    def test_panels(self) -> None:
        """Each has a description and queries, and is of a type that is part of Grafana."""
        for panel in self.panels:
            self.assertIn(panel["type"], PANEL_TYPES)
            self.assertTrue(panel["title"])
            if panel["type"] != "row":
                self.assertTrue(panel["targets"])
                self.assertRegex(panel["description"], r"^[A-Z0-9].*\.$")
                self.assertIn(panel["fieldConfig"]["defaults"]["unit"], UNITS)

    def test_data_source(self) -> None:
        """All queries go to the Prometheus that was selected on top."""
        source, *_ = self.made["templating"]["list"]
        self.assertEqual((source["type"], source["query"]), ("datasource", "prometheus"))
        asking = [
            *self.made["annotations"]["list"],
            *self.made["templating"]["list"][1:],
            *(panel for panel in self.panels if panel["type"] != "row"),
            *(target for panel in self.panels for target in panel.get("targets", [])),
        ]
        for one in asking:
            self.assertEqual(
                one["datasource"], {"type": "prometheus", "uid": f"${{{source['name']}}}"}
            )

    def test_thresholds_rise(self) -> None:
        """Each step is above the one before; the first has no value."""
        for panel in self.panels:
            if panel["type"] != "row":
                first, *values = (
                    step["value"]
                    for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
                )
                self.assertIsNone(first)
                self.assertEqual(sorted(set(values)), values)

    def test_limits(self) -> None:
        """What is drawn as a limit is a query of that panel."""
        overrides = 0
        for panel in self.panels:
            for override in panel.get("fieldConfig", {}).get("overrides", []):
                legends = [target["legendFormat"] for target in panel["targets"]]
                self.assertIn(override["matcher"]["options"], legends)
                overrides += 1
        self.assertTrue(overrides)


class AlertTests(SynchronousTestCase):
    """The alerts as people get them."""

    def test_texts(self) -> None:
        """Each has a severity, a sentence, what to do, and where to read on."""
        names = [rule["alert"] for rule in rules()]
        self.assertEqual(len(set(names)), len(names))
        for rule in rules():
            self.assertRegex(rule["alert"], "^Gaq([A-Z][a-z]+)+$")
            self.assertIn(rule["labels"]["severity"], ("critical", "warning"))
            self.assertEqual(set(rule["annotations"]), {"summary", "description", "runbook"})
            self.assertRegex(rule["annotations"]["description"], r"\.$")

    def test_runbooks(self) -> None:
        """Each runbook is a section of a page of this repository."""
        for rule in rules():
            page, _, anchor = rule["annotations"]["runbook"].partition("#")
            headings = re.findall("^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)
            self.assertIn(anchor, map(_anchor, headings), rule["alert"])

    def test_each_is_listed(self) -> None:
        """docs/monitoring.md lists each alert once, with its severity."""
        listed = re.findall(
            r"^\| `(Gaq\w+)` \| (\w+) \|", (ROOT / "docs/monitoring.md").read_text(), re.MULTILINE
        )
        self.assertEqual(listed, [(rule["alert"], rule["labels"]["severity"]) for rule in rules()])

    def test_each_is_tested(self) -> None:
        """Each alert fires in a test of alerts_test.yml, and does not at another time of it."""
        firing: set[str] = set()
        for test in yaml.safe_load((MONITORING / "alerts_test.yml").read_text())["tests"]:
            for moment in test["promql_expr_test"]:
                # All that fire; so each test shows that the others do not.
                self.assertEqual(moment["expr"], 'ALERTS{alertstate="firing"}')
                for sample in moment.get("exp_samples", []):
                    firing.update(re.findall('alertname="([^"]+)"', sample["labels"]))
        self.assertEqual(firing, {rule["alert"] for rule in rules()})


class ConfigurationTests(SynchronousTestCase):
    """The configuration to begin with."""

    def test_files(self) -> None:
        """It names the rules that lie beside it, and nothing but the default path."""
        read = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
        for file in read["rule_files"]:
            self.assertTrue((MONITORING / file).is_file())
        (job,) = read["scrape_configs"]
        self.assertNotIn("metrics_path", job)


def _cells(place: dict[str, int]) -> Iterator[tuple[int, int]]:
    for x in range(place["x"], place["x"] + place["w"]):
        for y in range(place["y"], place["y"] + place["h"]):
            yield x, y


def _anchor(heading: str) -> str:
    """Returns how a link names a heading, as GitHub does."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
