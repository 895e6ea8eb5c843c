"""All loads by name, and the server that each needs."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from benchmarks.bulk import connect, discard, fanout, floor, tabs
from benchmarks.crowd import crowd
from benchmarks.holding import churn, idle, memory, sweep
from benchmarks.lone import lone, steady
from benchmarks.measuring import Progress, Result
from benchmarks.realtime import rt_broadcast, rt_storm
from benchmarks.returning import catchup, storm
from benchmarks.starting import import_modules, start
from benchmarks.target import RealtimeTarget, StreamsTarget


class StreamsLoad(NamedTuple):
    """A load on a server that follows streams."""

    put: Callable[[StreamsTarget, Progress], Result]


class RealtimeLoad(NamedTuple):
    """A load on a server that follows the realtime channel."""

    put: Callable[[RealtimeTarget, Progress], Result]


class CrowdLoad(NamedTuple):
    """A load on several servers that follow streams and share a port."""

    put: Callable[[Sequence[StreamsTarget], Progress], Result]
    processes: int


Load = StreamsLoad | RealtimeLoad | CrowdLoad

# Events a second, and how many seconds of them are enough for a quantile.
_LONE = {
    f"lone-{rate}": partial(lone, rate=rate, seconds=seconds)
    for rate, seconds in ((10, 30), (200, 15), (500, 10))
}
_STREAMS: Mapping[str, Callable[[StreamsTarget, Progress], Result]] = {
    "import": import_modules,
    "start": start,
    **_LONE,
    **{f"idle-{count}": partial(idle, sockets=count) for count in (0, 100, 10_000)},
    "floor": floor,
    "fanout": fanout,
    "tabs": tabs,
    "discard": discard,
    "connect": connect,
    "memory": memory,
    "sweep": sweep,
    "churn": churn,
    "catchup": catchup,
    "storm": storm,
    # How the costs grow with the number of sockets, and with that of channels seen.
    "floor-5000": partial(floor, sockets=5_000),
    "fanout-5000": partial(fanout, sockets=5_000),
    "floor-20000": partial(floor, sockets=20_000),
    "fanout-20000": partial(fanout, sockets=20_000),
    "discard-10": partial(discard, channels=10),
    "discard-100000": partial(discard, channels=100_000),
    # What a replica costs at a steady pace, for docs/scaling.md; these take 20 to 40 s each.
    **{f"steady-{rate}": partial(steady, rate=rate) for rate in (1, 10, 100, 1_000, 5_000, 20_000)},
    "heard-100": partial(steady, rate=100, heard=True),
    "heard-1000": partial(steady, rate=1_000, heard=True),
}
_REALTIME: Mapping[str, Callable[[RealtimeTarget, Progress], Result]] = {
    **{f"rt-{name}": put for name, put in _LONE.items()},
    "rt-fanout": fanout,
    "rt-discard": discard,
    "rt-connect": connect,
    "rt-storm": rt_storm,
    "rt-broadcast": rt_broadcast,
}

LOADS: Mapping[str, Load] = {
    **{name: StreamsLoad(put) for name, put in _STREAMS.items()},
    **{name: RealtimeLoad(put) for name, put in _REALTIME.items()},
    "crowd": CrowdLoad(crowd, processes=5),
}
"""All loads by name."""

ORDINARY = [name for name in LOADS if not name.startswith(("steady", "heard", "crowd"))]
"""Those that are run if none is named."""

WITH_FLOOR = [name for name in LOADS if "lone" in name]
"""Those that a bare loop is measured with, too."""

OWN = [name for name in LOADS if name.startswith(("import", "floor", "steady", "heard", "crowd"))]
"""Those that other servers have nothing to do with."""


def loads_of(name: str) -> list[str]:
    """Returns the load of that name, those that are it with some number, or all ordinary ones.

    Raises:
        KeyError: if there is none.
    """
    if name in LOADS:
        return [name]
    if name == "ordinary":
        return ORDINARY
    found = [load for load in LOADS if load.startswith(f"{name}-")]
    if not found:
        raise KeyError(name)
    return found
