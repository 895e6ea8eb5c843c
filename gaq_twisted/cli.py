"""The `gaq-ws` command: selects the requested command, and loads only what it needs."""

import os
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from gaq_twisted import __version__
from gaq_twisted.commands.table import (
    COMMANDS,
    END_OF_TWISTD_OPTIONS,
    PROGRAM,
    Command,
    choose,
    command_named,
    overview,
)

_USAGE_ERROR = 2


def main() -> None:
    """Runs the command in the command line.

    Raises:
        SystemExit: with the exit code of the command; 2 if the command line is wrong.
    """
    run(sys.argv[1:])


def load() -> None:
    """Runs `gaq-ws load`, for the command `gaq-ws-load`.

    Raises:
        SystemExit: as main.
    """
    run(["load", *sys.argv[1:]])


def run(words: Sequence[str]) -> None:
    """Runs a command line.

    Args:
        words: the command line, without the program.

    Raises:
        SystemExit: as main.
    """
    if words and words[0].startswith("-") and END_OF_TWISTD_OPTIONS in words:
        end = words.index(END_OF_TWISTD_OPTIONS)
        _run_twistd(words[:end], words[end + 1 :])
        return
    name, arguments = choose(words)
    if name == "help":
        print(overview())
    elif name == "version":
        print(f"{PROGRAM} {__version__}")
    else:
        command = command_named(name)
        if command is None:
            _fail_unknown(name)
        _RUNNERS[name](_parsed(command, arguments))


def _parsed(command: Command, arguments: Sequence[str]) -> Namespace:
    parser = command.parser()
    options = parser.parse_args(arguments)
    # Commands use it to report errors that only they can detect.
    options.error = parser.error
    return options


def _fail_unknown(name: str) -> NoReturn:
    from difflib import get_close_matches

    near = get_close_matches(name, [command.name for command in COMMANDS], n=1)
    hint = f", did you mean {near[0]}?" if near else ";"
    print(
        f"{PROGRAM}: there is no command {name!r}{hint} `{PROGRAM} --help` lists the commands",
        file=sys.stderr,
    )
    raise SystemExit(_USAGE_ERROR)


def _serve(options: Namespace) -> None:
    _run_twistd([], ["--config", options.config] if options.config else [])


def _demo(options: Namespace) -> None:
    _run_twistd([], ["--demo"])


def _run_twistd(twistd_options: Sequence[str], options: Sequence[str]) -> None:
    """Runs `twistd gaq-ws` in the foreground, without a pidfile.

    Args:
        twistd_options: the options of twistd.
        options: those of its command gaq-ws.

    Raises:
        SystemExit: with 2 if there is no such option.
    """
    from twisted.python.usage import UsageError
    from twisted.scripts import twistd

    from twisted.plugins.gaq_ws import gaq_ws

    class OnlyUs(twistd.ServerOptions):  # type: ignore[misc, name-defined]
        """The options of twistd, without the search for other plugins."""

        @property
        def subCommands(self) -> Iterator[tuple[str, None, Callable[[], object], str]]:
            """The only command, in the form that twistd needs."""
            self.loadedPlugins: Mapping[str, Any] = {gaq_ws.tapname: gaq_ws}
            yield gaq_ws.tapname, None, gaq_ws.options, gaq_ws.description

    parsed = OnlyUs()
    try:
        parsed.parseOptions(["--nodaemon", "--pidfile=", *twistd_options, gaq_ws.tapname, *options])
    except UsageError as error:
        print(f"{PROGRAM}: {error}; see `{PROGRAM} serve --help`", file=sys.stderr)
        raise SystemExit(_USAGE_ERROR) from None
    twistd.runApp(parsed)


def _check(options: Namespace) -> None:
    from gaq_twisted.config.load import file_to_read
    from gaq_twisted.tools.check.command import run

    run(
        file_to_read(options.config),
        os.environ,
        cookie=options.cookie,
        origin=options.origin,
        host=options.host,
        verbose=options.verbose,
        json=options.json,
    )


def _print_only() -> None:
    """Lets Ctrl-C, and a pipe that nobody reads, end a command that only prints.

    By default Python prints a traceback.
    """
    for number in (signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)


def _config(options: Namespace) -> None:
    _print_only()
    from gaq_twisted.tools.new_config import NOTE, minimal, with_all_keys

    print(with_all_keys() if options.defaults else minimal())
    print(NOTE, file=sys.stderr)


def _token(options: Namespace) -> None:
    _print_only()
    from gaq_twisted.tools.tokens.command import run

    run(options)


def _completion(options: Namespace) -> None:
    _print_only()
    from gaq_twisted.tools.completion import script

    print(script(options.shell), end="")


def _load(options: Namespace) -> None:
    from gaq_twisted.tools.loadtest.command import run

    run(options)


_RUNNERS: Mapping[str, Callable[[Namespace], None]] = {
    "serve": _serve,
    "check": _check,
    "config": _config,
    "token": _token,
    "completion": _completion,
    "demo": _demo,
    "load": _load,
}
