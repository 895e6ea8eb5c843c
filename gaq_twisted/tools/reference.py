"""The reference: every setting and every metric, written from their own definitions.

`python -m gaq_twisted.tools.reference WHAT` prints one of the texts; `make reference` writes all.
"""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gaq_twisted.config.catalogue import Setting, all_settings
from gaq_twisted.config.types import (
    Network,
    OriginPattern,
    Secret,
    SentinelAddress,
    SigningSecret,
    SpareSecret,
)
from gaq_twisted.core.metrics import (
    ALL,
    CONNECTION_REJECTED,
    INVALID_EVENT,
    REPLAY_EVENTS,
    REQUEST_REJECTED,
    UPGRADE_REJECTED,
    Kind,
    Metric,
)
from gaq_twisted.core.reasons import ConnectionReason, RequestReason, UpgradeReason

# The settings by what they are about; each group begins with the named one.
_GROUPS = {
    "port": "Where to listen",
    "logLevel": "Logs",
    "statsd.host": "StatsD",
    "redis.host": "Redis",
    "redisStreamPrefix": "Streams",
    "jwtSecret": "Who a client is",
    "allowedOrigins": "Which pages and proxies are trusted",
    "maxTotalConnections": "Limits",
    "socketResponseTimeoutMs": "Housekeeping",
    "drainDelayMs": "Stopping",
    "initialReplayMs": "What returning browsers get",
}
# A secret has 32 bytes or more, which are 8 characters if each takes 4 bytes.
_LEAST_SECRET = {"type": "string", "minLength": 8}
# What JSON Schema can say of texts that are looked at more closely; never stricter than that.
_TEXTS: Mapping[type, dict[str, Any]] = {
    Secret: {"type": "string"},
    SigningSecret: _LEAST_SECRET,
    SpareSecret: {"anyOf": [{"const": ""}, _LEAST_SECRET]},
    SentinelAddress: {
        "type": "string",
        "pattern": r"^(?:\[[0-9A-Fa-f:.]+\]|[^\s:\[\]/@,]+)(?::[0-9]{1,5})?$",
    },
    OriginPattern: {
        "type": "string",
        "pattern": r"^(?:\*|same-host|null|[A-Za-z][A-Za-z0-9+.-]*://.+)$",
    },
    Network: {"type": "string", "pattern": r"^[0-9A-Fa-f.:]+(?:%[^/]+)?(?:/[0-9.]+)?$"},
}

_CONFIGURATION = """\
# Configuration

Each setting has a key in a JSON file and a name in the environment, which wins. The file is
the one that `--config` names, else `config.json` in the working directory if there is one;
neither is needed. [config.example.json](../config.example.json) holds every key with its
default, and [config.schema.json](config.schema.json) is a JSON Schema for editors, which mark
wrong types, ranges and names with it. In VS Code:

```json
{"json.schemas": [{"fileMatch": ["ws.json"], "url": "./docs/config.schema.json"}]}
```

- **In the environment** lists are separated by commas, flags are `true`, `1`, `false` or `0`,
  and a blank variable counts as not set.
- **A secret** can also be in a file of its own, such as a mounted Kubernetes or Docker secret,
  which the variable with `_FILE` after its name names: `JWT_SECRET_FILE=/run/secrets/jwt`. A
  line's end behind it is not part of it. Both variables at once are refused.
- **Settings that cannot be used** stop the start with status 1 and a line for each fault,
  which names the key, where its value comes from, and what is allowed.
- **Unknown keys** in the file are ignored with a warning that names the nearest known one.
- **Kubernetes** sets `REDIS_PORT=tcp://10.0.0.1:6379` and the like for a service named redis;
  such a value is ignored with a warning.
- **Those marked *live*** change without a restart: SIGHUP reads the file and the secrets' files
  again ([operations](operations.md#reload)). What a process has in its environment cannot change.

The defaults are those of Superset's Node.js server where that has the setting;
[migrating](migrating.md#settings) tells the differences.
"""
_CONFIGURATION_END = """
## What does not go together

- `redis.unixSocketPath` with `redis.sentinels` or `redis.ssl`.
- `redis.sentinelSsl` without `redis.sentinels`; `redis.sslKeyfile` without
  `redis.sslCertfile`; `redis.sslCaCerts` or `redis.sslCertfile` without `redis.ssl` or
  `redis.sentinelSsl`.
- `socketResponseTimeoutMs` that is not more than `pingSocketsIntervalMs`.
- `jwtAlgorithms` of more than one kind, or a `jwtSecret` that is no key for them.

`python -m gaq_twisted.tools.reference configuration` prints this page, `… schema` the schema and
`… example` the example, for the version that is installed.
"""

_METRICS = """\
# Metrics

Everything is counted once and shown twice: to Prometheus at `/metrics`, and to StatsD by UDP.
Names without a word on that are this server's own; the others are those of Superset's Node.js
server. [Operations](operations.md#what-to-be-alarmed-by) tells which to watch.

- **Prometheus** reads `/metrics` on `internalListen`, or with all else if that is empty, as
  text or OpenMetrics. Counters end in `_total`. Beside the metrics below there are those that
  prometheus-client has for every Python process: `process_*`, `python_info` and `python_gc_*`.
- **StatsD** is sent to at `statsd.host` and `statsd.port`, with DogStatsD tags: `statsd.globalTags`
  and the label. Counters are sent each second that they have grown. Times are the mean of a
  second in milliseconds; other distributions are sent as counters of their sum. Gauges are sent
  every ten seconds, but not while they are infinite. While the host's name does not resolve,
  nothing is kept.
"""
_METRICS_END = """
`files` stands for a process that may not open more files
([operations](operations.md#open-files)). A `code` is one of RFC 6455 section 7.4, or `other`;
`1006` stands for a connection that broke. The `version` is the one that runs.

`python -m gaq_twisted.tools.reference metrics` prints this page.
"""

LABELS: Mapping[Metric, tuple[str, ...]] = {
    REQUEST_REJECTED: tuple(RequestReason),
    UPGRADE_REJECTED: tuple(UpgradeReason),
    CONNECTION_REJECTED: tuple(ConnectionReason),
    INVALID_EVENT: (
        *("no field data", "invalid UTF-8", "not JSON", "no text channel_id"),
        *("empty channel_id", "nested too deeply"),
    ),
    REPLAY_EVENTS: ("tail", "channel stream", "initial"),
}
"""What the values of some metrics are told apart by."""


def configuration() -> str:
    """Return docs/configuration.md."""
    lines = [_CONFIGURATION.rstrip("\n")]
    for setting in all_settings():
        if setting.key in _GROUPS:
            lines += ["", f"## {_GROUPS[setting.key]}", ""]
            lines += ["| setting | default | what it is |", "|---|---|---|"]
        lines.append(_row(setting))
    return "\n".join([*lines, _CONFIGURATION_END])


def schema() -> str:
    """Return the JSON Schema of the configuration file."""
    root = _object("The settings of gaq-twisted.")
    root["properties"]["$schema"] = {"type": "string"}
    for setting in all_settings():
        section, _, name = setting.key.rpartition(".")
        place = root if not section else root["properties"].setdefault(section, _object(""))
        place["properties"][name] = {
            **msgspec.json.schema(setting.type, schema_hook=_TEXTS.__getitem__),
            "description": f"{setting.meaning}\n\nIn the environment: {setting.environment_name}",
            **({} if setting.is_required else {"default": setting.default}),
        }
    return _json({"$schema": "https://json-schema.org/draft/2020-12/schema", **root})


def example() -> str:
    """Return config.example.json: every key with its default."""
    document: dict[str, Any] = {}
    for setting in all_settings():
        section, _, name = setting.key.rpartition(".")
        place = document.setdefault(section, {}) if section else document
        place[name] = "CHANGE-ME" if setting.is_required else setting.default
    return _json(document)


def metrics() -> str:
    """Return docs/metrics.md."""
    lines = [_METRICS.rstrip("\n")]
    for kind, title in (
        (Kind.COUNTER, "Counters"),
        (Kind.HISTOGRAM, "Distributions"),
        (Kind.GAUGE, "Gauges"),
    ):
        lines += ["", f"## {title}", ""]
        lines += ["| Prometheus | StatsD | label | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{prometheus_name(metric)}` | `{statsd_name(metric)}`"
            f" | {f'`{metric.label}`' if metric.label else ''} | {metric.help} |"
            for metric in ALL
            if metric.kind is kind
        ]
    lines += ["", "## Labels", "", "| metric | label | values |", "|---|---|---|"]
    lines += [
        f"| `{metric.name}` | `{metric.label}` | {', '.join(f'`{value}`' for value in values)} |"
        for metric, values in LABELS.items()
    ]
    return "\n".join([*lines, _METRICS_END])


def prometheus_name(metric: Metric) -> str:
    """Return what a metric is called at /metrics; of a histogram, what its parts begin with."""
    return f"{metric.name}_total" if metric.kind is Kind.COUNTER else metric.name


def statsd_name(metric: Metric) -> str:
    """Return what a metric is called in StatsD."""
    is_time = metric.kind is Kind.HISTOGRAM and metric.is_seconds
    return metric.name.removesuffix("_seconds") if is_time else metric.name


TEXTS: Mapping[str, Callable[[], str]] = {
    "configuration": configuration,
    "schema": schema,
    "example": example,
    "metrics": metrics,
}
"""What can be printed, by name."""


def _row(setting: Setting) -> str:
    name = setting.environment_name
    variables = f"`{name}` or `{name}_FILE`" if setting.is_secret else f"`{name}`"
    default = "none, required" if setting.is_required else f"`{json.dumps(setting.default)}`"
    # Markdown would make emphasis of two of these.
    allowed = setting.allowed.replace("*", r"\*")
    live = " *Live.*" if setting.is_live else ""
    meaning = setting.meaning if setting.meaning.endswith((".", "…")) else f"{setting.meaning}."
    return f"| `{setting.key}`<br>{variables} | {default} | {meaning} Allowed: {allowed}.{live} |"


def _object(description: str) -> dict[str, Any]:
    return {
        **({"description": description} if description else {}),
        "type": "object",
        "properties": {},
        # The server ignores them, with a warning; who writes them should see that at once.
        "additionalProperties": False,
    }


def _json(document: object) -> str:
    return json.dumps(document, indent=2) + "\n"


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in TEXTS:
        raise SystemExit(f"usage: python -m gaq_twisted.tools.reference ({' | '.join(TEXTS)})")
    print(TEXTS[sys.argv[1]](), end="")
