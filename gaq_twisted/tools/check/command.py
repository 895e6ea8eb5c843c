"""The command `twistd gaq-ws --check`: checks whether the server would work, changing nothing.

Import this module only where a reactor is installed.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater, react
from twisted.web.client import Agent

from gaq_twisted.config.catalogue import doubts
from gaq_twisted.config.errors import ConfigError
from gaq_twisted.config.load import Loaded, load
from gaq_twisted.service import ServerReactor, validate
from gaq_twisted.tools.check.cookies import cookie_header, judge_cookie
from gaq_twisted.tools.check.findings import Finding, Mark
from gaq_twisted.tools.check.origins import judge_origin
from gaq_twisted.tools.check.ports import port_findings
from gaq_twisted.tools.check.report import Form, Json, Lines, Report
from gaq_twisted.tools.check.servers import redis_findings
from gaq_twisted.tools.check.statsd import statsd_finding

_STANDARD_INPUT = "-"
_SUPERSETS = {
    "streams": "Superset 1.2 to 6.1",
    "realtime": "Superset 7",
    "both": "Superset 1.2 to 6.1 and Superset 7",
}


class Questions(NamedTuple):
    """What to check besides settings and Redis."""

    cookie: str | None = None
    """A browser's Cookie header, or only its token; None to skip."""
    origin: str | None = None
    """The origin of a page; None to skip."""
    host: str | None = None
    """The host that the page connects to; None if it is not known."""


def run(
    file: Path | None,
    environ: Mapping[str, str],
    *,
    cookie: str | None,
    origin: str | None,
    host: str | None,
    verbose: bool,
    json: bool,
) -> NoReturn:
    """Runs the check in a reactor, prints the report, and exits.

    Args:
        file: the JSON file with the settings, or None.
        environ: the environment variables.
        cookie: as in Questions, or `-` to read it from the standard input.
        origin: as in Questions.
        host: as in Questions.
        verbose: whether to also list the settings.
        json: whether to print one JSON object.

    Raises:
        SystemExit: with 0 if nothing failed, otherwise 1.
    """
    if cookie == _STANDARD_INPUT:
        cookie = sys.stdin.readline()
    questions = Questions(cookie, origin, host)
    has_colours = sys.stdout.isatty() and not environ.get("NO_COLOR")
    form: Form = Lines(_print, has_colours=has_colours, shows_settings=verbose)
    report = Report(Json(_print) if json else form)

    def main(reactor: ServerReactor) -> Deferred[None]:
        checking = Deferred.fromCoroutine(
            _check_and_exit(file, environ, questions, report, reactor)
        )
        # Otherwise a signal would stop the reactor, and the exit code would be 0.
        reactor.addSystemEventTrigger("before", "shutdown", checking.cancel)
        return checking

    react(main)


async def _check_and_exit(
    file: Path | None,
    environ: Mapping[str, str],
    questions: Questions,
    report: Report,
    reactor: ServerReactor,
) -> None:
    try:
        # The reactor handles signals only once it runs.
        await deferLater(reactor, 0)
        await check(file, environ, questions, report, reactor)
    except CancelledError:
        raise SystemExit("gaq-ws: the check was interrupted") from None
    raise SystemExit(report.exit_code)


def _print(line: str) -> None:
    encoding = sys.stdout.encoding or "ascii"
    print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)


async def check(
    file: Path | None,
    environ: Mapping[str, str],
    questions: Questions,
    report: Report,
    reactor: ServerReactor,
) -> None:
    """Checks everything in the order of a start, and reports each finding.

    Args:
        file: the JSON file with the settings, or None.
        environ: the environment variables.
        questions: what to check besides settings and Redis.
        report: where findings go.
        reactor: provides IReactorTime and what client and server endpoints need.
    """
    loaded = None
    try:
        loaded = load(file, environ)
        _report_settings(loaded, report)
        validate(loaded.settings, reactor)
    except ConfigError as error:
        for fault in error.faults:
            report.add(Finding(Mark.FAIL, "settings", fault))
    else:
        report.add(Finding(Mark.OK, "settings", "valid"))
        report.add(_protocol(loaded))
        async for finding in port_findings(loaded.settings, Agent(reactor), reactor):
            report.add(finding)
        report.add(await statsd_finding(loaded.settings.statsd, loaded.sources, reactor))
        channel = _report_answers(loaded, questions, report, reactor.seconds())
        async for finding in redis_findings(loaded.settings, channel, reactor):
            report.add(finding)
    report.end(loaded)


def _report_settings(loaded: Loaded, report: Report) -> None:
    for warning in (*loaded.warnings, *doubts(loaded.settings)):
        report.add(Finding(Mark.WARN, "settings", warning))


def _protocol(loaded: Loaded) -> Finding:
    """Returns which protocols are served, and why; no other is checked."""
    protocol, source = loaded.settings.protocol, loaded.sources["protocol"]
    return Finding(Mark.NOTE, "protocol", f"{protocol} ({source}), for {_SUPERSETS[protocol]}")


def _report_answers(
    loaded: Loaded, questions: Questions, report: Report, now_seconds: float
) -> str | None:
    """Reports on the cookie and the origin; returns the cookie's channel if streams accept it."""
    settings = loaded.settings
    channel = None
    if questions.cookie is not None:
        header = cookie_header(settings, questions.cookie)
        findings, channel = judge_cookie(loaded, header, now_seconds)
        for finding in findings:
            report.add(finding)
    if questions.origin is not None:
        report.add(judge_origin(settings.allowed_origins, questions.origin, questions.host))
    return channel
