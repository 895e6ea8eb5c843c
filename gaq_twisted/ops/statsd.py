"""Sends metrics to a StatsD server by UDP.

txstatsd, the Twisted package for this, runs on Python 2 only; the names of its
methods are kept.
"""

from collections.abc import Callable, Iterable, Iterator
from math import isfinite
from typing import Any

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, MessageLengthError
from twisted.internet.interfaces import IAddress, IResolutionReceiver
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger
from zope.interface import implementer

from gaq_twisted.config.settings import Statsd
from gaq_twisted.core.metrics import Kind, Metric, Metrics

# One Ethernet frame's worth, so that no datagram is fragmented.
_MAX_DATAGRAM_BYTES = 1432
_LOOK_UP_AGAIN_SECONDS = 60.0
_REPORTS_PER_GAUGES = 10


class StatsdService(Service):
    """Writes counts, gauges and times as StatsD lines with DogStatsD tags.

    What is written in one turn of the reactor goes out together.  While the
    host's name is not resolved nothing is sent and nothing is kept.
    """

    _log = Logger()

    def __init__(self, settings: Statsd, reactor: Any) -> None:
        """Take where to send to.

        Args:
            settings: host, port and tags.
            reactor: provides IReactorTime, IReactorUDP and IReactorPluggableNameResolver.
        """
        self._host = settings.host
        self._port = settings.port
        self._global_tags = settings.global_tags
        self._reactor = reactor
        self._address: tuple[str, int] | None = None
        self._udp: Any = None
        self._lines: list[bytes] = []
        self._looking_up: Any = None
        self._complaint = ""

    def startService(self) -> None:
        """Begin to resolve the host's name."""
        super().startService()
        self._look_up()

    def stopService(self) -> "Deferred[None] | None":
        """Send what is left and close the UDP port."""
        super().stopService()
        self._flush()
        if self._looking_up is not None:
            self._looking_up.cancel()
        if self._udp is None:
            return None
        udp, self._udp, self._address = self._udp, None, None
        stopped: Deferred[None] | None = udp.stopListening()
        return stopped

    def increment(self, name: str, count: float = 1, *tags: str) -> None:
        """Add to a counter, with further tags such as `code:1001`."""
        self._add(f"{name}:{count:.15g}|c{self._tag_suffix(tags)}")

    def gauge(self, name: str, value: float, *tags: str) -> None:
        """Set a gauge, with further tags."""
        self._add(f"{name}:{value:.15g}|g{self._tag_suffix(tags)}")

    def timing(self, name: str, milliseconds: float, *tags: str) -> None:
        """Note how long something took, with further tags."""
        self._add(f"{name}:{milliseconds:.3f}|ms{self._tag_suffix(tags)}")

    def _tag_suffix(self, tags: tuple[str, ...]) -> str:
        joined = ",".join((*self._global_tags, *tags))
        return f"|#{joined}" if joined else ""

    def _look_up(self) -> None:
        self._looking_up = None
        self._reactor.nameResolver.resolveHostName(
            _FirstAddress(self._looked_up), self._host, self._port, transportSemantics="UDP"
        )

    def _looked_up(self, address: IPv4Address | IPv6Address | None) -> None:
        if not self.running:
            return
        if address is None:
            self._complain("the host name does not resolve")
        elif self._open(address):
            return
        self._looking_up = self._reactor.callLater(_LOOK_UP_AGAIN_SECONDS, self._look_up)

    def _open(self, address: IPv4Address | IPv6Address) -> bool:
        protocol = DatagramProtocol()
        protocol.noisy = False
        interface = "::" if isinstance(address, IPv6Address) else ""
        try:
            self._udp = self._reactor.listenUDP(0, protocol, interface=interface)
        except CannotListenError as error:
            self._complain(str(error))
            return False
        self._address = (address.host, address.port)
        self._log.debug("metrics go to StatsD at {host}:{port}", host=self._host, port=self._port)
        return True

    def _add(self, line: str) -> None:
        if self._address is None:
            return
        if not self._lines:
            self._reactor.callLater(0, self._flush)
        self._lines.append(line.encode())

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        if self._address is None:
            return
        for datagram in _datagrams(lines):
            try:
                self._udp.write(datagram, self._address)
            except (OSError, MessageLengthError) as error:
                self._complain(str(error))

    def _complain(self, reason: str) -> None:
        if reason != self._complaint:
            self._complaint = reason
            self._log.warn(
                "no metrics reach StatsD at {host}:{port}: {reason}",
                event="statsd_unreachable",
                host=self._host,
                port=self._port,
                reason=reason,
            )


class StatsdReports:
    """Tells StatsD what the metrics are."""

    def __init__(self, metrics: Metrics, statsd: StatsdService) -> None:
        """Take where the values are, and who sends them."""
        self._metrics = metrics
        self._statsd = statsd
        self._told: dict[tuple[Metric, str], float] = {}
        self._reports = 0

    def send(self) -> None:
        """Send what was counted since the last time, and the gauges the first time of ten."""
        for metric, label, value in self._metrics.numbers(Kind.COUNTER):
            news = self._news(metric, label, value)
            if news:
                self._statsd.increment(metric.name, news, *_tags(metric, label))
        for metric, label, histogram in self._metrics.all_histograms():
            count = self._news(metric, f"{label} count", histogram.count)
            total = self._news(metric, f"{label} sum", histogram.sum)
            if count and metric.is_seconds:
                name = metric.name.removesuffix("_seconds")
                self._statsd.timing(name, total / count * 1000, *_tags(metric, label))
            elif count:
                self._statsd.increment(metric.name, total, *_tags(metric, label))
        if self._reports % _REPORTS_PER_GAUGES == 0:
            for metric, label, value in self._metrics.numbers(Kind.GAUGE):
                if isfinite(value):
                    self._statsd.gauge(metric.name, value, *_tags(metric, label))
        self._reports += 1

    def _news(self, metric: Metric, part: str, value: float) -> float:
        told = self._told.get((metric, part), 0)
        self._told[metric, part] = value
        return value - told


def _tags(metric: Metric, label: str) -> tuple[str, ...]:
    return (f"{metric.label}:{label}",) if metric.label else ()


@implementer(IResolutionReceiver)
class _FirstAddress:
    """Passes on the first address of a host name, or None when it has none."""

    def __init__(self, found: Callable[[IPv4Address | IPv6Address | None], None]) -> None:
        self._found = found
        self._address: IPv4Address | IPv6Address | None = None

    def resolutionBegan(self, resolutionInProgress: object) -> None:
        """Take note of nothing."""

    def addressResolved(self, address: IAddress) -> None:
        """Keep the address if it is the first."""
        if self._address is None and isinstance(address, IPv4Address | IPv6Address):
            self._address = address

    def resolutionComplete(self) -> None:
        """Pass on what was found."""
        self._found(self._address)


def _datagrams(lines: Iterable[bytes]) -> Iterator[bytes]:
    datagram = b""
    for line in lines:
        if datagram and len(datagram) + 1 + len(line) > _MAX_DATAGRAM_BYTES:
            yield datagram
            datagram = b""
        datagram = datagram + b"\n" + line if datagram else line
    if datagram:
        yield datagram
