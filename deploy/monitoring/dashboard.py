"""Prints the Grafana dashboard: `python deploy/monitoring/dashboard.py > …/dashboard.json`.

The rows and panels are listed here, and Grafana's JSON is generated from them.  A test compares
the two.  The JSON has Grafana's classic schema, which every version since 11 reads, and
uses only panels that are part of Grafana.

Tested: Prometheus answers each query, about a real server. Not tested: Grafana.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

SCHEMA_VERSION = 41
COLUMNS = 24

DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Follows each metric: selects the servers that the user chose at the top.
OURS = '{job=~"$job", instance=~"$instance"}'
QUANTILES = (0.5, 0.95, 0.99)

GREEN, YELLOW, RED = "green", "yellow", "red"


@dataclass(frozen=True)
class Query:
    """A query of a panel to Prometheus."""

    expr: str
    legend: str
    """`{{label}}` stands for the value of a label."""
    is_limit: bool = False
    """Whether it is drawn as a limit: dashed and red."""


@dataclass(frozen=True)
class Panel:
    """One panel."""

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str = "short"
    """A unit of Grafana: `s`, `bytes`, `cps` (counts a second), `eps` (events a second) ..."""
    steps: tuple[tuple[str, float], ...] = ()
    """The colours, each with the value at which it begins, ascending."""
    below: str = GREEN
    """The colour below the first step."""
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    stacked: bool = False
    most: float | None = None
    """The upper end of its axis; None if it follows the values."""
    words: tuple[tuple[str, str, str], ...] = ()
    """Values that are shown as a word, with their colour."""
    shows_name: bool = False
    """Whether a `stat` shows the legend instead of the value."""


@dataclass(frozen=True)
class Row:
    """Panels below one heading."""

    title: str
    panels: tuple[Panel, ...]


def per_second(metric: str, by: str = "") -> str:
    """Returns the expression for the rise of a counter per second, over all servers."""
    labels = f" by ({by}) " if by else ""
    return f"sum{labels}(rate({metric}{OURS}[$__rate_interval]))"


def quantile(share: float, metric: str, by: str = "", over: str = "$__rate_interval") -> str:
    """Returns the expression for what a share of a histogram's values does not exceed."""
    labels = f"{by}, le" if by else "le"
    rates = f"sum by ({labels}) (rate({metric}_bucket{OURS}[{over}]))"
    return f"histogram_quantile({share}, {rates})"


def per_server(metric: str) -> Query:
    """Returns the query for a gauge of each server."""
    return Query(f"sum by (instance) ({metric}{OURS})", "{{instance}}")


SUMMARY = Row(
    "Now",
    (
        Panel(
            "Servers",
            "Servers that Prometheus can scrape.",
            (Query(f"sum(up{OURS})", "servers"),),
            kind="stat",
            width=3,
            height=4,
            below=RED,
            steps=((GREEN, 1),),
        ),
        Panel(
            "Redis",
            "Whether all servers follow the global stream.",
            (Query(f"min(ws_redis_up{OURS})", "Redis"),),
            kind="stat",
            width=3,
            height=4,
            below=RED,
            steps=((GREEN, 1),),
            words=(("0", "not followed", RED), ("1", "followed", GREEN)),
        ),
        Panel(
            "Open sockets",
            "WebSockets of all servers: one for each open page of Superset.",
            (Query(f"sum(ws_open_sockets{OURS})", "sockets"),),
            kind="stat",
            width=3,
            height=4,
        ),
        Panel(
            "Delivered",
            "Events that had a listener.",
            (Query(per_second("ws_events_delivered_total"), "events"),),
            unit="eps",
            kind="stat",
            width=3,
            height=4,
        ),
        Panel(
            "Delivery, 99 %",
            "99 % of the events were written to their sockets within this time.",
            (Query(quantile(0.99, "ws_delivery_seconds", over="$__range"), "99 %"),),
            unit="s",
            kind="stat",
            width=3,
            height=4,
            steps=((YELLOW, 0.25), (RED, 1)),
        ),
        Panel(
            "Gaps",
            "How often Redis lost events, within the selected time range. Charts that"
            " waited for them keep loading. See docs/troubleshooting.md, Events are missing.",
            (Query(f"sum(increase(ws_stream_gap_total{OURS}[$__range]))", "gaps"),),
            kind="stat",
            width=3,
            height=4,
            steps=((RED, 0.5),),
        ),
        Panel(
            "Draining",
            "Servers that are stopping.",
            (Query(f"sum(ws_draining{OURS})", "servers"),),
            kind="stat",
            width=3,
            height=4,
            steps=((YELLOW, 1),),
        ),
        Panel(
            "Version",
            "The versions that run. There is more than one only during an upgrade.",
            (Query(f"count by (version) (ws_build_info{OURS})", "{{version}}"),),
            kind="stat",
            width=3,
            height=4,
            shows_name=True,
        ),
    ),
)

SOCKETS = Row(
    "Sockets",
    (
        Panel(
            "Open sockets",
            "WebSockets by server.",
            (per_server("ws_open_sockets"),),
            stacked=True,
        ),
        Panel(
            "Sockets and channels",
            "A channel is one browser session; its tabs share it.",
            (
                Query(f"sum(ws_open_sockets{OURS})", "sockets"),
                Query(f"sum(ws_open_channels{OURS})", "channels"),
            ),
        ),
        Panel(
            "Opened and closed",
            "1001: the browser left the page. 1006: the connection broke. 1013: a limit was"
            " reached; these do not count as opened. See docs/troubleshooting.md, It connects and"
            " closes.",
            (
                Query(per_second("ws_connected_client_total"), "opened"),
                Query(per_second("ws_closed_total", "code"), "closed with {{code}}"),
            ),
            unit="cps",
        ),
        Panel(
            "Slow sockets",
            "Clients that read more slowly than the server sends.",
            (per_server("ws_slow_sockets"),),
        ),
        Panel(
            "Unsent bytes",
            "Data in memory for slow sockets. maxSocketBufferBytes is the limit of each socket.",
            (per_server("ws_unsent_bytes"),),
            unit="bytes",
            stacked=True,
        ),
        Panel(
            "Dropped",
            "Clients that were dropped because they do not read or because their token"
            " expired, and writes that failed. A failed write is a bug.",
            (
                Query(per_second("ws_token_expired_disconnect_total"), "token expired"),
                Query(per_second("ws_client_backpressure_disconnect_total"), "does not read"),
                Query(per_second("ws_client_send_error_total"), "write failed"),
            ),
            unit="cps",
        ),
    ),
)

REFUSALS = Row(
    "Rejections",
    (
        Panel(
            "Upgrades rejected",
            "WebSockets that were answered with an error, by reason: the cookie (401), the"
            " origin (403), no open files left (503). See docs/troubleshooting.md, 401 and 403.",
            (Query(per_second("ws_upgrade_rejected_total", "reason"), "{{reason}}"),),
            unit="cps",
            stacked=True,
        ),
        Panel(
            "Sockets closed by limits",
            "WebSockets that were closed because a limit was reached or because of what the client"
            " sent. See docs/troubleshooting.md, It connects and closes.",
            (Query(per_second("ws_connection_rejected_total", "reason"), "{{reason}}"),),
            unit="cps",
            stacked=True,
        ),
        Panel(
            "Requests rejected",
            "Connections that were closed because their request is invalid or incomplete. See"
            " docs/troubleshooting.md, Behind a proxy.",
            (Query(per_second("ws_request_rejected_total", "reason"), "{{reason}}"),),
            unit="cps",
            stacked=True,
        ),
    ),
)

EVENTS = Row(
    "Events",
    (
        Panel(
            "Events",
            "Each server reads every event. Events of browsers that are on other servers or gone"
            " have no listener here.",
            (
                Query(per_second("ws_events_read_total"), "read"),
                Query(per_second("ws_events_delivered_total"), "with a listener"),
                Query(per_second("ws_events_without_listener_total"), "without a listener"),
            ),
            unit="eps",
        ),
        Panel(
            "Delivery",
            "From the time in an event's id, by the clock of Redis, until it was written to its"
            " sockets. If it is always slow, compare the clocks with gaq-ws check.",
            tuple(
                Query(quantile(share, "ws_delivery_seconds"), f"{share * 100:g} %")
                for share in QUANTILES
            ),
            unit="s",
            steps=((YELLOW, 0.25), (RED, 1)),
        ),
        Panel(
            "Invalid events",
            "Stream entries that were skipped, by reason. Another program writes to the stream.",
            (Query(per_second("ws_invalid_event_total", "reason"), "{{reason}}"),),
            unit="cps",
            stacked=True,
        ),
        Panel(
            "Frames sent",
            "An event becomes one frame for each socket of its channel.",
            (Query(per_second("ws_frames_sent_total"), "frames"),),
            unit="cps",
            width=6,
        ),
        Panel(
            "Bytes sent",
            "Size of the frames that carry events.",
            (Query(per_second("ws_frame_bytes_sent_total"), "bytes"),),
            unit="binBps",
            width=6,
        ),
        Panel(
            "Replays",
            "Clients that connected, by the source of the events that they missed: memory,"
            " their channel's stream (after a long absence), or the last events (new clients).",
            (Query(per_second("ws_replay_events_count", "source"), "{{source}}"),),
            unit="cps",
            width=6,
            stacked=True,
        ),
        Panel(
            "Events per replay",
            "How many missed events a connecting client received.",
            tuple(
                Query(
                    quantile(share, "ws_replay_events", "source"),
                    f"{{{{source}}}}, {share * 100:g} %",
                )
                for share in (0.5, 0.95)
            ),
            width=6,
        ),
    ),
)

REDIS = Row(
    "Redis",
    (
        Panel(
            "Following the global stream",
            "While a server does not, no event reaches its browsers. They get the events when"
            " it does again. See docs/redis.md, Trouble.",
            (Query(f"min by (instance) (ws_redis_up{OURS})", "{{instance}}"),),
            kind="state-timeline",
            below=RED,
            steps=((GREEN, 1),),
            words=(("0", "not followed", RED), ("1", "followed", GREEN)),
        ),
        Panel(
            "Age of the last answer",
            "On a quiet system up to redisStreamReadBlockMs (5 s): then Redis answers that there"
            " are no events.",
            (per_server("ws_read_age_seconds"),),
            unit="s",
            steps=((YELLOW, 6), (RED, 15)),
        ),
        Panel(
            "Behind",
            "The age of the last event while more events are waiting in Redis. It is short unless a"
            " server cannot keep up, or Redis was just down.",
            (per_server("ws_cursor_lag_seconds"),),
            unit="s",
            steps=((YELLOW, 1), (RED, 10)),
        ),
        Panel(
            "Connections opened",
            "Connections for the global stream, within the last hour. Each means that the one"
            " before was lost, or that the server started.",
            (
                Query(
                    f"sum by (instance) (increase(ws_redis_connections_total{OURS}[1h]))",
                    "{{instance}}",
                ),
            ),
            width=6,
        ),
        Panel(
            "Gaps",
            "How often Redis lost events, within the last hour.",
            (
                Query(
                    f"sum by (instance) (increase(ws_stream_gap_total{OURS}[1h]))", "{{instance}}"
                ),
            ),
            width=6,
            steps=((RED, 0.5),),
        ),
        Panel(
            "Tail",
            "Events in memory for browsers that reconnect (the tail). Being at tailMaxEvents is"
            " normal.",
            (per_server("ws_tail_events"),),
            width=6,
        ),
        Panel(
            "Memory of the tail",
            "If it is at tailMaxBytes but there are fewer events than tailMaxEvents, events are"
            " large. Raise tailMaxBytes to serve longer absences from memory.",
            (per_server("ws_tail_bytes"),),
            unit="bytes",
            width=6,
        ),
    ),
)

SUPERSET_7 = Row(
    "Superset 7",
    (
        Panel(
            "Subscription",
            "While a server has none, no message reaches its browsers, and new ones wait up"
            " to 10 s. Empty if protocol is streams. See docs/redis.md, Trouble with the"
            " subscription.",
            (Query(f"min by (instance) (ws_realtime_subscribed{OURS})", "{{instance}}"),),
            kind="state-timeline",
            below=RED,
            steps=((GREEN, 1),),
            words=(("0", "not subscribed", RED), ("1", "subscribed", GREEN)),
        ),
        Panel(
            "Messages",
            "Each server receives every message. Messages for browsers that are on other servers or"
            " gone have no receiver here.",
            (
                Query(per_second("ws_realtime_messages_received_total"), "received"),
                Query(per_second("ws_realtime_messages_delivered_total"), "with a receiver"),
                Query(
                    per_second("ws_realtime_messages_without_receiver_total"),
                    "without a receiver",
                ),
            ),
            unit="eps",
        ),
        Panel(
            "Malformed messages",
            "Messages that were dropped, by reason. Another program publishes on the channel.",
            (Query(per_second("ws_realtime_messages_dropped_total", "reason"), "{{reason}}"),),
            unit="cps",
            stacked=True,
        ),
        Panel(
            "Subscription losses",
            "Losses within the last hour, and the WebSockets that were closed with 1012 because of"
            " them. Their pages then ask Superset for what they missed.",
            (
                Query(f"sum(increase(ws_realtime_subscription_losses_total{OURS}[1h]))", "losses"),
                Query(
                    f"sum(increase(ws_realtime_gap_disconnects_total{OURS}[1h]))",
                    "closed with 1012",
                ),
            ),
            width=6,
        ),
        Panel(
            "Length of an outage",
            "From the loss of the subscription until it was back.",
            tuple(
                Query(
                    quantile(share, "ws_realtime_subscription_outage_seconds"),
                    f"{share * 100:g} %",
                )
                for share in (0.5, 0.95)
            ),
            unit="s",
            width=6,
        ),
        Panel(
            "Waiting and routes",
            "Upgrades that wait for the subscription, and routes with a socket: one for"
            " each user or guest, and one for each of their tabs.",
            (
                Query(f"sum(ws_realtime_waiting_upgrades{OURS})", "waiting upgrades"),
                Query(f"sum(ws_realtime_routes{OURS})", "routes"),
            ),
            width=6,
        ),
        Panel(
            "Age of the last message",
            "If it grows while Superset works, the channel prefixes of Superset and of this"
            " server differ.",
            (per_server("ws_realtime_message_age_seconds"),),
            unit="s",
            width=6,
        ),
    ),
)

PROCESS = Row(
    "Process",
    (
        Panel(
            "Reactor stalls, 99 %",
            "How late a timer fired. Meanwhile the server did nothing else.",
            (Query(quantile(0.99, "ws_reactor_stall_seconds", "instance"), "{{instance}}"),),
            unit="s",
            steps=((YELLOW, 0.1), (RED, 0.5)),
        ),
        Panel(
            "Stalls of more than 0.1 s",
            "Stalls per minute.",
            (
                Query(
                    f"60 * (sum by (instance) (rate(ws_reactor_stall_seconds_count{OURS}"
                    "[$__rate_interval])) - sum by (instance) (rate("
                    f"ws_reactor_stall_seconds_bucket{OURS[:-1]}, "
                    'le="0.1"}[$__rate_interval])))',
                    "{{instance}}",
                ),
            ),
            unit="cpm",
        ),
        Panel(
            "CPU",
            "Share of one core, which is all that a server can use. Several servers can share a"
            " port.",
            (
                Query(
                    f"sum by (instance) (rate(process_cpu_seconds_total{OURS}[$__rate_interval]))",
                    "{{instance}}",
                ),
            ),
            unit="percentunit",
            steps=((YELLOW, 0.7), (RED, 0.9)),
            most=1,
        ),
        Panel(
            "Memory",
            "Resident memory of the process.",
            (per_server("process_resident_memory_bytes"),),
            unit="bytes",
        ),
        Panel(
            "Open files",
            "Each socket is an open file. Near the limit, upgrades are rejected with the reason"
            " `files`.",
            (
                per_server("process_open_fds"),
                Query(f"min(process_max_fds{OURS})", "lowest limit", is_limit=True),
            ),
        ),
        Panel(
            "Time since the start",
            "A sawtooth is a server that restarts repeatedly.",
            (
                Query(
                    f"time() - min by (instance) (process_start_time_seconds{OURS})",
                    "{{instance}}",
                ),
            ),
            unit="s",
        ),
    ),
)

ROWS = (SUMMARY, SOCKETS, REFUSALS, EVENTS, REDIS, SUPERSET_7, PROCESS)


def dashboard() -> dict[str, Any]:
    """Returns the dashboard as Grafana reads it."""
    return {
        "uid": "gaq-twisted",
        "title": "gaq-twisted",
        "description": "Pushes Superset's background-query events to browsers over WebSocket",
        "tags": ["gaq-twisted", "superset"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": [_starts()]},
        "templating": {
            "list": [
                _data_source(),
                _variable("job", "Job", "label_values(ws_build_info, job)"),
                _variable(
                    "instance", "Server", 'label_values(ws_build_info{job=~"$job"}, instance)'
                ),
            ]
        },
        "panels": list(_panels()),
    }


def _panels() -> Iterator[dict[str, Any]]:
    ids = count(1)
    y = 0
    for row in ROWS:
        yield {
            "id": next(ids),
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
            "panels": [],
        }
        y += 1
        x = height = 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y, height = 0, y + height, 0
            place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            yield {"id": next(ids), "gridPos": place, **_panel(panel)}
            x, height = x + panel.width, max(height, panel.height)
        y += height


def _panel(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "min": 0,
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
        "thresholds": {
            "mode": "absolute",
            "steps": [
                {"color": panel.below, "value": None},
                *({"color": colour, "value": value} for colour, value in panel.steps),
            ],
        },
        "mappings": _mappings(panel),
        "custom": _drawing(panel),
    }
    if panel.most is not None:
        defaults["max"] = panel.most
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATA_SOURCE,
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": DATA_SOURCE,
                "expr": query.expr,
                "legendFormat": query.legend,
                "editorMode": "code",
                # A single number needs the value at a single time.
                "instant": panel.kind == "stat",
                "range": panel.kind != "stat",
            }
            for number, query in enumerate(panel.queries)
        ],
        "fieldConfig": {
            "defaults": defaults,
            "overrides": [_as_limit(query) for query in panel.queries if query.is_limit],
        },
        "options": _options(panel),
    }


def _mappings(panel: Panel) -> list[dict[str, Any]]:
    if not panel.words:
        return []
    words = {
        value: {"text": word, "color": colour, "index": index}
        for index, (value, word, colour) in enumerate(panel.words)
    }
    return [{"type": "value", "options": words}]


def _drawing(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {}
    if panel.kind == "state-timeline":
        return {"fillOpacity": 70, "lineWidth": 0}
    return {
        "drawStyle": "line",
        "lineInterpolation": "linear",
        "lineWidth": 1,
        "fillOpacity": 25 if panel.stacked else 5,
        "showPoints": "auto",
        "spanNulls": False,
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if panel.steps else "off"},
    }


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {
            "colorMode": "value",
            "graphMode": "none",
            "justifyMode": "auto",
            "orientation": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "textMode": "name" if panel.shows_name else "value",
        }
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
    if panel.kind == "state-timeline":
        return {
            "mergeValues": True,
            "showValue": "never",
            "rowHeight": 0.8,
            "legend": legend,
            "tooltip": {"mode": "single", "sort": "none"},
        }
    return {
        "legend": {**legend, "displayMode": "table", "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def _as_limit(query: Query) -> dict[str, Any]:
    return {
        "matcher": {"id": "byName", "options": query.legend},
        "properties": [
            {"id": "color", "value": {"mode": "fixed", "fixedColor": RED}},
            {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [10, 10]}},
            {"id": "custom.fillOpacity", "value": 0},
        ],
    }


def _starts() -> dict[str, Any]:
    """Returns the annotations for the starts of servers."""
    return {
        "name": "Starts",
        "enable": True,
        "iconColor": "blue",
        "datasource": DATA_SOURCE,
        "expr": f"max by (instance) (process_start_time_seconds{OURS}) * 1000",
        "titleFormat": "{{instance}} started",
        "useValueForTime": True,
    }


def _data_source() -> dict[str, Any]:
    return {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "refresh": 1,
        "regex": "",
        "hide": 0,
        "current": {},
        "options": [],
    }


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATA_SOURCE,
        "definition": query,
        "query": {"query": query, "refId": f"Variable-{name}"},
        # On each change of the time range, to find the servers of that time.
        "refresh": 2,
        "sort": 1,
        "regex": "",
        "hide": 0,
        "multi": True,
        "includeAll": True,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "options": [],
    }


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=2))
