"""Cookies as Superset signs them."""

from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.access.tokens import Authenticator
from gaq_twisted.config.errors import ConfigError
from gaq_twisted.config.forms import SigningSecret
from gaq_twisted.config.settings import Settings
from gaq_twisted.tools.cookies import Signer
from tests.support.samples import CHANNEL, SECRET, settings, token


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
        other_secret = SECRET[::-1]
        for bad in (token(secret=other_secret), token(None), "no token", "\ufffd"):
            self.assertIsNone(signer.channel_of(bad))


def settings_with(secret: str, *algorithms: Any, **values: Any) -> Settings:
    """Returns settings with that secret and those algorithms, and other values."""
    return Settings(jwt_secret=SigningSecret(secret), jwt_algorithms=algorithms, **values)
