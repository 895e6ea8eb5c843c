"""Which values each type of setting allows, and how messages say so."""

import json
import os

from gaq_twisted.config.secrecy import without_secrets
from tests.config.case import ADDRESSES, SAMPLES, ConfigTestCase

PORT = "a whole number from 1 to 65535"
FLAG = "true or false"
TEXT = "a non-empty string"
HOST = (
    "a host name or IP address such as redis.example.com or 2001:db8::1, without a scheme, port or"
    " brackets; put a URL into redis.url"
)
METRICS_HOST = (
    "a host name or IP address, without a scheme or port, or a unix datagram socket such as"
    " unix:///run/dsd.socket"
)
ENDPOINTS = r"a list of endpoint strings such as tcp:8081 or tcp:8081:interface=\:\:1"
FILE = "the path of a file"
TAGS = "a list of tags such as env:prod, without , and |"
URL = (
    "empty, or a URL such as rediss://user:password@redis.example.com:6380/0, without other"
    " parameters"
)
BASE_PATH = "empty, or a path such as /ws, without a trailing slash"
LEVEL = "one of debug, info, warn, warning, error"
ALGORITHMS = (
    "a list of one or more of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512,"
    " ES256, ES384, ES512, EdDSA"
)
ORIGINS = (
    "a list of origins such as https://bi.example.com or https://*.example.com, without a path,"
    " or same-host, null or *"
)
NETWORKS = "a list of IP addresses and networks such as 10.0.0.0/8"
PROTOCOL = "streams, realtime or both"

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
    ("statsd.host", 5, METRICS_HOST),
    ("redis.username", None, "a string"),
    ("redis.unixSocketPath", 5, "a path of at most 107 characters"),
    ("redis.sslCaCerts", ["ca.pem"], FILE),
    ("redis.sentinels", "redis-1:26379", ADDRESSES),
    ("redis.sentinels", {"host": "redis-1", "port": 26379}, ADDRESSES),
    ("redis.sentinels", [{"host": "redis-1", "port": 26379}], ADDRESSES),
    ("redis.sentinels", [["redis-1", 26379]], ADDRESSES),
    ("redis.sentinels", ["redis-1", None], ADDRESSES),
    ("redis.sentinelMaster", "", TEXT),
    ("redis.sentinelSsl", "true", FLAG),
    ("redisStreamPrefix", False, "a string"),
    ("statsd.globalTags", "a:b", TAGS),
    ("statsd.globalTags", ["a:b", 1], TAGS),
    ("jwtAlgorithms", "HS256", ALGORITHMS),
    ("jwtAlgorithms", [], ALGORITHMS),
    ("jwtAlgorithms", ["HS256", "HS1"], ALGORITHMS),
    *(
        ("allowedOrigins", [origin], ORIGINS)
        for origin in (
            "bi.example.com",
            "https://",
            "https://*",
            "https://a.*.example.com",
            "https://*a.b",
            "https://a/",
            "https://a?b",
            "https://a:b",
            "https://a:65536",
            "https://u@a",
            "",
            "**",
            "https://a b",
            "https://\u00e4.example.com",
            "https://a\\b",
            "https://[::1",
        )
    ),
    ("allowedOrigins", "https://bi.example.com", ORIGINS),
    *(("trustedProxies", [text], NETWORKS) for text in ("", "proxy", "10.0.0.1/8", "10.0.0.0/33")),
    ("maxSocketBufferBytes", -1, f"a whole number from 0 to {2**40}"),
    ("maxSocketBufferBytes", 2**40 + 1, f"a whole number from 0 to {2**40}"),
    ("protocol", "", PROTOCOL),
    ("protocol", "Streams", PROTOCOL),
    ("protocol", ["streams", "realtime"], PROTOCOL),
    ("realtimeChannelPrefix", None, "a string"),
    ("realtimeJwtCookieName", "", TEXT),
    ("realtimeRedis.port", "6379", PORT),
    ("jwtAlgorithms", ["none"], ALGORITHMS),
    *(
        ("redis.host", text, HOST)
        for text in ("", "redis:6379", "[::1]", "unix:///redis.sock", "a b", "/redis.sock", "a,b")
    ),
    *(("statsd.host", text, METRICS_HOST) for text in ("", "udp://a:1", "a:1", "[::1]", "a b")),
    *(("listen", [text], ENDPOINTS) for text in ("8081", "0.0.0.0:8081", "interface=::", "", ":1")),
    ("internalListen", ["9090"], ENDPOINTS),
    *(("statsd.globalTags", [text], TAGS) for text in ("a,b", "a|b", "a\nb")),
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
    ("realtimeRedis.db", "REALTIME_REDIS_DB", "x", '"x"', "a whole number from 0 to 2147483647"),
    ("protocol", "PROTOCOL", "all", '"all"', PROTOCOL),
    ("logLevel", "LOG_LEVEL", "loud", '"loud"', LEVEL),
    ("jwtAlgorithms", "JWT_ALGORITHMS", "HS256,none", '"HS256,none"', ALGORITHMS),
    ("jwtAlgorithms", "JWT_ALGORITHMS", " , ", '","', ALGORITHMS),
]


class ValueTests(ConfigTestCase):
    """Values that are not allowed."""

    def test_wrong_in_file(self) -> None:
        """A wrong value in the file is one line: key, file, value and what is allowed."""
        for key, value, allowed in WRONG_IN_FILE:
            self.assertEqual(
                self.faults({key: value}),
                [
                    f"{key} (in {self.file}): {without_secrets(json.dumps(value))} is not"
                    " allowed:"
                    f" it must be {allowed}"
                ],
            )

    def test_wrong_in_environment(self) -> None:
        """A wrong value in the environment is one line: key, variable, value, what is allowed."""
        for key, name, text, shown, allowed in WRONG_IN_ENVIRONMENT:
            self.assertEqual(
                self.faults({}, {name: text}),
                [
                    f"{key} ({name} in the environment): {shown} is not allowed:"
                    f" it must be {allowed}"
                ],
            )

    def test_not_text(self) -> None:
        """Bytes that are not UTF-8, and lone surrogates, are shown escaped and refused."""
        for key in ("redis.host", "redis.username", "port", "logLevel", "reusePort"):
            name = {sample.key: sample.environment_name for sample in SAMPLES}[key]
            for text in (os.fsdecode(b"a\xff"), "\ud800"):
                for faults in (self.faults({}, {name: text}), self.faults({key: text})):
                    self.assertEqual(len(faults), 1)
                    self.assertIn(f"{json.dumps(text)} is not allowed", faults[0])
        self.assertEqual(len(self.faults({"statsd.globalTags": ["a", "\udcff"]})), 1)
        self.assertEqual(len(self.faults({}, {"REDIS_PASSWORD": os.fsdecode(b"\xff")})), 1)


class SecretTests(ConfigTestCase):
    """Secrets to sign with."""

    def test_length(self) -> None:
        """32 bytes are enough, counted in UTF-8, and 31 are not."""
        for secret in ("x" * 32, "é" * 16, "😀" * 8):
            self.assertEqual(self.load({"jwtSecret": secret}).settings.jwt_secret, secret)
            self.assertEqual(self.load({}, {"JWT_SECRET": secret}).settings.jwt_secret, secret)
        for secret in ("", "x" * 31, "é" * 15 + "x"):
            self.assertEqual(len(self.faults({"jwtSecret": secret})), 1, secret)
        self.assertEqual(len(self.faults({}, {"JWT_SECRET": "x" * 31})), 1)

    def test_previous(self) -> None:
        """The previous secret is empty, or as long as the secret must be."""
        for secret, count in (("", 0), ("x" * 31, 1), ("x" * 32, 0), ("x", 1)):
            document = {"previousJwtSecret": secret}
            if count:
                self.assertEqual(len(self.faults(document)), count, secret)
            else:
                self.assertEqual(self.load(document).settings.previous_jwt_secret, secret)

    def test_realtime(self) -> None:
        """The secrets of Superset 7 are empty, or as long as the other secrets must be."""
        for key in ("realtimeJwtSecret", "previousRealtimeJwtSecret"):
            for secret in ("", "x" * 32):
                self.load({"protocol": "both", key: secret})
            for secret in ("x", "x" * 31):
                (fault,) = self.faults({"protocol": "both", key: secret})
                self.assertIn(f"{key} (in {self.file}): its value is not allowed", fault)

    def test_not_encodable(self) -> None:
        """A secret with a lone surrogate cannot sign anything."""
        self.assertEqual(len(self.faults({"jwtSecret": "\ud800" * 40})), 1)
