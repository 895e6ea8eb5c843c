"""The garbage collector and the file limit of this process."""

import gc
import resource

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from gaq_twisted.core.every import every

_FULL_COLLECTION_SECONDS = 24 * 3600.0
# Effectively never; `gc` has no value for that.
_NEVER = 1_000_000
# FD_SETSIZE of the C library.
_SELECT_FILES = 1024

_log = Logger()


def tune_gc(clock: IReactorTime) -> None:
    """Limits the garbage collection of old objects to once a day.

    By default it examines all of them whenever their number has grown by a quarter, which with
    20,000 sockets stops the process for 0.1 s. Sockets leave nothing to it: their memory is freed
    when they close. Other old garbage (a connection to Redis, a kept-alive HTTP connection) can
    wait a day. Young objects are few and are examined as usual.

    Args:
        clock: calls the daily collection.
    """
    # Imported modules live as long as the process and never need examining.
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, _NEVER)
    every(_FULL_COLLECTION_SECONDS, gc.collect, clock, _log, now=False)


def connection_limit(files: int, reactor: object) -> int:
    """Returns how many files can be connections; fewer than all with a reactor that uses select.

    Args:
        files: how many files this process may have open.
        reactor: the reactor; only that of twisted.internet.selectreactor cannot watch every file.
    """
    if type(reactor).__module__ == "twisted.internet.selectreactor" and files > _SELECT_FILES:
        _log.warn(
            "the reactor uses select, and can hold {limit} connections at most: leave out"
            " --reactor=select to hold as many as the {files} files allow",
            event="select_reactor",
            limit=_SELECT_FILES,
            files=files,
        )
        return _SELECT_FILES
    return files


def raise_file_limit() -> int:
    """Raises the limit on open files as far as an ordinary process may, and returns it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most if most != resource.RLIM_INFINITY else 2**31
