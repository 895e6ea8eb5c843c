"""Why a token of Superset 7 is refused; those of streams are in test_cookies."""

import json
import time
from typing import Any

from gaq_twisted.access.principals import PrincipalAuthenticator
from gaq_twisted.core.edition import Unauthorized
from gaq_twisted.tools.check.cookies import judge_cookie
from gaq_twisted.tools.check.findings import Finding, Mark
from gaq_twisted.tools.check.refusals import names_realtime_protocol, principal_faults
from tests.support.processes import ROOT
from tests.support.samples import SECRET, realtime_token, settings, token
from tests.tools.check.case import OTHER_SECRET, FindingTestCase, loaded


class RefusalTests(FindingTestCase):
    """Tokens that are refused."""

    def judge(self, value: str, protocol: str = "realtime", **environ: str) -> Finding:
        """Returns the one finding about a cookie with that value."""
        settings = loaded(PROTOCOL=protocol, **environ)
        found = judge_cookie(settings, f"superset-ws-token={value}", time.time()).findings
        (finding,) = [one for one in found if one.topic == "realtime cookie"]
        return finding

    def test_claims(self) -> None:
        """The fault of a claim is reported, and who should have written it."""
        now = int(time.time())
        cases: list[tuple[dict[str, Any], tuple[str, ...]]] = [
            ({"aud": "superset"}, ("(aud): it is superset, not superset-websocket",)),
            ({"aud": None}, ("it is missing", "Superset 1.2 to 6.1", "set protocol to both")),
            ({"iss": "me"}, ("(iss): it is me", "Superset 7 writes superset")),
            ({"iss": None}, ("(iss): it is missing",)),
            ({"exp": None}, ("exp is missing", "always writes exp")),
            ({"exp": "soon"}, ("exp is soon",)),
            ({"exp": now - 7300}, ("has expired, at", "2 h ago", "reload a page of Superset")),
            ({"nbf": now + 7300}, ("not valid yet, but from", "in 2 h", "clocks")),
            ({"nbf": "soon"}, ("nbf is soon, which is not a number",)),
            ({"principal_type": "robot"}, ("principal_type is robot, neither",)),
            ({"principal_type": None}, ("principal_type is missing",)),
            ({"sub": 5}, ("sub is not a string",)),
            ({"sub": "5:1", "channel": "user:5:1"}, ("sub has a colon",)),
            ({"channel": "user:6"}, ("channel is not user: followed by sub",)),
            ({"principal_type": "guest"}, ("sub does not begin with guest:",)),
            ({"principal_type": "guest", "sub": "guest:a"}, ("channel is not sub",)),
        ]
        for claims, parts in cases:
            self.assert_advice(
                self.judge(realtime_token(**claims)), Mark.FAIL, "rejected with 401: ", *parts
            )

    def test_secret(self) -> None:
        """The settings of both sides are named, and a secret that is nearly right is found."""
        self.assert_advice(
            self.judge(realtime_token(secret=OTHER_SECRET)),
            Mark.FAIL,
            "bad signature",
            "JWT_SECRET in the environment",
            "set jwtSecret to the value of Superset's WEBSOCKET_JWT_SECRET",
            "set previousJwtSecret",
        )
        self.assert_advice(
            self.judge(realtime_token(secret=f"{SECRET}\n")), Mark.FAIL, "with a trailing line end"
        )

    def test_no_token(self) -> None:
        """A value that is not a token is reported, and so are quotes, which count here."""
        self.assert_advice(self.judge("x"), Mark.FAIL, "not a valid JWT", "jwtCookieName names")
        self.assert_advice(self.judge(f'"{realtime_token()}"'), Mark.FAIL, "it is in quotes")

    def test_token_of_streams(self) -> None:
        """A token of an older Superset leads to the protocol, or to the cookie's name."""
        self.assert_advice(self.judge(token()), Mark.FAIL, "set protocol to both, or to streams")
        self.assert_advice(
            self.judge(token(), protocol="both"), Mark.FAIL, "set realtimeJwtCookieName to"
        )

    def test_recorded(self) -> None:
        """The refusal of each token that Superset's own server refuses is explained."""
        file = ROOT / "tests" / "support" / "realtime-samples.json"
        samples = json.loads(file.read_text())
        refused = [one for one in samples["jwts"] if not one["accept"]]
        self.assertGreater(len(refused), 10)
        for one in refused:
            finding = self.judge(one["token"], JWT_SECRET=samples["secrets"]["current"])
            self.assert_advice(finding, Mark.FAIL, "rejected with 401: ")


class PrincipalTests(FindingTestCase):
    """The claims that name a user or guest."""

    def test_agrees_with_the_server(self) -> None:
        """A fault is found exactly where the server refuses the claims."""
        authenticator = PrincipalAuthenticator(
            settings(realtime_jwt_secret=settings().jwt_secret), time.time
        )
        for kind in ("user", "guest", "robot", None):
            for subject in ("5", "5:1", "guest:a", "guest:", "", "a\nb", 5, None):
                for channel in ("user:5", "user:5:1", "guest:a", "guest:", "user:", "x", None):
                    claims: dict[str, Any] = {
                        "principal_type": kind,
                        "sub": subject,
                        "channel": channel,
                    }
                    is_accepted = True
                    try:
                        header = f"superset-ws-token={realtime_token(**claims)}"
                        authenticator.identify(header)
                    except Unauthorized:
                        is_accepted = False
                    self.assertEqual(list(principal_faults(claims)) == [], is_accepted, claims)

    def test_names_realtime_protocol(self) -> None:
        """The protocol of a token is recognised without its signature."""
        self.assertTrue(names_realtime_protocol(realtime_token(secret=OTHER_SECRET, exp=1)))
        for other in (token(), "x", ""):
            self.assertFalse(names_realtime_protocol(other))
