"""String types: which texts they accept."""

import json

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.config.forms import (
    EndpointString,
    FilePath,
    HostName,
    OriginParts,
    StatsdHost,
    Tag,
    host_without_root,
    origin_parts,
)
from gaq_twisted.config.secrecy import without_secrets
from tests.config.case import ADDRESSES, ConfigTestCase


class TextTests(SynchronousTestCase):
    """Hosts, paths, endpoints and tags."""

    def test_good(self) -> None:
        """A text of the right form is kept unchanged."""
        for form, text in (
            (HostName, "redis"),
            (HostName, "redis_1.example.com."),
            (HostName, "10.0.0.1"),
            (HostName, "2001:db8::1"),
            (HostName, "::ffff:10.0.0.1"),
            (HostName, "b\u00fccher.example"),
            (StatsdHost, "agent"),
            (StatsdHost, "/run/dsd.socket"),
            (StatsdHost, "unix:///run/dsd.socket"),
            (FilePath, ""),
            (FilePath, "/etc/ssl/my ca.pem"),
            (EndpointString, "tcp:80"),
            (EndpointString, r"tcp:80:interface=\:\:"),
            (EndpointString, "unix:/run/gaq@1.sock"),
            (Tag, "env:prod"),
            (Tag, "a b"),
        ):
            self.assertEqual(form(text), text)

    def test_bad(self) -> None:
        """Any other text is refused."""
        for form, text in (
            (HostName, ""),
            (HostName, "redis:6379"),
            (HostName, "\ufeffredis"),
            (HostName, "[::1]"),
            (HostName, "::1]"),
            (HostName, "redis://redis"),
            (HostName, "user@redis"),
            (HostName, "/run/redis.sock"),
            (HostName, "x" * 256),
            (StatsdHost, "udp://agent:8125"),
            (StatsdHost, "unix://"),
            (FilePath, "-----BEGIN CERTIFICATE-----"),
            (FilePath, "a\nb"),
            (EndpointString, "8081"),
            (EndpointString, "0.0.0.0:8081"),
            (EndpointString, "interface=::"),
            (Tag, "a,b"),
            (Tag, "a|b"),
            (Tag, "a\n"),
        ):
            self.assertRaises(ValueError, form, text)


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
        """Anything that is not an address, anywhere in the list, is a fault that shows it."""
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
                        f"redis.sentinels (in {self.file}): {without_secrets(json.dumps(values))}"
                        f" is not allowed: it must be {ADDRESSES}"
                    ],
                )


class OriginTests(SynchronousTestCase):
    """Origins and their parts."""

    def test_parts(self) -> None:
        """The port of the scheme is added, and names are compared in lower case."""
        for origin, parts in (
            ("https://BI.example.com", ("https", "bi.example.com", 443)),
            ("http://bi.example.com.:8088", ("http", "bi.example.com", 8088)),
            ("http://[::1]", ("http", "[::1]", 80)),
            ("app://x", ("app", "x", 0)),
        ):
            self.assertEqual(origin_parts(origin), OriginParts(*parts))
        for text in ("", "null", "bi.example.com", "https://bi.example.com/", "https://a:65536"):
            self.assertIsNone(origin_parts(text), text)

    def test_root(self) -> None:
        """An absolute host name is the same as the usual one."""
        self.assertEqual(host_without_root("a.example."), "a.example")
        self.assertEqual(host_without_root("a.example"), "a.example")
