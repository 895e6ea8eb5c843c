"""The forms of the report."""

import json

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.tools.check.findings import Finding, Mark
from gaq_twisted.tools.check.report import Form, Json, Lines, Report
from tests.tools.check.case import PASSWORD, loaded

FINDINGS = (
    Finding(Mark.OK, "redis", "it answers"),
    Finding(Mark.WARN, "settings", "unwise", "be wise"),
    Finding(Mark.FAIL, "port", "in use", "stop it"),
)


class ReportTests(SynchronousTestCase):
    """The forms of the same findings."""

    def written(self, form: Form) -> int:
        """Reports all; returns the exit code."""
        report = Report(form)
        self.assertEqual(report.exit_code, 0)
        for finding in FINDINGS:
            report.add(finding)
        report.end(loaded(REDIS_PASSWORD=PASSWORD))
        return report.exit_code

    def test_lines(self) -> None:
        """There is a line for each finding, then the settings if requested, and the totals."""
        lines: list[str] = []
        self.assertEqual(self.written(Lines(lines.append)), 1)
        self.assertEqual(lines, [*map(str, FINDINGS), "1 failed, 1 warning"])
        long: list[str] = []
        self.written(Lines(long.append, shows_settings=True))
        self.assertEqual([*long[:3], long[-1]], lines)
        self.assertEqual(long[3], "Set:")

    def test_colours(self) -> None:
        """Only the mark is coloured, and the text is the same."""
        lines: list[str] = []
        self.written(Lines(lines.append, has_colours=True))
        self.assertEqual(lines[2], "\x1b[1;31mFAIL\x1b[0m  port: in use. Remedy: stop it")

    def test_json(self) -> None:
        """There is one object, which only says of secrets whether they are set."""
        lines: list[str] = []
        self.assertEqual(self.written(Json(lines.append)), 1)
        (line,) = lines
        document = json.loads(line)
        self.assertEqual((document["failed"], document["warnings"]), (1, 1))
        self.assertEqual(
            document["findings"][2],
            {"mark": "fail", "topic": "port", "text": "in use", "remedy": "stop it"},
        )
        self.assertEqual(document["settings"]["port"], {"value": 8080, "source": "default"})
        self.assertEqual(document["settings"]["redis.password"]["value"], "set")
        self.assertNotIn(PASSWORD, line)

    def test_no_settings(self) -> None:
        """Settings that cannot be used are not shown."""
        lines: list[str] = []
        Report(Json(lines.append)).end(None)
        self.assertEqual(json.loads(lines[0])["settings"], {})
