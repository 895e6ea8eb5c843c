"""Runs `gaq-ws load` and prints its result."""

import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from typing import Any, NoReturn

from autobahn.websocket.util import parse_url
from twisted.internet.defer import CancelledError, Deferred
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
from gaq_twisted.tools.loadtest.interrupts import Interrupts
from gaq_twisted.tools.loadtest.progress import Progress
from gaq_twisted.tools.loadtest.table import remarks, table

_PREFIX = "gaq-ws load: "
_NOT_GOOD = 1
_CANNOT_RUN = 2
# Besides the clients' sockets: Redis, the reactor's own, standard streams.
_OTHER_FILES = 50


def run(options: Namespace) -> None:
    """Runs the load test that the options describe, and prints the result.

    Raises:
        SystemExit: with 0 if all was published and nothing was lost, 1 if not, 2 if the test
            cannot run, and 128 plus its number after a signal.
    """
    try:
        address = parse_url(options.url)
        if address[1] == "unix":
            raise ValueError("unix sockets are not supported")
    except ValueError as error:
        options.error(f"argument --url: {options.url!r} is not like ws://host:port/path: {error}")
    try:
        loaded = load(file_to_read(options.config), os.environ)
    except ConfigError as error:
        _give_up(error.faults)
    for warning in loaded.warnings:
        _say(warning)
    most = raise_file_limit() - _OTHER_FILES
    if options.connections > most:
        _say(f"this process can open only {most:,} connections: raise the limit (ulimit -n)")
    # Only bugs are critical; Autobahn also logs each TLS handshake that fails.
    only_bugs = LogLevelFilterPredicate(LogLevel.critical)
    globalLogBeginner.beginLoggingTo(
        [FilteringLogObserver(textFileLogObserver(sys.stderr), [only_bugs])],
        redirectStandardIO=False,
    )

    def main(reactor: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(_run(options, address, loaded.settings, reactor))

    react(main)


async def _run(
    options: Namespace, address: Sequence[Any], settings: Settings, reactor: Any
) -> None:
    # These import parts of Autobahn and txredisapi that need an installed reactor.
    from gaq_twisted.tools.loadtest.clients import CannotConnect
    from gaq_twisted.tools.loadtest.runner import CannotPublish, LoadTest, Plan
    from gaq_twisted.tools.loadtest.sockets import Target

    plan = Plan(
        target=Target(options.url, *address[:4]),
        clients=options.connections,
        tabs=options.tabs,
        rate=options.rate,
        seconds=options.duration,
        drops=options.drops,
        settle_seconds=options.settle,
        origin=options.origin,
        protocol=options.protocol or settings.protocol,
        broadcast_share=options.broadcasts,
    )
    if plan.protocol == "both":
        _give_up(["the settings serve both protocols: choose one with --protocol"])
    progress = Progress(sys.stderr, time.monotonic, _PREFIX)
    try:
        test = LoadTest(plan, settings, reactor, progress.show)
    except ConfigError as error:
        _give_up(error.faults)
    interrupts = Interrupts(reactor)
    interrupts.install()
    # The reactor replaces the handler of SIGTERM when it starts.
    reactor.callWhenRunning(interrupts.install)
    _say(
        f"{plan.clients:,} clients of {plan.channels:,} channels will connect to"
        f" {plan.target.url}; then {test.announcement()}"
    )
    try:
        if not options.yes:
            progress.show("starting", 0.0, "checking whether Superset uses this Redis")
            neighbours = await interrupts.cancelling(test.neighbours())
            progress.clear()
            if neighbours:
                _ask_permission(neighbours, interrupts)
        try:
            await interrupts.cancelling(test.start())
            interrupts.on_signal = test.interrupt
            report = await test.run()
        finally:
            progress.clear()
            problem = await test.clean_up()
            if problem is not None:
                _say(problem)
    except (CannotPublish, CannotConnect) as error:
        progress.clear()
        _give_up([str(error)])
    except CancelledError:
        progress.clear()
        _say("interrupted before the test began")
        raise SystemExit(interrupts.exit_code) from None
    print(json.dumps(report.for_machines()) if options.json else table(report), flush=True)
    for line in remarks(report):
        _say(line)
    raise SystemExit(interrupts.exit_code or (0 if report.is_good else _NOT_GOOD))


def _ask_permission(neighbours: str, interrupts: Interrupts) -> None:
    """Asks whether to publish although others may use this Redis.

    Args:
        neighbours: describes the others.
        interrupts: lets Ctrl-C end the process meanwhile.

    Raises:
        SystemExit: if the answer is no, or nobody can answer.
        CancelledError: if a signal came before.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        _give_up([f"{neighbours}. Nothing was published. Use --yes to publish anyway"])
    answer = interrupts.answer(f"{_PREFIX}{neighbours}. Publish anyway? [y/N] ")
    if answer.strip().lower() not in ("y", "yes"):
        _give_up(["nothing was published"])


def _give_up(faults: Sequence[str]) -> NoReturn:
    for fault in faults:
        _say(fault)
    raise SystemExit(_CANNOT_RUN)


def _say(line: str) -> None:
    print(f"{_PREFIX}{line}", file=sys.stderr, flush=True)
