"""The manifests in `deploy/kubernetes/`, against Kubernetes's schemas and a real server."""

import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import kubernetes_validate
import yaml
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.config.catalogue import all_settings
from gaq_twisted.config.load import Loaded, load
from tests.support.processes import (
    DEADLINE_SECONDS,
    ROOT,
    Program,
    RedisProcess,
    Tab,
    environment,
    free_port,
)
from tests.support.samples import SECRET

FOLDER = ROOT / "deploy" / "kubernetes"
# The first that has all fields that are used, and the newest whose schemas are known.
OLDEST, NEWEST = "1.27", kubernetes_validate.latest_version()
CONTENTS = {
    "jwt-secret": SECRET,
    "realtime-jwt-secret": "another secret of the tests, for Superset 7",
    "redis-password": "a password of the tests",
}


def _read(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


class ManifestTests(SynchronousTestCase):
    """The manifests as Kubernetes reads them, and how they refer to each other."""

    def setUp(self) -> None:
        """Reads all."""
        self.kustomization = _read("kustomization.yaml")
        self.manifests = {name: _read(name) for name in self.kustomization["resources"]}
        self.deployment = self.manifests["deployment.yaml"]["spec"]
        self.template = self.deployment["template"]
        self.pod = self.template["spec"]
        (self.container,) = self.pod["containers"]

    def test_schemas(self) -> None:
        """Each fits the schema of its kind, in old and new versions, without unknown fields."""
        for release in (OLDEST, NEWEST):
            for manifest in self.manifests.values():
                kubernetes_validate.validate(manifest, release, strict=True)

    def test_schemas_reject(self) -> None:
        """The check above finds a misspelt field."""
        self.pod["terminationGracePeriod"] = 30
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(self.manifests["deployment.yaml"], NEWEST, strict=True)

    def test_files(self) -> None:
        """Every file of the folder is used."""
        (generated,) = self.kustomization["configMapGenerator"]
        used = {"kustomization.yaml", *self.manifests, *generated["files"]}
        self.assertEqual({file.name for file in FOLDER.iterdir()}, used)

    def test_selectors(self) -> None:
        """The Service, the budget, the policy and the spread are for the Deployment's pods."""
        labels = self.template["metadata"]["labels"]
        specs = {name: manifest["spec"] for name, manifest in self.manifests.items()}
        selectors = [
            self.deployment["selector"]["matchLabels"],
            specs["service.yaml"]["selector"],
            specs["poddisruptionbudget.yaml"]["selector"]["matchLabels"],
            specs["networkpolicy.yaml"]["podSelector"]["matchLabels"],
        ]
        for constraint in self.pod["topologySpreadConstraints"]:
            selectors.append(constraint["labelSelector"]["matchLabels"])
        for selector in selectors:
            self.assertEqual(selector, labels)

    def test_references(self) -> None:
        """Volumes and ports that are named exist, and the configuration is where it is read."""
        volumes = {volume["name"]: volume for volume in self.pod["volumes"]}
        mounts = {mount["name"]: mount["mountPath"] for mount in self.container["volumeMounts"]}
        self.assertEqual(set(volumes), set(mounts))
        (generated,) = self.kustomization["configMapGenerator"]
        self.assertEqual(volumes["config"]["configMap"]["name"], generated["name"])
        (file,) = generated["files"]
        self.assertIn(f"{mounts['config']}/{file}", self.container["command"])
        for variable in self.container["env"]:
            self.assertTrue(variable["value"].startswith(f"{mounts['secrets']}/"), variable)
        ports = {port["name"] for port in self.container["ports"]}
        (served,) = self.manifests["service.yaml"]["spec"]["ports"]
        policy = self.manifests["networkpolicy.yaml"]["spec"]["ingress"]
        named = {served["targetPort"], *(port["port"] for rule in policy for port in rule["ports"])}
        self.assertEqual(named, ports)

    def test_image(self) -> None:
        """The image that is replaced is the container's, and its tag is the version."""
        (image,) = self.kustomization["images"]
        self.assertEqual(image["name"], self.container["image"])
        self.assertEqual(image["newTag"], version("gaq-twisted"))

    def test_budget(self) -> None:
        """Neither an update nor an eviction takes the last replica."""
        budget = self.manifests["poddisruptionbudget.yaml"]["spec"]
        self.assertLess(budget["maxUnavailable"], self.deployment["replicas"])
        self.assertEqual(self.deployment["strategy"]["rollingUpdate"]["maxUnavailable"], 0)


class ServerTests(SynchronousTestCase):
    """A server with the manifests' configuration, variables and Secret."""

    def setUp(self) -> None:
        """Writes the files that Kubernetes would mount."""
        self.pod = _read("deployment.yaml")["spec"]["template"]["spec"]
        (self.container,) = self.pod["containers"]
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        for name, content in CONTENTS.items():
            (self.directory / name).write_text(f"{content}\n")

    def secrets(self) -> dict[str, str]:
        """Returns the variables of the container, with the places of the files here."""
        return {
            variable["name"]: str(self.directory / Path(variable["value"]).name)
            for variable in self.container["env"]
        }

    def load(self) -> Loaded:
        """Loads the settings as the container does."""
        return load(FOLDER / "config.json", self.secrets())

    def test_settings(self) -> None:
        """The server accepts the settings without a warning, and has the secrets of both."""
        loaded = self.load()
        self.assertEqual(loaded.warnings, [])
        settings = loaded.settings
        self.assertEqual(
            [settings.jwt_secret, settings.realtime_jwt_secret, settings.redis.password],
            list(CONTENTS.values()),
        )
        self.assertEqual(settings.protocol, "both")
        known = {f"{one.environment_name}_FILE" for one in all_settings() if one.is_secret}
        self.assertLessEqual(set(self.secrets()), known)

    def test_ports(self) -> None:
        """The container's ports are those that the server listens on."""
        settings = self.load().settings
        ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        self.assertEqual(ports["ws"], settings.port)
        self.assertEqual([f"tcp:{ports['internal']}"], list(settings.internal_listen))
        annotations = _read("deployment.yaml")["spec"]["template"]["metadata"]["annotations"]
        self.assertEqual(annotations["prometheus.io/port"], str(ports["internal"]))

    def test_redis(self) -> None:
        """The policy lets the server connect to the Redis of its configuration."""
        redis = self.load().settings.redis
        egress = _read("networkpolicy.yaml")["spec"]["egress"]
        allowed = {port["port"] for rule in egress for port in rule["ports"]}
        self.assertEqual(allowed, {53, redis.port})

    def test_time_to_stop(self) -> None:
        """Kubernetes waits longer than the drain takes."""
        settings = self.load().settings
        grace_ms = self.pod["terminationGracePeriodSeconds"] * 1000
        self.assertGreater(settings.drain_delay_ms, 0)
        self.assertGreater(grace_ms, settings.drain_delay_ms + settings.drain_ms + 2000)

    def test_server(self) -> None:
        """The command starts a server that answers the probes, with and without Redis."""
        redis = RedisProcess(self)
        redis.client.config_set("requirepass", CONTENTS["redis-password"])
        ports = {"ws": free_port(), "internal": free_port()}
        config = json.loads((FOLDER / "config.json").read_text())
        config["port"] = ports["ws"]
        config["internalListen"] = [f"tcp:{ports['internal']}"]
        config["redis"] |= {"host": "127.0.0.1", "port": redis.port}
        config["drainDelayMs"] = 0
        file = self.directory / "config.json"
        file.write_text(json.dumps(config))
        environ = environment(redis.port)
        # Set by the files here.
        for name in ("JWT_SECRET", "PORT", "REDIS_HOST", "REDIS_PORT"):
            environ.pop(name, None)
        program, option, _ = self.container["command"]
        server = Program(
            self,
            [str(Path(sys.executable).parent / program), option, str(file)],
            environ={**environ, **self.secrets()},
        )
        server.wait_until(lambda: "following" in server.text(), "not following")
        server.wait_until(lambda: self.probe("readinessProbe", ports) == 200, "not ready")
        for probe in ("startupProbe", "livenessProbe"):
            self.assertEqual(self.probe(probe, ports), 200, probe)
        (origin,) = config["allowedOrigins"]
        with Tab(ports["ws"], path="/ws", origin=origin) as tab:
            redis.client.select(config["redis"]["db"])
            redis.publish("job")
            self.assertEqual(tab.jobs(1), ["job"])
        redis.kill()
        server.wait_until(lambda: self.probe("readinessProbe", ports) == 503, "still ready")
        self.assertEqual(self.probe("livenessProbe", ports), 200)
        self.assertEqual(server.stop(), 0)

    def probe(self, name: str, ports: dict[str, int]) -> int:
        """Returns the status that a probe gets."""
        asked = self.container[name]["httpGet"]
        url = f"http://127.0.0.1:{ports[asked['port']]}{asked['path']}"
        try:
            with urlopen(url, timeout=DEADLINE_SECONDS) as answer:
                return int(answer.status)
        except HTTPError as error:
            return error.code
