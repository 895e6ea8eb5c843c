"""Connections on which the two sides speak different protocols, as a setting causes it."""

from typing import Any, NamedTuple

from twisted.python.failure import Failure

from gaq_twisted.core.reasons import RequestReason

_TLS_HANDSHAKE_RECORD = b"\x16\x03"
_PROXY_V1 = b"PROXY "
_PROXY_V2 = b"\r\n\r\n\x00\r\nQUIT\n"


class Mismatch(NamedTuple):
    """What does not fit, and which setting changes it."""

    reason: RequestReason
    text: str


WITHOUT_PROXY_HEADER = Mismatch(
    RequestReason.NO_PROXY_HEADER,
    "it sent no PROXY header, which this port expects: let the load balancer send one, or leave"
    " haproxy: out of listen",
)


def mismatch_of_bytes(received: bytes) -> Mismatch | None:
    """Returns what the first bytes of a connection show, if they are not HTTP.

    Args:
        received: all that was received; TLS records (RFC 8446 section 5.1) and PROXY headers
            of both versions are known by their beginning.
    """
    if received.startswith(_TLS_HANDSHAKE_RECORD):
        return Mismatch(
            RequestReason.TLS,
            "it speaks TLS, and this port does not: use ws: or http:, or let listen have an ssl:"
            " endpoint",
        )
    if received.startswith((_PROXY_V1, _PROXY_V2)):
        return Mismatch(
            RequestReason.PROXY_HEADER,
            "it sent a PROXY header, which this port does not expect: let listen begin with"
            " haproxy:, or turn the PROXY protocol off in the load balancer",
        )
    return None


def mismatch_of_tls(failure: Failure) -> Mismatch | None:
    """Returns why a TLS handshake failed; None if it was not that which ended a connection.

    Args:
        failure: the reason with which the connection was lost; OpenSSL's errors are lists of
            library, function and reason.
    """
    error: Any = failure.value
    errors = error.args[0] if error.args else ()
    if type(failure.value).__module__.partition(".")[0] != "OpenSSL" or not isinstance(
        errors, list
    ):
        return None
    reasons = {str(one[-1]) for one in errors}
    for known, reason, text in _TLS_FAULTS:
        if any(known in one for one in reasons):
            return Mismatch(reason, text)
    return Mismatch(
        RequestReason.TLS_HANDSHAKE, f"the TLS handshake failed ({', '.join(sorted(reasons))})"
    )


_TLS_FAULTS = (
    (
        "http request",
        RequestReason.NO_TLS,
        "it speaks plain HTTP, and this port TLS: use wss: or https:, or let listen have a tcp:"
        " endpoint",
    ),
    (
        "unknown ca",
        RequestReason.TLS_HANDSHAKE,
        "it does not trust the CA of this server's certificate: certKey in listen must name the"
        " whole chain, and clients must trust its root",
    ),
    (
        "certificate",
        RequestReason.TLS_HANDSHAKE,
        "it does not accept this server's certificate: see that it has not expired, and is for the"
        " host name that clients use",
    ),
    (
        "unsupported protocol",
        RequestReason.TLS_HANDSHAKE,
        "it only knows versions of TLS that are too old for this server",
    ),
    (
        "no shared cipher",
        RequestReason.TLS_HANDSHAKE,
        "it has no cipher in common with this server",
    ),
    (
        "wrong version number",
        RequestReason.NO_TLS,
        "it does not speak TLS, which this port expects",
    ),
)
