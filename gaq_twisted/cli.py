"""The `gaq-ws` command: `twistd gaq-ws` in the foreground, for service managers and containers."""

import sys
from collections.abc import Sequence

from twisted.scripts.twistd import run

_END_OF_TWISTD_OPTIONS = "--"


def twistd_arguments(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of the same as a twistd command.

    Args:
        arguments: the options of `gaq-ws`; before them there may be options of twistd
            and a `--`.
    """
    twistd_options: Sequence[str] = ()
    if _END_OF_TWISTD_OPTIONS in arguments:
        end = arguments.index(_END_OF_TWISTD_OPTIONS)
        twistd_options, arguments = arguments[:end], arguments[end + 1 :]
    return ["--nodaemon", "--pidfile=", *twistd_options, "gaq-ws", *arguments]


def main() -> None:
    """Be that twistd command."""
    sys.argv[:] = ["twistd", *twistd_arguments(sys.argv[1:])]
    run()
