"""Variables that look intended for this server but are not read."""

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.config.errors import ConfigError
from gaq_twisted.config.load import load
from gaq_twisted.config.neighbours import ignored_variables
from tests.support.samples import SECRET


class NeighbourTests(SynchronousTestCase):
    """Names of other servers, and misspelt ones."""

    def test_named(self) -> None:
        """One line names the variable and the right one."""
        for name, right in (
            ("REDIS_USER", "REDIS_USERNAME"),
            ("LOGLEVEL", "LOG_LEVEL"),
            ("ALLOWED_ORIGIN", "ALLOWED_ORIGINS"),
            ("NODE_EXTRA_CA_CERTS", "REDIS_SSL_CA_CERTS"),
            ("NODE_TLS_REJECT_UNAUTHORIZED", "REDIS_VALIDATE_HOSTNAME"),
            ("REDIS_PROTO", "REDIS_SSL"),
            ("REDIS_SSL_CERT_REQS", "REDIS_VALIDATE_HOSTNAME"),
            ("JWT_SECERT", "JWT_SECRET"),
            ("REDIS_PASWORD", "REDIS_PASSWORD"),
        ):
            (warning,) = load(None, {"JWT_SECRET": SECRET, name: "hunter2"}).warnings
            self.assertIn(f"{name} in the environment is not read: use {right} ", warning)
            self.assertNotIn("hunter2", warning)

    def test_with_the_missing_secret(self) -> None:
        """If the secret is missing, a variable with its name in Superset is reported too."""
        for name in ("GLOBAL_ASYNC_QUERIES_JWT_SECRET", "WEBSOCKET_JWT_SECRET"):
            error = self.assertRaises(ConfigError, load, None, {name: SECRET})
            self.assertIn(f"{name} in the environment is not read", error.faults[1])

    def test_not_named(self) -> None:
        """There is no warning about variables that are read, blank, equal, or of other programs."""
        environ = {
            "JWT_SECRET": SECRET,
            "GLOBAL_ASYNC_QUERIES_JWT_SECRET": SECRET,
            "REDIS_PASSWORD_FILE": "x",
            "REDIS_USER": " ",
            "REDIS_SERVICE_HOST": "10.0.0.1",
            "REDIS_PORT_6379_TCP": "tcp://10.0.0.1:6379",
            "REDIS_PORT_6379_TCP_PORT": "6379",
            "PATH": "/bin",
            "HOST": "x",
        }
        self.assertEqual(list(ignored_variables(environ)), [])
