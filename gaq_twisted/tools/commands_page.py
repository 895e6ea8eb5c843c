"""The page of all commands, written from their own definitions."""

from collections.abc import Iterator

from gaq_twisted.commands.table import COMMANDS, PROGRAM, Command
from gaq_twisted.tools.command_options import Argument, arguments

_BEGINNING = """\
# Commands

`gaq-ws` without a command starts the server. `gaq-ws COMMAND --help` shows the options of a
command, and `gaq-ws --version` the version. Settings come from a JSON file and from environment
variables, which win ([configuration](configuration.md)).
"""
_END = """
## Exit codes

| code | meaning |
|---|---|
| 0 | success |
| 1 | the server cannot start; a check failed; a cookie is rejected; an event of the load was lost |
| 2 | the command line is invalid, or `load` or `token` cannot run; standard error says why |
| 69 | Redis is older than 5.0 |
| 130, 143 | Ctrl-C or SIGTERM ended `load`, or a second one ended the server |

## With twistd

The server is a plugin of Twisted's `twistd`, which can make it a daemon or change its user.
`twistd gaq-ws` takes `--config FILE`, `--check` with the options of `gaq-ws check`, and `--demo`.
`gaq-ws` itself accepts options of `twistd` before `--`:

```sh
twistd --pidfile=ws.pid gaq-ws --config ws.json   # a daemon
gaq-ws --logfile ws.log -- --config ws.json       # in the foreground, with a log file
```

`gaq-ws --check`, `gaq-ws --demo` and `gaq-ws-load` are older spellings of `gaq-ws check`,
`gaq-ws demo` and `gaq-ws load`.

`python -m gaq_twisted.tools.reference commands` prints this page.
"""


def commands() -> str:
    """Returns docs/commands.md."""
    return "\n".join([_BEGINNING, *_lines()]) + _END


def _lines() -> Iterator[str]:
    yield "| command | |"
    yield "|---|---|"
    for command in COMMANDS:
        yield f"| [`{PROGRAM} {command.name}`](#gaq-ws-{command.name}) | {command.summary} |"
    for command in COMMANDS:
        yield from ("", f"## {PROGRAM} {command.name}", "", command.description)
        yield from _options(command)
        if command.examples:
            yield from ("", "```sh", *_without_margin(command.examples), "```")
    yield ""


def _options(command: Command) -> Iterator[str]:
    options = [one for one in arguments(command) if "--help" not in one.names]
    if options:
        yield from ("", "| option | meaning |", "|---|---|")
    for option in options:
        meaning = option.help or ", ".join(f"`{choice}`" for choice in option.choices)
        yield f"| {_spelling(option)} | {meaning} |"


def _spelling(option: Argument) -> str:
    value = "|".join(option.choices) or option.value
    if not option.names:
        return f"`{option.value}`"
    *short, longest = option.names
    names = [*short, f"{longest} {value}" if value else longest]
    return ", ".join(f"`{name}`" for name in names).replace("|", r"\|")


def _without_margin(text: str) -> list[str]:
    return [line.removeprefix("  ") for line in text.splitlines()]
