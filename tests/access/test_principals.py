"""Which tokens of Superset 7 are accepted, and why others are refused."""

import base64
import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.access.principals import Principal, PrincipalAuthenticator
from gaq_twisted.access.tokens import Authenticator
from gaq_twisted.config.errors import ConfigError
from gaq_twisted.config.forms import SpareSecret
from gaq_twisted.config.load import load
from gaq_twisted.config.settings import Settings
from gaq_twisted.core.edition import Unauthorized
from gaq_twisted.core.reasons import UpgradeReason
from tests.access.case import (
    REALTIME_COOKIE,
    realtime_claims,
    realtime_settings,
    signed,
)
from tests.support.samples import SECRET, token

SAMPLES = json.loads(
    (Path(__file__).parent.parent / "support" / "realtime-samples.json").read_text()
)
NOW = 1_795_651_200.5
"""The tests' time, which is when the samples were made."""
EXP = 1_795_652_100
OLD = "the secret that was there before this one"
OTHER = "another secret, which is long enough too"
GUEST = "guest:06f00c414a649ce030ebf8cb6011250c6ac6351db2b0b4c83b0dfc80b81fc075"
GUEST_CLAIMS: dict[str, object] = {"principal_type": "guest", "sub": GUEST, "channel": GUEST}


def _claims(**claims: object) -> dict[str, object]:
    return realtime_claims(**{"iat": int(NOW), "exp": EXP, **claims})


def _without(name: str) -> dict[str, object]:
    return {key: value for key, value in _claims().items() if key != name}


class PrincipalTestCase(SynchronousTestCase):
    """Asks a PrincipalAuthenticator at a fixed time."""

    def identify(self, header: str, settings: Settings | None = None) -> Principal:
        """Returns the principal that sent that header."""
        return PrincipalAuthenticator(settings or realtime_settings(), lambda: NOW).identify(header)

    def principal(self, claims: dict[str, object]) -> Principal:
        """Returns the principal of a token with these claims."""
        return self.identify(f"{REALTIME_COOKIE}={signed(claims)}")

    def refusal(self, header: str, settings: Settings | None = None) -> Unauthorized:
        """Returns why that header is refused: one line, without any part of a token."""
        error: Unauthorized = self.assertRaises(Unauthorized, self.identify, header, settings)
        self.assertEqual(len(str(error).splitlines()), 1)
        self.assertNotIn("eyJ", str(error))
        self.assertNotIn(SECRET, str(error))
        return error

    def assert_refused(self, claims: object, reason: UpgradeReason) -> None:
        """Checks that a token with these claims is refused for that reason."""
        error = self.refusal(f"{REALTIME_COOKIE}={signed(claims)}")
        self.assertEqual(error.reason, reason, f"{claims}: {error}")


class SampleTests(PrincipalTestCase):
    """The tokens that were tried with Superset's Node.js server."""

    def test_each(self) -> None:
        """Each is accepted or refused as in the sample, and names its principal."""
        secrets = SAMPLES["secrets"]
        settings = realtime_settings(
            realtime_jwt_secret=SpareSecret(secrets["current"]),
            previous_realtime_jwt_secret=SpareSecret(secrets["previous"]),
            realtime_jwt_cookie_name=SAMPLES["cookie_name"],
        )
        accepted = 0
        for sample in SAMPLES["jwts"]:
            header = f"{SAMPLES['cookie_name']}={sample['token']}"
            if sample["accept"]:
                payload = sample["payload"]
                self.assertEqual(
                    self.identify(header, settings),
                    Principal(payload["channel"], payload["exp"]),
                    sample["name"],
                )
                accepted += 1
            else:
                self.refusal(header, settings)
        self.assertEqual((accepted, len(SAMPLES["jwts"])), (3, 21))

    def test_sockets(self) -> None:
        """Each principal of the samples has the route that its channel names."""
        for sample in SAMPLES["sockets"]:
            names = ("principal_type", "sub", "channel")
            principal = self.principal(_claims(**{name: sample[name] for name in names}))
            self.assertEqual(principal.route, sample["channel"])


class TimeTests(PrincipalTestCase):
    """When a token is valid."""

    def test_expiry(self) -> None:
        """A token is valid until the exact time in it, which may be a fraction."""
        for good in (EXP, EXP + 0.25, NOW + 0.001, int(NOW) + 1, 1e11):
            self.assertEqual(self.principal(_claims(exp=good)).expires_at, good)
        for value in (NOW, int(NOW), NOW - 1, 0, -1, -1e11):
            self.assert_refused(_claims(exp=value), UpgradeReason.TOKEN_EXPIRED)

    def test_no_expiry(self) -> None:
        """An expiry that is missing, or is not a time that can be waited for, is refused."""
        self.assert_refused(_without("exp"), UpgradeReason.NO_EXPIRY)
        wrong: tuple[object, ...] = (
            None,
            str(EXP),
            "",
            "never",
            True,
            [EXP],
            {},
            float("inf"),
            float("-inf"),
            float("nan"),
            1e300,
            10**400,
            -(10**400),
            10**12,
        )
        for value in wrong:
            self.assert_refused(_claims(exp=value), UpgradeReason.NO_EXPIRY)

    def test_not_before(self) -> None:
        """A token may say when it becomes valid; that must be a number in the past."""
        for good in (0, NOW, NOW - 1, int(NOW), -1.5):
            self.principal(_claims(nbf=good))
        wrong: tuple[object, ...] = (
            NOW + 0.001,
            EXP,
            None,
            "0",
            False,
            [],
            {},
            float("nan"),
            float("inf"),
            float("-inf"),
            10**400,
        )
        for value in wrong:
            self.assert_refused(_claims(nbf=value), UpgradeReason.TOKEN_NOT_YET_VALID)

    def test_issued_at(self) -> None:
        """The time of issue is ignored."""
        values: tuple[object, ...] = (NOW + 3600, 0, "yesterday", None, [], 10**400)
        for value in values:
            self.principal(_claims(iat=value))
        self.principal(_without("iat"))


class ClaimsTests(PrincipalTestCase):
    """The other claims."""

    def test_audience(self) -> None:
        """The audience is this server, or a list with it."""
        for good in ("superset-websocket", ["superset-websocket"], ["x", "superset-websocket"]):
            self.principal(_claims(aud=good))
        wrong: tuple[object, ...] = (
            None,
            "",
            "superset",
            "superset-websocket ",
            "Superset-Websocket",
            [],
            ["superset"],
            [["superset-websocket"]],
            {"superset-websocket": 1},
            1,
        )
        for value in wrong:
            self.assert_refused(_claims(aud=value), UpgradeReason.AUDIENCE)
        self.assert_refused(_without("aud"), UpgradeReason.AUDIENCE)

    def test_issuer(self) -> None:
        """The issuer is Superset."""
        wrong: tuple[object, ...] = (None, "", "other", "Superset", ["superset"], 1, {})
        for value in wrong:
            self.assert_refused(_claims(iss=value), UpgradeReason.ISSUER)
        self.assert_refused(_without("iss"), UpgradeReason.ISSUER)

    def test_users(self) -> None:
        """A user's route is made of the id, which need not be a number."""
        for subject in ("5", "bob", "Zoë ☃", "0", "-1", "a.b@c"):
            route = f"user:{subject}"
            self.assertEqual(
                self.principal(_claims(sub=subject, channel=route)), Principal(route, EXP)
            )

    def test_guests(self) -> None:
        """A guest's route is its id."""
        self.assertEqual(self.principal(_claims(**GUEST_CLAIMS)), Principal(GUEST, EXP))

    def test_no_principal(self) -> None:
        """Kind, id and channel must be present, be strings, and agree."""
        wrong: tuple[dict[str, object], ...] = (
            {"principal_type": None},
            {"principal_type": "robot"},
            {"principal_type": "User"},
            {"principal_type": ["user"]},
            {"principal_type": "guest"},
            {"sub": "", "channel": "user:"},
            {"sub": 5},
            {"sub": None},
            {"sub": ["5"]},
            {"sub": True, "channel": "user:True"},
            {"channel": "user:6"},
            {"channel": "5"},
            {"channel": None},
            {"channel": ["user:5"]},
            {"channel": "user:5 "},
            {**GUEST_CLAIMS, "sub": "abc", "channel": "abc"},
            {**GUEST_CLAIMS, "sub": "user:5", "channel": "user:5"},
            {**GUEST_CLAIMS, "channel": "guest:other"},
            {**GUEST_CLAIMS, "principal_type": "user"},
        )
        for claims in wrong:
            self.assert_refused(_claims(**claims), UpgradeReason.PRINCIPAL)
        for name in ("principal_type", "sub", "channel"):
            self.assert_refused(_without(name), UpgradeReason.PRINCIPAL)

    def test_route_of_a_tab(self) -> None:
        """No principal can have the route of another one's tab."""
        self.assert_refused(_claims(sub="5:1", channel="user:5:1"), UpgradeReason.PRINCIPAL)
        tab = f"{GUEST}:1"
        self.assert_refused(
            _claims(**{**GUEST_CLAIMS, "sub": tab, "channel": tab}), UpgradeReason.PRINCIPAL
        )

    def test_not_printable(self) -> None:
        """Control characters and lone surrogates, which no log should show, are refused."""
        for odd in ("a\nb", "\x1b[2J", "\x00", "\ud800", "a\u2028b", "\u202e"):
            for claims in (
                {"sub": odd, "channel": f"user:{odd}"},
                {**GUEST_CLAIMS, "sub": f"guest:{odd}", "channel": f"guest:{odd}"},
            ):
                self.assert_refused(_claims(**claims), UpgradeReason.PRINCIPAL)

    def test_claims_without_meaning(self) -> None:
        """All other claims are ignored."""
        self.principal(_claims(jti=1, unknown={"x": [1]}, routes=["user:6"], tab_id="9"))

    def test_not_an_object(self) -> None:
        """A token that holds anything but a JSON object is refused."""
        payloads: tuple[object, ...] = ([], "x", None, 1)
        for payload in payloads:
            self.assert_refused(payload, UpgradeReason.NO_JWT)

    @hypothesis_settings(
        max_examples=300, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(
        st.dictionaries(
            st.sampled_from(
                ("aud", "iss", "exp", "nbf", "iat", "sub", "principal_type", "channel", "jti")
            )
            | st.text(max_size=4),
            st.recursive(
                st.none()
                | st.booleans()
                | st.integers()
                | st.floats()
                | st.text(st.characters(exclude_categories=()), max_size=8)
                | st.sampled_from(("user", "guest", "guest:a", "user:5", "superset", 10**400)),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(st.text(max_size=3), inner, max_size=3)
                ),
                max_leaves=6,
            ),
            max_size=9,
        ),
        st.booleans(),
    )
    def test_any_claims(self, claims: dict[str, Any], is_complete: bool) -> None:
        """Whatever the claims are, the token is refused, or names one well-formed principal."""
        changed = {**_claims(), **claims} if is_complete else claims
        try:
            principal = self.principal(changed)
        except Unauthorized:
            return
        self.assertEqual(principal.route, changed["channel"])
        self.assertEqual(principal.route.count(":"), 1)
        self.assertTrue(principal.route.isprintable())
        self.assertGreater(principal.expires_at, NOW)


class SignatureTests(PrincipalTestCase):
    """What a token is signed with."""

    def test_rotation(self) -> None:
        """Only the current and the previous secret are accepted."""
        settings = realtime_settings(previous_realtime_jwt_secret=SpareSecret(OLD))
        for secret in (SECRET, OLD):
            header = f"{REALTIME_COOKIE}={signed(_claims(), secret)}"
            self.assertEqual(self.identify(header, settings).route, "user:5")
        for header in (
            f"{REALTIME_COOKIE}={signed(_claims(), OTHER)}",
            f"{REALTIME_COOKIE}={signed(_claims())[:-3]}",
        ):
            self.assertEqual(self.refusal(header, settings).reason, UpgradeReason.SIGNATURE)
        header = f"{REALTIME_COOKIE}={signed(_claims(), OLD)}"
        self.assertEqual(self.refusal(header).reason, UpgradeReason.SIGNATURE)

    def test_algorithms(self) -> None:
        """Only the algorithms in the settings are accepted, and never `none`."""
        header = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
        for bad in (
            signed(_claims(), SECRET * 2, "HS512"),
            f"{header}.{signed(_claims()).split('.')[1]}.",
        ):
            error = self.refusal(f"{REALTIME_COOKIE}={bad}")
            self.assertEqual(error.reason, UpgradeReason.ALGORITHM)

    def test_named_setting(self) -> None:
        """A bad signature is reported with the setting that the operator has set."""
        header = f"{REALTIME_COOKIE}={signed(_claims(), OTHER)}"
        for environ, name in (
            ({"PROTOCOL": "realtime"}, "jwtSecret"),
            ({"PROTOCOL": "both"}, "jwtSecret"),
            ({"PROTOCOL": "both", "REALTIME_JWT_SECRET": OLD}, "realtimeJwtSecret"),
            ({"PROTOCOL": "realtime", "REALTIME_JWT_SECRET": OLD}, "realtimeJwtSecret"),
        ):
            settings = load(None, {"JWT_SECRET": SECRET, **environ}).settings
            self.assertTrue(str(self.refusal(header, settings)).endswith(f"signed with {name}"))

    def test_settings_for_streams(self) -> None:
        """After a reload with settings for streams only, the secrets of streams are used."""
        environ = {"JWT_SECRET": SECRET, "PREVIOUS_JWT_SECRET": OLD}
        settings = load(None, environ).settings
        for secret in (SECRET, OLD):
            header = f"{REALTIME_COOKIE}={signed(_claims(), secret)}"
            self.assertEqual(self.identify(header, settings).route, "user:5")
        self.refusal(f"{REALTIME_COOKIE}={signed(_claims(), OTHER)}", settings)

    def test_key_that_does_not_fit(self) -> None:
        """A secret that is not a key for the algorithm is a fault that names its setting."""
        rs256 = {"JWT_ALGORITHMS": "RS256", "PROTOCOL": "realtime", "JWT_SECRET": SECRET}
        for environ, name in (
            ({}, "jwtSecret"),
            ({"REALTIME_JWT_SECRET": OLD}, "realtimeJwtSecret"),
        ):
            settings = load(None, {**rs256, **environ}).settings
            error = self.assertRaises(ConfigError, PrincipalAuthenticator, settings, lambda: NOW)
            self.assertTrue(error.faults[0].startswith(f"{name} contains no RS256 key"))


class CookieTests(PrincipalTestCase):
    """The cookie among others."""

    def test_none(self) -> None:
        """Without the cookie a browser is refused, even with the cookie of the older protocol."""
        good = signed(_claims())
        for header in ("", f"async-token={token()}", f"async-token={good}", f"x={good}"):
            error = self.refusal(header)
            self.assertEqual(error.reason, UpgradeReason.NO_COOKIE)
            self.assertEqual(str(error), f"no cookie named {REALTIME_COOKIE}")

    def test_old_token(self) -> None:
        """A token of Superset 6 in the new cookie is refused, although the secret is the same."""
        error = self.refusal(f"{REALTIME_COOKIE}={token()}")
        self.assertEqual(error.reason, UpgradeReason.AUDIENCE)

    def test_new_token_for_streams(self) -> None:
        """A token of Superset 7 opens no stream, and the reason says so."""
        # The Authenticator of streams has no other clock than the machine's.
        header = f"async-token={signed(realtime_claims())}"
        streams = Authenticator(realtime_settings(protocol="both"))
        error = self.assertRaises(Unauthorized, streams.identify, header)
        self.assertEqual(error.reason, UpgradeReason.OTHER_PROTOCOL)

    def test_first_counts(self) -> None:
        """Of several cookies of that name the first one counts, good or bad."""
        good = f"{REALTIME_COOKIE}={signed(_claims())}"
        other = signed(_claims(sub="6", channel="user:6"))
        for bad in ("x", "", signed(_claims(exp=1)), signed(_claims(), OTHER)):
            self.refusal(f"{REALTIME_COOKIE}={bad}; {good}")
            self.assertEqual(self.identify(f"{good}; {REALTIME_COOKIE}={bad}").route, "user:5")
        self.assertEqual(self.identify(f"{good}; {REALTIME_COOKIE}={other}").route, "user:5")

    def test_quotes(self) -> None:
        """A value in quotes is not a token, as in the Node.js server."""
        error = self.refusal(f'{REALTIME_COOKIE}="{signed(_claims())}"')
        self.assertEqual(error.reason, UpgradeReason.NO_JWT)

    def test_neighbours(self) -> None:
        """Other cookies, however odd, and white space do not hide it."""
        good = f"  {REALTIME_COOKIE} = {signed(_claims())} "
        for odd in (
            "a",
            "=",
            'q="',
            "",
            "a=b=c",
            f"async-token={token()}",
            f"x{REALTIME_COOKIE}=x",
        ):
            for header in (f"{odd};{good}", f"{good};{odd}"):
                self.assertEqual(self.identify(header).route, "user:5")

    def test_name(self) -> None:
        """The cookie's name comes from the settings."""
        settings = realtime_settings(realtime_jwt_cookie_name="x")
        self.assertEqual(self.identify(f"x={signed(_claims())}", settings).route, "user:5")
        error = self.refusal(f"{REALTIME_COOKIE}={signed(_claims())}", settings)
        self.assertEqual(str(error), "no cookie named x")

    def test_garbage(self) -> None:
        """Anything that is not a token is refused as such."""
        for garbage in ("", ".", "a.b.c", "null", "é", "\x00", "x" * 100_000):
            error = self.refusal(f"{REALTIME_COOKIE}={garbage}")
            self.assertEqual(error.reason, UpgradeReason.NO_JWT)
