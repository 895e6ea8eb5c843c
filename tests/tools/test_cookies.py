"""Cookies as Superset signs them."""

import json
from functools import partial
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.access.principals import PrincipalAuthenticator
from gaq_twisted.access.tokens import Authenticator
from gaq_twisted.config.errors import ConfigError
from gaq_twisted.config.forms import SigningSecret
from gaq_twisted.config.settings import Settings
from gaq_twisted.core.edition import Unauthorized
from gaq_twisted.tools.cookies import RealtimeSigner, Signer
from tests.support.processes import ROOT
from tests.support.samples import CHANNEL, SECRET, settings, token

OTHER_SECRET = SECRET[::-1]


class SignerTests(SynchronousTestCase):
    """Cookies."""

    def test_secret(self) -> None:
        """A cookie is signed by the settings, and the server takes it."""
        ours = settings_with(
            "long enough for HS512. " * 3,
            "HS512",
            "HS256",
            jwt_cookie_name="c",
            jwt_channel_id_key="k",
        )
        header = Signer(ours).cookie_header(CHANNEL, 2**33)
        self.assertEqual(Authenticator(ours).identify(header), (CHANNEL, 2**33))
        self.assertEqual(jwt.get_unverified_header(header.partition("=")[2])["alg"], "HS512")

    def test_key_pair(self) -> None:
        """With a key pair the private key signs; with the public key alone it says what to do."""
        private = ec.generate_private_key(ec.SECP256R1())
        private_pem = private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        public_pem = private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        signing, verifying = (
            settings_with(pem.decode(), "ES256") for pem in (private_pem, public_pem)
        )
        header = Signer(signing).cookie_header(CHANNEL, 2**33)
        self.assertEqual(Authenticator(verifying).identify(header).channel, CHANNEL)
        with self.assertRaises(ConfigError) as caught:
            Signer(verifying)
        self.assertIn("it must be the private key", str(caught.exception))

    def test_no_expiry(self) -> None:
        """A token that never expires has no such claim."""
        header = Signer(settings()).cookie_header(CHANNEL)
        self.assertEqual(Authenticator(settings()).identify(header), (CHANNEL, None))

    def test_channel_of(self) -> None:
        """The channel of an expired token is known, unless somebody else has signed it."""
        signer = Signer(settings())
        self.assertEqual(signer.channel_of(token(exp=1)), CHANNEL)
        for bad in (token(secret=OTHER_SECRET), token(None), "no token", "\ufffd"):
            self.assertIsNone(signer.channel_of(bad))


class RealtimeSignerTests(SynchronousTestCase):
    """Cookies of Superset 7."""

    def test_secret(self) -> None:
        """The server takes a cookie of a user and of a guest until it expires."""
        ours = settings(realtime_jwt_secret=OTHER_SECRET, realtime_jwt_cookie_name="c")
        signer = RealtimeSigner(ours)
        for principal in ("user:5", f"guest:{'0a' * 32}"):
            header = signer.cookie_header(principal, 1000, 1900)
            for now, is_accepted in ((1899.0, True), (1900.0, False)):
                authenticator = PrincipalAuthenticator(ours, partial(float, now))
                if is_accepted:
                    self.assertEqual(authenticator.identify(header), (principal, 1900))
                else:
                    self.assertRaises(Unauthorized, authenticator.identify, header)

    def test_claims(self) -> None:
        """The claims are those that Superset mints, in its order."""
        samples = json.loads((ROOT / "tests/support/realtime-samples.json").read_text())
        minted = [one for one in samples["jwts"] if one["name"].endswith("as Superset mints it")]
        self.assertEqual(len(minted), 2)
        signer = RealtimeSigner(settings(realtime_jwt_secret=samples["secrets"]["current"]))
        for one in minted:
            theirs = one["payload"]
            ours = signer.token(theirs["channel"], theirs["iat"], theirs["exp"])
            self.assertEqual(ours.split(".")[1], one["token"].split(".")[1], one["name"])

    def test_public_key(self) -> None:
        """With a public key alone it says which setting to change."""
        public_pem = (
            ec.generate_private_key(ec.SECP256R1())
            .public_key()
            .public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            .decode()
        )
        with self.assertRaises(ConfigError) as caught:
            RealtimeSigner(settings_with(public_pem, "ES256", realtime_jwt_secret=public_pem))
        self.assertIn("REALTIME_JWT_SECRET_FILE", str(caught.exception))

    def test_principal_of(self) -> None:
        """The principal of an expired token is known, unless somebody else has signed it."""
        signer = RealtimeSigner(settings(realtime_jwt_secret=SECRET))
        self.assertEqual(signer.principal_of(signer.token("user:5", 0, 1)), "user:5")
        other = RealtimeSigner(settings(realtime_jwt_secret=OTHER_SECRET))
        for bad in (other.token("user:5", 0, 1), token(), "no token", "\ufffd"):
            self.assertIsNone(signer.principal_of(bad))


def settings_with(secret: str, *algorithms: Any, **values: Any) -> Settings:
    """Returns settings with that secret and those algorithms, and other values."""
    return Settings(jwt_secret=SigningSecret(secret), jwt_algorithms=algorithms, **values)
