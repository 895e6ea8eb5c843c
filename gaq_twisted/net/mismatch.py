"""Connections whose two sides speak different protocols because of a setting."""

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
    "it sent no PROXY header, but this port requires one: enable the PROXY protocol in the load"
    " balancer, or remove haproxy: from listen",
)


def mismatch_of_bytes(received: bytes) -> Mismatch | None:
    """Returns the mismatch that the first bytes of a connection show; None if there is none.

    Args:
        received: the bytes so far. TLS records (RFC 8446 section 5.1) and PROXY headers of both
            versions are recognised by their first bytes.
    """
    if received.startswith(_TLS_HANDSHAKE_RECORD):
        return Mismatch(
            RequestReason.TLS,
            "it speaks TLS, but this port does not: use ws: or http:, or add an ssl: endpoint to"
            " listen",
        )
    if received.startswith((_PROXY_V1, _PROXY_V2)):
        return Mismatch(
            RequestReason.PROXY_HEADER,
            "it sent a PROXY header, but this port expects none: put haproxy: before the"
            " endpoint in listen, or disable the PROXY protocol in the load balancer",
        )
    return None


def mismatch_of_tls(failure: Failure) -> Mismatch | None:
    """Returns why a TLS handshake failed; None if the connection ended for another reason.

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
        "it speaks plain HTTP, but this port requires TLS: use wss: or https:, or add a tcp:"
        " endpoint to listen",
    ),
    (
        "unknown ca",
        RequestReason.TLS_HANDSHAKE,
        "it does not trust the CA of this server's certificate: certKey in listen must name a"
        " file with the whole chain, and clients must trust its root",
    ),
    (
        "certificate",
        RequestReason.TLS_HANDSHAKE,
        "it does not accept this server's certificate: check that it has not expired, and is for"
        " the host name that clients use",
    ),
    (
        "unsupported protocol",
        RequestReason.TLS_HANDSHAKE,
        "it only supports versions of TLS that are too old for this server",
    ),
    (
        "no shared cipher",
        RequestReason.TLS_HANDSHAKE,
        "it has no cipher in common with this server",
    ),
    (
        "wrong version number",
        RequestReason.NO_TLS,
        "it does not speak TLS, but this port requires it",
    ),
)
