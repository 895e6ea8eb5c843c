"""The opening handshake of a WebSocket: who may connect, and to which edition."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Protocol

from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from gaq_twisted.access.origins import OriginRules
from gaq_twisted.core.edition import (
    Edition,
    Ticket,
    Unauthorized,
    Unavailable,
    Upgrade,
    choose,
)
from gaq_twisted.core.peer import Peer
from gaq_twisted.core.reasons import UpgradeReason
from gaq_twisted.core.rejections import Rejections
from gaq_twisted.net import request_head
from gaq_twisted.net.slim import SlimSocket
from gaq_twisted.text import printable, shortened

_SHOWN_CHARACTERS = 200
# Autobahn takes an upgrade without a version for one from before RFC 6455.
_WORDS = {
    "WebSocket connection denied - Hixie76 protocol not supported.": (
        "HTTP Sec-WebSocket-Version header missing"
    )
}
# A client sends nothing before its upgrade is answered.
_MOST_EARLY_BYTES = 16_384


class HandshakeFactory(Protocol):
    """What a handshake needs from the factory."""

    editions: Sequence[Edition]
    """The protocols that are served."""
    origins: OriginRules
    rejections: Rejections


class HandshakeSocket(SlimSocket):
    """A WebSocket in its opening handshake (RFC 6455 section 4.2)."""

    _log = Logger()

    factory: Any
    """A HandshakeFactory that is a SlimFactory."""
    peer: Peer
    origin: str | None = None
    """The Origin header; None if there is none."""
    routes: tuple[str, ...] = ()
    expires_at: float | None = None
    _edition: Edition
    _ticket: Ticket
    # Why an upgrade is rejected; by default because its HTTP is malformed.
    _refusal: UpgradeReason = UpgradeReason.BAD_HANDSHAKE
    # While the upgrade waits for its edition.
    _waiting: "Deferred[None] | None" = None

    def dataReceived(self, data: bytes) -> None:
        """Passes data to Autobahn, but keeps what arrives while the upgrade waits."""
        if self._waiting is None:
            super().dataReceived(data)
        elif len(self.data) + len(data) > _MOST_EARLY_BYTES:
            self.dropConnection(abort=True)
            # Autobahn would open a socket on a connection that is about to be lost.
            self._waiting.cancel()
        else:
            self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Cancels a waiting upgrade."""
        super().connectionLost(reason)
        if self._waiting is not None:
            self._waiting.cancel()

    def onConnect(self, request: ConnectionRequest) -> "Deferred[None] | None":
        """Accepts the upgrade if the page may connect and an edition accepts the client.

        Returns:
            A Deferred if the upgrade has to wait.

        Raises:
            ConnectionDeny: 403, 401 or 503 otherwise.
        """
        headers = request.headers
        if not self.factory.origins.allow(self.origin, headers.get("host", "")):
            raise self._deny(
                HTTPStatus.FORBIDDEN,
                UpgradeReason.ORIGIN,
                f"the origin {self.origin} is not among allowedOrigins",
            )
        upgrade = Upgrade(headers.get("cookie", ""), _first(request.params))
        try:
            self._edition, self._ticket = choose(self.factory.editions, upgrade)
            waiting = self._edition.when_ready()
        except Unauthorized as error:
            raise self._deny(HTTPStatus.UNAUTHORIZED, error.reason, str(error)) from None
        except Unavailable as error:
            raise self._unavailable(error) from None
        except Exception:
            self._log.failure(
                "upgrade of {client} failed", event="upgrade_failed", **self.peer.log_fields
            )
            raise self._deny(
                HTTPStatus.INTERNAL_SERVER_ERROR, UpgradeReason.INTERNAL_ERROR, "internal error"
            ) from None
        return None if waiting is None else self._wait(waiting)

    def _wait(self, waiting: "Deferred[None]") -> "Deferred[None]":
        self._waiting = waiting

        def go_on(result: None) -> None:
            del self._waiting

        def refuse(failure: Failure) -> None:
            del self._waiting
            failure.trap(Unavailable, CancelledError)
            raise self._unavailable(failure.value)

        return waiting.addCallbacks(go_on, refuse)

    def _unavailable(self, error: BaseException | None) -> ConnectionDeny:
        return self._deny(HTTPStatus.SERVICE_UNAVAILABLE, UpgradeReason.NO_SUBSCRIPTION, str(error))

    def _deny(self, status: HTTPStatus, reason: UpgradeReason, text: str) -> ConnectionDeny:
        self._refusal = reason
        return ConnectionDeny(status.value, text)

    def failHandshake(
        self,
        reason: str,
        code: int = HTTPStatus.BAD_REQUEST,
        responseHeaders: list[tuple[str, str]] | None = None,
    ) -> None:
        """Rejects the upgrade, with the reason as the answer's one line of text."""
        if self.state == self.STATE_CLOSED:
            # The client left while it waited.
            return
        reason = shortened(printable(_WORDS.get(reason, reason)), _SHOWN_CHARACTERS)
        status = HTTPStatus(code)
        headers = responseHeaders or []
        if headers:
            # Autobahn adds headers only to list the versions of the protocol that it knows. Then
            # another status is better (RFC 6455 section 4.2.2), which must name the protocol to
            # upgrade to (RFC 9110 section 15.5.22).
            status = HTTPStatus.UPGRADE_REQUIRED
            headers = [*headers, ("Upgrade", "websocket"), ("Connection", "Upgrade")]
        self.factory.rejections.upgrade(self.peer, status, self._refusal, reason)
        self.wasNotCleanReason = reason
        self.transport.write(request_head.answer(status, reason, headers))
        self.dropConnection(abort=False)

    def take_ticket(self) -> tuple[Edition, Ticket]:
        """Returns the edition and the ticket, once, and removes the data of the handshake."""
        edition, ticket = self._edition, self._ticket
        del self._edition, self._ticket
        self.routes = ticket.routes
        if ticket.expires_at is not None:
            self.expires_at = ticket.expires_at
        self.forget_handshake()
        return edition, ticket


def _first(params: Mapping[str, Sequence[str]]) -> dict[str, str]:
    return {name: values[0] for name, values in params.items()}
