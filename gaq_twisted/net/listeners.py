"""Listens at Twisted's endpoints, with certificates that can be replaced at run time."""

import os
import socket
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from OpenSSL import SSL, crypto
from twisted.application.service import IService
from twisted.application.strports import service
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IOpenSSLContextFactory,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import ServerFactory
from twisted.internet.ssl import CertificateOptions
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from gaq_twisted.config.errors import ConfigError
from gaq_twisted.net.places import NotingEndpoint, Place
from gaq_twisted.net.proxy_header import ProxyHeaderFactory
from gaq_twisted.net.reactor import Reactor

# After a restart all clients reconnect at once. The operating system has its own limit.
_BACKLOG = 4096
_HTTP_1_1 = b"http/1.1"
PROXY_PROTOCOL = "haproxy:"
"""The prefixes of endpoint strings that expect a PROXY header."""


class Listeners:
    """The services that listen at some endpoints, and their certificates.

    Args:
        endpoints: endpoint strings, or endpoints.
        factory: serves the connections.
        reactor: opens the ports.
        setting: the key of the setting with the endpoints, for messages.
        reuse_port: whether other processes may listen on the same TCP ports.

    Raises:
        ConfigError: if a text is not an endpoint, or a file in it cannot be used.
    """

    def __init__(
        self,
        endpoints: Iterable[str | IStreamServerEndpoint],
        factory: IProtocolFactory,
        reactor: Reactor,
        *,
        setting: str = "listen",
        reuse_port: bool = False,
    ) -> None:
        self.services: list[IService] = []
        """One for each endpoint."""
        self._setting = setting
        self._certificates: dict[str, _Certificates] = {}
        self._places: list[Place] = []
        one: Any
        for endpoint in endpoints:
            if isinstance(endpoint, str):
                # Twisted does not parse texts of a class that is derived from str.
                one = self._described(str(endpoint), factory, reactor, reuse_port)
                kind = endpoint.partition(":")[0]
                one.endpoint = NotingEndpoint(one.endpoint, kind, self._places)
            else:
                # Created from a text, because only such a service raises errors.
                one = service("tcp:0", factory, reactor=reactor)
                one.endpoint = NotingEndpoint(endpoint, "tcp", self._places)
            self.services.append(one)

    def places(self) -> str:
        """Returns where connections are accepted, such as `tcp:8080 and unix:/run/gaq.sock`."""
        return " and ".join(map(str, self._places))

    def read_certificates(self) -> "Certificates":
        """Returns the certificates in their present files, without using them yet.

        Raises:
            ConfigError: if a file cannot be used.
        """
        return {text: self._context_factory(text) for text in self._certificates}

    def renew(self, certificates: "Certificates") -> None:
        """Uses these certificates for new connections."""
        for text, context_factory in certificates.items():
            self._certificates[text].current = context_factory

    def expiries(self) -> Mapping[str, float]:
        """Returns when the certificates in use expire, in seconds since 1970, by endpoint."""
        return {text: _expiry(made.current) for text, made in self._certificates.items()}

    def _described(
        self, text: str, factory: IProtocolFactory, reactor: Reactor, reuse_port: bool
    ) -> IService:
        """Returns the service that listens at an endpoint string."""
        if text.startswith("haproxy:ssl:"):
            # The PROXY header would be expected within TLS, where no proxy sends it.
            fault = (
                f"{self._setting}: {text} cannot be used: terminate TLS at the proxy, or pass it on"
            )
            raise ConfigError([f"{fault} to an ssl: endpoint"])
        if text.startswith("ssl:"):
            self._certificates[text] = _Certificates(self._context_factory(text))
        listening: Any = _ListeningReactor(reactor, reuse_port, self._certificates.get(text))
        try:
            if text.startswith(PROXY_PROTOCOL):
                behind = ProxyHeaderFactory(factory)
                return service(text.removeprefix(PROXY_PROTOCOL), behind, reactor=listening)
            return service(text, factory, reactor=listening)
        except Exception as error:
            raise self._not_usable(text, error) from None

    def _context_factory(self, text: str) -> CertificateOptions:
        """Returns the factory of an endpoint's TLS contexts, from its present files."""
        try:
            capture = captured(text)
            capture.context_factory.getContext().set_alpn_select_callback(_choose_protocol)
        except Exception as error:
            raise self._not_usable(text, error) from None
        made: CertificateOptions = capture.context_factory
        return made

    def _not_usable(self, text: str, error: Exception) -> ConfigError:
        """Returns an error that says which endpoint cannot be used, and why."""
        if isinstance(error, OSError):
            reason = f"{error.filename}: {error.strerror}"
        elif isinstance(error, SSL.Error | crypto.Error):
            reason = "a certificate or key in its files is invalid, or they do not match"
        else:
            reason = f"it is not an endpoint string of Twisted: {error}"
        return ConfigError([f"{self._setting}: {text} cannot be used: {reason}"])


def _expiry(options: CertificateOptions) -> float:
    """Returns when a certificate expires, in seconds since 1970."""
    assert options.certificate is not None
    # The function of cryptography for this is missing in the versions of older systems.
    text = (options.certificate.get_notAfter() or b"").decode()
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def default_endpoint(port: int) -> str:
    """Returns the default endpoint for a port, which listens on all addresses.

    That is IPv4 and IPv6 on a machine that has both, as in Node.js. An IPv4 client then has an
    IPv4-mapped address, which is shown as plain IPv4.
    """
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
            is_for_both = not probe.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    except OSError:
        is_for_both = False
    return rf"tcp:{port}:interface=\:\:" if is_for_both else f"tcp:{port}"


def captured(text: str) -> "Captured":
    """Returns how an endpoint string would listen, without listening."""
    capture: Any = Captured()
    factory: Any = None
    serverFromString(capture, text.removeprefix(PROXY_PROTOCOL)).listen(factory)
    made: Captured = capture
    return made


def why_not_listening(error: CannotListenError | OSError) -> str:
    """Returns the message for a port or socket that cannot be opened."""
    if isinstance(error, OSError):
        # For a unix socket's lock file, which is a symbolic link, the second name is the file's.
        file = os.fsdecode(error.filename2 or error.filename)
        return f"cannot listen on {file}: {error.strerror}"
    place = error.port
    if isinstance(place, int):
        is_any = error.interface in ("", "::")
        place = f"port {place}" if is_any else f"port {place} of {error.interface}"
    return (
        f"cannot listen on {place} ({error.socketError.strerror}):"
        " stop the program that uses it, or set another port"
    )


def _choose_protocol(_: object, offered: list[bytes]) -> Any:
    """Chooses the protocol over TLS (RFC 7301); by default Twisted accepts no offer at all."""
    return _HTTP_1_1 if _HTTP_1_1 in offered else SSL.NO_OVERLAPPING_PROTOCOLS


Certificates = dict[str, CertificateOptions]
"""Factories of TLS contexts, by endpoint string."""


@implementer(IOpenSSLContextFactory)
class _Certificates:
    """The certificates of one endpoint."""

    def __init__(self, current: CertificateOptions) -> None:
        self.current = current

    def getContext(self) -> SSL.Context:
        """Returns the context for a new connection."""
        return self.current.getContext()


class _ListeningReactor:
    """The reactor with other methods for listening; the rest is the real reactor's.

    Endpoint strings have a backlog of 50 unless each of them sets another, and no parameters for
    SO_REUSEPORT or for certificates that can be replaced. So the reactor's methods are changed
    instead of the strings.

    Args:
        reactor: the real reactor.
        reuse_port: whether to set SO_REUSEPORT.
        certificates: those of an `ssl:` endpoint.
    """

    def __init__(
        self, reactor: Reactor, reuse_port: bool, certificates: _Certificates | None
    ) -> None:
        self._reactor = reactor
        self._reuse_port = reuse_port
        self._certificates = certificates

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(
        self, port: int, factory: "ServerFactory[Any]", backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """Listens, with a backlog for many simultaneous connection attempts."""
        backlog = max(backlog, _BACKLOG)
        if not self._reuse_port:
            listening: IListeningPort = self._reactor.listenTCP(port, factory, backlog, interface)
            return listening
        family = socket.AF_INET6 if ":" in interface else socket.AF_INET
        try:
            one = socket.create_server(
                (interface, port),
                family=family,
                backlog=backlog,
                reuse_port=True,
                # Twisted leaves this to the system, too.
                dualstack_ipv6=interface == "::",
            )
        except OSError as error:
            # Without the address, because the message already contains it.
            plain = OSError(error.errno, os.strerror(error.errno or 0))
            raise CannotListenError(interface, port, plain) from None
        with one:
            one.setblocking(False)
            adopted: IListeningPort = self._reactor.adoptStreamPort(one.fileno(), family, factory)
            return adopted

    def listenSSL(
        self,
        port: int,
        factory: "ServerFactory[Any]",
        contextFactory: IOpenSSLContextFactory,
        backlog: int = 50,
        interface: str = "",
    ) -> IListeningPort:
        """Listens, with certificates that can be replaced."""
        assert self._certificates is not None
        tls: Any = TLSMemoryBIOFactory(self._certificates, False, factory)
        return self.listenTCP(port, tls, backlog, interface)


class Captured:
    """A reactor that only records how an endpoint would listen.

    Only Twisted's parser of endpoint strings turns a string's files into a context factory, and
    it passes that only to `listenSSL`.
    """

    port: int | None = None
    interface = ""
    context_factory: Any = None
    path = ""

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> None:
        """Records the port and the address."""
        self.port, self.interface = port, interface

    def listenSSL(
        self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = ""
    ) -> None:
        """Records the port, the address and the context factory."""
        self.context_factory = contextFactory
        self.listenTCP(port, factory, backlog, interface)

    def listenUNIX(self, address: str, *_: Any, **more: Any) -> None:
        """Records the path."""
        self.path = address
