"""The options of the commands as data, for completions and documentation."""

from argparse import SUPPRESS
from typing import NamedTuple

from gaq_twisted.commands.table import Command


class Argument(NamedTuple):
    """An option of a command, or a positional argument."""

    names: tuple[str, ...]
    """Its spellings; none if it is positional."""
    help: str
    value: str
    """What its value is called; empty if it has none."""
    choices: tuple[str, ...]
    """The values, if they are listed."""


def arguments(command: Command) -> list[Argument]:
    """Returns the options and arguments of a command that its help shows."""
    parser = command.parser()
    formatter = parser._get_formatter()
    return [
        Argument(
            names=tuple(action.option_strings),
            help=formatter._expand_help(action) if action.help else "",
            value="" if action.nargs == 0 else str(action.metavar or action.dest.upper()),
            choices=tuple(action.choices or ()),
        )
        for action in parser._actions
        if action.help != SUPPRESS
    ]
