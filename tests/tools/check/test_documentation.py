"""The lines that docs/troubleshooting.md shows are those that operators see."""

import ast
import re
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.config.forms import OriginPattern
from gaq_twisted.tools.check.cookies import judge_cookie
from gaq_twisted.tools.check.findings import Finding, Mark
from gaq_twisted.tools.check.origins import judge_origin
from tests.support.processes import ROOT
from tests.support.samples import SECRET, token
from tests.tools.check.case import OTHER_SECRET, loaded

# How texts begin that Redis, Twisted or an operator write, or that a sentence ends with.
FOREIGN_WORDS = (
    "Connection refused",
    "WRONGPASS",
    "NOPERM",
    "WRONGTYPE",
    "MOVED",
    "No such file or directory",
    "certificate verify failed",
    "ERR unknown command",
    "+xread",
    "1795406438721-0",
)


class DocumentationTests(SynchronousTestCase):
    """The lines of logs and checks on the page."""

    def setUp(self) -> None:
        """Collects the texts of the source, and the lines of the page."""
        self.templates = set(_templates())
        page = (ROOT / "docs" / "troubleshooting.md").read_text()
        blocks = re.findall(r"^```(log|check)\n(.+?)^```$", page, re.DOTALL | re.MULTILINE)
        self.lines = {"log": list[str](), "check": list[str]()}
        for kind, block in blocks:
            self.lines[kind].extend(block.splitlines())

    def test_log(self) -> None:
        """Each line of a log is one that the source writes."""
        self.assertGreater(len(self.lines["log"]), 10)
        for line in self.lines["log"]:
            self.assertTrue(self.is_written(line), line)
        for line in ("rejected the upgrade from 10.1.2.3 with 401: no such cake, I fear", "x"):
            self.assertFalse(self.is_written(line), line)

    def test_check(self) -> None:
        """Each line of a check is one that it prints, perhaps without its remedy."""
        self.assertGreater(len(self.lines["check"]), 10)
        judged = list(map(str, self.judgements()))
        for line in self.lines["check"]:
            mark, _, finding = line.partition("  ")
            topic, _, text = finding.strip().partition(": ")
            if topic in ("cookie", "origin"):
                self.assertTrue(any(one.startswith(line) for one in judged), line)
            else:
                self.assertIn(mark, list(Mark), line)
                for part in text.split(". Remedy: "):
                    self.assertTrue(self.is_written(part), part)

    def judgements(self) -> Iterator[Finding]:
        """Yields what is found about the cookies and the origin of the page."""
        end = 1_760_000_000
        for header, at, environ in (
            ("session=1; locale=en", 0.0, {}),
            (f"gaq={token()}", 0.0, {}),
            (f"async-token={token(secret=SECRET + chr(10))}", 0.0, {}),
            (f"async-token={token(exp=end)}", end + 7300.0, {}),
            (
                f"async-token={token()}",
                0.0,
                {"JWT_SECRET": OTHER_SECRET, "PREVIOUS_JWT_SECRET": SECRET},
            ),
        ):
            yield from judge_cookie(loaded(**environ), header, at).findings
        allowed = (OriginPattern("https://bi.example.com"),)
        yield judge_origin(allowed, "http://bi.example.com", None)

    def is_written(self, line: str) -> bool:
        """Returns whether the source has a text of that form, and one for each text within it."""
        for template in self.templates:
            match = template.fullmatch(line)
            if match is None:
                continue
            rest = match[match.lastindex] if match.lastindex else ""
            if not line.endswith(rest) or len(rest.split()) < 4 or rest.startswith(FOREIGN_WORDS):
                return True
            if rest != line and self.is_written(rest):
                return True
        return False


def _templates() -> Iterator[re.Pattern[str]]:
    """Yields a pattern for each text in the source that is long enough to be recognised."""
    for file in (ROOT / "gaq_twisted").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                parts = [node.value]
            elif isinstance(node, ast.JoinedStr):
                parts = [
                    str(one.value) if isinstance(one, ast.Constant) else "{}" for one in node.values
                ]
            else:
                continue
            literals = re.split(r"\{[^{}]*\}", "".join(parts))
            if sum(map(len, literals)) >= 10:
                yield re.compile("(.*?)".join(map(re.escape, literals)))
