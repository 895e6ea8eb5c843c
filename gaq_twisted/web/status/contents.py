"""The status page's common contents, and those that editions add."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TypeVar

from msgspec.structs import replace

from gaq_twisted.core import metrics
from gaq_twisted.core.dashboard import (
    ANY,
    Axis,
    Count,
    Dashboard,
    Fault,
    Flag,
    Format,
    Level,
    Most,
    News,
    Plot,
    Rate,
    Reached,
    Rose,
    Row,
    Section,
    Series,
    State,
    Sum,
    Switched,
    Tile,
)

_T = TypeVar("_T")
_STALL_SECONDS = 0.25
_BAD_STALL_SECONDS = 1.0
_STALL_BUCKETS = metrics.REACTOR_STALL_SECONDS.buckets

REASONS: Mapping[str, str] = {
    "files": "too many open files",
    "total": "maxTotalConnections is reached",
    "channel": "maxConnectionsPerChannel is reached",
    "rate": "sent too many bytes per second",
    "message_size": "sent a message that is too large",
    "origin": "origin not allowed",
    "signature": "the token's signature is invalid",
    "algorithm": "the token's algorithm is not allowed",
    "no_jwt": "the cookie holds no token",
    "no_channel": "the token names no channel",
    "bad_handshake": "bad handshake",
    "not_http": "not HTTP/1.1",
    "long_headers": "headers too long",
    "target": "the target is not a path",
    "host": "no Host header, or several",
    "body": "has a body",
}
"""The texts of rejection reasons whose labels are not clear enough."""

_REJECTIONS = (
    metrics.UPGRADE_REJECTED,
    metrics.REQUEST_REJECTED,
    metrics.CONNECTION_REJECTED,
    metrics.CLIENT_BACKPRESSURE_DISCONNECT,
)
_REJECTED = (
    Series("rejectedUpgradesPerSecond", "upgrades"),
    Series("rejectedRequestsPerSecond", "requests"),
    Series("rejectedSocketsPerSecond", "sockets"),
)

CORE = Dashboard(
    columns=(
        Count("sockets", metrics.OPEN_SOCKETS),
        Count("channels", metrics.OPEN_CHANNELS),
        Rate("connectsPerSecond", (metrics.CONNECTED_CLIENT,)),
        Rate("closesPerSecond", (metrics.CLOSED,)),
        Rate("framesPerSecond", (metrics.FRAMES_SENT,)),
        Rate("frameBytesPerSecond", (metrics.FRAME_BYTES_SENT,)),
        Most("stallSeconds", metrics.REACTOR_STALL_SECONDS),
        Count("slowSockets", metrics.SLOW_SOCKETS),
        Count("unsentBytes", metrics.UNSENT_BYTES),
        Rate("rejectedRequestsPerSecond", (metrics.REQUEST_REJECTED,)),
        Rate("rejectedUpgradesPerSecond", (metrics.UPGRADE_REJECTED,)),
        Rate(
            "rejectedSocketsPerSecond",
            (metrics.CONNECTION_REJECTED, metrics.CLIENT_BACKPRESSURE_DISCONNECT),
        ),
        Sum("rejected", _REJECTIONS),
        Count("sendErrors", metrics.CLIENT_SEND_ERROR),
        Count("slowClientsDropped", metrics.CLIENT_BACKPRESSURE_DISCONNECT),
        Flag("isDraining", metrics.DRAINING),
    ),
    plots=(
        Plot(
            section=Section.SOCKETS,
            title="Sockets",
            format=Format.COUNT,
            axis=Axis(least=10),
            series=(Series("sockets", "sockets"), Series("channels", "channels")),
        ),
        Plot(
            section=Section.SOCKETS,
            title="Opened and closed",
            format=Format.RATE,
            axis=Axis(least=1),
            series=(Series("connectsPerSecond", "opened"), Series("closesPerSecond", "closed")),
        ),
        Plot(
            section=Section.SENDING,
            title="Frames sent",
            format=Format.RATE,
            axis=Axis(least=1),
            series=(Series("framesPerSecond", "frames"),),
        ),
        Plot(
            section=Section.SENDING,
            title="Bytes sent",
            format=Format.BYTE_RATE,
            axis=Axis(least=1000),
            series=(Series("frameBytesPerSecond", "in frames"),),
        ),
        Plot(
            section=Section.SENDING,
            title="Rejected",
            format=Format.RATE,
            axis=Axis(least=1),
            series=_REJECTED,
            states=(
                State(Level.WARN, "rejecting", tuple(one.column for one in _REJECTED), least=ANY),
            ),
        ),
        Plot(
            section=Section.SENDING,
            title="Slow sockets",
            format=Format.COUNT,
            axis=Axis(least=10),
            series=(Series("slowSockets", "read too slowly"),),
            more=(Series("unsentBytes", "unsent", format=Format.BYTES),),
            states=(State(Level.WARN, "some are slow", ("slowSockets",), least=ANY),),
        ),
        Plot(
            section=Section.PROCESS,
            title="Reactor stalls",
            format=Format.SECONDS,
            axis=Axis(least=_STALL_BUCKETS[0], most=_STALL_BUCKETS[-1], is_logarithmic=True),
            series=(Series("stallSeconds", "longest"),),
            states=(
                State(Level.BAD, "stalling", ("stallSeconds",), least=_BAD_STALL_SECONDS),
                State(Level.WARN, "stalling", ("stallSeconds",), least=_STALL_SECONDS),
            ),
        ),
        Plot(
            section=Section.PROCESS,
            title="CPU",
            format=Format.PERCENT,
            axis=Axis(most=1),
            series=(Series("cpu", "of one core"),),
            states=(State(Level.WARN, "busy", ("cpu",), least=0.9),),
        ),
    ),
    faults=(
        Fault("writes failed", "sendErrors", Level.BAD),
        Fault("slow clients dropped", "slowClientsDropped", Level.WARN),
        Fault("rejected", "rejected", Level.GOOD),
    ),
    rules=(
        Rose(
            "sendErrors", News(Level.BAD, "send failed", "writing to a WebSocket failed ({times})")
        ),
        Reached(
            "stallSeconds",
            _STALL_SECONDS,
            News(Level.WARN, "stall", "the reactor was blocked for up to {value:.2g} s"),
        ),
        Switched("isDraining", on=News(Level.WARN, "draining", "the server is stopping")),
    ),
)
"""The columns of no edition; the sampler itself adds the time and the CPU."""


def contents(version: str, editions: Iterable[Dashboard]) -> Dashboard:
    """Returns the whole status page.

    Args:
        version: the version of this server.
        editions: the parts that editions add.
    """
    added = tuple(editions)
    parts = (CORE, *added)
    plots = [
        _with_routes(plot, " and ".join(part.routes for part in added if part.routes))
        for plot in _joined(part.plots for part in parts)
    ]
    return Dashboard(
        columns=_joined(part.columns for part in parts),
        plots=tuple(sorted(plots, key=lambda plot: int(plot.section))),
        tiles=(
            *_joined(part.tiles for part in parts),
            _faults_tile(_joined(part.faults for part in (*added, CORE))),
        ),
        process=_joined(part.process for part in parts),
        questions=_joined(part.questions for part in parts),
        rules=_joined(part.rules for part in (*added, CORE)),
        up=_joined(part.up for part in parts),
        facts={"version": version, **dict(chain.from_iterable(p.facts.items() for p in parts))},
    )


def _faults_tile(faults: Sequence[Fault]) -> Tile:
    bad = tuple(fault.column for fault in faults if fault.level is Level.BAD)
    any_fault = tuple(fault.column for fault in faults if fault.level is not Level.GOOD)
    return Tile(
        "Since the start",
        rows=tuple(Row(fault.label, fault.column, fault.format) for fault in faults),
        states=(
            State(Level.BAD, "faults", bad, least=ANY),
            State(Level.WARN, "some faults", any_fault, least=ANY),
            State(Level.GOOD, "no faults"),
        ),
    )


def _with_routes(plot: Plot, routes: str) -> Plot:
    """Returns a plot with the editions' name for channels."""
    if not routes:
        return plot
    series = [
        replace(line, label=routes) if line.column == "channels" else line for line in plot.series
    ]
    return replace(plot, series=tuple(series))


def _joined(parts: Iterable[Sequence[_T]]) -> tuple[_T, ...]:
    return tuple(chain.from_iterable(parts))
