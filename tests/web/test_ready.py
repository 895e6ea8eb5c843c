"""The resource /ready, asked by HTTP."""

import json
from typing import Any

from treq.testing import StubTreq
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core.readiness import Progress, Readiness
from gaq_twisted.web.site import Ready, resource_tree
from tests.support.memory import MemoryServer


class ReadyTests(SynchronousTestCase):
    """Statuses and documents."""

    def setUp(self) -> None:
        """Make it."""
        self.progress = Progress([], {"cursor": "5-1", "lagSeconds": 0.0})
        self.readiness = Readiness([lambda: self.progress])
        hub = MemoryServer(Clock()).hub
        self.client: Any = StubTreq(resource_tree({b"ready": Ready(self.readiness, hub)}, "/a/b"))

    def ask(self) -> tuple[int, dict[str, object]]:
        """Return the status and the document."""
        response = self.successResultOf(self.client.get("http://gaq.test/a/b/ready"))
        self.assertEqual(response.headers.getRawHeaders("content-type"), ["application/json"])
        return response.code, json.loads(self.successResultOf(response.content()))

    def test_ready(self) -> None:
        """It is 200 while there is no reason against it, with the facts."""
        facts = {"ready": True, "reasons": [], "cursor": "5-1", "lagSeconds": 0.0, "sockets": 0}
        self.assertEqual(self.ask(), (200, facts))

    def test_reasons(self) -> None:
        """Otherwise it is 503, and says why."""
        self.progress = Progress(["Redis cannot be read"], {})
        code, facts = self.ask()
        self.assertEqual((code, facts["ready"]), (503, False))
        self.assertEqual(facts["reasons"], ["Redis cannot be read"])

    def test_draining(self) -> None:
        """A server that is about to stop is not ready, however well it reads."""
        self.readiness.is_draining = True
        self.assertEqual(self.ask()[0], 503)

    def test_base_path(self) -> None:
        """What has a base path is nowhere else."""
        for path in ("/ready", "/a/ready", "/a/b/", "/a/b/ready/", "/b/ready"):
            response = self.successResultOf(self.client.get(f"http://gaq.test{path}"))
            self.assertEqual(response.code, 404, path)
