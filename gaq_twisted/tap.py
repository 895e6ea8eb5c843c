"""The `twistd gaq-ws` command: its options and its service.

The only module of the server that imports the reactor.
"""

import atexit
import encodings.idna  # noqa: F401 - resolving a host name imports it, perhaps after a chroot
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from twisted.application.service import IService
from twisted.logger import Logger
from twisted.python import usage

from gaq_twisted import __version__
from gaq_twisted.config.catalogue import doubts
from gaq_twisted.config.errors import ConfigError
from gaq_twisted.config.load import Loaded, file_to_read, load
from gaq_twisted.ops.signals import Signals

_log = Logger()


class Options(usage.Options):
    """The options of `twistd gaq-ws`."""

    synopsis = (
        "[--config FILE] [--check [--verbose | --json] [--cookie VALUE]"
        " [--origin ORIGIN [--host HOST]]] | --demo"
    )

    longdesc = (
        "Pushes Apache Superset's background-query events to browsers over WebSocket. Settings"
        " come from the JSON file and from environment variables, which win. The options of twistd"
        " come before gaq-ws. The command gaq-ws has the same options as commands, and more."
    )

    optParameters = [
        [
            "config",
            "c",
            None,
            "The JSON file with the settings [default: config.json if it exists].",
        ],
        [
            "cookie",
            None,
            None,
            "With --check: a browser's Cookie header, or only its token; - reads it from"
            " standard input.",
        ],
        [
            "origin",
            None,
            None,
            "With --check: the origin of a page, such as https://bi.example.com.",
        ],
        ["host", None, None, "With --check: the host that the page connects to, for same-host."],
    ]

    optFlags = [
        ["check", None, "Check settings, ports and Redis, show how to fix problems, and exit."],
        ["verbose", "v", "With --check: also list the settings and their sources."],
        ["json", None, "With --check: print one JSON object."],
        ["demo", None, "Run with its own Valkey server and a page that demonstrates the server."],
    ]

    def postOptions(self) -> None:
        """Runs the check and exits, if the options ask for it.

        By now, twistd has not checked for a pid file, opened a log or forked.

        Raises:
            SystemExit: with the check's exit code, or with a line if options contradict each
                other; after a UsageError, older versions of Twisted report success.
        """
        details = {name: self[name] for name in ("cookie", "origin", "host")}
        flags = {name: bool(self[name]) for name in ("verbose", "json")}
        if not self["check"]:
            for name, value in {**details, **flags}.items():
                if value not in (None, False):
                    raise SystemExit(f"gaq-ws: --{name} needs --check")
        elif self["demo"]:
            raise SystemExit("gaq-ws: --check and --demo cannot be combined")
        else:
            # This imports the reactor.
            from gaq_twisted.tools.check.command import run

            run(
                self.config_file(),
                os.environ,
                **details,
                verbose=flags["verbose"],
                json=flags["json"],
            )

    def opt_version(self) -> None:
        """Shows the version of gaq-ws and exits."""
        print(f"gaq-ws {__version__}")
        sys.exit(0)

    def config_file(self) -> Path | None:
        """Returns the configuration file, or None if there is none."""
        return file_to_read(self["config"])


def makeService(options: Options) -> IService:
    """Returns the service that the options and the environment describe.

    Raises:
        SystemExit: with a line per fault, if the options or settings cannot be used.
    """
    from twisted.internet import reactor

    # The imports below load parts of Autobahn and txredisapi that need an installed reactor.
    twistd: Mapping[str, Any] = options.parent or {}
    if options["demo"]:
        if options["config"]:
            raise SystemExit("gaq-ws: --demo makes its own settings: leave out --config")
        from gaq_twisted.service import ServerReactor
        from gaq_twisted.tools.demo import make_demo

        return make_demo(twistd, cast(ServerReactor, reactor))
    from gaq_twisted.ops.logs import LogOutput
    from gaq_twisted.ops.process import connection_limit, raise_file_limit, tune_gc
    from gaq_twisted.ops.systemd import Notifier
    from gaq_twisted.server import Host
    from gaq_twisted.service import ServerReactor, make_server

    reactor.callWhenRunning(tune_gc, reactor)

    def give_up() -> None:
        # twistd itself would exit with success.
        atexit.register(os._exit, os.EX_UNAVAILABLE)
        reactor.stop()

    def read_settings() -> Loaded:
        return load(options.config_file(), os.environ)

    try:
        settings, warnings, sources = read_settings()
        output = None if twistd.get("logger") else LogOutput(settings, twistd)
        server = make_server(
            settings,
            cast(ServerReactor, reactor),
            Host(
                output=output,
                read_settings=read_settings,
                file=options.config_file(),
                sources=sources,
                notifier=Notifier(os.environ),
                max_files=connection_limit(raise_file_limit(), reactor),
                give_up=give_up,
            ),
        )
    except ConfigError as error:
        raise SystemExit("\n".join(f"gaq-ws: {fault}" for fault in error.faults)) from None
    for warning in (*warnings, *doubts(settings)):
        _log.warn("{warning}", event="settings_warning", warning=warning)
    signals = Signals(cast(ServerReactor, reactor), server.reload, output, server.announce_stop)
    reactor.callWhenRunning(signals.install)
    return server
