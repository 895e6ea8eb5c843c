"""The settings that decide how each protocol judges cookies."""

import time

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.tools.check.protocols import REALTIME, STREAMS, Judge, judges
from tests.tools.check.case import OTHER_SECRET, loaded


class JudgeTests(SynchronousTestCase):
    """Judges of the protocols that are served."""

    def judges(self, **environ: str) -> dict[str, Judge]:
        """Returns the judges by protocol, with these variables in the environment."""
        return {one.terms.protocol: one for one in judges(loaded(**environ), time.time())}

    def test_served(self) -> None:
        """There is one for each protocol that is served."""
        for protocol, names in (
            ("streams", ["streams"]),
            ("realtime", ["realtime"]),
            ("both", ["streams", "realtime"]),
        ):
            self.assertEqual(list(self.judges(PROTOCOL=protocol)), names)

    def test_key_to_set(self) -> None:
        """The key is the one that changes only this protocol."""
        for environ, key in (
            ({"PROTOCOL": "realtime"}, "jwtSecret"),
            ({"PROTOCOL": "realtime", "REALTIME_JWT_SECRET": OTHER_SECRET}, "realtimeJwtSecret"),
            ({"PROTOCOL": "both"}, "realtimeJwtSecret"),
        ):
            judge = self.judges(**environ)["realtime"]
            self.assertEqual(judge.key_to_set(REALTIME.secret), key, environ)
        self.assertEqual(self.judges()["streams"].key_to_set(STREAMS.secret), "jwtSecret")

    def test_source(self) -> None:
        """The source is where the operator set the value."""
        both = self.judges(PROTOCOL="both")["realtime"]
        self.assertEqual(both.source(REALTIME.secret), "JWT_SECRET in the environment")
        own = self.judges(PROTOCOL="both", REALTIME_JWT_SECRET=OTHER_SECRET)["realtime"]
        self.assertEqual(own.source(REALTIME.secret), "REALTIME_JWT_SECRET in the environment")
