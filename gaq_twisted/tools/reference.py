"""The reference: every setting, metric and command, written from their own definitions.

`python -m gaq_twisted.tools.reference WHAT` prints one of the texts; `make reference` writes all.
"""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from gaq_twisted.config.catalogue import Setting, all_settings
from gaq_twisted.config.derived import DERIVED_KEYS, REALTIME_KEYS, REALTIME_REDIS
from gaq_twisted.core.metrics import CORE, Kind, Metric
from gaq_twisted.realtime.metrics import REALTIME
from gaq_twisted.streams.metrics import STREAMS
from gaq_twisted.tools.commands_page import commands
from gaq_twisted.tools.schema import schema

# The groups of settings by topic; each starts with the named setting.
_GROUPS = {
    "port": "Where to listen",
    "logLevel": "Logs",
    "statsd.enabled": "StatsD",
    "protocol": "Which Supersets are served",
    "redis.url": "Redis",
    "redisStreamPrefix": "Streams of Superset 1.2 to 6.1",
    "jwtSecret": "Who a client is",
    "realtimeChannelPrefix": "Superset 7",
    "allowedOrigins": "Which pages and proxies are trusted",
    "maxTotalConnections": "Limits",
    "socketResponseTimeoutMs": "Housekeeping",
    "drainDelayMs": "Stopping",
    "initialReplayMs": "What returning browsers get",
}
# The defaults of settings that depend on other settings.
_DEFAULTS = {
    "protocol": '`"streams"`, or `"realtime"` as described',
    "jwtCookieName": '`"async-token"`; with `protocol` realtime `"superset-ws-token"`',
    "realtimeJwtSecret": "that of `jwtSecret`",
    "previousRealtimeJwtSecret": 'that of `previousJwtSecret`, or `""`',
    "realtimeJwtCookieName": '`"superset-ws-token"`, or that of `jwtCookieName`',
}
_REALTIME_REDIS_ROW = (
    "| `realtimeRedis.*`<br>`REALTIME_REDIS_*` | those of `redis.*` | every key of `redis`, for"
    " Superset 7: the server in its `DISTRIBUTED_COORDINATION_CONFIG`. Each defaults to its twin in"
    " `redis`. If `url`, `host`, `unixSocketPath` or `sentinels` is set, the other three and the"
    " settings of Sentinels have no twin. Allowed: as for the twin. |"
)
_CONFIGURATION = """\
# Configuration

Each setting has a key in a JSON file and a name in the environment. The environment overrides the
file. The file is the one that `--config` names, or `config.json` in the working directory if it
exists. Neither is required. [config.example.json](../config.example.json) contains every key with
its default, except those that depend on other settings, such as `protocol`, and those that only
Superset 7 needs. [config.schema.json](config.schema.json) is a JSON Schema of all keys, with which
editors mark wrong types, ranges and names. In VS Code:

```json
{"json.schemas": [{"fileMatch": ["ws.json"], "url": "./docs/config.schema.json"}]}
```

- **In the environment** lists are separated by commas, flags are `true`, `1`, `false` or `0`,
  and a blank variable counts as not set.
- **A secret** can also be read from a file, such as a mounted Kubernetes or Docker secret. The
  variable with the suffix `_FILE` contains its path: `JWT_SECRET_FILE=/run/secrets/jwt`. A trailing
  line end is ignored. Setting both variables is an error.
- **Settings that cannot be used** stop the start with status 1. A line for each fault names the
  key, the source of its value, and what is allowed.
- **Unknown keys** in the file are ignored, with a warning that names the most similar setting.
- **Kubernetes** sets variables such as `REDIS_PORT=tcp://10.0.0.1:6379` for a service named redis.
  Such a value is ignored, with a warning.
- **Variables with another server's name**, such as `REDIS_USER` or Superset's own
  `GLOBAL_ASYNC_QUERIES_JWT_SECRET`, and misspelt ones, are not read. A warning names the
  right one.
- **Settings marked *live*** change without a restart: SIGHUP reads the file and the secrets' files
  again ([operations](operations.md#reload)). A running process's environment cannot change.

The defaults match those of Superset's Node.js servers, where these have the setting;
[migrating](migrating.md#settings) lists the differences. A file or an environment of either
server works unchanged, with the protocol of that server:

- **`streams`**, Superset 1.2 to 6.1, is the default.
- **`realtime`**, Superset 7, uses the settings of its Node.js server: `jwtSecret`,
  `previousJwtSecret`, `jwtCookieName`, `redis` and `realtimeChannelPrefix`. Redis streams and
  their settings are not used.
- **`both`** serves old and new versions of Superset at the same time. Those settings are then for
  Superset 1.2 to 6.1, and Superset 7 has [its own](#superset-7), most of which default to them.
"""
_CONFIGURATION_END = """
## Contradictions

These combinations stop the start:

- `redis.url` with a setting that contradicts it, if both are in the file or both in the
  environment. Otherwise the environment wins.
- `redis.unixSocketPath` with `redis.sentinels` or `redis.ssl`.
- `redis.sentinelSsl` without `redis.sentinels`; `redis.sslKeyfile` without
  `redis.sslCertfile`; `redis.sslCaCerts` or `redis.sslCertfile` without `redis.ssl` or
  `redis.sentinelSsl`. The same applies to `realtimeRedis`.
- `socketResponseTimeoutMs` that is not greater than `pingSocketsIntervalMs`.
- `jwtAlgorithms` of more than one kind, or a `jwtSecret` that is not a key for them.

A warning is logged if settings of Superset 7 are set with the protocol `streams`, and if both
protocols have the same cookie name.

`python -m gaq_twisted.tools.reference configuration` prints this page, `… schema` the schema and
`… example` the example, for the version that is installed.
"""

_METRICS = """\
# Metrics

Each value is counted once and available twice: to Prometheus at `/metrics`, and to StatsD by
UDP. Metrics not marked otherwise are specific to this server; the others have the names of
Superset's Node.js servers. [Operations](operations.md#what-to-alert-on) lists those to watch.

The column *protocol* says where a metric exists: `streams` and `realtime` ones only while that
[protocol](configuration.md#which-supersets-are-served) is served, so with `both` there are all;
those without are of the whole server, for all its sockets.

- **Prometheus** reads `/metrics`, as text or OpenMetrics, on the ports of `internalListen`, or on
  the port for browsers if that is empty. Names of counters end in `_total`. In addition to the
  metrics below there are those that prometheus-client has for every Python process: `process_*`,
  `python_info` and `python_gc_*`.
- **StatsD** gets the metrics at `statsd.host` and `statsd.port`, unless `statsd.enabled` is false.
  Tags are those of DogStatsD:
  `statsd.globalTags` and the label. Each second, counters that have risen are sent. A time is sent
  as the mean of the second in milliseconds; of other distributions the sum is sent, as a counter.
  Gauges are sent every ten seconds, except while they are infinite. While the host's name does
  not resolve, nothing is sent and nothing is kept.
"""
_METRICS_END = """
`files` means that the process cannot open more files
([operations](operations.md#open-files)). A `code` is one of RFC 6455 section 7.4, or `other`;
`1006` means that the connection broke. The `version` is that of the running server.

`python -m gaq_twisted.tools.reference metrics` prints this page.
"""

ALL_METRICS = (*CORE, *STREAMS, *REALTIME)
"""The metrics of the server and of all editions."""


def configuration() -> str:
    """Returns docs/configuration.md."""
    lines = [_CONFIGURATION.rstrip("\n")]
    for setting in all_settings():
        if setting.key == f"{REALTIME_REDIS}url":
            lines.append(_REALTIME_REDIS_ROW)
        if setting.key.startswith(REALTIME_REDIS):
            continue
        if setting.key in _GROUPS:
            lines += ["", f"## {_GROUPS[setting.key]}", ""]
            lines += ["| setting | default | meaning |", "|---|---|---|"]
        lines.append(_row(setting))
    return "\n".join([*lines, _CONFIGURATION_END])


def example() -> str:
    """Returns config.example.json: keys with their defaults.

    Settings whose defaults depend on others are omitted, because a copy of the file would fix
    them. So are those of Superset 7, whose presence selects that protocol.
    """
    document: dict[str, Any] = {}
    for setting in all_settings():
        if setting.key in DERIVED_KEYS or setting.key in REALTIME_KEYS:
            continue
        section, _, name = setting.key.rpartition(".")
        place = document.setdefault(section, {}) if section else document
        place[name] = "CHANGE-ME" if setting.is_required else setting.default
    return _json(document)


def metrics() -> str:
    """Returns docs/metrics.md."""
    lines = [_METRICS.rstrip("\n")]
    for kind, title in (
        (Kind.COUNTER, "Counters"),
        (Kind.HISTOGRAM, "Distributions"),
        (Kind.GAUGE, "Gauges"),
    ):
        lines += ["", f"## {title}", ""]
        lines += ["| Prometheus | StatsD | label | protocol | meaning |", "|---|---|---|---|---|"]
        lines += [
            f"| `{prometheus_name(metric)}` | `{statsd_name(metric)}`"
            f" | {f'`{metric.label}`' if metric.label else ''} | {_protocol(metric)}"
            f" | {metric.help} |"
            for metric in ALL_METRICS
            if metric.kind is kind
        ]
    lines += ["", "## Labels", "", "| metric | label | values |", "|---|---|---|"]
    lines += [
        f"| `{metric.name}` | `{metric.label}` | {', '.join(f'`{one}`' for one in metric.values)} |"
        for metric in ALL_METRICS
        if metric.values
    ]
    return "\n".join([*lines, _METRICS_END])


def prometheus_name(metric: Metric) -> str:
    """Returns the name of a metric at /metrics; for a histogram, the prefix of its names."""
    return f"{metric.name}_total" if metric.kind is Kind.COUNTER else metric.name


def statsd_name(metric: Metric) -> str:
    """Returns the name of a metric in StatsD."""
    is_time = metric.kind is Kind.HISTOGRAM and metric.is_seconds
    return metric.name.removesuffix("_seconds") if is_time else metric.name


TEXTS: Mapping[str, Callable[[], str]] = {
    "configuration": configuration,
    "schema": lambda: _json(schema()),
    "example": example,
    "metrics": metrics,
    "commands": commands,
}
"""What can be printed, by name."""


def _row(setting: Setting) -> str:
    name = setting.environment_name
    variables = f"`{name}` or `{name}_FILE`" if setting.is_secret else f"`{name}`"
    default = _DEFAULTS.get(setting.key) or (
        "none, required" if setting.is_required else f"`{json.dumps(setting.default)}`"
    )
    # Markdown would make emphasis of two of these.
    allowed = setting.allowed.replace("*", r"\*")
    live = " *Live.*" if setting.is_live else ""
    meaning = setting.meaning if setting.meaning.endswith((".", "…")) else f"{setting.meaning}."
    return f"| `{setting.key}`<br>{variables} | {default} | {meaning} Allowed: {allowed}.{live} |"


def _protocol(metric: Metric) -> str:
    if metric in STREAMS:
        return "`streams`"
    return "`realtime`" if metric in REALTIME else ""


def _json(document: object) -> str:
    return json.dumps(document, indent=2) + "\n"


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in TEXTS:
        raise SystemExit(f"usage: python -m gaq_twisted.tools.reference ({' | '.join(TEXTS)})")
    print(TEXTS[sys.argv[1]](), end="")
