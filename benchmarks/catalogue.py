"""All loads by name, and the server that each needs."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from benchmarks.loads import (
    Progress,
    Result,
    catchup,
    churn,
    connect,
    discard,
    fanout,
    floor,
    idle,
    latency,
    memory,
    steady,
    storm,
    sweep,
    tabs,
)
from benchmarks.realtime_loads import rt_broadcast, rt_storm
from benchmarks.target import RealtimeTarget, StreamsTarget


class StreamsLoad(NamedTuple):
    """A load on a server that follows streams."""

    put: Callable[[StreamsTarget, Progress], Result]


class RealtimeLoad(NamedTuple):
    """A load on a server that follows the realtime channel."""

    put: Callable[[RealtimeTarget, Progress], Result]


Load = StreamsLoad | RealtimeLoad

_STREAMS: Mapping[str, Callable[[StreamsTarget, Progress], Result]] = {
    "floor": floor,
    "fanout": fanout,
    "tabs": tabs,
    "discard": discard,
    "connect": connect,
    "memory": memory,
    "latency": latency,
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
    **{f"idle-{count}": partial(idle, sockets=count) for count in (0, 1_000, 5_000, 20_000)},
    **{f"steady-{rate}": partial(steady, rate=rate) for rate in (1, 10, 100, 1_000, 5_000, 20_000)},
    "heard-100": partial(steady, rate=100, heard=True),
    "heard-1000": partial(steady, rate=1_000, heard=True),
}
_REALTIME: Mapping[str, Callable[[RealtimeTarget, Progress], Result]] = {
    "rt-fanout": fanout,
    "rt-discard": discard,
    "rt-connect": connect,
    "rt-latency": latency,
    "rt-storm": rt_storm,
    "rt-broadcast": rt_broadcast,
}

LOADS: Mapping[str, Load] = {
    **{name: StreamsLoad(put) for name, put in _STREAMS.items()},
    **{name: RealtimeLoad(put) for name, put in _REALTIME.items()},
}
"""All loads by name."""

ORDINARY = [name for name in LOADS if not name.startswith(("idle", "steady", "heard"))]
"""Those that are run if none is named."""
