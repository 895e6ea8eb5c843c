"""TLS to Redis: trusted CAs, certificates of both sides, and the errors."""

import datetime
import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from twisted.internet import reactor
from twisted.internet.ssl import Certificate, PrivateCertificate
from twisted.protocols.portforward import ProxyFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase

from gaq_twisted.config.errors import ConfigError
from gaq_twisted.config.forms import FilePath, HostName
from gaq_twisted.config.sections import Redis
from gaq_twisted.redis.server import RedisServer
from tests.live.test_connection import REACTOR, USAGE, Listener, ReachingTestCase
from tests.support.processes import DEADLINE_SECONDS, RedisProcess, Server, environment

PAST = datetime.datetime(2020, 1, 1)


def tls_front(
    test: TestCase,
    port: int,
    certificate: trustme.LeafCert,
    *,
    clients_of: trustme.CA | None = None,
    on_name: "Callable[[bytes | None], None] | None" = None,
) -> int:
    """Put a server before a port of the loopback interface that speaks TLS.

    Args:
        test: the test that ends it.
        port: where to pass on what it is told.
        certificate: what it shows.
        clients_of: clients must have a certificate of that CA.
        on_name: called with the name that a client asks for.

    Returns:
        Its port.
    """
    own = PrivateCertificate.loadPEM(certificate.private_key_and_cert_chain_pem.bytes())
    options: Any = own.options(*([_certificate(clients_of)] if clients_of else []))
    if on_name is not None:
        options.getContext().set_tlsext_servername_callback(
            lambda connection: on_name(connection.get_servername())
        )
    front: Any = reactor.listenSSL(  # type: ignore[attr-defined]
        0, ProxyFactory("127.0.0.1", port), options, interface="127.0.0.1"
    )
    test.addCleanup(front.stopListening)
    return int(front.getHost().port)


def _certificate(ca: trustme.CA) -> Certificate:
    return Certificate.loadPEM(ca.cert_pem.bytes())


def pem_file(test: SynchronousTestCase, *parts: "trustme.Blob | bytes") -> str:
    """Write a file of that content; return its path."""
    path = Path(test.mktemp())
    path.write_bytes(b"".join(one if isinstance(one, bytes) else one.bytes() for one in parts))
    return str(path.absolute())


def self_signed(name: str) -> trustme.LeafCert:
    """Return a certificate for that name that no CA has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return trustme.LeafCert(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        certificate.public_bytes(Encoding.PEM),
        [],
    )


class TlsTestCase(ReachingTestCase):
    """A test with a Redis and a CA."""

    def setUp(self) -> None:
        """Start the Redis, and make the CA and a certificate for localhost."""
        self.redis = RedisProcess(self)
        self.ca = trustme.CA()
        self.ca_file = pem_file(self, self.ca.cert_pem)
        self.certificate = self.ca.issue_cert("localhost")

    def front(self, certificate: trustme.LeafCert | None = None, **values: Any) -> int:
        """Put TLS before the Redis; return the port."""
        return tls_front(self, self.redis.port, certificate or self.certificate, **values)

    def over_tls(self, port: int, **values: Any) -> Redis:
        """Return settings for TLS to that port of localhost, trusting the CA."""
        usual: dict[str, Any] = {"host": "localhost", "ssl": True, "ssl_ca_certs": self.ca_file}
        return Redis(port=port, **(usual | values))

    async def check(self, redis: Redis) -> None:
        """Check that Redis answers."""
        self.assertEqual(await self.connection(redis).ask("ECHO", "there"), b"there")


class TrustTests(TlsTestCase):
    """The CAs whose certificates are accepted."""

    def trust(self, file: str) -> None:
        """Let OpenSSL find the system's CAs in that file."""
        before = os.environ.get("SSL_CERT_FILE")
        os.environ["SSL_CERT_FILE"] = file

        def restore() -> None:
            del os.environ["SSL_CERT_FILE"]
            if before is not None:
                os.environ["SSL_CERT_FILE"] = before

        self.addCleanup(restore)

    async def test_system(self) -> None:
        """A certificate of one of the system's CAs is accepted."""
        self.trust(self.ca_file)
        await self.check(self.over_tls(self.front(), ssl_ca_certs=""))

    async def test_unknown_to_the_system(self) -> None:
        """An unknown CA is rejected, also if names are not compared."""
        port = self.front()
        for validate_hostname in (True, False):
            redis = self.over_tls(port, ssl_ca_certs="", validate_hostname=validate_hostname)
            refusal = await self.refusal(redis)
            self.assertIn(f"Redis at localhost:{port} was lost: ", refusal)
            self.assertIn("certificate verify failed", refusal)

    async def test_file(self) -> None:
        """A certificate of the CA in the file is accepted."""
        await self.check(self.over_tls(self.front()))

    async def test_read_again(self) -> None:
        """A CA's file that was replaced is used after it was read again; a broken one is not."""
        file = Path(pem_file(self, trustme.CA().cert_pem))
        redis = self.over_tls(self.front(), ssl_ca_certs=str(file))
        server = RedisServer(redis, REACTOR, USAGE)
        connection = server.connection()
        self.addCleanup(connection.close)
        self.assertIn("sslCaCerts", await self.failure_of(connection.ask("PING")))
        file.write_bytes(b"broken")
        with self.assertRaises(ConfigError):
            server.read_certificates()
        file.write_bytes(self.ca.cert_pem.bytes())
        server.renew(server.read_certificates())
        self.assertEqual(await connection.ask("ECHO", "there"), b"there")

    async def test_file_with_several(self) -> None:
        """All CAs of the file are trusted, with whatever stands between them."""
        parts = (
            *(trustme.CA().cert_pem, b"\nthe right one:\n"),
            *(self.ca.cert_pem.bytes().replace(b"\n", b"\r\n"), trustme.CA().cert_pem),
        )
        await self.check(self.over_tls(self.front(), ssl_ca_certs=pem_file(self, *parts)))

    async def test_file_replaces_the_system(self) -> None:
        """With a file the system's CAs are not trusted."""
        self.trust(self.ca_file)
        other = pem_file(self, trustme.CA().cert_pem)
        refusal = await self.refusal(self.over_tls(self.front(), ssl_ca_certs=other))
        self.assertIn("certificate verify failed", refusal)

    async def test_bad_certificates(self) -> None:
        """Certificates of another CA, self-signed or expired, are rejected, also without names."""
        for certificate in (
            trustme.CA().issue_cert("localhost"),
            self_signed("localhost"),
            self.ca.issue_cert("localhost", not_before=PAST, not_after=PAST.replace(year=2021)),
        ):
            port = self.front(certificate)
            for validate_hostname in (True, False):
                redis = self.over_tls(port, validate_hostname=validate_hostname)
                self.assertIn("certificate verify failed", await self.refusal(redis))


class NameTests(TlsTestCase):
    """The host names that a certificate must have."""

    async def test_wrong_name(self) -> None:
        """A certificate for another host is rejected; the error has the address and a remedy."""
        for names, host in (
            (["localhost"], "127.0.0.1"),
            (["127.0.0.1"], "localhost"),
            (["redis.example", "*.redis.example"], "localhost"),
            (["127.0.0.2"], "127.0.0.1"),
        ):
            port = self.front(self.ca.issue_cert(*names))
            refusal = await self.refusal(self.over_tls(port, host=host))
            self.assertIn(f"Redis at {host}:{port} was lost: ", refusal)
            self.assertIn("certificate is not for this host name", refusal)
            self.assertIn("redis.validateHostname", refusal)

    async def test_unusable_names(self) -> None:
        """A certificate without any name, or with too wide a wildcard, is rejected."""
        for certificate in (
            self.ca.issue_cert(common_name="localhost"),
            self.ca.issue_cert("*.localhost"),
        ):
            port = self.front(certificate)
            refusal = await self.refusal(self.over_tls(port))
            self.assertIn(f"Redis at localhost:{port} was lost: ", refusal)
            self.assertEqual(self.flushLoggedErrors(), [])

    async def test_right_name(self) -> None:
        """One of several names, or an IP address, is enough."""
        certificate = self.ca.issue_cert("redis.example", "localhost", "127.0.0.1")
        port = self.front(certificate)
        for host in ("localhost", "127.0.0.1"):
            await self.check(self.over_tls(port, host=host))

    async def test_names_do_not_matter(self) -> None:
        """If names are not compared, a certificate for another host is accepted."""
        for certificate in (
            self.ca.issue_cert("redis.example"),
            self.ca.issue_cert(common_name="nothing"),
        ):
            port = self.front(certificate)
            for host in ("localhost", "127.0.0.1"):
                await self.check(self.over_tls(port, host=host, validate_hostname=False))

    async def test_asks_for_the_name(self) -> None:
        """A server with several certificates is sent the name of the wanted one."""
        asked: list[bytes | None] = []
        port = self.front(on_name=asked.append)
        for validate_hostname in (True, False):
            await self.check(self.over_tls(port, validate_hostname=validate_hostname))
        self.assertEqual(asked, [b"localhost", b"localhost"])


class ClientCertificateTests(TlsTestCase):
    """A server that requires a certificate of its clients."""

    def setUp(self) -> None:
        """Put a front before the Redis that accepts only clients of a CA of its own."""
        super().setUp()
        self.clients_ca = trustme.CA()
        self.port = self.front(clients_of=self.clients_ca)

    async def test_key_in_a_file_of_its_own(self) -> None:
        """Certificate and key are taken from two files."""
        client = self.clients_ca.issue_cert("gaq.example")
        await self.check(
            self.over_tls(
                self.port,
                ssl_certfile=pem_file(self, *client.cert_chain_pems),
                ssl_keyfile=pem_file(self, client.private_key_pem),
            )
        )

    async def test_key_in_the_same_file(self) -> None:
        """Without a file for the key, it is in that of the certificate, before or behind it."""
        client = self.clients_ca.issue_cert("gaq.example")
        for parts in (
            (client.private_key_pem, *client.cert_chain_pems),
            (*client.cert_chain_pems, client.private_key_pem),
        ):
            await self.check(self.over_tls(self.port, ssl_certfile=pem_file(self, *parts)))

    async def test_without_comparing_names(self) -> None:
        """The certificate is sent also if names are not compared."""
        client = self.clients_ca.issue_cert("gaq.example")
        file = pem_file(self, client.private_key_and_cert_chain_pem)
        redis = self.over_tls(
            self.port, host="127.0.0.1", validate_hostname=False, ssl_certfile=file
        )
        await self.check(redis)

    async def test_chain(self) -> None:
        """The CAs between the client and the one that the server knows are sent along."""
        client = self.clients_ca.create_child_ca().issue_cert("gaq.example")
        own, *between = client.cert_chain_pems
        self.assertEqual(len(between), 1)
        key = pem_file(self, client.private_key_pem)
        whole = self.over_tls(
            self.port, ssl_certfile=pem_file(self, own, *between), ssl_keyfile=key
        )
        await self.check(whole)
        alone = self.over_tls(self.port, ssl_certfile=pem_file(self, own), ssl_keyfile=key)
        self.assertIn("unknown ca", await self.refusal(alone))

    async def test_none(self) -> None:
        """Without a certificate the error says that one is required."""
        refusal = await self.refusal(self.over_tls(self.port))
        self.assertIn(f"Redis at localhost:{self.port} was lost: ", refusal)
        self.assertIn("certificate required", refusal)

    async def test_of_another_ca(self) -> None:
        """The error says that the server does not accept the certificate."""
        stranger = trustme.CA().issue_cert("gaq.example")
        file = pem_file(self, stranger.private_key_and_cert_chain_pem)
        refusal = await self.refusal(self.over_tls(self.port, ssl_certfile=file))
        self.assertIn("unknown ca", refusal)


class TroubleTests(TlsTestCase):
    """Failures of TLS, and of the server behind it."""

    async def test_server_without_tls(self) -> None:
        """The error says that a server does not use TLS, whether it closes or waits."""
        silent, loud = Listener(self).port, Listener(self, answer=b"-ERR unknown\r\n").port
        for port in (self.redis.port, silent, loud):
            connection = self.connection(self.over_tls(port))
            refusal = await self.failure_of(connection.ask("PING", within_seconds=0.5))
            self.assertIn(f"localhost:{port}", refusal)
            self.assertRegex(refusal, "TLS|SSL|redis.ssl")

    async def test_client_without_tls(self) -> None:
        """The error says that a server may require TLS."""
        port = self.front()
        refusal = await self.refusal(Redis(host=HostName("localhost"), port=port))
        self.assertIn(f"localhost:{port}", refusal)
        self.assertRegex(refusal, "TLS|SSL|redis.ssl")

    async def test_absent(self) -> None:
        """Without a listener the error is the same as without TLS."""
        self.redis.kill()
        for absent in (self.redis.port, self.front()):
            refusal = await self.refusal(self.over_tls(absent))
            self.assertIn(f"Redis at localhost:{absent}", refusal)
            self.assertNotIn("certificate", refusal)

    async def test_lost_and_hung(self) -> None:
        """A connection that is lost, or silent, is replaced."""
        connection = self.connection(self.over_tls(self.front()))
        await connection.ask("PING")
        self.redis.kill()
        self.assertIn("was lost", await self.failure_of(connection.ask("PING")))
        self.redis.start()
        self.assertEqual(await connection.ask("PING"), b"PONG")
        self.redis.signal(signal.SIGSTOP)
        self.assertIn(
            "did not answer within 0.1 s",
            await self.failure_of(connection.ask("ECHO", "old", within_seconds=0.1)),
        )
        self.redis.signal(signal.SIGCONT)
        self.assertEqual(await connection.ask("ECHO", "new"), b"new")
        self.assertEqual(connection.times_opened, 3)

    async def test_much(self) -> None:
        """Commands and replies of many TLS records arrive whole."""
        connection = self.connection(self.over_tls(self.front()))
        value = b"0123456789abcdef" * 200_000
        self.assertEqual(await connection.ask("ECHO", value), value)


class FileTests(SynchronousTestCase):
    """Files that cannot be used."""

    def setUp(self) -> None:
        """Make good files."""
        self.client = trustme.CA().issue_cert("gaq.example")
        self.certificate = pem_file(self, *self.client.cert_chain_pems)
        self.key = pem_file(self, self.client.private_key_pem)

    def fault(self, **values: Any) -> str:
        """Return the only fault of such settings, which is one line."""
        redis = Redis(ssl=True, **values)
        error: ConfigError = self.assertRaises(ConfigError, RedisServer, redis, REACTOR, USAGE)
        self.assertEqual(len(error.faults), 1, error.faults)
        self.assertEqual(len(error.faults[0].splitlines()), 1, error.faults)
        return error.faults[0]

    def assert_fault(self, key: str, file: str, **values: Any) -> str:
        """Check that settings have a fault that begins with that key and names that file."""
        fault = self.fault(**values)
        self.assertTrue(fault.startswith(f"redis.{key}: "), fault)
        self.assertIn(file, fault)
        return fault

    def test_good(self) -> None:
        """Good files are no fault, in each way to write a key."""
        key = load_pem_private_key(self.client.private_key_pem.bytes(), None)
        for private_format in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            file = pem_file(self, key.private_bytes(Encoding.PEM, private_format, NoEncryption()))
            redis = Redis(
                ssl=True,
                ssl_ca_certs=FilePath(self.certificate),
                ssl_certfile=FilePath(self.certificate),
                ssl_keyfile=FilePath(file),
            )
            RedisServer(redis, REACTOR, USAGE)

    def test_cannot_be_read(self) -> None:
        """A file that is missing, or is a directory, is named with its key and the reason."""
        directory = self.mktemp()
        Path(directory).mkdir()
        for file, reason in (
            (f"{directory}/missing", "No such file or directory"),
            (directory, "Is a directory"),
        ):
            for key, values in (
                ("sslCaCerts", {"ssl_ca_certs": file}),
                ("sslCertfile", {"ssl_certfile": file}),
                ("sslCertfile", {"ssl_certfile": file, "ssl_keyfile": self.key}),
                ("sslKeyfile", {"ssl_certfile": self.certificate, "ssl_keyfile": file}),
            ):
                self.assertEqual(self.fault(**values), f"redis.{key}: cannot read {file}: {reason}")

    def test_without_what_is_wanted(self) -> None:
        """A file that is empty, or has other content, is named with its key."""
        for content in (b"", b"\n", b"\x30\x82\x01", b"-----BEGIN CERTIFICATE-----\n"):
            file = pem_file(self, content)
            self.assert_fault("sslCaCerts", file, ssl_ca_certs=file)
            self.assert_fault("sslCertfile", file, ssl_certfile=file, ssl_keyfile=self.key)
            self.assert_fault(
                "sslKeyfile", file, ssl_certfile=FilePath(self.certificate), ssl_keyfile=file
            )
        self.assert_fault("sslCaCerts", self.key, ssl_ca_certs=self.key)
        self.assert_fault(
            "sslCertfile", self.key, ssl_certfile=self.key, ssl_keyfile=self.certificate
        )
        self.assert_fault("sslKeyfile", self.certificate, ssl_certfile=self.certificate)

    def test_broken(self) -> None:
        """A truncated certificate or key is named with its key."""
        good = self.client.cert_chain_pems[0].bytes()
        broken = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
        for content in (broken, good + broken):
            file = pem_file(self, content)
            fault = self.assert_fault("sslCaCerts", file, ssl_ca_certs=file)
            self.assertIn("invalid certificate", fault)
            self.assert_fault("sslCertfile", file, ssl_certfile=file, ssl_keyfile=self.key)
        half = self.client.private_key_pem.bytes()
        file = pem_file(self, half[: len(half) // 2])
        self.assert_fault(
            "sslKeyfile", file, ssl_certfile=FilePath(self.certificate), ssl_keyfile=file
        )

    def test_key_of_another(self) -> None:
        """The error for a key of another certificate names both files."""
        for key_type in (trustme.KeyType.ECDSA, trustme.KeyType.RSA):
            other = trustme.CA().issue_cert("gaq.example", key_type=key_type)
            file = pem_file(self, other.private_key_pem)
            fault = self.assert_fault(
                "sslKeyfile", file, ssl_certfile=FilePath(self.certificate), ssl_keyfile=file
            )
            self.assertIn(self.certificate, fault)

    def test_chain_before_the_certificate(self) -> None:
        """The client's own certificate must come first in its file."""
        client = trustme.CA().create_child_ca().issue_cert("gaq.example")
        own, between = client.cert_chain_pems
        file = pem_file(self, between, own, client.private_key_pem)
        self.assert_fault("sslKeyfile", file, ssl_certfile=file)

    def test_passphrase(self) -> None:
        """The error says that a key has a passphrase."""
        for file in self.keys_with_passphrase():
            fault = self.assert_fault(
                "sslKeyfile", file, ssl_certfile=FilePath(self.certificate), ssl_keyfile=file
            )
            self.assertIn("passphrase", fault)

    def test_sentinel(self) -> None:
        """The files are read also if only the Sentinels use TLS."""
        redis = Redis(sentinel_ssl=True, ssl_ca_certs=FilePath("missing"))
        self.assertRaises(ConfigError, RedisServer, redis, REACTOR, USAGE)

    def keys_with_passphrase(self) -> Iterator[str]:
        """Yield files with the key, encrypted in each way there is."""
        key = load_pem_private_key(self.client.private_key_pem.bytes(), None)
        for private_format in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            yield pem_file(
                self,
                key.private_bytes(Encoding.PEM, private_format, BestAvailableEncryption(b"secret")),
            )

    def test_process_ends_at_start(self) -> None:
        """The command reports what is wrong with a file in one line, and does not start."""
        server = Server(self, environment(1, REDIS_SSL="true", REDIS_SSL_CA_CERTS="/none/ca.pem"))
        self.assertEqual(server.wait(), 1)
        self.assertEqual(
            server.text(),
            "gaq-ws: redis.sslCaCerts: cannot read /none/ca.pem: No such file or directory\n",
        )

    def test_no_question_on_the_terminal(self) -> None:
        """No passphrase is asked for, although there is a terminal."""
        for file in self.keys_with_passphrase():
            environ = environment(
                1, REDIS_SSL="true", REDIS_SSL_CERTFILE=self.certificate, REDIS_SSL_KEYFILE=file
            )
            with terminal() as (ours, theirs):
                process = subprocess.Popen(
                    [Path(sys.executable).with_name("twistd"), "--nodaemon", "gaq-ws"],
                    cwd=Path(file).parent,
                    env={"PATH": os.environ["PATH"], "PYTHONPATH": os.getcwd(), **environ},
                    stdin=theirs,
                    stdout=theirs,
                    stderr=theirs,
                    start_new_session=True,
                    preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
                )
                self.addCleanup(process.wait)
                self.addCleanup(process.kill)
                self.assertEqual(process.wait(DEADLINE_SECONDS), 1)
                shown = os.read(ours, 10000).decode()
            self.assertEqual(len(shown.splitlines()), 1, shown)
            self.assertIn(f"gaq-ws: redis.sslKeyfile: {file} ", shown)


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """Make a terminal; yield its two ends."""
    ends = pty.openpty()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)
