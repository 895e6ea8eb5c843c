"""The forms of the report: lines with or without colours, or JSON."""

import json
from collections.abc import Callable
from typing import Any, Protocol

from gaq_twisted.config.load import Loaded
from gaq_twisted.tools.check.findings import Finding, Mark
from gaq_twisted.tools.check.settings import settings_json, settings_table

_COLOURS = {Mark.OK: "32", Mark.NOTE: "36", Mark.WARN: "33", Mark.FAIL: "1;31"}


class Form(Protocol):
    """How a report is written."""

    def add(self, finding: Finding) -> None:
        """Adds a finding."""

    def end(self, loaded: Loaded | None, failures: int, warnings: int) -> None:
        """Writes what comes after all findings.

        Args:
            loaded: the settings; None if they cannot be used.
            failures: how many findings are failures.
            warnings: how many findings are warnings.
        """


class Lines:
    """Writes a line for each finding, at once.

    Args:
        write_line: writes a line.
        has_colours: whether the marks are coloured.
        shows_settings: whether the table of settings follows.
    """

    def __init__(
        self,
        write_line: Callable[[str], object],
        *,
        has_colours: bool = False,
        shows_settings: bool = False,
    ) -> None:
        self._write_line = write_line
        self._has_colours = has_colours
        self._shows_settings = shows_settings

    def add(self, finding: Finding) -> None:
        """Writes a finding."""
        line = str(finding)
        if self._has_colours:
            width = len(finding.mark)
            line = f"\x1b[{_COLOURS[finding.mark]}m{line[:width]}\x1b[0m{line[width:]}"
        self._write_line(line)

    def end(self, loaded: Loaded | None, failures: int, warnings: int) -> None:
        """Writes the totals, after the table of settings if requested."""
        if self._shows_settings and loaded is not None:
            for line in settings_table(loaded):
                self._write_line(line)
        plural = "" if warnings == 1 else "s"
        self._write_line(f"{failures} failed, {warnings} warning{plural}")


class Json:
    """Writes one JSON object, at the end.

    Args:
        write_line: writes a line.
    """

    def __init__(self, write_line: Callable[[str], object]) -> None:
        self._write_line = write_line
        self._findings: list[Finding] = []

    def add(self, finding: Finding) -> None:
        """Keeps a finding."""
        self._findings.append(finding)

    def end(self, loaded: Loaded | None, failures: int, warnings: int) -> None:
        """Writes the whole report."""
        document: dict[str, Any] = {
            "failed": failures,
            "warnings": warnings,
            "findings": [
                {**finding._asdict(), "mark": finding.mark.lower()} for finding in self._findings
            ],
            "settings": {} if loaded is None else settings_json(loaded),
        }
        self._write_line(json.dumps(document, indent=2))


class Report:
    """Counts findings, and passes them on to be written.

    Args:
        form: writes them.
    """

    def __init__(self, form: Form) -> None:
        self._form = form
        self._counts = dict.fromkeys(Mark, 0)

    def add(self, finding: Finding) -> None:
        """Adds a finding."""
        self._counts[finding.mark] += 1
        self._form.add(finding)

    def end(self, loaded: Loaded | None) -> None:
        """Ends the report.

        Args:
            loaded: the settings; None if they cannot be used.
        """
        self._form.end(loaded, self._counts[Mark.FAIL], self._counts[Mark.WARN])

    @property
    def exit_code(self) -> int:
        """1 if anything failed, otherwise 0."""
        return 1 if self._counts[Mark.FAIL] else 0
