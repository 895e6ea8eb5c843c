"""When this server is of use, and what it says of that."""

import json
from typing import Any

from treq.testing import StubTreq
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core.readiness import Follower, ReadinessProbe
from gaq_twisted.streams.firehose import Progress
from gaq_twisted.web.site import Ready, resource_tree
from tests.support.memory import MemoryServer

INFINITY = float("inf")


class Following(Follower):
    """Is where the test says."""

    def __init__(self) -> None:
        """Have read nothing yet."""
        self.now = Progress(False, "", 0.0, INFINITY)

    def progress(self) -> Progress:
        """Return that."""
        return self.now


class ReadyTests(SynchronousTestCase):
    """The resource, asked by HTTP."""

    def setUp(self) -> None:
        """Make it."""
        self.following = Following()
        self.lookout = ReadinessProbe(self.following, 11)
        hub = MemoryServer(Clock()).hub
        tree = resource_tree({b"ready": Ready(self.lookout, hub)}, "/a/b")
        self.client: Any = StubTreq(tree)

    def ask(self) -> tuple[int, dict[str, object]]:
        """Return the status and the document."""
        response = self.successResultOf(self.client.get("http://gaq.test/a/b/ready"))
        self.assertEqual(response.headers.getRawHeaders("content-type"), ["application/json"])
        return response.code, json.loads(self.successResultOf(response.content()))

    def test_ready(self) -> None:
        """It is ready while it follows the stream, with the facts about that."""
        self.following.now = Progress(True, "5-1", 0.0004, 3.25)
        self.assertEqual(
            self.ask(),
            (
                200,
                {
                    "ready": True,
                    "reasons": [],
                    "cursor": "5-1",
                    "lagSeconds": 0.0,
                    "readAgeSeconds": 3.25,
                    "sockets": 0,
                    "channels": 0,
                },
            ),
        )

    def test_reasons(self) -> None:
        """Otherwise it says why not."""
        for progress, reason in (
            (Progress(False, "", 0.0, INFINITY), "the global stream has not been read yet"),
            (Progress(False, "5-1", 0.0, 1.0), "Redis cannot be read"),
            (Progress(True, "5-1", 0.0, 12.0), "Redis has not answered for 12 s"),
        ):
            self.following.now = progress
            code, facts = self.ask()
            self.assertEqual((code, facts["ready"], facts["reasons"]), (503, False, [reason]))

    def test_draining(self) -> None:
        """A server that is about to stop is not ready, however well it reads."""
        self.following.now = Progress(True, "5-1", 0.0, 1.0)
        self.lookout.is_draining = True
        self.assertEqual(self.ask()[0], 503)

    def test_base_path(self) -> None:
        """What has a base path is nowhere else."""
        for path in ("/ready", "/a/ready", "/a/b/", "/a/b/ready/", "/b/ready"):
            response = self.successResultOf(self.client.get(f"http://gaq.test{path}"))
            self.assertEqual(response.code, 404, path)
