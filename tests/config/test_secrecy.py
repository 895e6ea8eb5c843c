"""What is hidden in values, and which secrets can be guessed."""

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.config.secrecy import guessable, without_secrets


class ShownTests(SynchronousTestCase):
    """Values as they may be shown."""

    def test_hidden(self) -> None:
        """Credentials and keys are hidden, whatever characters they contain."""
        for text, shown in (
            ("rediss://app:hunter2@redis:6380/1", "rediss://***@redis:6380/1"),
            ("redis://:a/b@c?d@redis", "redis://***@redis"),
            ('"redis://app:a b\\"c@redis"', '"redis://***@redis"'),
            ("https://u@a", "https://***@a"),
            ("default:/abc@redis", "***@redis"),
            ("u:p w@h", "***@h"),
            ('{"host": "a", "password": "hunter2"}', '{"host": "a", "password": "***"}'),
            ("app:hunter2@redis", "***@redis"),
            ('[":hunter2@redis"]', '["***@redis"]'),
            ('"-----BEGIN PRIVATE KEY-----\\nhunter2"', '"***'),
        ):
            self.assertEqual(without_secrets(text), shown)

    def test_shown(self) -> None:
        """Other values are shown as they are."""
        for text in ("redis", "https://a:1/", "unix:/run/gaq@1.sock", "a@b", "10.0.0.0/8", ""):
            self.assertEqual(without_secrets(text), text)


class GuessableTests(SynchronousTestCase):
    """Secrets that anyone may know."""

    def test_published(self) -> None:
        """The placeholders that Superset and this project publish are recognized."""
        for secret in (
            "CHANGE-ME",
            "CHANGE-ME-IN-PRODUCTION-GOTTA-BE-LONG-AND-SECRET",
            "test-secret-change-me",
            "please_change_this_to_something_else",
            "TEST_NON_DEV_SECRET",
        ):
            self.assertIn("published example", guessable(secret))

    def test_repeated(self) -> None:
        """A secret of few different characters is recognized too."""
        for secret in ("x" * 40, "ab" * 20, "1234" * 10):
            self.assertIn("few different characters", guessable(secret))

    def test_good(self) -> None:
        """There is no complaint about random secrets, or about none."""
        for secret in ("", "8dXlGtH1bkE3m0nC0i7L8v9pU3x2Qk4y", "0123456789abcdef" * 2):
            self.assertEqual(guessable(secret), "")
