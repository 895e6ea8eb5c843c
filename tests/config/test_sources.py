"""The file, the environment, and files with a secret."""

from pathlib import Path

from gaq_twisted.config.load import load
from gaq_twisted.config.sources import configured_by
from tests.config.case import DEFAULTS, SAMPLES, SECRETS, ConfigTestCase, flat
from tests.support.samples import SECRET


class EnvironmentTests(ConfigTestCase):
    """Variables."""

    def test_blank_environment(self) -> None:
        """A blank variable counts as not set, a blank secret too."""
        for blank in ("", " ", "\t\n"):
            environ = {sample.environment_name: blank for sample in SAMPLES}
            settings, warnings, _ = self.load({"port": 81}, environ)
            self.assertEqual(flat(settings), {**DEFAULTS, "port": 81})
            self.assertEqual(warnings, [])

    def test_flag_spellings(self) -> None:
        """Flags in the environment are true, false, 1 or 0, in any case."""
        for text, value in (("true", True), ("TRUE", True), ("1", True), ("False", False)):
            self.assertIs(self.load({}, {"REDIS_SSL": text}).settings.redis.ssl, value, text)

    def test_other_environment(self) -> None:
        """Variables of other programs are ignored."""
        self.assertEqual(self.load({}, {"PATH": "x", "REDIS": "y", "port": "z"}).warnings, [])

    def test_kubernetes_service_link(self) -> None:
        """A variable that Kubernetes sets for a service of that name is ignored with a warning."""
        for key, name, default in (
            ("redis.port", "REDIS_PORT", 6379),
            ("statsd.port", "STATSD_PORT", 8125),
        ):
            for text in ("tcp://10.0.0.1:6379", " udp://[fd00::1]:8125"):
                settings, warnings, _ = self.load({}, {name: text})
                self.assertEqual(flat(settings)[key], default)
                self.assertEqual(len(warnings), 1, text)
                self.assertIn(f"{name}={text.strip()}", warnings[0])
                self.assertIn("Kubernetes", warnings[0])
        (warning,) = self.load({}, {"REDIS_PORT": "tcp://a\nb"}).warnings
        self.assertIn(r"=tcp://a\nb:", warning)


class SummaryTests(ConfigTestCase):
    """What the settings come from, in a few words."""

    def test_counts(self) -> None:
        """The file is named, and each variable counts once, however many settings it sets."""
        urls = {"REDIS_URL": "redis://user:password@redis:1/2"}
        tags = {"DD_ENV": "prod", "DD_SERVICE": "gaq"}
        for values, environ, expected in (
            ({}, {}, ""),
            ({}, {"PORT": "1"}, " and 1 variable"),
            ({"statsd.globalTags": ["a:b"]}, {**urls, **tags, "PATH": "x"}, " and 3 variables"),
        ):
            sources = self.load(values, environ).sources
            self.assertEqual(configured_by(self.file, sources), f"{self.file}{expected}")

    def test_no_file(self) -> None:
        """Without a file there are only variables, if any."""
        sources = load(None, {"JWT_SECRET": SECRET, "PORT": "1"}).sources
        self.assertEqual(configured_by(None, sources), "2 variables")
        self.assertEqual(configured_by(None, {}), "defaults only")


class UnknownKeyTests(ConfigTestCase):
    """Unknown keys in the file."""

    def test_nearest_name(self) -> None:
        """An unknown key, also in a section, is a warning with the nearest known name."""
        for key, near in (
            ("prot", "port"),
            ("PORT", None),
            ("redis_stream_prefix", "redisStreamPrefix"),
            ("redis.pasword", "redis.password"),
            ("statsd.globalTag", "statsd.globalTags"),
            ("statsd.protocol", None),
            ("statsd.prefix", None),
            ("statsd.path", None),
            ("jwtSecrets", "jwtSecret"),
            ("zzz", None),
        ):
            settings, warnings, _ = self.load({key: "x"})
            self.assertEqual(flat(settings), DEFAULTS)
            hint = f"; perhaps {near} is meant" if near else ""
            self.assertEqual(
                warnings, [f"ignored the unknown setting {key} (in {self.file}){hint}"]
            )

    def test_any_text(self) -> None:
        """Whatever a key contains, its warning is one line that any log and terminal can show."""
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
        """The key with which editors find the file's schema is accepted, but is not a setting."""
        self.assertEqual(self.load({"$schema": "docs/config.schema.json"}).warnings, [])

    def test_each_is_named(self) -> None:
        """Each of several unknown keys causes a warning, whatever its value."""
        warnings = self.load({"a": [1], "b": {"c": 2}, "redis.d": None}).warnings
        self.assertEqual([line.split()[4] for line in warnings], ["a", "b", "redis.d"])


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
        """The fault in a file's text is reported, with its position if it has one."""
        for content, reason in (
            (b'{"port": "\xff"}', "it is not UTF-8 (byte 10)"),
            (b"", "in line 1, column 1"),
            (b'{"port": 80,\n "redis": {host}}', "in line 2, column 12"),
            (b'{"port": 80}\n{}', "in line 2, column 1"),
            (b"[]", "it must hold a JSON object"),
            (b'"port"', "it must hold a JSON object"),
            (b"null", "it must hold a JSON object"),
            (b"[" * 100_000, "it is nested too deeply"),
            (b'{"a":' * 100_000, "it is nested too deeply"),
        ):
            fault = self.fault_of_text(content)
            self.assertTrue(fault.startswith(f"cannot read {self.file}: it "), fault)
            self.assertTrue(fault.endswith(reason), fault)

    def test_byte_order_mark(self) -> None:
        """A byte order mark, as Windows editors write it, is not part of the text."""
        self.file.write_bytes(b'\xef\xbb\xbf{"port": 81}')
        secret = Path(self.mktemp())
        secret.write_bytes(b"\xef\xbb\xbf" + SECRET.encode())
        settings = load(self.file, {"JWT_SECRET_FILE": str(secret)}).settings
        self.assertEqual((settings.port, settings.jwt_secret), (81, SECRET))

    def test_huge_number(self) -> None:
        """A number with more digits than Python reads is a fault like any other."""
        self.assertIn(str(self.file), self.fault_of_text(b'{"port": %b}' % (b"1" * 5000)))

    def test_section_is_not_an_object(self) -> None:
        """A section that is not an object is a fault, and its contents are not shown."""
        for value in ("redis://:hunter2@redis:6379", ["hunter2"], None, 6379):
            self.assertEqual(
                self.faults({"redis": value}),
                [f"redis (in {self.file}): it must be an object, as in config.example.json"],
            )


class SecretFileTests(ConfigTestCase):
    """Secrets in files of their own."""

    def secret_file(self, content: bytes) -> str:
        """Returns the path of a new file with that content."""
        file = Path(self.mktemp()).resolve()
        file.write_bytes(content)
        return str(file)

    def test_in_a_file(self) -> None:
        """Each secret can be in a file of its own; the trailing line end is ignored."""
        for sample in SAMPLES:
            if sample.key not in SECRETS:
                continue
            for end in (b"", b"\n", b"\r\n"):
                name = f"{sample.environment_name}_FILE"
                path = self.secret_file(b" " + SECRET.encode() + b" " + end)
                loaded = self.load({}, {name: path})
                self.assertEqual(flat(loaded.settings), {**DEFAULTS, sample.key: f" {SECRET} "})
                self.assertEqual(loaded.sources[sample.key], f"{name} in the environment")

    def test_file_beside_other_sources(self) -> None:
        """Such a file overrides the configuration file, and may not be set with the variable."""
        path = self.secret_file(b"y" * 40)
        self.assertEqual(self.load({}, {"JWT_SECRET_FILE": path}).settings.jwt_secret, "y" * 40)
        environ = {"JWT_SECRET_FILE": path, "JWT_SECRET": "z" * 40}
        self.assertEqual(
            self.faults({}, environ),
            ["JWT_SECRET and JWT_SECRET_FILE are both set: remove one of them"],
        )
        self.assertEqual(self.load({}, {"JWT_SECRET_FILE": " "}).settings.jwt_secret, SECRET)

    def test_bad_secret_file(self) -> None:
        """A file that cannot be used is named with its variable, and its contents are not shown."""
        for path, reason in (
            ("/no/such/file", "No such file or directory"),
            (self.secret_file(b"hunter2\xff" * 9), "it is not UTF-8"),
            (self.secret_file(b" \n"), "is empty"),
            ("/no\n/such\udcff", r"cannot read /no\n/such\udcff (set in"),
            (self.secret_file(b"hunter2\n"), "its value is not allowed"),
        ):
            (fault,) = self.faults({}, {"JWT_SECRET_FILE": path})
            for part in (reason, "JWT_SECRET_FILE"):
                self.assertIn(part, fault)
            self.assertTrue(fault.isprintable())
            self.assertNotIn("hunter2", fault)
