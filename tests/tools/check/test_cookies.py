"""Whether a cookie is accepted, and why not."""

import time
from datetime import UTC, datetime

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.tools.check.cookies import cookie_header, judge_cookie
from gaq_twisted.tools.check.findings import Finding, Mark
from tests.support.samples import CHANNEL, SECRET, realtime_token, settings, token
from tests.tools.check.case import OTHER_SECRET, FindingTestCase, loaded


class CookieHeaderTests(SynchronousTestCase):
    """What operators paste."""

    def test_forms(self) -> None:
        """A whole header, with or without its name, a cookie, and a token alone are understood."""
        signed = token()
        for given, header in (
            (signed, f"async-token={signed}"),
            (f"  {signed}\n", f"async-token={signed}"),
            (f"async-token={signed}", f"async-token={signed}"),
            (f"a=b; async-token={signed}", f"a=b; async-token={signed}"),
            (f"Cookie: a=b; c=d{signed}", f"a=b; c=d{signed}"),
            (f"cookie:a={signed}", f"a={signed}"),
        ):
            self.assertEqual(cookie_header(settings(), given), header)

    def test_token_alone(self) -> None:
        """A token without a name is given the one of its protocol."""
        streams, realtime = token(), realtime_token()
        for protocol, given, name in (
            ("streams", realtime, "async-token"),
            ("realtime", streams, "superset-ws-token"),
            ("both", streams, "async-token"),
            ("both", realtime, "superset-ws-token"),
            ("both", "x", "async-token"),
        ):
            header = cookie_header(settings(protocol=protocol), given)
            self.assertEqual(header, f"{name}={given}", protocol)


class CookieVerdictTests(FindingTestCase):
    """Whether a cookie is accepted, and why not."""

    def judge(self, header: str, *, at: float | None = None, **environ: str) -> list[Finding]:
        """Returns what is found about a header at a time, or now."""
        verdict = judge_cookie(loaded(**environ), header, time.time() if at is None else at)
        accepted = verdict.findings[0].mark is Mark.OK
        self.assertEqual(verdict.channel, CHANNEL if accepted else None)
        return verdict.findings

    def test_accepted(self) -> None:
        """A good cookie is accepted, with the expiry of its token, if it has one."""
        (finding,) = self.judge(f"async-token={token()}")
        self.assert_advice(finding, Mark.OK, "accepted", "090916f0...", "no expiry")
        end = int(time.time()) + 7200
        (finding,) = self.judge(f"a=b; async-token={token(exp=end)}", at=end - 3599)
        self.assert_advice(finding, Mark.OK, "accepted", "in 60 min", " UTC")

    def test_no_cookie(self) -> None:
        """Without our cookie, the names of the others are reported."""
        (finding,) = self.judge("session=secret1; \x1b[31m=secret2")
        self.assert_advice(
            finding, Mark.FAIL, "no cookie named async-token", "session, '\\x1b[31m'"
        )
        self.assertNotIn("secret1", str(finding))
        (finding,) = self.judge("")
        self.assert_advice(finding, Mark.FAIL, "there are no cookies", "GLOBAL_ASYNC_QUERIES")

    def test_another_name(self) -> None:
        """An acceptable cookie of another name is reported, whatever ours holds."""
        for ours in ("session=1", f"async-token={token(secret=OTHER_SECRET)}"):
            findings = self.judge(f"{ours}; gaq={token()}; x={token(secret=OTHER_SECRET)}")
            self.assertEqual(len(findings), 2)
            self.assert_advice(findings[1], Mark.FAIL, "the cookie gaq", "set jwtCookieName to gaq")

    def test_wrong_secret(self) -> None:
        """A token with another secret is reported, with the source of ours."""
        (finding,) = self.judge(f"async-token={token(secret=OTHER_SECRET)}")
        self.assert_advice(
            finding,
            Mark.FAIL,
            "bad signature",
            "JWT_SECRET in the environment",
            "GLOBAL_ASYNC_QUERIES_JWT_SECRET",
        )

    def test_nearly_the_secret(self) -> None:
        """White space and quotes that only one side has are found."""
        for ours, theirs, what in (
            (f" {SECRET}\n", SECRET, "without the surrounding white space"),
            (SECRET, f"{SECRET}\n", "with a trailing line end"),
            (f'"{SECRET}"', SECRET, "without the surrounding quotes"),
        ):
            for claims in ({}, {"exp": 1}):
                (finding,) = self.judge(
                    f"async-token={token(secret=theirs, **claims)}", JWT_SECRET=ours
                )
                self.assert_advice(finding, Mark.FAIL, "bad signature", what)

    def test_previous_secret(self) -> None:
        """A token with the previous secret is accepted with a note; the current needs none."""
        old, new = token(), token(secret=OTHER_SECRET)
        for signed, count in ((old, 2), (new, 1)):
            accepted, *notes = self.judge(
                f"async-token={signed}", JWT_SECRET=OTHER_SECRET, PREVIOUS_JWT_SECRET=SECRET
            )
            self.assertEqual(accepted.mark, Mark.OK)
            self.assertEqual(len(notes) + 1, count)
            for note in notes:
                self.assert_advice(note, Mark.NOTE, "previousJwtSecret")

    def test_algorithm(self) -> None:
        """The token's algorithm and the setting are both named."""
        claims = {"channel": CHANNEL}
        long_secret = SECRET * 2
        signed = jwt.encode(claims, long_secret, algorithm="HS512")
        (finding,) = self.judge(f"async-token={signed}", JWT_SECRET=long_secret)
        self.assert_advice(finding, Mark.FAIL, "HS256: it is HS512", "set jwtAlgorithms to HS512")
        self.assertNotIn("a key for it", str(finding))
        key = rsa.generate_private_key(65537, 2048)
        (finding,) = self.judge(f"async-token={jwt.encode(claims, key, algorithm='RS256')}")
        self.assert_advice(finding, Mark.FAIL, "it is RS256", "jwtSecret to a key for it")
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (finding,) = self.judge(
            f"async-token={token()}", JWT_SECRET=public.decode(), JWT_ALGORITHMS="RS256,PS256"
        )
        self.assert_advice(finding, Mark.FAIL, "RS256, PS256: it is HS256", "a key for it")
        (finding,) = self.judge(f"async-token={jwt.encode(claims, '', algorithm='none')}")
        self.assert_advice(finding, Mark.FAIL, "it is none")
        self.assertNotIn("jwtAlgorithms to", str(finding))

    def test_expired(self) -> None:
        """The time of the expiry is reported."""
        now = int(time.time())
        (finding,) = self.judge(f"async-token={token(exp=now - 7300)}", at=now)
        since = f"{datetime.fromtimestamp(now - 7300, UTC):%Y-%m-%d %H:%M:%S} UTC, 2 h ago"
        self.assert_advice(finding, Mark.FAIL, "has expired", since, "synchronise the clocks")

    def test_not_yet_valid(self) -> None:
        """The start of its validity is reported."""
        now = int(time.time())
        (finding,) = self.judge(f"async-token={token(nbf=now + 7200)}", at=now)
        self.assert_advice(finding, Mark.FAIL, "not valid yet", "in 2 h", "clocks")

    def test_no_channel(self) -> None:
        """The names of the claims are reported, not their values."""
        (finding,) = self.judge(f"async-token={token()}", JWT_CHANNEL_ID_KEY="room")
        self.assert_advice(
            finding, Mark.FAIL, "no channel", "claims are: channel, sub", "jwtChannelIdKey"
        )
        for channel in (None, "", 1):
            (finding,) = self.judge(f"async-token={token(channel)}")
            self.assert_advice(finding, Mark.FAIL, "empty or not a printable string")

    def test_no_jwt(self) -> None:
        """A value that is not a token is reported."""
        for value in ("x", "", token()[:40], "a.b.c", f"{token()}x.y"):
            (finding,) = self.judge(f"async-token={value}")
            self.assert_advice(finding, Mark.FAIL, "async-token is not a valid JWT")

    def test_times_that_are_none(self) -> None:
        """A claim that should be a time but is not is named once, with its value."""
        for claims, text in (
            ({"exp": None}, "its claim exp is not a number, but null. "),
            ({"nbf": "soon"}, 'its claim nbf is not a number, but "soon". '),
        ):
            (finding,) = self.judge(f"async-token={token(**claims)}")
            self.assert_advice(finding, Mark.FAIL, text, "RFC 7519")

    def test_several(self) -> None:
        """Each bad cookie of our name is judged; several good ones cause a note."""
        good, forged = f"async-token={token()}", f"async-token={token(secret=OTHER_SECRET)}"
        first, second = self.judge(f"{forged}; async-token=x")
        self.assert_advice(first, Mark.FAIL, "bad signature")
        self.assert_advice(second, Mark.FAIL, "not a valid JWT")
        accepted, note = self.judge(f"{forged}; {good}")
        self.assertEqual(accepted.mark, Mark.OK)
        self.assert_advice(note, Mark.NOTE, "2 cookies named async-token")

    def test_token_of_superset_7(self) -> None:
        """A token of Superset 7 leads to the setting that serves it."""
        (finding,) = self.judge(f"async-token={realtime_token()}")
        self.assert_advice(finding, Mark.FAIL, "from Superset 7", "set protocol to both")


class RealtimeVerdictTests(FindingTestCase):
    """Whether a cookie of Superset 7 is accepted if only that version is served."""

    def judge(self, header: str, **environ: str) -> list[Finding]:
        """Returns what is found about a header."""
        found = judge_cookie(loaded(PROTOCOL="realtime", **environ), header, time.time())
        self.assertIsNone(found.channel)
        for finding in found.findings:
            self.assertEqual(finding.topic, "realtime cookie")
        return found.findings

    def test_accepted(self) -> None:
        """A good cookie is accepted; a guest's id, which is confidential, is not shown whole."""
        (finding,) = self.judge(f"superset-ws-token={realtime_token()}")
        self.assert_advice(finding, Mark.OK, "accepted (user 5, expires at", "in 15 min")
        guest = f"guest:{'0123456789abcdef' * 4}"
        signed = realtime_token(principal_type="guest", sub=guest, channel=guest)
        (finding,) = self.judge(f"superset-ws-token={signed}")
        self.assert_advice(finding, Mark.OK, "accepted (guest 01234567..., expires at")
        self.assertNotIn(guest, str(finding))

    def test_no_cookie(self) -> None:
        """Without the cookie, the permission that Superset requires is named, and its settings."""
        (finding,) = self.judge(f"session=x; async-token={token()}")
        self.assert_advice(
            finding,
            Mark.FAIL,
            "no cookie named superset-ws-token; the cookies are: session, async-token",
            "can_read on Realtime",
            "jwtCookieName must equal Superset's WEBSOCKET_JWT_COOKIE_NAME",
        )

    def test_another_name(self) -> None:
        """A good cookie of another name is reported."""
        findings = self.judge(f"ws={realtime_token()}")
        self.assertEqual(len(findings), 2)
        self.assert_advice(findings[1], Mark.FAIL, "the cookie ws", "set jwtCookieName to ws")

    def test_first_one_counts(self) -> None:
        """Of several cookies the first one is judged, and the others cause a note."""
        good = f"superset-ws-token={realtime_token()}"
        bad = f"superset-ws-token={realtime_token(secret=OTHER_SECRET)}"
        refused, note = self.judge(f"{bad}; {good}")
        self.assert_advice(refused, Mark.FAIL, "bad signature")
        self.assert_advice(note, Mark.NOTE, "2 cookies", "only the first one counts")
        accepted, note = self.judge(f"{good}; {bad}")
        self.assertEqual(accepted.mark, Mark.OK)
        self.assert_advice(note, Mark.NOTE, "WEBSOCKET_JWT_COOKIE_DOMAIN")

    def test_previous_secret(self) -> None:
        """A token with the previous secret is accepted, with a note."""
        header = f"superset-ws-token={realtime_token()}"
        accepted, note = self.judge(header, JWT_SECRET=OTHER_SECRET, PREVIOUS_JWT_SECRET=SECRET)
        self.assertEqual(accepted.mark, Mark.OK)
        self.assert_advice(note, Mark.NOTE, "previousJwtSecret", "reload a page of Superset")


class BothVerdictTests(FindingTestCase):
    """Cookies if both protocols are served."""

    def judge(self, header: str, **environ: str) -> list[Finding]:
        """Returns what is found about a header."""
        return judge_cookie(loaded(PROTOCOL="both", **environ), header, time.time()).findings

    def test_both(self) -> None:
        """With both cookies the query decides, as the server does it."""
        streams, realtime, way = self.judge(
            f"async-token={token()}; superset-ws-token={realtime_token()}"
        )
        self.assert_advice(streams, Mark.OK, "streams cookie: accepted (channel")
        self.assert_advice(realtime, Mark.OK, "realtime cookie: accepted (user 5")
        self.assert_advice(way, Mark.NOTE, "7): realtime; last_id: streams; neither: streams")

    def test_one(self) -> None:
        """A browser with only one of them is not a fault, and gets that protocol."""
        for header, absent, way in (
            (
                f"async-token={token()}",
                "realtime cookie: no cookie named superset-ws-token",
                "7): rejected; last_id: streams; neither: streams",
            ),
            (
                f"superset-ws-token={realtime_token()}",
                "streams cookie: no cookie named async-token",
                "7): realtime; last_id: rejected; neither: realtime",
            ),
        ):
            findings = {finding.mark: finding for finding in self.judge(header)[:2]}
            self.assertEqual(findings.keys(), {Mark.OK, Mark.NOTE})
            self.assert_advice(findings[Mark.NOTE], Mark.NOTE, absent)
            self.assert_advice(self.judge(header)[-1], Mark.NOTE, way)

    def test_none(self) -> None:
        """Without any, both are refused."""
        streams, realtime, way = self.judge("")
        self.assert_advice(streams, Mark.FAIL, "GLOBAL_ASYNC_QUERIES_JWT_COOKIE_NAME")
        self.assert_advice(
            realtime, Mark.FAIL, "realtimeJwtCookieName must equal", "WEBSOCKET_JWT_COOKIE_NAME"
        )
        self.assert_advice(way, Mark.FAIL, "neither: rejected")

    def test_secret_of_one(self) -> None:
        """A wrong secret of one protocol leads to the setting of that protocol."""
        header = f"async-token={token()}; superset-ws-token={realtime_token(secret=OTHER_SECRET)}"
        _, realtime, way = self.judge(header)
        self.assert_advice(
            realtime,
            Mark.FAIL,
            "JWT_SECRET in the environment",
            "set realtimeJwtSecret to the value of Superset's WEBSOCKET_JWT_SECRET",
            "set previousRealtimeJwtSecret",
        )
        self.assert_advice(way, Mark.NOTE, "7): rejected; last_id: streams")
        _, realtime, _ = self.judge(header, REALTIME_JWT_SECRET=OTHER_SECRET)
        self.assertEqual(realtime.mark, Mark.OK)

    def test_same_name(self) -> None:
        """Cookies of one name for both protocols are found."""
        streams, realtime, _ = self.judge(
            f"async-token={realtime_token()}", REALTIME_JWT_COOKIE_NAME="async-token"
        )
        self.assert_advice(streams, Mark.FAIL, "jwtCookieName and realtimeJwtCookieName to diff")
        self.assertEqual(realtime.mark, Mark.OK)
        streams, realtime, _ = self.judge(
            f"superset-ws-token={token()}", JWT_COOKIE_NAME="superset-ws-token"
        )
        self.assertEqual(streams.mark, Mark.OK)
        self.assert_advice(realtime, Mark.FAIL, "set realtimeJwtCookieName to WEBSOCKET_JWT_C")
