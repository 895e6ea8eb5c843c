"""The workflows of GitHub Actions against the Makefile and the package."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.support.processes import ROOT


def _workflows() -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as true, which is of no interest here.
    folder = ROOT / ".github" / "workflows"
    return {file.name: yaml.safe_load(file.read_text()) for file in folder.glob("*.yml")}


def _jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields each job with a name for messages."""
    for file, workflow in _workflows().items():
        for name, job in workflow["jobs"].items():
            yield f"{file}, {name}", job


def _steps() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields each step with the name of its job."""
    for name, job in _jobs():
        for step in job.get("steps", ()):
            yield name, step


class WorkflowTests(SynchronousTestCase):
    """What a linter of workflows does not know: this project, and its rules."""

    def test_targets(self) -> None:
        """Each target of make that is run exists, with the variables that it is given."""
        makefile = (ROOT / "Makefile").read_text()
        targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
        variables = set(re.findall(r"^([A-Z_]+) \?=", makefile, re.M))
        run = []
        for name, step in _steps():
            for line in step.get("run", "").splitlines():
                if line.startswith("make "):
                    # Expressions have spaces.
                    _, target, *given = re.sub(r"\$\{\{.*?\}\}", "X", line).split()
                    self.assertIn(target, targets, name)
                    self.assertLessEqual({one.partition("=")[0] for one in given}, variables, name)
                    run.append(target)
        self.assertLessEqual({"lint", "test", "test-lowest", "docs", "package"}, set(run))

    def test_pythons(self) -> None:
        """The tests run on the lowest Python that is allowed, and on all that are promised."""
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        tried = _workflows()["ci.yml"]["jobs"]["test"]["strategy"]["matrix"]["python"]
        self.assertEqual(project["requires-python"], f">={tried[0]}")
        promised = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
        self.assertLessEqual(set(promised), set(tried))

    def test_limits(self) -> None:
        """No job runs for hours, and none may write more than it says."""
        for file, workflow in _workflows().items():
            self.assertEqual(workflow["permissions"], {"contents": "read"}, file)
            self.assertIn("concurrency", workflow, file)
        for name, job in _jobs():
            if "uses" not in job:
                self.assertLessEqual(job["timeout-minutes"], 60, name)

    def test_actions(self) -> None:
        """Actions of others have a major version, and the checkout keeps no token."""
        for name, step in _steps():
            if "uses" in step:
                self.assertRegex(step["uses"], r"^[\w.-]+/[\w.-]+@(v\d+|release/v\d+)$", name)
                if step["uses"].startswith("actions/checkout@"):
                    self.assertEqual(step["with"]["persist-credentials"], False, name)
