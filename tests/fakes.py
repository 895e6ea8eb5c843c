"""Stand-ins for the hub's neighbours, which note what was asked of them."""

from gaq_twisted.hub import Socket
from gaq_twisted.metrics import Metrics
from gaq_twisted.resume import History, Reading


class FakeSocket(Socket):
    """A hub.Socket that keeps what it was sent."""

    def __init__(self, channel: str, *, broken: bool = False) -> None:
        """Take the channel, and whether sending fails."""
        self.channel = channel
        self.peer = "tcp4:192.0.2.1:1234"
        self.broken = broken
        self.open = True
        self.sent: list[bytes] = []
        self.pings = 0

    def is_open(self) -> bool:
        """Return what the test wants."""
        return self.open

    def send(self, frames: bytes) -> None:
        """Keep the frames, or fail."""
        if self.broken:
            raise OSError("broken pipe")
        self.sent.append(frames)

    def ping(self) -> None:
        """Count the ping, or fail."""
        if self.broken:
            raise OSError("broken pipe")
        self.pings += 1

    def drop(self) -> None:
        """Note the end."""
        self.open = False


class FakeHistory(History):
    """A History whose readings the test answers."""

    def __init__(self) -> None:
        """Have no readings yet."""
        self.readings: list[Reading] = []

    def read(self, reading: Reading) -> None:
        """Keep the reading and begin it, as before a first try."""
        self.readings.append(reading)
        reading.begin()


class RecordingMetrics(Metrics):
    """Metrics that a test can read."""

    def __init__(self) -> None:
        """Have counted nothing."""
        self.counts: dict[str, int] = {}
        self.gauges: dict[str, float] = {}

    def increment(self, name: str, count: int = 1) -> None:
        """Add up."""
        self.counts[name] = self.counts.get(name, 0) + count

    def gauge(self, name: str, value: float) -> None:
        """Keep the newest value."""
        self.gauges[name] = value
