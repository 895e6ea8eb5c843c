"""The PROXY protocol (versions 1 and 2), with which load balancers send a client's address."""

from typing import Any

from twisted.protocols.haproxy._wrapper import HAProxyProtocolWrapper, HAProxyWrappingFactory

_V1 = b"PROXY "
_V2 = b"\r\n\r\n\x00\r\nQUIT\n"
# Twisted needs this many bytes to distinguish the two versions.
_LEAST_BYTES = 16
_UNKNOWN = b"PROXY UNKNOWN\r\n"


class ProxyHeaderProtocol(HAProxyProtocolWrapper):
    """Reads a PROXY header, and then passes on the data after it.

    Twisted's own class rejects headers that arrive in small pieces, and UNKNOWN without addresses,
    which load balancers send for their health checks.
    """

    _early = b""

    def dataReceived(self, data: bytes) -> None:
        """Collects the beginning of a header before Twisted reads it."""
        if self._parser is not None:
            super().dataReceived(data)
            return
        self._early += data
        if len(self._early) >= _LEAST_BYTES or not _may_become_header(self._early):
            early, self._early = self._early, b""
            super().dataReceived(early.replace(_UNKNOWN, b"PROXY UNKNOWN \r\n", 1))

    @property
    def has_no_header(self) -> bool:
        """Whether this closed the connection because it did not start with a PROXY header."""
        return bool(self.disconnecting) and self._proxyInfo is None


class ProxyHeaderFactory(HAProxyWrappingFactory):
    """Puts the PROXY protocol in front of another factory."""

    protocol: Any = ProxyHeaderProtocol
    noisy = False


def _may_become_header(received: bytes) -> bool:
    return any(received.startswith(start) or start.startswith(received) for start in (_V1, _V2))
