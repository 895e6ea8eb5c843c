"""The options of each command of `gaq-ws`."""

from argparse import SUPPRESS, ArgumentParser

from gaq_twisted.commands.arguments import above_zero, count, duration_seconds, from_zero, share

SHELLS = ("bash", "zsh", "fish")
_PROTOCOLS = ("streams", "realtime")
_PROTOCOLS_HELP = (
    "streams is Superset 1.2 to 6.1, realtime is Superset 7 (default: what the settings serve)"
)


def _config_option(parser: ArgumentParser, *names: str) -> None:
    parser.add_argument(
        *names,
        "--config",
        metavar="FILE",
        help="the JSON file with the settings (default: config.json if it exists)",
    )


def serve_options(parser: ArgumentParser) -> None:
    """Adds the options of `serve`."""
    _config_option(parser, "-c")


def check_options(parser: ArgumentParser) -> None:
    """Adds the options of `check`."""
    _config_option(parser, "-c")
    output = parser.add_argument_group("output")
    output.add_argument(
        "-v", "--verbose", action="store_true", help="also list the settings and their sources"
    )
    output.add_argument("--json", action="store_true", help="print one JSON object")
    browser = parser.add_argument_group("also check a browser")
    browser.add_argument(
        "--cookie",
        metavar="COOKIE",
        help="the browser's Cookie header, or only its token; - reads it from standard input",
    )
    browser.add_argument("--origin", help="the origin of a page, such as https://bi.example.com")
    browser.add_argument("--host", help="the host that the page connects to, for same-host")


def config_options(parser: ArgumentParser) -> None:
    """Adds the options of `config`."""
    parser.add_argument(
        "--defaults",
        action="store_true",
        help="print all keys; later versions cannot change the defaults in such a file",
    )


def token_options(parser: ArgumentParser) -> None:
    """Adds the options of `token`."""
    _config_option(parser, "-c")
    new = parser.add_argument_group("a new cookie")
    new.add_argument("--protocol", choices=_PROTOCOLS, help=_PROTOCOLS_HELP)
    new.add_argument(
        "--channel", metavar="NAME", help="the channel of a streams token (default: a new one)"
    )
    new.add_argument(
        "--user", metavar="ID", help="the user id of a realtime token (default: a new one)"
    )
    new.add_argument(
        "--expires",
        type=duration_seconds,
        default=3600.0,
        metavar="DURATION",
        help="how long the token is valid, such as 90s, 5m, 1h or 7d (default: 1h)",
    )
    new.add_argument(
        "--url", help="the server's URL in the printed commands (default: this machine)"
    )
    old = parser.add_argument_group("an existing cookie")
    old.add_argument(
        "--explain",
        metavar="COOKIE",
        help="show what a Cookie header, or a token, contains, and whether the server accepts it;"
        " - reads it from standard input",
    )


def load_options(parser: ArgumentParser) -> None:
    """Adds the options of `load`."""
    _config_option(parser)
    load = parser.add_argument_group("load")
    load.add_argument(
        "-u", "--url", default="ws://127.0.0.1:8080/", help="the server (default: %(default)s)"
    )
    load.add_argument(
        *("-c", "--connections"),
        type=count,
        default=100,
        metavar="N",
        help="number of clients (default: %(default)s)",
    )
    load.add_argument(
        *("-r", "--rate"),
        type=above_zero,
        default=20.0,
        metavar="N",
        help="events published per second (default: %(default)g)",
    )
    load.add_argument(
        *("-d", "--duration"),
        type=duration_seconds,
        default=30.0,
        metavar="DURATION",
        help="how long to publish, such as 90s or 3m (default: 30s)",
    )
    load.add_argument(
        "--drops",
        type=from_zero,
        default=1.0,
        metavar="N",
        help="connections broken per second; their clients reconnect within a second"
        " (default: %(default)g)",
    )
    load.add_argument(
        "--tabs",
        type=count,
        default=2,
        metavar="N",
        help="clients per channel (default: %(default)s)",
    )
    load.add_argument(
        "--settle",
        type=duration_seconds,
        default=5.0,
        metavar="DURATION",
        help="at the end, time without new events before missing ones count as lost (default: 5s)",
    )
    load.add_argument("--origin", help="the Origin header of the clients")
    # The names of the first version.
    load.add_argument("--clients", type=count, dest="connections", default=SUPPRESS, help=SUPPRESS)
    load.add_argument(
        "--seconds", type=duration_seconds, dest="duration", default=SUPPRESS, help=SUPPRESS
    )
    protocol = parser.add_argument_group("protocol")
    protocol.add_argument("--protocol", choices=_PROTOCOLS, help=_PROTOCOLS_HELP)
    protocol.add_argument(
        "--broadcasts",
        type=share,
        default=0.02,
        metavar="SHARE",
        help="with realtime, the share of messages sent to every socket, from 0 to 1"
        " (default: %(default)g)",
    )
    running = parser.add_argument_group("running")
    running.add_argument(
        *("-y", "--yes"),
        action="store_true",
        help="publish without asking, even if Superset may use this Redis",
    )
    running.add_argument("--json", action="store_true", help="print the result as JSON")


def completion_options(parser: ArgumentParser) -> None:
    """Adds the options of `completion`."""
    parser.add_argument("shell", choices=SHELLS)


def no_options(parser: ArgumentParser) -> None:
    """Adds nothing."""
