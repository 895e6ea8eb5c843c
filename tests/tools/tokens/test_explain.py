"""What a cookie contains, and whether the server accepts it."""

import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.config.load import Loaded, load
from gaq_twisted.tools.check.findings import shown_time
from gaq_twisted.tools.tokens.explain import Explanation, explain
from tests.support.samples import CHANNEL, SECRET, realtime_token, token

# PyJWT has no other clock.
NOW = int(time.time())


def loaded(**environ: str) -> Loaded:
    """Returns settings with the tests' secret and those variables."""
    return load(None, {"JWT_SECRET": SECRET, **environ})


class ExplanationTests(SynchronousTestCase):
    """Explanations."""

    def explain(self, text: str, **environ: str) -> Explanation:
        """Returns the explanation at one time."""
        return explain(loaded(**environ), text, NOW)

    def test_accepted(self) -> None:
        """Header and token alone are shown with all claims, their times, and the verdict."""
        good = token(iat=NOW - 30, exp=NOW + 3600)
        for text in (good, f"async-token={good}", f"Cookie: a=b; async-token={good}\n"):
            lines, is_accepted = self.explain(text)
            self.assertTrue(is_accepted)
            self.assertEqual(
                lines[:5],
                [
                    "The cookie async-token contains a token with these claims (HS256):",
                    f'  channel: "{CHANNEL}"',
                    '  sub: "1"',
                    f"  iat: {NOW - 30} (issued {shown_time(NOW - 30)}, 30 s ago)",
                    f"  exp: {NOW + 3600} (expires {shown_time(NOW + 3600)}, in 60 min)",
                ],
            )
            self.assertEqual(len(lines), 6)

    def test_rejected(self) -> None:
        """The reason follows what the token claims, whoever has signed it."""
        for text, claim, reason in (
            (token(exp=NOW - 7200), f"  exp: {NOW - 7200} (expires ", "the token has expired"),
            (token(secret=SECRET[::-1]), f'  channel: "{CHANNEL}"', "bad signature"),
            (token(exp="soon"), '  exp: "soon"', "not a valid JWT"),
        ):
            lines, is_accepted = self.explain(text)
            self.assertFalse(is_accepted)
            self.assertIn(claim, "\n".join(lines))
            self.assertIn(reason, lines[-1])

    def test_no_token(self) -> None:
        """What is no token has no claims."""
        lines, is_accepted = self.explain("nonsense")
        self.assertFalse(is_accepted)
        self.assertIn("not a valid JWT", "\n".join(lines))
        self.assertNotIn("claims", "\n".join(lines))

    def test_protocols(self) -> None:
        """Where both are served, one that accepts it is enough."""
        text = realtime_token(exp=NOW + 60, iat=NOW)
        self.assertTrue(self.explain(text, PROTOCOL="both").is_accepted)
        self.assertTrue(self.explain(text, PROTOCOL="realtime").is_accepted)
        self.assertFalse(self.explain(text).is_accepted)

    def test_odd_claims(self) -> None:
        """Control characters of claims are escaped."""
        odd: Any = {"\x1b[31m": "\x1b[0m\n"}
        text = "\n".join(self.explain(token(exp=NOW + 60, **odd)).lines)
        self.assertNotIn("\x1b", text)
        self.assertIn('"\\u001b[0m\\n"', text)
