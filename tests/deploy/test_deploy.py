"""What is in `deploy/` for systemd, containers and Kubernetes, run as far as a test can.

They need Debian's systemd, whose tools check its units: `make test-deploy` installs it.
"""

import json
import os
import re
import resource
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from urllib.error import HTTPError
from urllib.request import urlopen

import trustme
import yaml
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from gaq_twisted.config.catalogue import all_settings
from gaq_twisted.config.errors import ConfigError
from gaq_twisted.config.load import load
from tests.support.processes import (
    DEADLINE_SECONDS,
    ROOT,
    Program,
    RedisProcess,
    Tab,
    environment,
    free_port,
    health,
)
from tests.support.samples import SECRET
from tests.support.sandbox import Rules, allowed_calls

DEPLOY = ROOT / "deploy"
UNITS = DEPLOY / "systemd"
SERVICES = ("gaq-ws.service", "gaq-ws@.service")
INSTALLED = "/opt/gaq-twisted/bin"
BIN = Path(sys.executable).parent
# systemd's scale is from 0 to 100 here; beyond 50 a service is rated as exposed.
MOST_EXPOSURE = 20
# Of Superset 7.
REALTIME_SECRET = "another secret of the tests, for Superset 7"


class Unit:
    """A unit file as systemd reads it."""

    def __init__(self, name: str) -> None:
        """Read it."""
        self.lines = [
            line
            for line in (UNITS / name).read_text().splitlines()
            if line and not line.startswith("#")
        ]

    def values(self, key: str) -> list[str]:
        """Return all values of a key, in their order."""
        return [line.partition("=")[2] for line in self.lines if line.startswith(f"{key}=")]

    def value(self, key: str) -> str:
        """Return the one value of a key."""
        (value,) = self.values(key)
        return value

    def environ(self, **specifiers: str) -> dict[str, str]:
        """Return the environment variables, with specifiers replaced."""
        environ = {}
        for assignment in self.values("Environment"):
            name, _, value = assignment.partition("=")
            environ[name] = re.sub("%(.)", lambda match: specifiers[match[1]], value)
        return environ


class UnitTests(SynchronousTestCase):
    """The units as systemd and the settings see them."""

    def setUp(self) -> None:
        """Copy the units to where their program exists."""
        self.directory = Path(self.mktemp()).resolve()
        shutil.copytree(UNITS, self.directory)
        for name in SERVICES:
            file = self.directory / name
            text = file.read_text()
            self.assertIn(INSTALLED, text)
            file.write_text(text.replace(INSTALLED, str(BIN)))

    def analyze(self, *arguments: str) -> str:
        """Return what systemd-analyze says; it must be content."""
        ended = subprocess.run(
            ["systemd-analyze", *arguments],
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_SECONDS,
        )
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        return ended.stderr

    def test_verify(self) -> None:
        """Systemd understands every line; with and without the drop-in for the socket."""
        units = ["./gaq-ws.service", "./gaq-ws@1.service", "./gaq-ws.socket", "./gaq-ws.target"]
        self.assertEqual(self.analyze("verify", "--man=no", *units), "")
        shutil.rmtree(self.directory / "gaq-ws.service.d")
        self.assertEqual(self.analyze("verify", "--man=no", *units), "")

    def test_exposure(self) -> None:
        """By systemd's own measure the services are well protected."""
        for name in SERVICES:
            self.analyze("security", "--offline=true", f"--threshold={MOST_EXPOSURE}", f"./{name}")

    def test_alike(self) -> None:
        """The two services differ in what several processes need, and in nothing else."""
        one, many = (Unit(name).lines for name in SERVICES)
        different = [line for line in many if line not in one]
        self.assertEqual(
            [line.partition("=")[0] for line in different],
            ["Description", "PartOf", "Environment", "Environment", "WantedBy"],
        )
        self.assertEqual(
            [line.partition("=")[0] for line in one if line not in many],
            ["Description", "WantedBy"],
        )

    def test_settings(self) -> None:
        """Every variable that is set, also in comments, is one that the server reads."""
        known = set()
        for setting in all_settings():
            known.add(setting.environment_name)
            if setting.is_secret:
                known.add(f"{setting.environment_name}_FILE")
        files = [file for file in UNITS.rglob("*") if file.is_file()]
        found = {
            name
            for file in files
            for name in re.findall(r"^#?Environment=(\w+)=", file.read_text(), re.MULTILINE)
        }
        self.assertEqual(found - known, set())
        self.assertTrue(
            {"JWT_SECRET_FILE", "REUSE_PORT", "INTERNAL_LISTEN", "LISTEN"} <= found, found
        )

    def test_time_to_stop(self) -> None:
        """Systemd waits longer for the end than a server with default settings needs."""
        settings = load(None, {"JWT_SECRET": SECRET}).settings
        for name in SERVICES:
            seconds = int(Unit(name).value("TimeoutStopSec").removesuffix("s"))
            self.assertGreater(seconds * 1000, settings.drain_delay_ms + settings.drain_ms)


class ServiceTests(SynchronousTestCase):
    """The services' command, where it may do what the unit lets it do."""

    def setUp(self) -> None:
        """Start a Redis, and put files where the unit wants them."""
        self.redis = RedisProcess(self)
        self.environ = environment(self.redis.port)
        self.port = int(self.environ["PORT"])
        del self.environ["JWT_SECRET"]
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        (self.directory / "config.json").write_text("{}")
        (self.directory / "jwt-secret").write_text(f"{SECRET}\n")
        self.unit = Unit("gaq-ws.service")

    def command(self, unit: Unit) -> list[str]:
        """Return the command of a unit."""
        text = unit.value("ExecStart").replace(INSTALLED, str(BIN))
        return shlex.split(text.replace("${CONFIGURATION_DIRECTORY}", str(self.directory)))

    def sandboxed(self, unit: Unit, *, deny_write_execute: bool = False) -> list[str]:
        """Return the command of a unit, to be run with its restrictions, and perhaps one more."""
        self.assertEqual(unit.value("NoNewPrivileges"), "yes")
        self.assertEqual(unit.value("CapabilityBoundingSet"), "")
        rules = Rules(
            allowed_calls(*unit.values("SystemCallFilter")),
            unit.value("RestrictAddressFamilies").split(),
            # No more than this test may, if that is less.
            min(int(unit.value("LimitNOFILE")), _hard_limit()),
            deny_write_execute,
        )
        return [
            *(sys.executable, "-m", "tests.support.sandbox", json.dumps(rules._asdict())),
            *self.command(unit),
        ]

    def start(self, command: list[str], environ: dict[str, str]) -> Program:
        """Start a command in a read-only file system."""
        return Program(
            self,
            _read_only(command, ROOT),
            environ={**self.environ, **environ, "PYTHONPATH": str(ROOT)},
        )

    def test_restrictions(self) -> None:
        """Under the restrictions of each unit it serves, with TLS too, is reloaded, and stops."""
        for name in SERVICES:
            self.check_restrictions(Unit(name))

    def check_restrictions(self, unit: Unit) -> None:
        """Check that a server under the restrictions of a unit works."""
        environ = unit.environ(d=str(self.directory), i="1")
        # Fixed in the unit, and perhaps taken here.
        environ.pop("INTERNAL_LISTEN", None)
        tls_port = free_port()
        environ["LISTEN"] = f"tcp:{self.port},{self.tls_endpoint(tls_port)}"
        program = self.start(self.sandboxed(unit), environ)
        program.wait_until(lambda: "following" in program.text(), "not following")
        with Tab(self.port) as tab:
            self.redis.publish("job")
            self.assertEqual(tab.jobs(1), ["job"])
            with urlopen(
                f"https://127.0.0.1:{tls_port}/health",
                timeout=DEADLINE_SECONDS,
                context=_any_certificate(),
            ) as answer:
                self.assertEqual(answer.read(), b"OK")
            program.process.send_signal(_signal_of(unit.value("ExecReload")))
            program.wait_until(lambda: "settings reloaded" in program.text(), "no reload")
            self.redis.publish("another")
            self.assertEqual(tab.jobs(1), ["another"])
        self.assertEqual(program.stop(), 0)
        self.assertNotIn("Traceback", program.text())

    def test_write_execute(self) -> None:
        """What the units say of MemoryDenyWriteExecute is true: without TLS it works."""
        for name in SERVICES:
            self.assertIn("#MemoryDenyWriteExecute=yes", (UNITS / name).read_text())
            self.assertEqual(Unit(name).values("MemoryDenyWriteExecute"), [])
        command = self.sandboxed(self.unit, deny_write_execute=True)
        environ = self.unit.environ(d=str(self.directory))
        plain = self.start(command, environ)
        plain.wait_until(lambda: "following" in plain.text(), "not following")
        self.assertEqual(plain.stop(), 0)
        tls = self.start(command, {**environ, "LISTEN": self.tls_endpoint(free_port())})
        self.assertEqual(tls.wait(), 1)
        self.assertIn("Cannot allocate write+execute memory", tls.text())

    def tls_endpoint(self, port: int) -> str:
        """Return an endpoint that has a certificate."""
        file = self.directory / "both.pem"
        trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(file)
        return f"ssl:{port}:privateKey={file}:certKey={file}"

    def test_restrictions_restrict(self) -> None:
        """The sandbox of the test above is one."""
        command = self.sandboxed(self.unit)
        code = (
            "import socket\n"
            "for family in (socket.AF_INET, socket.AF_NETLINK):\n"
            "    try: socket.socket(family)\n"
            "    except PermissionError: print('refused', family.name)\n"
            "try: open('x', 'w')\n"
            "except OSError as error: print(error.strerror)\n"
        )
        inner = [*command[: -len(self.command(self.unit))], sys.executable, "-c", code]
        program = self.start(inner, {})
        self.assertEqual(program.wait(), 0, program.text())
        self.assertEqual(program.text(), "refused AF_NETLINK\nRead-only file system\n")

    def test_socket(self) -> None:
        """With the socket's drop-in it serves on the port that systemd has opened."""
        drop_in = Unit("gaq-ws.service.d/socket.conf")
        self.assertTrue(Unit("gaq-ws.socket").value("ListenStream").startswith("0.0.0.0:"))
        environ = {
            **self.environ,
            **self.unit.environ(d=str(self.directory)),
            **drop_in.environ(),
            # Not to be used.
            "PORT": "1",
        }
        passed = [f"--setenv={name}={value}" for name, value in environ.items()]
        program = Program(
            self,
            [
                *("systemd-socket-activate", f"--listen=127.0.0.1:{self.port}"),
                # As systemd itself does.
                *("--fdname=gaq-ws.socket", *passed),
                *self.command(self.unit),
            ],
        )
        program.wait_until(lambda: "Listening" in program.text(), "not listening")
        # It is started by the first connection, which waits until it is served.
        self.assertEqual(health(self.port), 200)
        program.wait_until(lambda: "following" in program.text(), "not following")
        with Tab(self.port) as tab:
            self.redis.publish("job")
            self.assertEqual(tab.jobs(1), ["job"])


class Instruction(NamedTuple):
    """One instruction of a Dockerfile."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """Its arguments, of the form that is run without a shell."""
        words: list[str] = json.loads(self.text)
        return words


class DockerTests(SynchronousTestCase):
    """The Dockerfile, whose steps are carried out without a container."""

    def setUp(self) -> None:
        """Read it."""
        self.file = DEPLOY / "docker" / "Dockerfile"
        text = self.file.read_text()
        arguments = dict(re.findall(r"^ARG (\w+)=(.*)$", text, re.MULTILINE))
        for name, value in arguments.items():
            text = text.replace(f"${{{name}}}", value)
        self.stages: list[list[Instruction]] = []
        for instruction in _instructions(text):
            if instruction.name == "FROM":
                self.stages.append([])
            if self.stages:
                self.stages[-1].append(instruction)

    def last(self, name: str) -> Instruction:
        """Return the one instruction of that name in the last stage."""
        (found,) = (one for one in self.stages[-1] if one.name == name)
        return found

    def test_lint(self) -> None:
        """Hadolint has nothing to say."""
        ended = subprocess.run(
            [BIN / "hadolint", self.file], capture_output=True, text=True, check=False, timeout=20
        )
        self.assertEqual((ended.returncode, ended.stdout + ended.stderr), (0, ""))

    def test_user(self) -> None:
        """The server does not run as root, and Kubernetes can tell."""
        self.assertTrue(re.fullmatch(r"[1-9]\d*:[1-9]\d*", self.last("USER").text))

    def test_image(self) -> None:
        """What the image is built of suffices; its server runs read-only and stops on SIGTERM."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        root = Path(directory.name).resolve()
        context = root / "src"
        for path in _build_context():
            (context / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, context / path)

        # The steps name these paths.
        places = {"/src": str(context), "/opt/gaq-twisted": str(root / "gaq-twisted")}
        # What the test itself imports from is nothing that the image has.
        bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        build, final = self.stages
        for instruction in build:
            if instruction.name == "RUN":
                subprocess.run(
                    ["sh", "-ec", _moved(instruction.text, places)],
                    cwd=root,
                    env=bare,
                    check=True,
                    capture_output=True,
                    timeout=600,
                )
        (cache,) = (root / "gaq-twisted").rglob("dropin.cache")
        self.assertIn(b"gaq_ws", cache.read_bytes())
        for unwanted in ("test", "tests", "pip"):
            self.assertEqual([*(root / "gaq-twisted").rglob(unwanted)], [])
        copied = [one.text for one in final if one.name == "COPY"]
        self.assertEqual(copied[0], "--from=build /opt/gaq-twisted /opt/gaq-twisted")
        for text in copied[1:]:
            source, target = text.split()
            shutil.copy(context / source, _moved(target, places))

        home = root / "home"
        home.mkdir()
        redis = RedisProcess(self)
        environ = environment(redis.port)
        port = int(environ.pop("PORT"))
        (home / "config.json").write_text(json.dumps({"port": port, "basePath": "/ws"}))
        path = _moved(self.last("ENV").text.removeprefix("PATH="), places)
        environ["PATH"] = path.replace("$PATH", os.environ["PATH"])
        server = Program(
            self, _read_only(self.last("CMD").words, home), environ=environ, directory=home
        )
        server.wait_until(lambda: "following" in server.text(), "not following")
        with Tab(port) as tab:
            redis.publish("job")
            self.assertEqual(tab.jobs(1), ["job"])
        check = self.health_check(places)
        self.assertEqual(Program(self, check, environ=environ, directory=home).wait(), 0)
        self.assertEqual(server.stop(), 0)
        self.assertNotIn("cache", server.text())
        self.assertNotEqual(Program(self, check, environ=environ, directory=home).wait(), 0)
        self.assertEqual([file.name for file in home.iterdir()], ["config.json"])

    def test_health_check(self) -> None:
        """It asks where the settings say, whatever kind of endpoint that is."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        home = Path(directory.name)
        certificate = home / "cert.pem"
        trustme.CA().issue_cert("a.test").private_key_and_cert_chain_pem.write_to_path(certificate)
        one, two, three, internal = (free_port() for _ in range(4))
        endpoints = [
            f"tcp:{one}:interface=127.0.0.1",
            f"haproxy:tcp:port={two}:interface=127.0.0.1",
            f"ssl:{three}:privateKey={certificate}:interface=127.0.0.1",
            rf"unix:{home}/gaq\:1.sock",
        ]
        environ = {
            **environment(RedisProcess(self).port),
            "LISTEN": ",".join(endpoints),
            "INTERNAL_LISTEN": f"tcp:{internal}:interface=127.0.0.1",
            "BASE_PATH": "/a/b",
        }
        server = Program(self, [BIN / "gaq-ws"], environ=environ, directory=home)
        server.wait_until(lambda: "following" in server.text(), "not following")
        check: list[str | Path] = [sys.executable, DEPLOY / "docker" / "healthcheck.py"]
        for listen in (*endpoints, "systemd:domain=INET:index=0"):
            program = Program(self, check, environ={**environ, "LISTEN": listen}, directory=home)
            self.assertEqual((program.wait(), program.text()), (0, ""), listen)
        for changes, reason in (
            ({"BASE_PATH": "/other"}, "/other/health answered 404"),
            ({"LISTEN": "systemd:domain=INET:index=0", "INTERNAL_LISTEN": ""}, "internalListen"),
            ({"LISTEN": f"tcp:{free_port()}"}, "refused"),
        ):
            program = Program(self, check, environ={**environ, **changes}, directory=home)
            self.assertEqual(program.wait(), 1)
            self.assertIn(reason, program.text())

    def health_check(self, places: dict[str, str]) -> list[str]:
        """Return the command that tells whether the container is healthy."""
        _, _, command = self.last("HEALTHCHECK").text.partition("CMD ")
        return [_moved(word, places) for word in json.loads(command)]


class HelmTests(SynchronousTestCase):
    """The values for Superset's chart."""

    # What the chart's templates read of `supersetWebsockets`, of 0.13 to 0.22.
    CHART_KEYS = {
        *("enabled", "replicaCount", "podDisruptionBudget", "ingress", "image", "config"),
        *("service", "command", "resources", "extraContainers", "deploymentAnnotations"),
        *("affinity", "topologySpreadConstraints", "podAnnotations", "podLabels", "strategy"),
        *("podSecurityContext", "containerSecurityContext", "startupProbe", "livenessProbe"),
        *("readinessProbe", "priorityClassName"),
    }
    # What the chart writes into the file where the values say nothing.
    CHART_CONFIG: dict[str, Any] = {
        "port": 8080,
        "logLevel": "debug",
        "logToFile": False,
        "logFilename": "app.log",
        "statsd": {"host": "127.0.0.1", "port": 8125, "globalTags": []},
        "redis": {"port": 6379, "host": "127.0.0.1", "password": "", "db": 0, "ssl": False},
        "redisStreamPrefix": "async-events-",
        "jwtSecret": "CHANGE-ME",
        "jwtCookieName": "async-token",
    }
    MOUNTED_AT = "/home/superset-websocket/config.json"
    GRACE_SECONDS = 30

    def setUp(self) -> None:
        """Write the file that the chart would mount."""
        self.values = yaml.safe_load((DEPLOY / "helm" / "values.yaml").read_text())
        self.websockets = self.values["supersetWebsockets"]
        self.file = Path(self.mktemp()).resolve()
        self.port = free_port()
        merged = _merged(self.CHART_CONFIG, self.websockets["config"])
        self.file.write_text(json.dumps({**merged, "port": self.port}))

    def environ(self, **more: str) -> dict[str, str]:
        """Return the variables that the chart sets from its secret."""
        return {
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": "6379",
            "DB_HOST": "superset-postgresql",
            "DB_PORT": "5432",
            **more,
        }

    def test_keys(self) -> None:
        """The chart knows every key."""
        self.assertEqual(set(self.websockets) - self.CHART_KEYS, set())
        self.assertEqual(
            set(self.values), {"supersetWebsockets", "ingress", "extraSecretEnv", "configOverrides"}
        )
        # The chart refuses both.
        budget = self.websockets["podDisruptionBudget"]
        self.assertEqual((budget["minAvailable"], budget["maxUnavailable"]), (1, None))

    def test_version(self) -> None:
        """The image's tag is the version."""
        self.assertEqual(self.websockets["image"]["tag"], version("gaq-twisted"))

    def test_secret_is_needed(self) -> None:
        """Without a secret of one's own there is no start, since the chart's is known to all."""
        for secret in ("", self.values["extraSecretEnv"]["JWT_SECRET"]):
            environ = self.environ(JWT_SECRET=secret)
            with self.assertRaises(ConfigError) as caught:
                load(self.file, environ)
            (fault,) = caught.exception.faults
            self.assertTrue(fault.startswith("jwtSecret "), fault)

    def test_both_use_one_redis(self) -> None:
        """Superset and the server find the same Redis and secret, whatever the chart sets."""
        older: dict[str, str] = {}
        newer = {"REDIS_DB": "5", "REDIS_PASSWORD": "a password"}
        for more in (older, newer):
            environ = self.environ(JWT_SECRET=SECRET, **more)
            loaded = load(self.file, environ)
            self.assertEqual(loaded.warnings, [])
            superset: dict[str, Any] = {}
            self.patch(os, "environ", environ)
            for text in self.values["configOverrides"].values():
                exec(text, {"os": os}, superset)
            backend = superset["GLOBAL_ASYNC_QUERIES_CACHE_BACKEND"]
            redis = loaded.settings.redis
            self.assertEqual(
                [backend[f"CACHE_REDIS_{key}"] for key in ("HOST", "PORT", "DB", "PASSWORD")],
                [redis.host, redis.port, redis.db, redis.password],
            )
            self.assertEqual(
                superset["GLOBAL_ASYNC_QUERIES_JWT_SECRET"], loaded.settings.jwt_secret
            )
            self.assertTrue(superset["FEATURE_FLAGS"]["GLOBAL_ASYNC_QUERIES"])

    def test_time_to_stop(self) -> None:
        """Kubernetes waits long enough for the drain, though the chart cannot tell it to."""
        chart = self.websockets["config"]
        self.assertLess(chart["drainDelayMs"] + chart["drainMs"], self.GRACE_SECONDS * 1000 - 5000)

    def test_server(self) -> None:
        """The command starts a server that the probes and the ingress reach."""
        redis = RedisProcess(self)
        command = self.websockets["command"]
        self.assertIn(self.MOUNTED_AT, command)
        server = Program(
            self,
            _read_only(
                [
                    str(BIN / word)
                    if word == "gaq-ws"
                    else word.replace(self.MOUNTED_AT, str(self.file))
                    for word in command
                ],
                ROOT,
            ),
            environ=self.environ(REDIS_PORT=str(redis.port), JWT_SECRET=SECRET, DRAIN_DELAY_MS="0"),
        )
        server.wait_until(lambda: "following" in server.text(), "not following")
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            self.assertEqual(self.probe(probe), 200, probe)
        (origin,) = (f"https://{host}" for host in self.values["ingress"]["hosts"])
        with Tab(self.port, path=self.websockets["ingress"]["path"], origin=origin) as tab:
            redis.client.select(1)
            redis.publish("job")
            self.assertEqual(tab.jobs(1), ["job"])
        redis.kill()
        server.wait_until(lambda: self.probe("readinessProbe") == 503, "still ready")
        self.assertEqual(self.probe("livenessProbe"), 200)
        self.assertEqual(server.stop(), 0)
        for line in server.text().splitlines():
            json.loads(line)

    def probe(self, name: str) -> int:
        """Return the status that a probe sees."""
        asked = self.websockets[name]["httpGet"]
        # The chart's name for the container's port.
        self.assertEqual(asked["port"], "ws")
        try:
            with urlopen(
                f"http://127.0.0.1:{self.port}{asked['path']}", timeout=DEADLINE_SECONDS
            ) as answer:
                return int(answer.status)
        except HTTPError as error:
            return error.code


class Superset7Tests(HelmTests):
    """The values for Superset 7, on top of the others."""

    def setUp(self) -> None:
        """Merges the values, and writes the file that the chart would mount."""
        super().setUp()
        more = yaml.safe_load((DEPLOY / "helm" / "superset-7.yaml").read_text())
        self.values = _merged(self.values, more)
        self.websockets = self.values["supersetWebsockets"]
        merged = _merged(self.CHART_CONFIG, self.websockets["config"])
        self.file.write_text(json.dumps({**merged, "port": self.port}))

    def environ(self, **more: str) -> dict[str, str]:
        """Returns the variables that the chart sets from its secret."""
        return super().environ(**{"REALTIME_JWT_SECRET": REALTIME_SECRET, **more})

    def test_secrets_are_needed(self) -> None:
        """The secret for Superset 7 must be one's own too."""
        given = self.values["extraSecretEnv"]["REALTIME_JWT_SECRET"]
        environ = self.environ(JWT_SECRET=SECRET, REALTIME_JWT_SECRET=given)
        with self.assertRaises(ConfigError) as caught:
            load(self.file, environ)
        (fault,) = caught.exception.faults
        self.assertTrue(fault.startswith("realtimeJwtSecret "), fault)

    def test_superset_7(self) -> None:
        """Superset 7 and the server have the same Redis, secret, cookie and channel."""
        environ = self.environ(JWT_SECRET=SECRET, REDIS_DB="5", REDIS_PASSWORD="a password")
        settings = load(self.file, environ).settings
        self.assertEqual(settings.protocol, "both")
        superset: dict[str, Any] = {}
        self.patch(os, "environ", environ)
        for text in self.values["configOverrides"].values():
            exec(text, {"os": os}, superset)
        backend = superset["DISTRIBUTED_COORDINATION_CONFIG"]
        redis = settings.realtime_redis
        self.assertEqual(
            [backend[f"CACHE_REDIS_{key}"] for key in ("HOST", "PORT", "PASSWORD")],
            [redis.host, redis.port, redis.password],
        )
        self.assertEqual(superset["WEBSOCKET_JWT_SECRET"], settings.realtime_jwt_secret)
        self.assertNotEqual(settings.jwt_secret, settings.realtime_jwt_secret)
        self.assertEqual(superset["REALTIME_CHANNEL_PREFIX"], settings.realtime_channel_prefix)
        cookies = (settings.jwt_cookie_name, settings.realtime_jwt_cookie_name)
        self.assertEqual(cookies, ("async-token", "superset-ws-token"))
        self.assertEqual(superset["WEBSOCKET_URL"], superset["GLOBAL_ASYNC_QUERIES_WEBSOCKET_URL"])


class ComposeLoader(yaml.SafeLoader):
    """Reads YAML with the tags by which a Compose file replaces parts of another."""


def _value(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    """Returns what stands behind a tag that says how it is merged."""
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    assert isinstance(node, yaml.SequenceNode)
    return loader.construct_sequence(node, deep=True)


ComposeLoader.add_constructor("!reset", lambda loader, node: None)
ComposeLoader.add_constructor("!override", _value)


class ComposeTests(SynchronousTestCase):
    """The Compose file in place of Superset's service for its Node.js server."""

    SECRETS: ClassVar[dict[str, str]] = {
        "JWT_SECRET": SECRET,
        "REALTIME_JWT_SECRET": REALTIME_SECRET,
    }

    def setUp(self) -> None:
        """Reads the file."""
        text = (DEPLOY / "compose" / "docker-compose.override.yml").read_text()
        self.services = yaml.load(text, ComposeLoader)["services"]
        self.service = self.services["superset-websocket"]

    def environ(self, **more: str) -> dict[str, str]:
        """Returns the variables of the container, with the secrets filled in."""
        environ = {}
        for name, value in self.service["environment"].items():
            self.assertIsInstance(value, str, name)
            filled = re.sub(r"\$\{(\w+):\?[^}]+\}", lambda match: self.SECRETS[match[1]], value)
            self.assertNotIn("$", filled)
            environ[name] = filled
        return {**environ, **more}

    def test_service(self) -> None:
        """It replaces one service, with its image, and takes nothing of the Node.js server."""
        self.assertEqual(list(self.services), ["superset-websocket"])
        self.assertEqual(self.service["image"], "gaq-twisted")
        for key in ("build", "volumes"):
            self.assertIsNone(self.service[key])

    def test_settings(self) -> None:
        """Every variable is a setting, and the server can use all of them, for both protocols."""
        environ = self.environ()
        known = {setting.environment_name for setting in all_settings()}
        self.assertLessEqual(set(environ), known)
        loaded = load(None, environ)
        self.assertEqual(loaded.warnings, [])
        settings = loaded.settings
        self.assertEqual(settings.protocol, "both")
        self.assertEqual(
            (settings.jwt_secret, settings.realtime_jwt_secret), (SECRET, REALTIME_SECRET)
        )
        self.assertEqual((settings.redis.host, settings.realtime_redis.host), ("redis", "redis"))
        (published,) = self.service["ports"]
        self.assertEqual(published.split(":")[-1], str(settings.port))

    def test_other_protocols(self) -> None:
        """What its comments say for one protocol alone works."""
        self.assertEqual(
            load(None, self.environ(PROTOCOL="realtime")).settings.protocol, "realtime"
        )
        older = {
            name: value
            for name, value in self.environ(PROTOCOL="streams").items()
            if not name.startswith("REALTIME")
        }
        loaded = load(None, older)
        self.assertEqual((loaded.settings.protocol, loaded.warnings), ("streams", []))

    def test_time_to_stop(self) -> None:
        """Compose waits longer than the drain takes."""
        settings = load(None, self.environ()).settings
        seconds = int(self.service["stop_grace_period"].removesuffix("s"))
        drain_ms = settings.drain_delay_ms + settings.drain_ms
        self.assertLess(drain_ms + 2000, seconds * 1000)


def _read_only(command: list[str], directory: Path) -> list[str | Path]:
    """Return a command that runs another where nothing can be written.

    Raises:
        SkipTest: if the test may not do so.
    """
    if os.geteuid() != 0:
        raise SkipTest("only root may do this")
    script = (
        "for place in / /tmp /var /home /root; do"
        ' if mountpoint --quiet "$place"; then mount -o remount,bind,ro "$place"; fi;'
        ' done && cd "$0" && exec "$@"'
    )
    return ["unshare", "--mount", "--propagation=private", "sh", "-ec", script, directory, *command]


def _any_certificate() -> Any:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _hard_limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def _signal_of(command: str) -> int:
    """Return the signal that a `kill` command sends to the main process."""
    match = re.fullmatch(r"/bin/kill -(\w+) \$MAINPID", command)
    assert match is not None, command
    return signal.Signals[f"SIG{match[1]}"]


def _instructions(text: str) -> Iterator[Instruction]:
    """Yield the instructions of a Dockerfile."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, rest = line.partition(" ")
        yield Instruction(name, re.sub(r"\s+", " ", rest).strip())


def _build_context() -> list[str]:
    """Return the files that .dockerignore lets into the image's build."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [line[1:] for line in lines if line.startswith("!")]
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *allowed],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return listed.stdout.splitlines()


def _moved(text: str, places: dict[str, str]) -> str:
    for old, new in places.items():
        text = re.sub(rf"(?<![\w/]){re.escape(old)}(?![\w-])", new, text)
    return text


def _merged(default: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return values with defaults, as Helm merges them."""
    merged = dict(default)
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            value = _merged(merged[key], value)
        merged[key] = value
    return merged
