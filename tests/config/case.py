"""Shared by the tests of the settings: a sample of every setting, and a file to load."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.config.errors import ConfigError
from gaq_twisted.config.load import Loaded, load
from gaq_twisted.config.settings import Settings
from tests.support.samples import SECRET

EXAMPLE = Path(__file__).parent.parent.parent / "config.example.json"


class Sample(NamedTuple):
    """A setting: its names, its default, and two other values."""

    key: str
    environment_name: str
    default: object
    in_file: object
    as_text: str
    from_text: object
    needs: Mapping[str, object] = {}
    """Other settings without which it is refused, as in the file."""


TLS = {"redis.ssl": True}
SENTINELS = {"redis.sentinels": ["one"]}

_STREAMS_SAMPLES = [
    Sample("port", "PORT", 8080, 1, " 65535 ", 65535),
    Sample(
        "listen",
        "LISTEN",
        [],
        ["tcp:1"],
        "tcp:2:interface=127.0.0.1, unix:/a",
        ["tcp:2:interface=127.0.0.1", "unix:/a"],
    ),
    Sample("internalListen", "INTERNAL_LISTEN", [], ["tcp:1"], "tcp:2", ["tcp:2"]),
    Sample("reusePort", "REUSE_PORT", False, True, "1", True),
    Sample("basePath", "BASE_PATH", "", "/ws", " /a/b-c.d ", "/a/b-c.d"),
    Sample("logLevel", "LOG_LEVEL", "info", "warning", "debug", "debug"),
    Sample("logFormat", "LOG_FORMAT", "text", "json", "json", "json"),
    Sample("logToFile", "LOG_TO_FILE", False, True, "false", False),
    Sample("logFilename", "LOG_FILENAME", "app.log", "a.log", "/b.log", "/b.log"),
    Sample("statsd.enabled", "STATSD_ENABLED", True, False, "1", True),
    Sample("statsd.host", "STATSD_HOST", "127.0.0.1", "one", "two", "two"),
    Sample("statsd.port", "STATSD_PORT", 8125, 1, "2", 2),
    Sample("statsd.globalTags", "STATSD_GLOBAL_TAGS", [], ["a:b"], "c:d, e ,,", ["c:d", "e"]),
    Sample("protocol", "PROTOCOL", "streams", "realtime", " both ", "both"),
    Sample("redis.host", "REDIS_HOST", "127.0.0.1", "one", "two", "two"),
    Sample("redis.port", "REDIS_PORT", 6379, 1, "2", 2),
    Sample("redis.username", "REDIS_USERNAME", "default", "", "two", "two"),
    Sample("redis.password", "REDIS_PASSWORD", "", " one ", "\ttwo, ", "\ttwo, "),
    Sample("redis.db", "REDIS_DB", 0, 1, "2", 2),
    Sample("redis.unixSocketPath", "REDIS_UNIX_SOCKET_PATH", "", "/one", " /two ", "/two"),
    Sample("redis.ssl", "REDIS_SSL", False, True, "0", False),
    Sample("redis.validateHostname", "REDIS_VALIDATE_HOSTNAME", True, False, "1", True),
    Sample("redis.sslCaCerts", "REDIS_SSL_CA_CERTS", "", "one", "two", "two", TLS),
    Sample("redis.sslCertfile", "REDIS_SSL_CERTFILE", "", "one", "two", "two", TLS),
    Sample(
        "redis.sslKeyfile",
        "REDIS_SSL_KEYFILE",
        "",
        "one",
        "two",
        "two",
        {**TLS, "redis.sslCertfile": "three"},
    ),
    Sample(
        "redis.sentinels",
        "REDIS_SENTINELS",
        [],
        ["one", "[::1]:2"],
        "three:4, five ,,",
        ["three:4", "five"],
    ),
    Sample("redis.sentinelMaster", "REDIS_SENTINEL_MASTER", "mymaster", "one", "two", "two"),
    Sample("redis.sentinelUsername", "REDIS_SENTINEL_USERNAME", "default", "one", "two", "two"),
    Sample("redis.sentinelPassword", "REDIS_SENTINEL_PASSWORD", "", " one ", "\ttwo, ", "\ttwo, "),
    Sample("redis.sentinelSsl", "REDIS_SENTINEL_SSL", False, True, "1", True, SENTINELS),
    Sample("redisStreamPrefix", "REDIS_STREAM_PREFIX", "async-events-", "", "a,b", "a,b"),
    Sample("redisStreamReadCount", "REDIS_STREAM_READ_COUNT", 100, 1, "2", 2),
    Sample("redisStreamReadBlockMs", "REDIS_STREAM_READ_BLOCK_MS", 5000, 1, "2", 2),
    Sample("jwtSecret", "JWT_SECRET", SECRET, " " * 32, "\té" * 16, "\té" * 16),
    Sample("previousJwtSecret", "PREVIOUS_JWT_SECRET", "", " " * 32, "\té" * 16, "\té" * 16),
    Sample(
        "jwtAlgorithms",
        "JWT_ALGORITHMS",
        ["HS256"],
        ["HS512"],
        "HS384,HS512",
        ["HS384", "HS512"],
    ),
    Sample("jwtCookieName", "JWT_COOKIE_NAME", "async-token", "one", "two", "two"),
    Sample("jwtChannelIdKey", "JWT_CHANNEL_ID_KEY", "channel", "one", "two", "two"),
    Sample(
        "allowedOrigins",
        "ALLOWED_ORIGINS",
        [],
        ["https://*.example.com", "same-host", "null", "*"],
        "http://[::1]:8088, https://bi.example.com. ,",
        ["http://[::1]:8088", "https://bi.example.com."],
    ),
    Sample(
        "trustedProxies",
        "TRUSTED_PROXIES",
        [],
        ["10.0.0.0/8"],
        "fd00::/8, 192.0.2.1",
        ["fd00::/8", "192.0.2.1"],
    ),
    Sample("maxTotalConnections", "MAX_TOTAL_CONNECTIONS", 0, 1, "2", 2),
    Sample("maxConnectionsPerChannel", "MAX_CONNECTIONS_PER_CHANNEL", 0, 1, "2", 2),
    Sample("maxSocketBufferBytes", "MAX_SOCKET_BUFFER_BYTES", 2**20, 2**16, "65537", 65537),
    Sample("maxInboundMessageBytes", "MAX_INBOUND_MESSAGE_BYTES", 4096, 1, "2", 2),
    Sample("maxInboundBytesPerSecond", "MAX_INBOUND_BYTES_PER_SECOND", 16384, 1, "2", 2),
    Sample("maxRequestHeaderBytes", "MAX_REQUEST_HEADER_BYTES", 16384, 1, "2", 2),
    Sample("requestTimeoutMs", "REQUEST_TIMEOUT_MS", 10000, 1, "2", 2),
    Sample("socketResponseTimeoutMs", "SOCKET_RESPONSE_TIMEOUT_MS", 60000, 20001, "20002", 20002),
    Sample("pingSocketsIntervalMs", "PING_SOCKETS_INTERVAL_MS", 20000, 1, "19999", 19999),
    Sample("gcChannelsIntervalMs", "GC_CHANNELS_INTERVAL_MS", 120000, 1, "2", 2),
    Sample("drainDelayMs", "DRAIN_DELAY_MS", 0, 1, "2", 2),
    Sample("drainMs", "DRAIN_MS", 5000, 0, "2", 2),
    Sample("initialReplayMs", "INITIAL_REPLAY_MS", 10000, 0, "1", 1),
    Sample("tailMaxEvents", "TAIL_MAX_EVENTS", 20000, 1, "2", 2),
    Sample("tailMaxBytes", "TAIL_MAX_BYTES", 33554432, 1, "2", 2),
]
BOTH = {"protocol": "both"}
_REALTIME_SAMPLES = [
    Sample("realtimeChannelPrefix", "REALTIME_CHANNEL_PREFIX", "", "a:", "b:", "b:", BOTH),
    Sample("realtimeJwtSecret", "REALTIME_JWT_SECRET", "", "x" * 32, "\té" * 16, "\té" * 16, BOTH),
    Sample(
        "previousRealtimeJwtSecret",
        "PREVIOUS_REALTIME_JWT_SECRET",
        "",
        "x" * 32,
        "\té" * 16,
        "\té" * 16,
        BOTH,
    ),
    Sample(
        "realtimeJwtCookieName",
        "REALTIME_JWT_COOKIE_NAME",
        "superset-ws-token",
        "one",
        "two",
        "two",
        BOTH,
    ),
]


def for_realtime(values: Mapping[str, object]) -> dict[str, object]:
    """Returns those settings of `redis`, by dotted key, as settings of `realtimeRedis`."""
    return {f"realtimeRedis.{key.removeprefix('redis.')}": value for key, value in values.items()}


SAMPLES = [
    *_STREAMS_SAMPLES,
    *_REALTIME_SAMPLES,
    *(
        sample._replace(
            key=f"realtimeRedis.{sample.key.removeprefix('redis.')}",
            environment_name=f"REALTIME_{sample.environment_name}",
            needs={**BOTH, **for_realtime(sample.needs)},
        )
        for sample in _STREAMS_SAMPLES
        if sample.key.startswith("redis.")
    ),
]
DEFAULTS: dict[str, object] = {
    **{sample.key: sample.default for sample in SAMPLES},
    # A URL sets other settings too.
    "redis.url": "",
    "realtimeRedis.url": "",
}

SECRETS = (
    "redis.url",
    "realtimeRedis.url",
    "redis.password",
    "redis.sentinelPassword",
    "jwtSecret",
    "previousJwtSecret",
    "realtimeJwtSecret",
    "previousRealtimeJwtSecret",
    "realtimeRedis.password",
    "realtimeRedis.sentinelPassword",
)

JWT_SECRET = (
    "at least 32 bytes long, and the same as Superset's GLOBAL_ASYNC_QUERIES_JWT_SECRET, or"
    " Superset 7's WEBSOCKET_JWT_SECRET"
)
ADDRESSES = "a list of addresses such as redis-1:26379"


def nested(values: Mapping[str, object]) -> dict[str, Any]:
    """Returns the document whose dotted keys these are."""
    document: dict[str, Any] = {}
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        (document.setdefault(section, {}) if section else document)[name] = value
    return document


def expected(values: Mapping[str, object]) -> dict[str, object]:
    """Returns all settings if those are set: with defaults, and what follows from the protocol.

    They may contain settings of `redis` only with the protocol streams.
    """
    follows: dict[str, object] = {}
    if values.get("protocol", "streams") != "streams":
        follows["realtimeJwtSecret"] = SECRET
    if values.get("protocol") == "realtime":
        follows["jwtCookieName"] = "superset-ws-token"
    return {**DEFAULTS, **follows, **values}


def flat(settings: Settings) -> dict[str, object]:
    """Returns the settings by dotted key, as JSON has them, secrets in clear."""
    flat: dict[str, object] = {}
    for key, value in json.loads(msgspec.json.encode(settings, enc_hook=str)).items():
        if isinstance(value, dict):
            flat.update({f"{key}.{name}": inner for name, inner in value.items()})
        else:
            flat[key] = value
    return flat


class ConfigTestCase(SynchronousTestCase):
    """Loads settings from files that the tests write."""

    def setUp(self) -> None:
        """Chooses a place for the file."""
        self.file = Path(self.mktemp())

    def load(
        self, values: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None
    ) -> Loaded:
        """Loads a file with the tests' secret and those values, by dotted key."""
        self.file.write_text(json.dumps(nested({"jwtSecret": SECRET, **(values or {})})))
        return load(self.file, environ or {})

    def faults(
        self, values: Mapping[str, object], environ: Mapping[str, str] | None = None
    ) -> list[str]:
        """Returns the faults of such a file."""
        error: ConfigError = self.assertRaises(ConfigError, self.load, values, environ)
        return error.faults

    def fault_of_text(self, content: bytes) -> str:
        """Returns the one fault of a file with that content."""
        self.file.write_bytes(content)
        return self.fault_of_file(self.file)

    def fault_of_file(self, file: Path) -> str:
        """Returns the one fault, a line, that is found with that file."""
        error: ConfigError = self.assertRaises(ConfigError, load, file, {"JWT_SECRET": SECRET})
        self.assertEqual(len(error.faults), 1, error.faults)
        self.assertEqual(len(error.faults[0].splitlines()), 1)
        return error.faults[0]
