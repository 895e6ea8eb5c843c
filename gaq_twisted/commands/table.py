"""The commands of `gaq-ws`, and the selection of one for a command line.

Every start imports this module, so it imports little.
"""

from argparse import ArgumentParser, HelpFormatter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gaq_twisted.commands import options

PROGRAM = "gaq-ws"
DEFAULT = "serve"
"""The default command."""
END_OF_TWISTD_OPTIONS = "--"
_SUMMARY = "Pushes Apache Superset's background-query events to browsers over WebSocket."
_HELP_COLUMN = 26


class _Formatter(HelpFormatter):
    """Leaves room for the names of options, and keeps the lines of examples."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=_HELP_COLUMN)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


class Command(NamedTuple):
    """A command of `gaq-ws`."""

    name: str
    group: str
    """The heading above it in the list of commands."""
    summary: str
    description: str
    add_options: Callable[[ArgumentParser], None]
    examples: str = ""

    def parser(self) -> ArgumentParser:
        """Returns the parser of its options."""
        parser = ArgumentParser(
            prog=f"{PROGRAM} {self.name}",
            description=self.description,
            epilog=f"examples:\n{self.examples}" if self.examples else None,
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        self.add_options(parser)
        return parser


class Choice(NamedTuple):
    """The command in a command line."""

    command: str
    arguments: list[str]


def choose(words: Sequence[str]) -> Choice:
    """Returns the command of a command line, and the arguments of that command.

    Without a command the server is started; `--check` and `--demo` are commands, too.

    Args:
        words: the command line, without the program.
    """
    if not words:
        return Choice(DEFAULT, [])
    first, *others = words
    if first == "help" and others:
        return Choice(others[0], ["--help"])
    if first in ("-h", "--help"):
        return Choice("help", [])
    if first == "--version":
        return Choice("version", [])
    if not first.startswith("-"):
        return Choice(first, others)
    for name in ("check", "demo"):
        if f"--{name}" in words:
            return Choice(name, [word for word in words if word != f"--{name}"])
    return Choice(DEFAULT, list(words))


def command_named(name: str) -> Command | None:
    """Returns the command of a name; None if there is none."""
    return next((command for command in COMMANDS if command.name == name), None)


def overview() -> str:
    """Returns the list of all commands."""
    lines = [f"usage: {PROGRAM} [COMMAND] [OPTIONS]", "", _SUMMARY]
    group = ""
    for command in COMMANDS:
        if command.group != group:
            group = command.group
            lines += ["", f"{group}:"]
        lines.append(f"  {command.name:<12}{command.summary}")
    lines += [
        "",
        "options:",
        "  -h, --help  show this list, or the options of a command",
        "  --version   show the version",
        "",
        f"Without a command the server is started: {PROGRAM} --config FILE.",
        "Settings come from the JSON file and from environment variables, which win.",
    ]
    return "\n".join(lines)


_RUN, _SET_UP, _TRY = "Run the server", "Set it up", "Try it"
COMMANDS = (
    Command(
        DEFAULT,
        _RUN,
        "run the server in the foreground (the default)",
        f"{_SUMMARY} Runs in the foreground until SIGTERM or Ctrl-C.",
        options.serve_options,
        f"  {PROGRAM} --config ws.json\n"
        f"  {PROGRAM} --logfile ws.log -- --config ws.json\n"
        "      # before --: options of Twisted's twistd, which twistd --help lists",
    ),
    Command(
        "check",
        _RUN,
        "check settings, ports and Redis, and show how to fix problems",
        "Checks whether the server would work with these settings, without changing anything."
        " The exit code is 1 if anything failed.",
        options.check_options,
        f"  {PROGRAM} check --config ws.json\n"
        f"  {PROGRAM} check --cookie - --origin https://bi.example.com <cookie.txt",
    ),
    Command(
        "config",
        _SET_UP,
        "print a new configuration file with a fresh secret",
        "Prints a configuration file with the keys that an installation needs, and a new"
        " random secret.",
        options.config_options,
        f"  (umask 077; {PROGRAM} config >ws.json)",
    ),
    Command(
        "token",
        _SET_UP,
        "create a cookie for a manual test, or explain one",
        "Creates a cookie that the server accepts, signed with the secret in the settings. The"
        " Cookie header goes to standard output, instructions to standard error. With"
        " --explain it shows which protocol accepts a cookie, or why none does; then the exit"
        " code is 1.",
        options.token_options,
        f'  websocat ws://127.0.0.1:8080/ -H="$({PROGRAM} token)"\n'
        f"  {PROGRAM} token --explain - <cookie.txt",
    ),
    Command(
        "completion",
        _SET_UP,
        "print the completions for a shell",
        "Prints a script that completes commands and options in a shell.",
        options.completion_options,
        f'  eval "$({PROGRAM} completion bash)"         # in ~/.bashrc\n'
        f'  eval "$({PROGRAM} completion zsh)"          # in ~/.zshrc, after compinit\n'
        f"  {PROGRAM} completion fish | source          # in config.fish",
    ),
    Command(
        "demo",
        _TRY,
        "run the server with its own Redis and a page that demonstrates it",
        "Runs the server with its own Valkey server, and a page where charts wait for events."
        " It needs no settings. Stop it with Ctrl-C.",
        options.no_options,
    ),
    Command(
        "load",
        _TRY,
        "put load on a running server, and report what was lost",
        "Connects many clients to a running server, publishes test events to its Redis as"
        " Superset does, and reports what was lost. Use the server's settings."
        " The exit code is 0 if every event was published and received, 1 if not, 2 if the"
        " test could not run, and 130 after Ctrl-C, which prints the result so far.",
        options.load_options,
        f"  {PROGRAM} load --config ws.json -c 2000 -r 500 -d 3m\n"
        f"  {PROGRAM} load --yes --json >result.json",
    ),
)
"""All commands, in the order of the help."""
