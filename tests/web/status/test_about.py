"""What the page shows of the server itself."""

import os
import socket
from pathlib import Path

from msgspec.json import encode
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.web.status.about import About
from tests.support.samples import SECRET, settings

TLS = r"ssl:8443:privateKey=/etc/a\:b/key.pem:certKey=/etc/chain.pem:interface=\:\:"


class AboutTests(SynchronousTestCase):
    """The facts."""

    def test_process(self) -> None:
        """They are those of this process."""
        facts = About(settings(port=8123), 1024, dict).now()
        self.assertEqual((facts.host, facts.pid), (socket.gethostname(), os.getpid()))
        self.assertEqual((facts.listen, facts.max_files), (["tcp:8123"], 1024))
        assert facts.memory_bytes is not None and facts.open_files is not None
        self.assertGreater(facts.memory_bytes, 2**20)
        with Path(__file__).open():
            after = About(settings(), 1024, dict).now().open_files
        self.assertEqual(after, facts.open_files + 1)

    def test_no_files(self) -> None:
        """Endpoints are shown without the names of their files, and nothing shows a secret."""
        facts = About(settings(listen=(TLS, "unix:/run/gaq.sock")), 1, lambda: {TLS: 5.0}).now()
        self.assertEqual(facts.listen, ["ssl:8443:interface=::", "unix:/run/gaq.sock"])
        text = encode(facts).decode()
        self.assertIn('"certificates":[{"endpoint":"ssl:8443:interface=::","expiresAt":5.0}]', text)
        for hidden in (SECRET, "pem", "/etc"):
            self.assertNotIn(hidden, text)

    def test_expiries(self) -> None:
        """They are those of the moment, and the first to expire comes first."""
        expiries = {"ssl:1": 9.0, "ssl:2": 7.0}
        about = About(settings(), 1, lambda: expiries)
        self.assertEqual([one.endpoint for one in about.now().certificates], ["ssl:2", "ssl:1"])
        expiries["ssl:2"] = 11.0
        self.assertEqual([one.expires_at for one in about.now().certificates], [9.0, 11.0])

    def test_warnings(self) -> None:
        """What is doubtful in the settings is shown until the settings have changed."""
        about = About(settings(), 1, dict)
        (warning,) = about.now().warnings
        self.assertTrue(warning.startswith("allowedOrigins is empty"))
        about.apply(settings(allowed_origins=("https://bi.example.com",)))
        self.assertEqual(about.now().warnings, [])
