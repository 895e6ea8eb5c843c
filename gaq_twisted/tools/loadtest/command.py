"""The command `gaq-ws-load`: its options, and what it prints."""

import argparse
import json
import math
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from autobahn.websocket.util import parse_url
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)

from gaq_twisted.config.errors import ConfigError
from gaq_twisted.config.load import file_to_read, load
from gaq_twisted.config.settings import Settings
from gaq_twisted.ops.process import raise_file_limit
from gaq_twisted.tools.loadtest.progress import ProgressBar
from gaq_twisted.tools.loadtest.report import Report

_BAD = 2
_BUSY_CORE_SHARE = 0.8
# Besides the clients' sockets: Redis, the reactor's own, standard streams.
_OTHER_FILES = 50


def main() -> None:
    """Runs the load test that the command line describes, and prints the result.

    Raises:
        SystemExit: with 0 if nothing was lost, 1 if something was, 2 if the test cannot be run.
    """
    options = _options(sys.argv[1:])
    try:
        loaded = load(file_to_read(options.config), os.environ)
    except ConfigError as error:
        _give_up(error.faults)
    for warning in loaded.warnings:
        _say(warning)
    most = raise_file_limit() - _OTHER_FILES
    if options.clients > most:
        _say(f"this process may have {most:,} connections at most: raise the limit (ulimit -n)")
    # Only bugs are critical; Autobahn also logs each TLS handshake that fails.
    only_bugs = LogLevelFilterPredicate(LogLevel.critical)
    globalLogBeginner.beginLoggingTo(
        [FilteringLogObserver(textFileLogObserver(sys.stderr), [only_bugs])],
        redirectStandardIO=False,
    )
    react(lambda reactor: Deferred.fromCoroutine(_run(options, loaded.settings, reactor)))


def _give_up(faults: Sequence[str]) -> NoReturn:
    for fault in faults:
        _say(fault)
    raise SystemExit(_BAD)


async def _run(options: Any, settings: Settings, reactor: Any) -> None:
    # These import parts of Autobahn and txredisapi that want a reactor installed.
    from gaq_twisted.tools.loadtest.clients import CannotConnect
    from gaq_twisted.tools.loadtest.runner import CannotPublish, LoadTest, Plan
    from gaq_twisted.tools.loadtest.sockets import Target

    plan = Plan(
        target=Target(options.url, *options.parsed_url[:4]),
        clients=options.clients,
        tabs=options.tabs,
        rate=options.rate,
        seconds=options.seconds,
        drops=options.drops,
        settle_seconds=options.settle,
        origin=options.origin,
        protocol=options.protocol or settings.protocol,
        broadcast_share=options.broadcasts,
    )
    if plan.protocol == "both":
        _give_up(["the settings serve both protocols: say which with --protocol"])
    bar = ProgressBar(sys.stderr)
    try:
        test = LoadTest(plan, settings, reactor, bar.show)
    except ConfigError as error:
        _give_up(error.faults)
    _say(
        f"{plan.clients:,} clients of {plan.channels:,} channels will connect to"
        f" {plan.target.url}; then {test.announcement()}"
    )

    def handle_signals() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: reactor.callFromThread(test.interrupt))

    reactor.callWhenRunning(handle_signals)
    try:
        report = await test.run()
    except (CannotPublish, CannotConnect) as error:
        bar.clear()
        _give_up([str(error)])
    finally:
        bar.clear()
    problem = await test.clean_up()
    if problem is not None:
        _say(problem)
    print(json.dumps(report.for_machines()) if options.json else table(report))
    for line in remarks(report):
        _say(line)
    raise SystemExit(0 if report.is_good else 1)


def table(report: Report) -> str:
    """Returns the result as a table for people."""
    rows = list(_rows(report))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {value}" for name, value in rows)


def _rows(report: Report) -> Iterator[tuple[str, str]]:
    connected = report.clients - report.never_connected
    some = f" of {report.clients:,}" if report.never_connected else ""
    yield "clients", f"{connected:,}{some}, {report.channels:,} channels"
    yield "connects per second", f"{report.connects_per_second:,.0f}"
    yield "reconnects", f"{report.reconnects:,}"
    yield "failed connects", f"{sum(report.failed_connects.values()):,}"
    for reason, count in report.failed_connects.items():
        yield "", f"{count:,}: {reason}"
    yield (
        "events published",
        f"{report.published:,}, {report.published_per_second:,.1f} per second",
    )
    for reason, count in report.failed_publications.items():
        yield "", f"{count:,} not published: {reason}"
    yield "frames expected", f"{report.frames_expected:,}"
    yield "lost", f"{report.lost:,}"
    yield "duplicated", f"{report.duplicated:,}"
    yield "out of order", f"{report.out_of_order:,}"
    if report.misdelivered:
        yield "of other channels", f"{report.misdelivered:,}"
    if report.not_owed is None:
        yield "caught up after a reconnect", f"{report.caught_up:,}"
    else:
        yield "not owed", f"{sum(report.not_owed.values()):,}"
        for reason, count in report.not_owed.items():
            yield "", f"{count:,}: {reason}"
    for name, latency_ms in (
        ("latency, median", report.latency_median_ms),
        ("latency, 99 %", report.latency_99_ms),
        ("latency, 99.9 %", report.latency_999_ms),
        ("latency, worst", report.latency_worst_ms),
    ):
        yield name, "-" if latency_ms is None else f"{latency_ms:,.2f} ms"
    yield (
        "generator's share of a core",
        f"{report.core_share_running:.0%}, while connecting {report.core_share_connecting:.0%}",
    )


def remarks(report: Report) -> Iterator[str]:
    """Yields remarks that help to interpret the result."""
    if report.is_interrupted:
        yield "the test was interrupted; this is what it saw"
    if report.frames_expected and not report.frames_received:
        names = "redis.db and redisStreamPrefix"
        if report.not_owed is not None:
            names = "and realtimeChannelPrefix"
        yield (
            f"not one event came: see that this test and the server have the same Redis, {names}"
        )
    if report.core_share_running > _BUSY_CORE_SHARE:
        yield (
            "this test was busy itself: latencies and rates are its own as much as the server's;"
            " start several of it, with fewer clients each, or let it run on another machine"
        )
    elif report.core_share_connecting > _BUSY_CORE_SHARE:
        yield "this test was busy itself while it connected: the server may take connects faster"


def _say(line: str) -> None:
    print(f"gaq-ws-load: {line}", file=sys.stderr, flush=True)


def _options(arguments: Sequence[str]) -> Any:
    parser = argparse.ArgumentParser(
        prog="gaq-ws-load",
        description="Puts load on a running server and reports what was lost. Publishes into its"
        " Redis as Superset does, to channels of its own. Settings (secret, Redis, prefix) come"
        " from the file and the environment, as the server's do.",
    )
    parser.add_argument(
        "--url",
        default="ws://127.0.0.1:8080/",
        help="where it takes upgrades (default: %(default)s)",
    )
    parser.add_argument(
        "--clients", type=_count, default=100, help="how many connect (default: %(default)s)"
    )
    parser.add_argument(
        "--tabs",
        type=_count,
        default=2,
        help="how many clients share a channel (default: %(default)s)",
    )
    parser.add_argument(
        "--rate", type=_positive, default=20.0, help="events a second (default: %(default)g)"
    )
    parser.add_argument(
        "--seconds", type=_positive, default=30.0, help="how long to publish (default: %(default)g)"
    )
    parser.add_argument(
        "--drops",
        type=_not_negative,
        default=1.0,
        help="connections that break, a second; their clients come back within a second"
        " (default: %(default)g)",
    )
    parser.add_argument(
        "--settle",
        type=_positive,
        default=5.0,
        help="at the end, how long to wait for what is missing while nothing comes"
        " (default: %(default)g)",
    )
    parser.add_argument(
        "--protocol",
        choices=("streams", "realtime"),
        help="the protocol of Superset 1.2 to 6.1, or that of Superset 7 (default: the one that"
        " the settings serve)",
    )
    parser.add_argument(
        "--broadcasts",
        type=_share,
        default=0.02,
        help="with realtime, the share of messages that every socket gets, from 0 to 1"
        " (default: %(default)g)",
    )
    parser.add_argument("--origin", help="the Origin header of the clients, as of a page there")
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="the JSON file with the settings (default: config.json if it exists)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(arguments)
    try:
        options.parsed_url = parse_url(options.url)
        if options.parsed_url[1] == "unix":
            raise ValueError("unix sockets are not supported")
    except ValueError as error:
        parser.error(f"argument --url: {options.url!r} is not like ws://host:port/path: {error}")
    return options


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def _positive(text: str) -> float:
    number = _number(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def _not_negative(text: str) -> float:
    number = _number(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 on")
    return number


def _share(text: str) -> float:
    number = _number(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 1")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
