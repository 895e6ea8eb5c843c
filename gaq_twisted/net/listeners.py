"""Where the server listens: at Twisted's endpoints, with certificates that can be read again."""

import os
import socket
from collections.abc import Iterable
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
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from gaq_twisted.config.types import ConfigError

# When a server starts anew, all its clients come back at once. The system has its own limit.
_BACKLOG = 4096
_HTTP_1_1 = b"http/1.1"


class Listeners:
    """The services that listen at some endpoints, and their certificates."""

    def __init__(
        self,
        endpoints: Iterable[str | IStreamServerEndpoint],
        factory: IProtocolFactory,
        reactor: Any,
        *,
        setting: str = "listen",
        reuse_port: bool = False,
    ) -> None:
        """Make the services, not started.

        Args:
            endpoints: endpoint strings, or endpoints.
            factory: takes the connections.
            reactor: provides what the endpoints need.
            setting: the key of the setting that names the endpoints, for messages.
            reuse_port: whether other processes may listen on the same TCP ports.

        Raises:
            ConfigError: if a text is no endpoint, or a file that it names cannot be used.
        """
        self.services: list[IService] = []
        """One for each endpoint."""
        self._setting = setting
        self._certificates: dict[str, _Certificates] = {}
        for text in endpoints:
            if not isinstance(text, str):
                # From a text, since only such a service raises what goes wrong.
                one = service("tcp:0", factory, reactor=reactor)
                one.endpoint = text
                self.services.append(one)
                continue
            if text.startswith("haproxy:ssl:"):
                # Twisted would look for the PROXY header within TLS, where no proxy puts it.
                fault = f"{setting}: {text} cannot be used: let the proxy end TLS, or pass it on"
                raise ConfigError([f"{fault} to an ssl: endpoint"])
            if text.startswith("ssl:"):
                self._certificates[text] = _Certificates(self._context_factory(text))
            listening: Any = _ListeningReactor(reactor, reuse_port, self._certificates.get(text))
            try:
                self.services.append(service(text, factory, reactor=listening))
            except Exception as error:
                raise self._not_usable(text, error) from None

    def read_certificates(self) -> "Certificates":
        """Return the certificates as their files are now; they are not used yet.

        Raises:
            ConfigError: if a file cannot be used.
        """
        return {text: self._context_factory(text) for text in self._certificates}

    def apply(self, certificates: "Certificates") -> None:
        """Use these certificates for connections that are made from now on."""
        for text, context_factory in certificates.items():
            self._certificates[text].current = context_factory

    def _context_factory(self, text: str) -> IOpenSSLContextFactory:
        """Return what makes the TLS contexts of an endpoint, from its files as they are now."""
        capture: Any = _Capture()
        factory: Any = None
        try:
            serverFromString(capture, text).listen(factory)
            capture.context_factory.getContext().set_alpn_select_callback(_choose_protocol)
        except Exception as error:
            raise self._not_usable(text, error) from None
        made: IOpenSSLContextFactory = capture.context_factory
        return made

    def _not_usable(self, text: str, error: Exception) -> ConfigError:
        """Return an error that says which endpoint cannot be used, and why."""
        if isinstance(error, OSError):
            reason = f"{error.filename}: {error.strerror}"
        elif isinstance(error, SSL.Error | crypto.Error):
            reason = "a certificate or key in its files is broken, or they do not belong together"
        else:
            reason = f"it is not an endpoint string of Twisted: {error}"
        return ConfigError([f"{self._setting}: {text} cannot be used: {reason}"])


def _choose_protocol(_: object, offered: list[bytes]) -> Any:
    """Choose what to speak over TLS (RFC 7301); Twisted, if left alone, refuses who asks."""
    return _HTTP_1_1 if _HTTP_1_1 in offered else SSL.NO_OVERLAPPING_PROTOCOLS


Certificates = dict[str, IOpenSSLContextFactory]
"""What makes TLS contexts, by endpoint string."""


@implementer(IOpenSSLContextFactory)
class _Certificates:
    """The certificates of one endpoint."""

    def __init__(self, current: IOpenSSLContextFactory) -> None:
        self.current = current

    def getContext(self) -> SSL.Context:
        """Return the context for a new connection."""
        return self.current.getContext()


class _ListeningReactor:
    """A reactor as endpoints see it, that listens in our way."""

    def __init__(self, reactor: Any, reuse_port: bool, certificates: _Certificates | None) -> None:
        self._reactor = reactor
        self._reuse_port = reuse_port
        self._certificates = certificates

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(
        self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """Listen, with room for a crowd."""
        backlog = max(backlog, _BACKLOG)
        if not self._reuse_port:
            listening: IListeningPort = self._reactor.listenTCP(port, factory, backlog, interface)
            return listening
        family = socket.AF_INET6 if ":" in interface else socket.AF_INET
        try:
            one = socket.create_server(
                (interface, port), family=family, backlog=backlog, reuse_port=True
            )
        except OSError as error:
            # Without the address, which the message has anyway.
            plain = OSError(error.errno, os.strerror(error.errno or 0))
            raise CannotListenError(interface, port, plain) from None
        with one:
            one.setblocking(False)
            adopted: IListeningPort = self._reactor.adoptStreamPort(one.fileno(), family, factory)
            return adopted

    def listenSSL(
        self,
        port: int,
        factory: IProtocolFactory,
        contextFactory: IOpenSSLContextFactory,
        backlog: int = 50,
        interface: str = "",
    ) -> IListeningPort:
        """Listen, with certificates that can be read again."""
        assert self._certificates is not None
        tls = TLSMemoryBIOFactory(self._certificates, False, factory)
        return self.listenTCP(port, tls, backlog, interface)


class _Capture:
    """A reactor that only notes how an endpoint would listen by TLS."""

    context_factory: Any = None

    def listenSSL(self, port: int, factory: Any, contextFactory: Any, **more: object) -> None:
        """Take note."""
        self.context_factory = contextFactory
