"""The settings: defaults, the file, the environment, and every way to get them wrong."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.config.catalogue import all_settings
from gaq_twisted.config.load import Loaded, load
from gaq_twisted.config.settings import Settings
from gaq_twisted.config.types import ConfigError
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

SAMPLES = [
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
    Sample("statsd.host", "STATSD_HOST", "127.0.0.1", "one", "two", "two"),
    Sample("statsd.port", "STATSD_PORT", 8125, 1, "2", 2),
    Sample("statsd.globalTags", "STATSD_GLOBAL_TAGS", [], ["a:b"], "c:d, e ,,", ["c:d", "e"]),
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
DEFAULTS = {sample.key: sample.default for sample in SAMPLES}

SECRETS = ("redis.password", "redis.sentinelPassword", "jwtSecret", "previousJwtSecret")

PORT = "a whole number from 1 to 65535"
FLAG = "true or false"
TEXT = "a text that is not empty"
BASE_PATH = "empty, or a path such as /ws, without a slash behind it"
LEVEL = "one of debug, info, warn, warning, error"
ADDRESSES = "a list of addresses such as redis-1:26379"
ALGORITHMS = (
    "a list of one or more of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512,"
    " ES256, ES384, ES512, EdDSA"
)
ORIGINS = (
    "a list of origins such as https://bi.example.com or https://*.example.com, without a path,"
    " or same-host, null or *"
)
NETWORKS = "a list of IP addresses and networks such as 10.0.0.0/8"
SPARE = "empty, or a text of 32 bytes or more"
JWT_SECRET = "the text of 32 bytes or more that Superset has as GLOBAL_ASYNC_QUERIES_JWT_SECRET"

WRONG_IN_FILE = [
    ("port", 0, PORT),
    ("port", 65536, PORT),
    ("port", -1, PORT),
    ("port", 10**30, PORT),
    ("port", 1.5, PORT),
    ("port", True, PORT),
    ("port", "8080", PORT),
    ("port", None, PORT),
    ("port", [], PORT),
    ("redis.port", {}, PORT),
    ("redis.db", -1, "a whole number from 0 to 2147483647"),
    ("redisStreamReadCount", 1_000_001, "a whole number from 1 to 1000000"),
    ("redisStreamReadBlockMs", 0, "a whole number from 1 to 2147483647"),
    ("initialReplayMs", -1, "a whole number from 0 to 2147483647"),
    ("tailMaxBytes", 2**40 + 1, f"a whole number from 1 to {2**40}"),
    ("logToFile", 1, FLAG),
    ("redis.ssl", "true", FLAG),
    ("logLevel", "INFO", LEVEL),
    ("logFormat", "xml", "text or json"),
    *(
        ("basePath", text, BASE_PATH)
        for text in ("/", "ws", "/ws/", "/a//b", "/a b", "/\u00e4", "/a\n")
    ),
    ("logLevel", 1, LEVEL),
    ("logFilename", "", TEXT),
    ("statsd.host", 5, TEXT),
    ("redis.username", None, "a text"),
    ("redis.unixSocketPath", 5, "a path of 107 characters at most"),
    ("redis.sslCaCerts", ["ca.pem"], "a text"),
    ("redis.sentinels", "redis-1:26379", ADDRESSES),
    ("redis.sentinels", {"host": "redis-1", "port": 26379}, ADDRESSES),
    ("redis.sentinels", [{"host": "redis-1", "port": 26379}], ADDRESSES),
    ("redis.sentinels", [["redis-1", 26379]], ADDRESSES),
    ("redis.sentinels", ["redis-1", None], ADDRESSES),
    ("redis.sentinelMaster", "", TEXT),
    ("redis.sentinelSsl", "true", FLAG),
    ("redisStreamPrefix", False, "a text"),
    ("statsd.globalTags", "a:b", "a list of texts"),
    ("statsd.globalTags", ["a:b", 1], "a list of texts"),
    ("jwtAlgorithms", "HS256", ALGORITHMS),
    ("jwtAlgorithms", [], ALGORITHMS),
    ("jwtAlgorithms", ["HS256", "HS1"], ALGORITHMS),
    *(
        ("allowedOrigins", [origin], ORIGINS)
        for origin in (
            *("bi.example.com", "https://", "https://*", "https://a.*.example.com", "https://*a.b"),
            *(
                "https://a/",
                "https://a?b",
                "https://a:b",
                "https://a:65536",
                "https://u@a",
                "",
                "**",
            ),
            *("https://a b", "https://\u00e4.example.com", "https://a\\b", "https://[::1"),
        )
    ),
    ("allowedOrigins", "https://bi.example.com", ORIGINS),
    *(("trustedProxies", [text], NETWORKS) for text in ("", "proxy", "10.0.0.1/8", "10.0.0.0/33")),
    ("maxSocketBufferBytes", 65535, f"a whole number from 65536 to {2**40}"),
    ("jwtAlgorithms", ["none"], ALGORITHMS),
]
WRONG_IN_ENVIRONMENT = [
    ("port", "PORT", "80a", '"80a"', PORT),
    ("port", "PORT", "0", '"0"', PORT),
    ("port", "PORT", "\uff18\uff10", '"\\uff18\\uff10"', PORT),
    ("port", "PORT", "a\nb", '"a\\nb"', PORT),
    ("redis.ssl", "REDIS_SSL", "yes", '"yes"', FLAG),
    ("redis.sentinels", "REDIS_SENTINELS", "a:1,b:0", '"a:1,b:0"', ADDRESSES),
    ("redis.sentinels", "REDIS_SENTINELS", "a b:1", '"a b:1"', ADDRESSES),
    ("redis.sentinelSsl", "REDIS_SENTINEL_SSL", "on", '"on"', FLAG),
    ("logLevel", "LOG_LEVEL", "loud", '"loud"', LEVEL),
    ("jwtAlgorithms", "JWT_ALGORITHMS", "HS256,none", '"HS256,none"', ALGORITHMS),
    ("jwtAlgorithms", "JWT_ALGORITHMS", " , ", '","', ALGORITHMS),
]


def _nested(values: Mapping[str, object]) -> dict[str, Any]:
    """Return the document whose dotted keys these are."""
    document: dict[str, Any] = {}
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        (document.setdefault(section, {}) if section else document)[name] = value
    return document


def _flat(settings: Settings) -> dict[str, object]:
    """Return the settings by dotted key, as JSON has them, secrets in clear."""
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
        """Choose a place for the file."""
        self.file = Path(self.mktemp())

    def load(
        self, values: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None
    ) -> Loaded:
        """Load a file with the tests' secret and those values, by dotted key."""
        self.file.write_text(json.dumps(_nested({"jwtSecret": SECRET, **(values or {})})))
        return load(self.file, environ or {})

    def faults(
        self, values: Mapping[str, object], environ: Mapping[str, str] | None = None
    ) -> list[str]:
        """Return the faults of such a file."""
        error: ConfigError = self.assertRaises(ConfigError, self.load, values, environ)
        return error.faults

    def fault_of_text(self, content: bytes) -> str:
        """Return the one fault of a file with that content."""
        self.file.write_bytes(content)
        return self.fault_of_file(self.file)

    def fault_of_file(self, file: Path) -> str:
        """Return the one fault, a line, that is found with that file."""
        error: ConfigError = self.assertRaises(ConfigError, load, file, {"JWT_SECRET": SECRET})
        self.assertEqual(len(error.faults), 1, error.faults)
        self.assertEqual(len(error.faults[0].splitlines()), 1)
        return error.faults[0]


class SourcesTests(ConfigTestCase):
    """Defaults, then the file, then the environment."""

    def test_defaults(self) -> None:
        """What nobody sets has its documented default, and no setting is undocumented here."""
        settings, warnings, _ = load(None, {"JWT_SECRET": SECRET})
        self.assertEqual(_flat(settings), DEFAULTS)
        self.assertEqual(warnings, [])

    def test_file_wins_over_default(self) -> None:
        """Each key of the file replaces that default and no other."""
        for sample in SAMPLES:
            values = {**sample.needs, sample.key: sample.in_file}
            settings, warnings, _ = self.load(values)
            self.assertEqual(_flat(settings), DEFAULTS | values)
            self.assertEqual(warnings, [], sample.key)

    def test_environment_wins_over_file(self) -> None:
        """Each variable, named after its key, replaces that value of the file and no other."""
        for sample in SAMPLES:
            settings, warnings, _ = self.load(
                {**sample.needs, sample.key: sample.in_file},
                {sample.environment_name: sample.as_text},
            )
            values = {**sample.needs, sample.key: sample.from_text}
            self.assertEqual(_flat(settings), DEFAULTS | values)
            self.assertEqual(warnings, [], sample.key)

    def test_sources(self) -> None:
        """It is known of each setting where it comes from."""
        sources = self.load({"port": 81, "redis.db": 1}, {"REDIS_DB": "2"}).sources
        self.assertEqual(sources["port"], f"in {self.file}")
        self.assertEqual(sources["redis.db"], "REDIS_DB in the environment")
        self.assertEqual(sources["redis.host"], "default")
        self.assertEqual(set(sources), set(DEFAULTS))

    def test_documented(self) -> None:
        """It is said of each setting what it means, and what it can be."""
        for setting in all_settings():
            self.assertTrue(setting.meaning and setting.allowed, setting.key)
            self.assertNotIn("None", (setting.meaning, setting.allowed))

    def test_all_at_once(self) -> None:
        """All settings that go together can come from the environment, without a file."""
        contradiction = "redis.unixSocketPath"
        samples = [sample for sample in SAMPLES if sample.key != contradiction]
        settings, *_ = load(None, {sample.environment_name: sample.as_text for sample in samples})
        self.assertEqual(
            _flat(settings),
            {contradiction: "", **{sample.key: sample.from_text for sample in samples}},
        )

    def test_blank_environment(self) -> None:
        """A blank variable counts as not set, a blank secret too."""
        for blank in ("", " ", "\t\n"):
            environ = {sample.environment_name: blank for sample in SAMPLES}
            settings, warnings, _ = self.load({"port": 81}, environ)
            self.assertEqual(_flat(settings), {**DEFAULTS, "port": 81})
            self.assertEqual(warnings, [])

    def test_flag_spellings(self) -> None:
        """Flags in the environment are true, false, 1 or 0, in any case."""
        for text, value in (("true", True), ("TRUE", True), ("1", True), ("False", False)):
            self.assertIs(self.load({}, {"REDIS_SSL": text}).settings.redis.ssl, value, text)

    def test_other_environment(self) -> None:
        """Variables that belong to others are no concern of ours."""
        self.assertEqual(self.load({}, {"PATH": "x", "REDIS": "y", "port": "z"}).warnings, [])

    def test_kubernetes_service_link(self) -> None:
        """What Kubernetes sets for a service of that name is ignored with a warning."""
        for key, name, default in (
            ("redis.port", "REDIS_PORT", 6379),
            ("statsd.port", "STATSD_PORT", 8125),
        ):
            for text in ("tcp://10.0.0.1:6379", " udp://[fd00::1]:8125"):
                settings, warnings, _ = self.load({}, {name: text})
                self.assertEqual(_flat(settings)[key], default)
                self.assertEqual(len(warnings), 1, text)
                self.assertIn(f"{name}={text.strip()}", warnings[0])
                self.assertIn("Kubernetes", warnings[0])
        (warning,) = self.load({}, {"REDIS_PORT": "tcp://a\nb"}).warnings
        self.assertIn(r"=tcp://a\nb:", warning)

    def test_service_link_keeps_the_file(self) -> None:
        """A variable that is ignored leaves the file's value in place."""
        loaded = self.load({"redis.port": 1}, {"REDIS_PORT": "tcp://10.0.0.1:6379"})
        self.assertEqual(loaded.settings.redis.port, 1)

    def test_example(self) -> None:
        """The example holds every setting with its default and works once it has a secret."""
        document = json.loads(EXAMPLE.read_text())
        self.assertEqual(document, _nested({**DEFAULTS, "jwtSecret": "CHANGE-ME"}))
        settings, warnings, _ = load(EXAMPLE, {"JWT_SECRET": SECRET})
        self.assertEqual((_flat(settings), warnings), (DEFAULTS, []))

    def test_example_as_it_is(self) -> None:
        """The example's secret is refused, and nothing else of it."""
        faults = self.assertRaises(ConfigError, load, EXAMPLE, {}).faults
        self.assertEqual(
            faults,
            [f"jwtSecret (in {EXAMPLE}): its value is not allowed: it must be {JWT_SECRET}"],
        )


class UnknownKeyTests(ConfigTestCase):
    """Keys of the file that mean nothing."""

    def test_nearest_name(self) -> None:
        """An unknown key, also in a section, is a warning with the nearest known name."""
        for key, near in (
            ("prot", "port"),
            ("PORT", None),
            ("redis_stream_prefix", "redisStreamPrefix"),
            ("redis.pasword", "redis.password"),
            ("statsd.globalTag", "statsd.globalTags"),
            ("jwtSecrets", "jwtSecret"),
            ("zzz", None),
        ):
            settings, warnings, _ = self.load({key: "x"})
            self.assertEqual(_flat(settings), DEFAULTS)
            hint = f"; did you mean {near}?" if near else ""
            self.assertEqual(
                warnings, [f"ignored the unknown setting {key} (in {self.file}){hint}"]
            )

    def test_any_text(self) -> None:
        """Whatever a key is, its warning is one line, fit for any log and terminal."""
        for key, shown in (
            ("a\nb", r"a\nb"),
            ("\x1b[2J", r"\x1b[2J"),
            ("\ud800", r"\ud800"),
            ("\u202e", r"\u202e"),
            ("é ☃", "é ☃"),
            ("x" * 1000, "x" * 77 + "..."),
        ):
            (warning,) = self.load({key: 1}).warnings
            self.assertEqual(warning, f"ignored the unknown setting {shown} (in {self.file})")

    def test_schema(self) -> None:
        """The key by which editors find the file's schema is not a setting, and no fault."""
        self.assertEqual(self.load({"$schema": "docs/config.schema.json"}).warnings, [])

    def test_each_is_named(self) -> None:
        """Several unknown keys make as many warnings, whatever they hold."""
        warnings = self.load({"a": [1], "b": {"c": 2}, "redis.d": None}).warnings
        self.assertEqual([line.split()[4] for line in warnings], ["a", "b", "redis.d"])


class FaultTests(ConfigTestCase):
    """Values that are not allowed."""

    def test_wrong_in_file(self) -> None:
        """A wrong value of the file is one line: key, file, value and what is allowed."""
        for key, value, allowed in WRONG_IN_FILE:
            self.assertEqual(
                self.faults({key: value}),
                [
                    f"{key} (in {self.file}): {json.dumps(value)} is not allowed:"
                    f" it must be {allowed}"
                ],
            )

    def test_wrong_in_environment(self) -> None:
        """A wrong value of the environment is one line: key, variable, value, what is allowed."""
        for key, name, text, shown, allowed in WRONG_IN_ENVIRONMENT:
            self.assertEqual(
                self.faults({}, {name: text}),
                [
                    f"{key} ({name} in the environment): {shown} is not allowed:"
                    f" it must be {allowed}"
                ],
            )

    def test_not_text(self) -> None:
        """Bytes that are not UTF-8, and half surrogate pairs, are shown escaped and refused."""
        for key in ("redis.host", "redis.username", "port", "logLevel", "reusePort"):
            name = {sample.key: sample.environment_name for sample in SAMPLES}[key]
            for text in (os.fsdecode(b"a\xff"), "\ud800"):
                for faults in (self.faults({}, {name: text}), self.faults({key: text})):
                    self.assertEqual(len(faults), 1)
                    self.assertIn(f"{json.dumps(text)} is not allowed", faults[0])
        self.assertEqual(len(self.faults({"statsd.globalTags": ["a", "\udcff"]})), 1)
        self.assertEqual(len(self.faults({}, {"REDIS_PASSWORD": os.fsdecode(b"\xff")})), 1)

    def test_environment_hides_the_file(self) -> None:
        """A wrong value of the file does no harm where the environment replaces it."""
        self.assertEqual(self.load({"port": "x"}, {"PORT": "81"}).settings.port, 81)

    def test_long_value(self) -> None:
        """A very long value is cut short."""
        (fault,) = self.faults({"port": "9" * 1000})
        self.assertIn('"999', fault)
        self.assertIn("... is not allowed", fault)
        self.assertLess(len(fault) - len(str(self.file)), 200)

    def test_section_is_not_an_object(self) -> None:
        """A section that holds anything else is a fault, and what it holds is not shown."""
        for value in ("redis://:hunter2@redis:6379", ["hunter2"], None, 6379):
            self.assertEqual(
                self.faults({"redis": value}),
                [f"redis (in {self.file}): it must be an object, as in config.example.json"],
            )

    def test_several_together(self) -> None:
        """All faults are reported at once, and the error's text has a line for each."""
        error = self.assertRaises(
            ConfigError,
            self.load,
            {"port": 0, "redis.ssl": 1, "statsd": 5, "jwtSecret": "short"},
            {"LOG_LEVEL": "loud"},
        )
        keys = sorted(fault.split()[0] for fault in error.faults)
        self.assertEqual(keys, ["jwtSecret", "logLevel", "port", "redis.ssl", "statsd"])
        self.assertEqual(str(error).splitlines(), error.faults)

    def test_ping_interval_and_timeout(self) -> None:
        """A timeout that is not longer than the ping interval would end every socket."""
        for timeout, interval in ((60000, 60000), (1, 2)):
            (fault,) = self.faults(
                {"socketResponseTimeoutMs": timeout, "pingSocketsIntervalMs": interval}
            )
            self.assertIn(f"socketResponseTimeoutMs is {timeout}", fault)
            self.assertIn(f"pingSocketsIntervalMs, which is {interval}", fault)
        self.load({"socketResponseTimeoutMs": 2, "pingSocketsIntervalMs": 1})

    def test_contradictions(self) -> None:
        """Settings of which one would have no effect, or a bad one, are a fault that names them."""
        path, ca = {"redis.unixSocketPath": "/redis.sock"}, {"redis.sslCaCerts": "ca.pem"}
        certificate, key = {"redis.sslCertfile": "c.pem"}, {"redis.sslKeyfile": "k.pem"}
        for values, named in (
            (path | SENTINELS, ["redis.unixSocketPath", "redis.sentinels"]),
            (path | TLS, ["redis.unixSocketPath", "redis.ssl"]),
            ({"redis.sentinelSsl": True}, ["redis.sentinelSsl", "redis.sentinels"]),
            (ca, ["redis.sslCaCerts", "redis.ssl"]),
            (ca | SENTINELS, ["redis.sslCaCerts", "redis.ssl"]),
            (certificate, ["redis.sslCertfile", "redis.ssl"]),
            (certificate | key, ["redis.sslCertfile", "redis.ssl"]),
            (TLS | key, ["redis.sslKeyfile", "redis.sslCertfile"]),
            (TLS | ca | key, ["redis.sslKeyfile", "redis.sslCertfile"]),
        ):
            (fault,) = self.faults(values)
            self.assertEqual(len(fault.splitlines()), 1)
            for one in named:
                self.assertIn(f"{one} ", f"{fault} ".replace(",", " ").replace(":", " "))

    def test_what_goes_together(self) -> None:
        """TLS may be for the master, for the Sentinels or for both, with files or without."""
        files = {
            "redis.sslCaCerts": "ca.pem",
            "redis.sslCertfile": "c.pem",
            "redis.sslKeyfile": "k.pem",
        }
        secret_sentinels = {**SENTINELS, "redis.sentinelSsl": True}
        for values in (
            TLS | files,
            TLS | SENTINELS | files,
            secret_sentinels | files,
            TLS | secret_sentinels | files,
            secret_sentinels,
        ):
            self.assertEqual(_flat(self.load(values).settings), DEFAULTS | values)

    def test_several_contradictions(self) -> None:
        """Each contradiction is told."""
        faults = self.faults(
            {
                "redis.unixSocketPath": "/redis.sock",
                "redis.sentinelSsl": True,
                "redis.sslKeyfile": "k.pem",
                "socketResponseTimeoutMs": 1,
            }
        )
        self.assertEqual(len(faults), 3, faults)


class SentinelAddressTests(ConfigTestCase):
    """Where Sentinels are."""

    def test_good(self) -> None:
        """Names and IP addresses, with a port or without, are understood."""
        for text, host, port in (
            ("redis-1", "redis-1", 26379),
            ("redis-1:26380", "redis-1", 26380),
            ("redis_1.example.com:1", "redis_1.example.com", 1),
            ("10.0.0.1", "10.0.0.1", 26379),
            ("10.0.0.1:65535", "10.0.0.1", 65535),
            ("[::1]", "::1", 26379),
            ("[::1]:26380", "::1", 26380),
            ("[fe80::1:2]:007", "fe80::1:2", 7),
            ("[::ffff:10.0.0.1]:1", "::ffff:10.0.0.1", 1),
            ("b\u00fccher.example:1", "b\u00fccher.example", 1),
        ):
            for settings in (
                self.load({"redis.sentinels": [text]}).settings,
                self.load({}, {"REDIS_SENTINELS": text}).settings,
            ):
                (address,) = settings.redis.sentinels
                self.assertEqual((address.host, address.port, str(address)), (host, port, text))

    def test_bad(self) -> None:
        """What is no address, wherever it stands in the list, is a fault that shows it."""
        for text in (
            "",
            " ",
            ":26379",
            "redis-1:",
            "redis-1:0",
            "redis-1:65536",
            "redis-1:70000",
            "redis-1:-1",
            "redis-1:1:2",
            "redis-1:port",
            "redis-1:\u0661",
            "redis-1 :1",
            " redis-1",
            "redis-1\n",
            "redis 1",
            "user@redis-1:1",
            ":secret@redis-1",
            "redis://redis-1:1",
            "redis-1/0",
            "::1",
            "::1:26379",
            "[::1",
            "::1]",
            "[::1]26379",
            "[]",
            "[redis-1]:1",
            "redis-1,redis-2",
        ):
            for values in ([text], ["good:1", text]):
                self.assertEqual(
                    self.faults({"redis.sentinels": values}),
                    [
                        f"redis.sentinels (in {self.file}): {json.dumps(values)} is not allowed:"
                        f" it must be {ADDRESSES}"
                    ],
                )


class FileTests(ConfigTestCase):
    """Files that cannot be used."""

    def test_cannot_be_opened(self) -> None:
        """A file that is missing, or is a directory, is named with the reason."""
        directory = self.file
        directory.mkdir()
        for file, reason in (
            (directory / "missing", "No such file or directory"),
            (directory, "Is a directory"),
        ):
            self.assertEqual(self.fault_of_file(file), f"cannot read {file}: {reason}")

    def test_content(self) -> None:
        """What is wrong with a file's text is told, with its place where it has one."""
        for content, reason in (
            (b'{"port": "\xff"}', "it is not UTF-8 (byte 10)"),
            (b"", "in line 1, column 1"),
            (b'{"port": 80,\n "redis": {host}}', "in line 2, column 12"),
            (b'{"port": 80}\n{}', "in line 2, column 1"),
            (b"\xef\xbb\xbf{}", "in line 1, column 1"),
            (b"[]", "it must hold a JSON object"),
            (b'"port"', "it must hold a JSON object"),
            (b"null", "it must hold a JSON object"),
            (b"[" * 100_000, "it is nested too deeply"),
            (b'{"a":' * 100_000, "it is nested too deeply"),
        ):
            fault = self.fault_of_text(content)
            self.assertTrue(fault.startswith(f"cannot read {self.file}: it "), fault)
            self.assertTrue(fault.endswith(reason), fault)

    def test_huge_number(self) -> None:
        """A number with more digits than Python reads is a fault like any other."""
        self.assertIn(str(self.file), self.fault_of_text(b'{"port": %b}' % (b"1" * 5000)))


class SecretTests(ConfigTestCase):
    """The secrets: what is accepted, and that they stay secret."""

    def test_missing(self) -> None:
        """Without jwtSecret there is one line that says how to set it."""
        (fault,) = self.assertRaises(ConfigError, load, None, {"JWT_SECRET": " "}).faults
        self.assertTrue(fault.startswith(f"jwtSecret is not set: it must be {JWT_SECRET};"), fault)
        self.assertIn("JWT_SECRET", fault.rpartition(";")[2])

    def test_length(self) -> None:
        """32 bytes are enough, counted in UTF-8, and 31 are not."""
        for secret in ("x" * 32, "é" * 16, "😀" * 8):
            self.assertEqual(self.load({"jwtSecret": secret}).settings.jwt_secret, secret)
            self.assertEqual(self.load({}, {"JWT_SECRET": secret}).settings.jwt_secret, secret)
        for secret in ("", "x" * 31, "é" * 15 + "x"):
            self.assertEqual(len(self.faults({"jwtSecret": secret})), 1, secret)
        self.assertEqual(len(self.faults({}, {"JWT_SECRET": "x" * 31})), 1)

    def secret_file(self, content: bytes) -> str:
        """Return the path of a new file with that content."""
        file = Path(self.mktemp()).resolve()
        file.write_bytes(content)
        return str(file)

    def test_in_a_file(self) -> None:
        """Each secret can be in a file of its own; the line end behind it does not count."""
        for sample in SAMPLES:
            if sample.key not in SECRETS:
                continue
            for end in (b"", b"\n", b"\r\n"):
                name = f"{sample.environment_name}_FILE"
                path = self.secret_file(b" " + SECRET.encode() + b" " + end)
                loaded = self.load({}, {name: path})
                self.assertEqual(_flat(loaded.settings), {**DEFAULTS, sample.key: f" {SECRET} "})
                self.assertEqual(loaded.sources[sample.key], f"{name} in the environment")

    def test_file_beside_other_sources(self) -> None:
        """Such a file wins over the configuration file, and not together with the variable."""
        path = self.secret_file(b"y" * 40)
        self.assertEqual(self.load({}, {"JWT_SECRET_FILE": path}).settings.jwt_secret, "y" * 40)
        environ = {"JWT_SECRET_FILE": path, "JWT_SECRET": "z" * 40}
        self.assertEqual(
            self.faults({}, environ),
            ["JWT_SECRET and JWT_SECRET_FILE are both set: leave out one of them"],
        )
        self.assertEqual(self.load({}, {"JWT_SECRET_FILE": " "}).settings.jwt_secret, SECRET)

    def test_bad_secret_file(self) -> None:
        """A file that cannot be used is named with its variable, and what it holds is not shown."""
        for path, reason in (
            ("/no/such/file", "No such file or directory"),
            (self.secret_file(b"hunter2\xff" * 9), "it is not UTF-8"),
            (self.secret_file(b" \n"), "is empty"),
            ("/no\n/such\udcff", r"cannot read /no\n/such\udcff, which"),
            (self.secret_file(b"hunter2\n"), "its value is not allowed"),
        ):
            (fault,) = self.faults({}, {"JWT_SECRET_FILE": path})
            for part in (reason, "JWT_SECRET_FILE"):
                self.assertIn(part, fault)
            self.assertTrue(fault.isprintable())
            self.assertNotIn("hunter2", fault)

    def test_previous(self) -> None:
        """The previous secret is none, or as long as the secret must be."""
        for secret, count in (("", 0), ("x" * 31, 1), ("x" * 32, 0), ("x", 1)):
            document = {"previousJwtSecret": secret}
            if count:
                self.assertEqual(len(self.faults(document)), count, secret)
            else:
                self.assertEqual(self.load(document).settings.previous_jwt_secret, secret)

    def test_not_encodable(self) -> None:
        """A secret with half a surrogate pair cannot sign anything."""
        self.assertEqual(len(self.faults({"jwtSecret": "\ud800" * 40})), 1)

    def test_not_shown_in_settings(self) -> None:
        """Settings can be printed: an empty password shows as such, the rest of secrets not."""
        settings = self.load(
            {"redis.password": "hunter2", "redis.sentinelPassword": "hunter2"}
        ).settings
        for text in (repr(settings), str(settings), f"{settings}", f"{settings.redis}"):
            self.assertNotIn("hunter2", text)
            self.assertNotIn(SECRET, text)
            self.assertIn(" password='***'", text)
            self.assertIn("sentinel_password='***'", text)
        self.assertIn(" password=''", repr(self.load().settings))
        self.assertIn("sentinel_password=''", repr(self.load().settings))

    def test_not_shown_in_faults(self) -> None:
        """No complaint shows a secret, wherever it stands."""
        for values, environ in (
            ({"jwtSecret": "hunter2"}, {}),
            ({}, {"JWT_SECRET": "hunter2"}),
            ({"jwtSecret": ["hunter2" * 8]}, {}),
            ({"redis.password": ["hunter2"]}, {}),
            ({"redis.password": {"hunter2": 1}}, {}),
            ({"redis.sentinelPassword": ["hunter2"]}, {}),
            ({"redis.password": "hunter2", "port": 0}, {"REDIS_PASSWORD": "hunter2"}),
            ({"redis.sentinelPassword": "hunter2", "redis.sentinelSsl": True}, {}),
        ):
            error = self.assertRaises(ConfigError, self.load, values, environ)
            self.assertNotIn("hunter2", f"{error} {error!r} {error.faults}")

    def test_not_shown_when_misplaced(self) -> None:
        """A secret under a misspelt key, or in a broken file, is not shown either."""
        self.assertNotIn("hunter2", str(self.load({"jwtSecert": "hunter2"}).warnings))
        self.assertNotIn("hunter2", self.fault_of_text(b'{"jwtSecret": "hunter2}'))
