"""TLS to Redis: trusted CAs, the client's certificate, and verification of the server's."""

import re
from pathlib import Path
from typing import Any, Protocol, cast

from OpenSSL import SSL, crypto
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IStreamClientEndpoint
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from gaq_twisted.config.errors import ConfigError
from gaq_twisted.config.sections import Redis

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class ClientTls:
    """What all TLS connections to Redis and its Sentinels have in common.

    Args:
        settings: name the files, which are read at once.
        section: the name of the section of these settings, for messages.

    Raises:
        ConfigError: if a file cannot be used.
    """

    def __init__(self, settings: Redis, section: str) -> None:
        self._validate_hostname = settings.validate_hostname
        self._options: dict[str, Any] = {}
        self._trust_root = platformTrust()
        if settings.ssl_ca_certs:
            self._trust_root = trustRootFromCertificates(
                [
                    Certificate(one)
                    for one in _certificates(f"{section}.sslCaCerts", settings.ssl_ca_certs)
                ]
            )
        if settings.ssl_certfile:
            own, *chain = _certificates(f"{section}.sslCertfile", settings.ssl_certfile)
            # One file may hold both, as with Python's ssl module.
            key, key_file = f"{section}.sslKeyfile", settings.ssl_keyfile or settings.ssl_certfile
            self._options = {
                "certificate": own,
                "extraCertChain": chain,
                "privateKey": _private_key(key, key_file),
            }
            try:
                CertificateOptions(**self._options).getContext()
            except SSL.Error:
                raise ConfigError(
                    [f"{key}: {key_file} does not contain the key for {settings.ssl_certfile}"]
                ) from None

    def wrap(self, endpoint: IStreamClientEndpoint, host: str) -> IStreamClientEndpoint:
        """Returns an endpoint that uses TLS on top of another one.

        Args:
            endpoint: the endpoint to wrap.
            host: the name or IP address that the certificate must be for, unless the settings
                disable that check (RFC 6125, by service-identity).
        """
        context = CertificateOptions(trustRoot=self._trust_root, **self._options).getContext()
        return wrapClientTLS(_Creator(context, host, self._validate_hostname), endpoint)


class WrongHostName(Exception):
    """The server's certificate is not for its host name."""

    def __init__(self) -> None:
        super().__init__("its certificate is not for this host name")


class _KeepsReason(Protocol):
    """A protocol that keeps the reason why its connection was lost."""

    lost: Failure | None


@implementer(IOpenSSLClientConnectionCreator)
class _Creator:
    """Makes TLS connections to a host, and requests its certificate by name (RFC 6066).

    Twisted's optionsForClientTLS accepts a certificate without any name for every host, and cannot
    request a name without verifying it.
    """

    def __init__(self, context: SSL.Context, host: str, validate: bool) -> None:
        self._context = context
        self._host = host
        self._validate = validate
        self._is_address = isIPAddress(host) or isIPv6Address(host)

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if not self._is_address:
            connection.set_tlsext_host_name(self._host.encode("idna"))
        if self._validate:

            def verify(
                _: object, certificate: crypto.X509, error: int, depth: int, ok: int
            ) -> bool:
                if ok and depth == 0 and not self._is_for_host(certificate):
                    client = cast(_KeepsReason, tlsProtocol.wrappedProtocol)
                    client.lost = Failure(WrongHostName())
                    return False
                return bool(ok)

            connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, verify)
        return connection

    def _is_for_host(self, certificate: crypto.X509) -> bool:
        wanted = IPAddress_ID(self._host) if self._is_address else DNS_ID(self._host)
        try:
            verify_service_identity(extract_patterns(certificate), [wanted], [])
        except Exception:
            # This includes certificates that service-identity cannot read, such as those without
            # names.
            return False
        return True


def _certificates(key: str, file: str) -> list[crypto.X509]:
    blocks = _CERTIFICATE.findall(_content(key, file))
    if not blocks:
        raise ConfigError([f"{key}: {file} contains no certificate in PEM format"])
    try:
        return [crypto.load_certificate(crypto.FILETYPE_PEM, block) for block in blocks]
    except crypto.Error:
        raise ConfigError([f"{key}: {file} contains an invalid certificate"]) from None


def _private_key(key: str, file: str) -> crypto.PKey:
    content = _content(key, file)
    try:
        # Without a passphrase OpenSSL would ask for one on the terminal.
        return crypto.load_privatekey(crypto.FILETYPE_PEM, content, b"")
    except (crypto.Error, ValueError):
        raise ConfigError(
            [f"{key}: {file} contains no private key in PEM format without a passphrase"]
        ) from None


def _content(key: str, file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ConfigError([f"{key}: cannot read {file}: {error.strerror}"]) from None
