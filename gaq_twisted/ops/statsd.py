"""Sends metrics to a StatsD server by UDP, or by a unix datagram socket.

txstatsd, the Twisted package for this, runs on Python 2 only; the names of its
methods are kept.
"""

import socket
from collections.abc import Callable, Iterable, Iterator
from math import isfinite
from typing import cast

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, MessageLengthError
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IReactorPluggableNameResolver,
    IReactorTime,
    IReactorUDP,
    IResolutionReceiver,
    IUDPTransport,
)
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger
from zope.interface import implementer

from gaq_twisted.config.sections import Statsd
from gaq_twisted.core.metrics import Kind, Metric, Metrics

# The payload of an Ethernet frame, so that no datagram is fragmented.
_MAX_DATAGRAM_BYTES = 1432
# Twisted's own default; nothing is sent back.
_MAX_READ_BYTES = 8192
_RESOLVE_AGAIN_SECONDS = 60.0
_REPORTS_PER_GAUGES = 10


class StatsdReactor(IReactorPluggableNameResolver, IReactorTime, IReactorUDP):
    """The interfaces of a reactor that sending metrics needs."""


class StatsdService(Service):
    """Writes counts, gauges and times as StatsD lines with DogStatsD tags.

    Lines from one turn of the reactor are sent together. While the host's name does not
    resolve, nothing is sent or kept.

    Args:
        settings: host, port and tags.
        reactor: the reactor.
    """

    _log = Logger()

    def __init__(self, settings: Statsd, reactor: StatsdReactor) -> None:
        self._host = settings.host
        self._socket_path = socket_path(settings.host)
        self._unix: socket.socket | None = None
        self._port = settings.port
        self._global_tags = settings.global_tags
        self._reactor = reactor
        self._address: tuple[str, int] | None = None
        self._udp: IUDPTransport | None = None
        self._family: type[IPv4Address | IPv6Address] | None = None
        self._lines: list[bytes] = []
        self._next_resolution: IDelayedCall | None = None
        self._last_complaint = ""

    def startService(self) -> None:
        """Starts resolving the host's name, unless it is the path of a socket."""
        super().startService()
        if self._socket_path:
            self._unix = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._unix.setblocking(False)
        else:
            self._resolve()

    def stopService(self) -> "Deferred[None] | None":
        """Sends the remaining lines and closes the UDP port."""
        super().stopService()
        self._flush()
        if self._unix is not None:
            self._unix.close()
            self._unix = None
        if self._next_resolution is not None:
            self._next_resolution.cancel()
            self._next_resolution = None
        if self._udp is None:
            return None
        udp, self._udp, self._address = self._udp, None, None
        stopped: Deferred[None] | None = udp.stopListening()
        return stopped

    def increment(self, name: str, count: float = 1, *tags: str) -> None:
        """Adds to a counter, with further tags such as `code:1001`."""
        self._add(f"{name}:{count:.15g}|c{self._tag_suffix(tags)}")

    def gauge(self, name: str, value: float, *tags: str) -> None:
        """Sets a gauge, with further tags."""
        self._add(f"{name}:{value:.15g}|g{self._tag_suffix(tags)}")

    def timing(self, name: str, milliseconds: float, *tags: str) -> None:
        """Reports how long something took, with further tags."""
        self._add(f"{name}:{milliseconds:.3f}|ms{self._tag_suffix(tags)}")

    def _tag_suffix(self, tags: tuple[str, ...]) -> str:
        joined = ",".join((*self._global_tags, *tags))
        return f"|#{joined}" if joined else ""

    def _resolve(self) -> None:
        self._next_resolution = None
        first_address(self._reactor, self._host, self._port).addCallback(self._resolved)

    def _resolved(self, address: IPv4Address | IPv6Address | None) -> None:
        if not self.running:
            return
        # The address of the StatsD server may change at run time.
        self._next_resolution = self._reactor.callLater(_RESOLVE_AGAIN_SECONDS, self._resolve)
        if address is None:
            self._complain("the host name does not resolve")
        elif self._udp is None or type(address) is not self._family:
            self._open(address)
        else:
            self._address = (address.host, address.port)

    def _open(self, address: IPv4Address | IPv6Address) -> None:
        """Opens a UDP port for sending to an address; one of the other family is closed."""
        protocol = DatagramProtocol()
        protocol.noisy = False
        interface = "::" if isinstance(address, IPv6Address) else ""
        try:
            port = self._reactor.listenUDP(0, protocol, interface, _MAX_READ_BYTES)
        except CannotListenError as error:
            self._complain(str(error))
            return
        if self._udp is not None:
            self._udp.stopListening()
        self._udp = cast(IUDPTransport, port)
        self._family = type(address)
        self._address = (address.host, address.port)
        self._log.debug("metrics go to StatsD at {host}:{port}", host=self._host, port=self._port)

    def _add(self, line: str) -> None:
        if self._address is None and self._unix is None:
            return
        if not self._lines:
            self._reactor.callLater(0, self._flush)
        self._lines.append(line.encode())

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        for datagram in _datagrams(lines):
            try:
                if self._unix is not None:
                    self._unix.sendto(datagram, self._socket_path)
                elif self._udp is not None:
                    self._udp.write(datagram, self._address)
            except BlockingIOError:
                # The agent does not keep up; the lost lines stay lost.
                self._complain("it reads more slowly than metrics are sent")
            except (OSError, MessageLengthError) as error:
                self._complain(getattr(error, "strerror", None) or str(error))

    def _complain(self, reason: str) -> None:
        """Logs why no metrics arrive, unless the last line was the same."""
        if reason != self._last_complaint:
            self._last_complaint = reason
            self._log.warn(
                "no metrics reach StatsD at {place}: {reason}",
                event="statsd_unreachable",
                place=self._socket_path or f"{self._host}:{self._port}",
                host=self._host,
                port=self._port,
                reason=reason,
            )


def first_address(
    reactor: IReactorPluggableNameResolver, host: str, port: int
) -> "Deferred[IPv4Address | IPv6Address | None]":
    """Returns a Deferred with the first address of a host name, or None if it has none."""
    found: Deferred[IPv4Address | IPv6Address | None] = Deferred()
    reactor.nameResolver.resolveHostName(
        _FirstAddress(found.callback), host, port, transportSemantics="UDP"
    )
    return found


def socket_path(host: str) -> str:
    """Returns the path of the unix datagram socket that a host names; empty if it is a host.

    DogStatsD's agents listen on one; it is written as `unix:///path`, `unixgram:///path`, or
    as the path alone.
    """
    for scheme in ("unix://", "unixgram://"):
        if host.startswith(scheme):
            return host.removeprefix(scheme)
    return host if host.startswith("/") else ""


class StatsdReports:
    """Reports the metrics to StatsD.

    Args:
        metrics: the metrics.
        statsd: sends them.
    """

    def __init__(self, metrics: Metrics, statsd: StatsdService) -> None:
        self._metrics = metrics
        self._statsd = statsd
        self._reported: dict[tuple[Metric, str], float] = {}
        self._report_count = 0

    def send(self) -> None:
        """Sends the counts since the last report, and with every tenth report all gauges."""
        self._send_counters()
        self._send_histograms()
        if self._report_count % _REPORTS_PER_GAUGES == 0:
            self._send_gauges()
        self._report_count += 1

    def _send_counters(self) -> None:
        for metric, label, value in self._metrics.numbers(Kind.COUNTER):
            rise = self._rise(metric, label, value)
            if rise:
                self._statsd.increment(metric.name, rise, *_tags(metric, label))

    def _send_histograms(self) -> None:
        for metric, label, histogram in self._metrics.all_histograms():
            count = self._rise(metric, f"{label} count", histogram.count)
            total = self._rise(metric, f"{label} sum", histogram.sum)
            if count and metric.is_seconds:
                name = metric.name.removesuffix("_seconds")
                self._statsd.timing(name, total / count * 1000, *_tags(metric, label))
            elif count:
                self._statsd.increment(metric.name, total, *_tags(metric, label))

    def _send_gauges(self) -> None:
        for metric, label, value in self._metrics.numbers(Kind.GAUGE):
            if isfinite(value):
                self._statsd.gauge(metric.name, value, *_tags(metric, label))

    def _rise(self, metric: Metric, part: str, value: float) -> float:
        """Returns the increase of a value since the last report."""
        before = self._reported.get((metric, part), 0)
        self._reported[metric, part] = value
        return value - before


def _tags(metric: Metric, label: str) -> tuple[str, ...]:
    return (f"{metric.label}:{label}",) if metric.label else ()


@implementer(IResolutionReceiver)
class _FirstAddress:
    """Passes on the first address of a host name, or None if it has none."""

    def __init__(self, found: Callable[[IPv4Address | IPv6Address | None], None]) -> None:
        self._found = found
        self._address: IPv4Address | IPv6Address | None = None

    def resolutionBegan(self, resolutionInProgress: object) -> None:
        """Does nothing."""

    def addressResolved(self, address: IAddress) -> None:
        """Keeps the address if it is the first."""
        if self._address is None and isinstance(address, IPv4Address | IPv6Address):
            self._address = address

    def resolutionComplete(self) -> None:
        """Passes on the address."""
        self._found(self._address)


def _datagrams(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yields datagrams with as many lines as fit in each."""
    datagram = b""
    for line in lines:
        if datagram and len(datagram) + 1 + len(line) > _MAX_DATAGRAM_BYTES:
            yield datagram
            datagram = b""
        datagram = datagram + b"\n" + line if datagram else line
    if datagram:
        yield datagram
