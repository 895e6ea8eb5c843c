"""Whether a cookie is accepted, and why not."""

import time
from datetime import UTC, datetime

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.tools.check.cookies import cookie_header, judge_cookie
from gaq_twisted.tools.check.findings import Finding, Mark
from tests.support.samples import CHANNEL, SECRET, token
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
            self.assertEqual(cookie_header("async-token", given), header)


class CookieVerdictTests(FindingTestCase):
    """Whether a cookie is accepted, and why not."""

    def judge(self, header: str, *, at: float | None = None, **environ: str) -> list[Finding]:
        """Returns what is found about a header at a time, or now."""
        verdict = judge_cookie(loaded(**environ), header, time.time() if at is None else at)
        accepted = verdict.findings[0].mark is Mark.OK
        self.assertEqual(verdict.channel, CHANNEL if accepted else None)
        return verdict.findings

    def test_accepted(self) -> None:
        """A good cookie is accepted, with the end that its token has or has not."""
        (finding,) = self.judge(f"async-token={token()}")
        self.assert_advice(finding, Mark.OK, "accepted", "090916f0...", "without an end")
        end = int(time.time()) + 7200
        (finding,) = self.judge(f"a=b; async-token={token(exp=end)}", at=end - 3599)
        self.assert_advice(finding, Mark.OK, "accepted", "60 min from now", " UTC")

    def test_no_cookie(self) -> None:
        """Without our cookie, the names of the others are reported."""
        (finding,) = self.judge("session=secret1; \x1b[31m=secret2")
        self.assert_advice(
            finding, Mark.FAIL, "no cookie named async-token", "session, '\\x1b[31m'"
        )
        self.assertNotIn("secret1", str(finding))
        (finding,) = self.judge("")
        self.assert_advice(finding, Mark.FAIL, "there is none at all", "GLOBAL_ASYNC_QUERIES")

    def test_another_name(self) -> None:
        """An acceptable cookie of another name is reported, whatever ours holds."""
        for ours in ("session=1", f"async-token={token(secret=OTHER_SECRET)}"):
            findings = self.judge(f"{ours}; gaq={token()}; x={token(secret=OTHER_SECRET)}")
            self.assertEqual(len(findings), 2)
            self.assert_advice(findings[1], Mark.FAIL, "the cookie gaq", "set jwtCookieName to gaq")

    def test_wrong_secret(self) -> None:
        """A token of another secret is reported, with the source of ours."""
        (finding,) = self.judge(f"async-token={token(secret=OTHER_SECRET)}")
        self.assert_advice(
            finding,
            Mark.FAIL,
            "bad signature",
            "JWT_SECRET in the environment",
            "GLOBAL_ASYNC_QUERIES_JWT_SECRET",
        )

    def test_nearly_the_secret(self) -> None:
        """White space and quotes that one side has and the other has not are found."""
        for ours, theirs, what in (
            (f" {SECRET}\n", SECRET, "without the white space around it"),
            (SECRET, f"{SECRET}\n", "with a line end behind it"),
            (f'"{SECRET}"', SECRET, "without the quotes around it"),
        ):
            for claims in ({}, {"exp": 1}):
                (finding,) = self.judge(
                    f"async-token={token(secret=theirs, **claims)}", JWT_SECRET=ours
                )
                self.assert_advice(finding, Mark.FAIL, "bad signature", what)

    def test_previous_secret(self) -> None:
        """A token of the previous secret is accepted, with a note; one of the current without."""
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
        self.assert_advice(finding, Mark.FAIL, "has expired", since, "clocks right")

    def test_not_yet_valid(self) -> None:
        """The beginning of its validity is reported."""
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
            self.assert_advice(finding, Mark.FAIL, "its claim channel is no text")

    def test_no_jwt(self) -> None:
        """A value that is no token is reported."""
        for value in ("x", "", token()[:40], "a.b.c", f"{token()}x.y"):
            (finding,) = self.judge(f"async-token={value}")
            self.assert_advice(finding, Mark.FAIL, "async-token is not a valid JWT")

    def test_several(self) -> None:
        """Each bad cookie of our name is judged; that there are several good ones is noted."""
        good, forged = f"async-token={token()}", f"async-token={token(secret=OTHER_SECRET)}"
        first, second = self.judge(f"{forged}; async-token=x")
        self.assert_advice(first, Mark.FAIL, "bad signature")
        self.assert_advice(second, Mark.FAIL, "not a valid JWT")
        accepted, note = self.judge(f"{forged}; {good}")
        self.assertEqual(accepted.mark, Mark.OK)
        self.assert_advice(note, Mark.NOTE, "2 cookies named async-token")
