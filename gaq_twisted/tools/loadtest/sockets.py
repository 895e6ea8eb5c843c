"""One connection of the load test's clients, and the reasons for which connections fail.

Import this module only where a reactor is installed.
"""

from typing import NamedTuple, Protocol

from autobahn.twisted.websocket import WebSocketClientProtocol
from autobahn.websocket.types import ConnectingRequest
from OpenSSL import SSL
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from gaq_twisted.text import printable, shortened

HANDSHAKE_SECONDS = 10
"""How long the server may take to answer an upgrade."""
_SHOWN_CHARACTERS = 120
_REMEDIES = {
    "HTTP 401": "this test signs its cookies by the settings: give it the server's jwtSecret,"
    " jwtAlgorithms, jwtCookieName and jwtChannelIdKey, for example by --config",
    "HTTP 403": "give one of the server's allowedOrigins with --origin",
    "TLS:": "the certificate must be for the host in --url and from a CA that this machine trusts;"
    " SSL_CERT_FILE can name a file with another CA",
}
"""Remedies for the rejection of the first client, by the prefix of the reason."""


class Target(NamedTuple):
    """Where the server accepts upgrades."""

    url: str
    is_secure: bool
    host: str
    port: int
    resource: str
    """The path, perhaps with a query."""


class SocketOwner(Protocol):
    """What a connection is for."""

    def request(self) -> ConnectingRequest:
        """Returns the upgrade to send."""

    def opened(self, socket: "Socket") -> None:
        """Handles that the connection is open."""

    def take(self, payload: bytes) -> None:
        """Handles a message."""

    def closed(self, socket: "Socket", reason: str) -> None:
        """Handles that the connection has ended, unless the owner abandoned it."""


class Socket(WebSocketClientProtocol):  # type: ignore[misc]
    """A connection to the server."""

    owner: SocketOwner
    _refusal: str | None = None
    _is_abandoned = False

    def abandon(self) -> None:
        """Breaks the connection; its owner is not notified."""
        self._is_abandoned = True
        self.dropConnection(abort=True)

    def onConnecting(self, transport_details: object) -> ConnectingRequest:
        """Returns the owner's request."""
        return self.owner.request()

    def onOpen(self) -> None:
        """Notifies the owner."""
        self.owner.opened(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Passes a message to the owner."""
        self.owner.take(payload)

    def failHandshake(self, reason: str) -> None:
        """Keeps the answer that rejects the upgrade, because Autobahn reports only a part of it."""
        self._refusal = _refusal(bytes(self.data)) or reason
        super().failHandshake(reason)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Notifies the owner with the reason, unless it has abandoned the connection."""
        was_open = self.state != self.STATE_CONNECTING
        super().connectionLost(reason)
        if not self._is_abandoned:
            self.owner.closed(self, self._why(was_open, reason))

    def _why(self, was_open: bool, failure: Failure) -> str:
        if self._refusal is not None:
            return self._refusal
        if self.wasOpenHandshakeTimeout:
            return f"no answer to the upgrade within {HANDSHAKE_SECONDS} s"
        if self.remoteCloseCode is not None:
            said = f": {_one_line(self.remoteCloseReason)}" if self.remoteCloseReason else ""
            return f"closed with {self.remoteCloseCode}{said}"
        if isinstance(failure.value, SSL.Error):
            return f"TLS: {_tls_reason(failure.value)}"
        if self.droppedByMe:
            return str(self.wasNotCleanReason)
        return "connection lost" if was_open else "connection lost before the upgrade was answered"


def remedy(reason: str) -> str:
    """Returns the remedy if the first client is rejected for a reason."""
    for beginning, remedy in _REMEDIES.items():
        if reason.startswith(beginning):
            return remedy
    return "check that the server is running and that --url is its address"


def _refusal(answer: bytes) -> str | None:
    """Returns the status and text of a rejection, as one line; None for other bytes."""
    head, _, body = answer.partition(b"\r\n\r\n")
    _, _, status = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
    code, _, phrase = status.partition(" ")
    if not code.isdigit() or code == "101":
        return None
    text = body.decode("utf-8", "replace")
    # Proxies answer with a page.
    is_page = text.lstrip().startswith("<")
    return f"HTTP {code}: {_one_line(phrase if is_page or not text.strip() else text)}"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return shortened(printable(line), _SHOWN_CHARACTERS)


def _tls_reason(error: SSL.Error) -> str:
    try:
        return str(error.args[0][0][2])
    except (IndexError, TypeError):
        return "the handshake failed"
