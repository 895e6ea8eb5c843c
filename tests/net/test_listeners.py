"""Endpoints and their certificates, with a reactor that opens no port."""

import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import trustme
from OpenSSL import SSL
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.config.errors import ConfigError
from gaq_twisted.net.listeners import Listeners


class ListenersTestCase(SynchronousTestCase):
    """Has a reactor and a factory."""

    def setUp(self) -> None:
        """Makes them."""
        self.reactor: Any = MemoryReactorClock()
        self.factory = Factory()

    def started(self, *endpoints: Any, **options: Any) -> Listeners:
        """Returns listeners whose services were started."""
        listeners = Listeners(endpoints, self.factory, self.reactor, **options)
        for one in listeners.services:
            one.privilegedStartService()
        return listeners

    def fault(self, endpoint: str, **options: Any) -> str:
        """Returns why an endpoint cannot be used."""
        error = self.assertRaises(
            ConfigError, Listeners, [endpoint], self.factory, self.reactor, **options
        )
        (fault,) = error.faults
        return str(fault)

    def certificate(self, file: Path, not_after: datetime | None = None) -> None:
        """Writes a new key and certificate into a file; perhaps one that expires then."""
        issued = trustme.CA().issue_cert("a.test", not_after=not_after)
        issued.private_key_and_cert_chain_pem.write_to_path(file)


class EndpointTests(ListenersTestCase):
    """What is listened at, and how."""

    def test_each(self) -> None:
        """Each endpoint has a service; a small backlog is raised and a large one kept."""
        endpoint = TCP4ServerEndpoint(self.reactor, 3)
        self.started("tcp:1", "tcp:2:backlog=9000:interface=127.0.0.1", endpoint)
        self.assertEqual(
            [(server[0], server[2], server[3]) for server in self.reactor.tcpServers],
            [(1, 4096, ""), (2, 9000, "127.0.0.1"), (3, 50, "")],
        )

    def test_places(self) -> None:
        """What is open can be named, in the order in which it was opened."""
        endpoint = TCP4ServerEndpoint(self.reactor, 3)
        listeners = Listeners(["tcp:1", endpoint], self.factory, self.reactor)
        self.assertEqual(listeners.places(), "")
        for one in listeners.services:
            one.privilegedStartService()
        self.assertEqual(listeners.places(), "tcp:1 and tcp:3")

    def test_faults(self) -> None:
        """A text that is not usable is refused with the setting, the text and the reason."""
        for text, reason in (
            ("nonsense", "it is not an endpoint string of Twisted"),
            ("tcp:x", "it is not an endpoint string of Twisted"),
            ("ssl:1:privateKey=/nowhere/key.pem", "/nowhere/key.pem: No such file or directory"),
            ("haproxy:ssl:1", "terminate TLS at the proxy"),
        ):
            fault = self.fault(text, setting="internalListen")
            self.assertTrue(fault.startswith(f"internalListen: {text} cannot be used: "), fault)
            self.assertIn(reason, fault)

    def test_reuse_port(self) -> None:
        """Ports that are shared are opened with SO_REUSEPORT and adopted by the reactor."""
        adopted: list[int] = []

        def adopt(number: int, family: object, factory: object) -> Any:
            duplicate = socket.socket(fileno=socket.dup(number))
            self.addCleanup(duplicate.close)
            adopted.append(duplicate.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT))
            return self.reactor.listenTCP(5, self.factory)

        self.patch(self.reactor, "adoptStreamPort", adopt)
        listeners = self.started("tcp:0:interface=127.0.0.1", reuse_port=True)
        self.assertEqual((adopted, listeners.places()), ([1], "tcp:5"))

    def test_port_in_use(self) -> None:
        """A port that another program uses alone is reported like Twisted does it."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            error = self.assertRaises(
                CannotListenError, self.started, f"tcp:{port}:interface=127.0.0.1", reuse_port=True
            )
        self.assertEqual((error.port, error.interface), (port, "127.0.0.1"))


class CertificateTests(ListenersTestCase):
    """Certificates that are replaced."""

    def setUp(self) -> None:
        """Listens with a certificate."""
        super().setUp()
        self.file = Path(self.mktemp())
        self.certificate(self.file)
        self.listeners = self.started(f"ssl:1:privateKey={self.file}")

    def context(self) -> SSL.Context:
        """Returns the context that a new connection would have."""
        (server,) = self.reactor.tcpServers
        tls = server[1]
        self.assertIsInstance(tls, TLSMemoryBIOFactory)
        return self.listeners._certificates[f"ssl:1:privateKey={self.file}"].getContext()

    def test_renew(self) -> None:
        """New certificates are read first, and used once they are passed back."""
        before = self.context()
        self.certificate(self.file)
        certificates = self.listeners.read_certificates()
        self.assertIs(self.context(), before)
        self.listeners.renew(certificates)
        self.assertIsNot(self.context(), before)

    def test_expiries(self) -> None:
        """When a certificate expires is known of those in use, not of those in the files."""
        text, moments = f"ssl:1:privateKey={self.file}", []
        for year in (2099, 2098):
            self.certificate(self.file, datetime(year, 1, 1, tzinfo=UTC))
            moments.append(self.listeners.expiries()[text])
            self.listeners.renew(self.listeners.read_certificates())
        moments.append(self.listeners.expiries()[text])
        years = [datetime.fromtimestamp(moment, UTC).year for moment in moments]
        self.assertEqual(years, [3000, 2099, 2098])

    def test_broken(self) -> None:
        """A file that is broken is reported, and what is used stays."""
        before = self.context()
        self.file.write_text("nonsense")
        error = self.assertRaises(ConfigError, self.listeners.read_certificates)
        self.assertIn("a certificate or key in its files is invalid", error.faults[0])
        self.assertIs(self.context(), before)

    def test_broken_at_the_start(self) -> None:
        """A broken file stops the start."""
        self.file.write_text("nonsense")
        self.assertIn("a certificate or key", self.fault(f"ssl:1:privateKey={self.file}"))
