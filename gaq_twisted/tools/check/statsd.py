"""Checks whether metrics would reach StatsD.

Import this module only where a reactor is installed.
"""

import socket
from collections.abc import Mapping

from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from gaq_twisted.config.derived import DEFAULT
from gaq_twisted.config.sections import Statsd
from gaq_twisted.ops.statsd import StatsdReactor, first_address, socket_path
from gaq_twisted.tools.check.findings import Finding, Mark

# How long the operating system may take to learn that nothing listens.
_REFUSAL_SECONDS = 0.2
_RESOLVE_SECONDS = 5.0


async def statsd_finding(
    settings: Statsd, sources: Mapping[str, str], reactor: StatsdReactor
) -> Finding:
    """Returns whether the host resolves and something listens there.

    Sends an empty datagram, which is not a metric. A missing server on another host often goes
    unnoticed.

    Args:
        settings: whether metrics are sent, and where.
        sources: where each setting comes from, by key; it is no fault if nothing listens at the
            default address.
        reactor: resolves names, and waits for refusals.
    """
    if not settings.enabled:
        return Finding(Mark.OK, "statsd", "no metrics are sent: statsd.enabled is false")
    path = socket_path(settings.host)
    place = path or f"{settings.host}:{settings.port}"
    if path:
        error = _error_of_connect(path)
        if error is not None:
            return _unreachable(place, error.strerror or str(error))
        return Finding(Mark.OK, "statsd", f"something listens at {place}")
    resolving = first_address(reactor, settings.host, settings.port)
    try:
        address = await resolving.addTimeout(_RESOLVE_SECONDS, reactor)
    except CancelledError:
        raise
    except Exception:
        address = None
    if address is None:
        return _unreachable(place, "the host name does not resolve")
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        try:
            one.connect((address.host, address.port))
            one.send(b"")
            await deferLater(reactor, _REFUSAL_SECONDS)
            one.send(b"")
        except OSError as error:
            is_default = sources["statsd.host"] == sources["statsd.port"] == DEFAULT
            if is_default:
                return Finding(
                    Mark.NOTE,
                    "statsd",
                    f"nothing listens at {place} (the default); to send no metrics, set"
                    " statsd.enabled to false",
                )
            return _unreachable(place, error.strerror or str(error))
    return Finding(
        Mark.OK, "statsd", f"metrics are sent to {place}; whether they arrive is not known"
    )


def _unreachable(place: str, reason: str) -> Finding:
    return Finding(
        Mark.WARN,
        "statsd",
        f"no metrics reach StatsD at {place}: {reason}",
        "correct statsd.host and statsd.port; the same metrics are at /metrics for Prometheus",
    )


def _error_of_connect(path: str) -> OSError | None:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            one.connect(path)
    except OSError as error:
        return error
    return None
