"""The `gaq-ws` command: `twistd gaq-ws` in the foreground, for service managers and containers."""

import sys
from collections.abc import Sequence

from twisted.scripts.twistd import run

_END_OF_TWISTD_OPTIONS = "--"


def twistd_arguments(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments of twistd for those of `gaq-ws`.

    Args:
        arguments: the options of `gaq-ws`, perhaps preceded by options of twistd and `--`.
    """
    twistd_options: Sequence[str] = ()
    if _END_OF_TWISTD_OPTIONS in arguments:
        end = arguments.index(_END_OF_TWISTD_OPTIONS)
        twistd_options, arguments = arguments[:end], arguments[end + 1 :]
    return ["--nodaemon", "--pidfile=", *twistd_options, "gaq-ws", *arguments]


def main() -> None:
    """Runs `twistd gaq-ws` with these arguments."""
    sys.argv[:] = ["twistd", *twistd_arguments(sys.argv[1:])]
    run()
