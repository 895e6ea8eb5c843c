"""Which Cookie headers are accepted, and why others are refused."""

import base64
import hmac
import json
import time
from typing import Any, get_args

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.access.principals import PrincipalAuthenticator
from gaq_twisted.access.tokens import REALTIME_AUDIENCE, Authenticator, Identity
from gaq_twisted.config.errors import ConfigError
from gaq_twisted.config.forms import SigningSecret, SpareSecret
from gaq_twisted.core.edition import Unauthorized
from gaq_twisted.core.reasons import TokenReason
from tests.access.case import REALTIME_COOKIE, realtime_settings, realtime_token
from tests.support.samples import CHANNEL, SECRET, settings, token

# The claims of Superset 6.1's own cookies.
USER = {"channel": "090916f0-2b0e-4920-aacc-45e26bc9a8eb", "sub": "1"}
ANONYMOUS = {"channel": "121a0484-17a2-480e-a50b-ed5f95c34312", "sub": None}

# As long as HS512 wants it.
LONG_SECRET = SigningSecret(SECRET * 2)
HOUR = 3600


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _signed(payload: bytes) -> str:
    """Returns a token with that payload, JSON or not."""
    return jwt.PyJWS().encode(payload, SECRET, algorithm="HS256", headers={"typ": "JWT"})


class AuthTestCase(SynchronousTestCase):
    """Asks an Authenticator."""

    def identity(self, header: str, **values: Any) -> Identity:
        """Returns who sent that header, under those settings."""
        return Authenticator(replace(settings(), **values)).identify(header)

    def channel(self, header: str, **values: Any) -> str:
        """Returns the channel of that header under those settings."""
        return self.identity(header, **values).channel

    def refusal(self, header: str, **values: Any) -> str:
        """Returns why that header is refused: one line, without any part of a token."""
        text = str(self.assertRaises(Unauthorized, self.channel, header, **values))
        self.assertEqual(len(text.splitlines()), 1, text)
        for part in header.replace("=", ".").replace(";", ".").split("."):
            if len(part) > 12:
                self.assertNotIn(part, text)
        self.assertNotIn(CHANNEL, text)
        self.assertNotIn(SECRET, text)
        return text

    def assert_refused(self, refused: str, reason: str, **values: Any) -> None:
        """Checks that a token is refused with a text that contains that reason."""
        self.assertIn(reason, self.refusal(f"async-token={refused}", **values), refused)


class ClaimsTests(AuthTestCase):
    """Tokens that are signed with the secret."""

    def test_cookies_of_superset(self) -> None:
        """The cookies that Superset writes for users and for anonymous visitors are good."""
        for claims in (USER, ANONYMOUS):
            signed = jwt.encode(claims, SECRET, algorithm="HS256")
            self.assertEqual(self.channel(f"async-token={signed}"), claims["channel"])

    def test_claims_without_meaning(self) -> None:
        """Claims to which Superset gives no meaning are ignored, whatever they contain."""
        now = int(time.time())
        for claims in (
            {"sub": 1},
            {"sub": "1"},
            {"sub": ""},
            {"sub": None},
            {"exp": now + HOUR},
            {"exp": now + HOUR + 0.5},
            {"nbf": now - HOUR},
            {"iat": now + HOUR},
            {"iat": "yesterday"},
            {"aud": "superset"},
            {"aud": ["a", "b"]},
            {"iss": "superset"},
            {"jti": 1},
            {"unknown": {"x": [1]}},
        ):
            self.assertEqual(self.channel(f"async-token={token(**claims)}"), CHANNEL, claims)

    def test_no_subject(self) -> None:
        """A token may lack everything but its channel."""
        signed = jwt.encode({"channel": CHANNEL}, SECRET, algorithm="HS256")
        self.assertEqual(self.channel(f"async-token={signed}"), CHANNEL)

    def test_outside_its_time(self) -> None:
        """A token that has expired or is not valid yet is refused, each with its own reason."""
        now = int(time.time())
        self.assert_refused(token(exp=now - 1), "expired")
        self.assert_refused(token(exp=0), "expired")
        self.assert_refused(token(nbf=now + HOUR), "not valid yet")

    def test_times_that_are_none(self) -> None:
        """An expiry that is not a number never counts as one in the far future."""
        wrong: tuple[object, ...] = (None, "never", [], {}, float("inf"), float("nan"))
        for value in wrong:
            self.assert_refused(token(exp=value), "not a valid JWT")
            self.assert_refused(token(nbf=value), "not a valid JWT")
        for value in (None, "never", []):
            self.assert_refused(token(exp=value), "its claim exp is not a number")
            self.assert_refused(token(nbf=value), "its claim nbf is not a number")

    def test_expiry(self) -> None:
        """The time at which a token expires is in whole seconds; RFC 7519 allows rounding."""
        at = int(time.time()) + HOUR
        for value, expected in ((at, at), (at + 0.9, at), (str(at), at)):
            identity = self.identity(f"async-token={token(exp=value)}")
            self.assertEqual(identity, (CHANNEL, expected))
        self.assertEqual(self.identity(f"async-token={token()}"), (CHANNEL, None))

    def test_other_protocol(self) -> None:
        """A token of Superset 7 is refused, although it is signed with the same secret."""
        for audience in (REALTIME_AUDIENCE, ["superset", REALTIME_AUDIENCE]):
            self.assert_refused(token(aud=audience), "Superset 7")
            self.assert_refused(realtime_token(aud=audience), "Superset 7")

    def test_no_channel(self) -> None:
        """A token whose channel is not a string is refused."""
        for channel in ("", 1, None, True, [CHANNEL], {"id": CHANNEL}):
            self.assert_refused(token(channel), "no channel")
        self.assert_refused(_signed(b'{"sub": "1"}'), "no channel")
        for odd in (rb"\ud800", rb"a\udfff", rb"\udc00\ud800", rb"a\nb", rb"\u001b[2J"):
            self.assert_refused(_signed(b'{"channel": "%b"}' % odd), "no channel")
        whole = _signed(rb'{"channel": "\ud83d\ude00"}')
        self.assertEqual(self.identity(f"async-token={whole}").channel, "😀")

    def test_payload_is_not_an_object(self) -> None:
        """A token that holds anything but a JSON object is refused."""
        for payload in (b"[]", b'"channel"', b"null", b"1", b"", b"{", b"\xff", b"[" * 100_000):
            self.assert_refused(_signed(payload), "not a valid JWT")

    def test_names_by_settings(self) -> None:
        """The names of the cookie and the claim come only from the settings."""
        names = {"jwt_cookie_name": "my.cookie", "jwt_channel_id_key": "sid"}
        header = f"async-token={token('other')}; my.cookie={token('other', sid=CHANNEL)}"
        self.assertEqual(self.channel(header, **names), CHANNEL)
        self.assertIn("my.cookie", self.refusal(f"async-token={token(sid='x')}", **names))
        self.assertIn("sid", self.refusal(f"my.cookie={token()}", **names))


class SignatureTests(AuthTestCase):
    """Tokens that were signed by others."""

    def test_bad_signature(self) -> None:
        """A token that is signed with another secret, or changed, or cut, is refused."""
        header, payload, signature = token().split(".")
        other = token("other").split(".")
        for forged in (
            token(secret="another secret, which is long enough too"),
            f"{header}.{payload}.",
            f"{header}.{payload}.{signature[:-3]}",
            f"{header}.{payload}.{other[2]}",
            f"{header}.{other[1]}.{signature}",
        ):
            self.assert_refused(forged, "bad signature")

    def test_other_algorithm(self) -> None:
        """An algorithm that the settings do not name is refused, with that reason."""
        signed = jwt.encode({"channel": CHANNEL}, LONG_SECRET, algorithm="HS512")
        self.assert_refused(signed, "jwtAlgorithms", jwt_secret=LONG_SECRET)
        both = {"jwt_secret": LONG_SECRET, "jwt_algorithms": ("HS256", "HS512")}
        self.assertEqual(self.channel(f"async-token={signed}", **both), CHANNEL)

    def test_no_algorithm(self) -> None:
        """A token that claims to need no signature is refused, however it spells that."""
        payload = _base64(json.dumps(USER).encode())
        for algorithm in ("none", "None", "NONE", "", None, 0, ["HS256"]):
            header = _base64(json.dumps({"alg": algorithm, "typ": "JWT"}).encode())
            for signature in ("", _base64(b"x" * 32)):
                self.assert_refused(f"{header}.{payload}.{signature}", "jwtAlgorithms")
        self.assert_refused(f"{_base64(b'{}')}.{payload}.", "jwtAlgorithms")

    def test_garbage(self) -> None:
        """Anything that is not a token is refused as such."""
        deep = _base64(b"[" * 100_000)
        for garbage in (
            "",
            ".",
            "..",
            "a.b.c",
            "a.b.c.d",
            "null",
            "=",
            "%",
            "é",
            "\x00",
            "x" * 100_000,
            f"{deep}.{deep}.x",
            f"{_base64(b'[]')}.e30.",
            token()[:20],
            f"x{token()}",
        ):
            self.assert_refused(garbage, "not a valid JWT")


def _private_key(name: str) -> Any:
    """Returns a new private key for that algorithm."""
    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    if name in curves:
        return ec.generate_private_key(curves[name])
    if name == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _public_pem(key: Any) -> SigningSecret:
    encoding = serialization.Encoding.PEM
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return SigningSecret(key.public_key().public_bytes(encoding, form).decode())


def _private_pem(key: Any) -> SigningSecret:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    none = serialization.NoEncryption()
    return SigningSecret(key.private_bytes(encoding, form, none).decode())


class ReasonTests(AuthTestCase):
    """The labels under which refused cookies are counted."""

    def test_each(self) -> None:
        """Each reason that is about a token has a cookie that is refused for it."""
        hour = int(time.time()) + HOUR
        found = set()
        for header in (
            "",
            "async-token=nonsense",
            f"async-token={token(secret='another secret, long enough to sign with')}",
            f"async-token={jwt.encode({'channel': CHANNEL}, LONG_SECRET, algorithm='HS512')}",
            f"async-token={token(exp=1)}",
            f"async-token={token(nbf=hour)}",
            f"async-token={token(7)}",
            f"async-token={realtime_token()}",
        ):
            found.add(self.assertRaises(Unauthorized, self.channel, header).reason)
        realtime = PrincipalAuthenticator(realtime_settings(), time.time)
        for claims in ({"aud": "x"}, {"iss": "x"}, {"exp": None}, {"sub": 5}):
            header = f"{REALTIME_COOKIE}={realtime_token(**claims)}"
            found.add(self.assertRaises(Unauthorized, realtime.identify, header).reason)
        self.assertEqual(found, set(get_args(TokenReason)))


class KeyPairTests(AuthTestCase):
    """Superset signs with a private key."""

    def test_each_algorithm(self) -> None:
        """Tokens of each algorithm are verified with the public key, or with the private one."""
        rsa_key = _private_key("RS256")
        for name in (
            "RS256",
            "RS384",
            "RS512",
            "PS256",
            "PS384",
            "PS512",
            "ES256",
            "ES384",
            "ES512",
            "EdDSA",
        ):
            key = rsa_key if name[1] == "S" and name[0] in "RP" else _private_key(name)
            signed = jwt.encode({"channel": CHANNEL}, key, algorithm=name)
            for secret in (_public_pem(key), _private_pem(key)):
                values = {"jwt_secret": secret, "jwt_algorithms": (name,)}
                self.assertEqual(self.channel(f"async-token={signed}", **values), CHANNEL)
            other = jwt.encode({"channel": CHANNEL}, _private_key(name), algorithm=name)
            self.assert_refused(other, "bad signature", **values)

    def test_public_key_as_secret(self) -> None:
        """The public key cannot be used to sign."""
        pem = _public_pem(_private_key("RS256"))
        header, payload = (
            _base64(json.dumps(part).encode()) for part in ({"alg": "HS256"}, {"channel": CHANNEL})
        )
        mac = hmac.digest(pem.encode(), f"{header}.{payload}".encode(), "sha256")
        forged = f"{header}.{payload}.{_base64(mac)}"
        self.assert_refused(forged, "jwtAlgorithms", jwt_secret=pem, jwt_algorithms=("RS256",))

    def fault(self, secret: str, *algorithms: str, previous: str = "") -> str:
        """Returns why these settings are refused, a line without the secret."""
        values = replace(
            settings(),
            jwt_secret=SigningSecret(secret),
            jwt_algorithms=algorithms,
            previous_jwt_secret=SpareSecret(previous),
        )
        (fault,) = self.assertRaises(ConfigError, Authenticator, values).faults
        self.assertNotIn(secret[30:50], fault)
        self.assertEqual(len(fault.splitlines()), 1)
        return str(fault)

    def test_does_not_fit(self) -> None:
        """A secret that is not a key for an algorithm is a fault that says what to do."""
        rsa_key, ec_key = (_public_pem(_private_key(name)) for name in ("RS256", "ES256"))
        for secret, algorithms, named in (
            (rsa_key, ["HS256"], "set jwtAlgorithms to the algorithm that Superset signs with"),
            (_private_pem(_private_key("ES256")), ["HS256"], "set jwtAlgorithms"),
            (SECRET, ["RS256"], "jwtSecret contains no RS256 key"),
            (ec_key, ["RS256"], "jwtSecret contains no RS256 key"),
            (rsa_key, ["ES256"], "jwtSecret contains no ES256 key"),
            (rsa_key, ["EdDSA"], "jwtSecret contains no EdDSA key"),
            (ec_key, ["ES256", "ES384"], "jwtSecret contains no ES384 key"),
            (rsa_key[:100] + "x" + rsa_key[101:-40], ["RS256"], "jwtSecret contains no RS256 key"),
        ):
            self.assertIn(named, self.fault(secret, *algorithms))
        self.assertIn("previousJwtSecret", self.fault(rsa_key, "RS256", previous=ec_key))

    def test_mixed(self) -> None:
        """Algorithms of different kinds are a fault."""
        for algorithms in (["HS256", "RS256"], ["RS256", "ES256"], ["PS256", "EdDSA"]):
            self.assertIn("keep only algorithms of one kind", self.fault(SECRET, *algorithms))


class RotationTests(AuthTestCase):
    """The secret is being changed."""

    def test_both(self) -> None:
        """Tokens that were signed with either secret are good, and no others."""
        old, new = SpareSecret("the secret that was there before this"), SigningSecret(SECRET)
        values = {"jwt_secret": new, "previous_jwt_secret": old}
        for secret in (old, new):
            self.assertEqual(self.channel(f"async-token={token(secret=secret)}", **values), CHANNEL)
        self.assert_refused(token(secret="x" * 40), "bad signature", **values)
        self.assert_refused(token(secret=old), "bad signature", jwt_secret=new)
        self.assert_refused(token(secret=old, exp=1), "expired", **values)


class CookieHeaderTests(AuthTestCase):
    """Our cookie among other cookies."""

    def test_no_cookie(self) -> None:
        """A header without our cookie is refused with the cookie's name."""
        for header in (
            "",
            ";",
            "async-token",
            "session=x",
            f"xasync-token={token()}",
            f"async-token2={token()}",
            f"ASYNC-TOKEN={token()}",
            f"x=async-token={token()}",
        ):
            self.assertEqual(self.refusal(header), "no cookie named async-token", header)

    def test_odd_neighbours(self) -> None:
        """Other cookies, however odd, before or after it, do not hide ours."""
        good = f"async-token={token()}"
        for odd in (
            "a",
            "=",
            "=a",
            "a=",
            "",
            " ",
            'j={"x":[1],"y":"z"}',
            "[a]=b",
            "a[b]=(c)",
            "a,b=c,d",
            'q="',
            'q="a b',
            "a b=c d",
            "a=b=c",
            "@:/?=<>",
            "naïve=☃",
            "\x7f\x80=\xff",
            "$Version=1",
            "expires=Thu, 01 Jan 1970 00:00:00 GMT",
            "async-token",
            "session=.eJw",
        ):
            for header in (f"{odd}; {good}", f"{good}; {odd}", f"{odd};{good};{odd};"):
                self.assertEqual(self.channel(header), CHANNEL, odd)

    def test_white_space_and_quotes(self) -> None:
        """White space around the name and value, and quotes around the value, are ignored."""
        for header in (
            f'async-token="{token()}"',
            f"  async-token  =  {token()}  ",
            f'\tasync-token=\t"{token()}" ;',
        ):
            self.assertEqual(self.channel(header), CHANNEL, header)

    def test_several_of_our_name(self) -> None:
        """Of several cookies of our name, the first valid one counts, wherever it is."""
        good, other = f"async-token={token()}", f"async-token={token('other')}"
        bad = f"async-token=x; async-token={token(exp=1)}; async-token"
        for header in (f"{bad}; {good}", f"{good}; {bad}", f"{bad}; {good}; {other}; {bad}"):
            self.assertEqual(self.channel(header), CHANNEL, header)

    def test_several_bad_ones(self) -> None:
        """If none is valid, the reason is that of the last one."""
        self.assertIn("expired", self.refusal(f"async-token=x; async-token={token(exp=1)}"))
