"""Where a client is, by what the proxies before this server say of it; for the log."""

import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from gaq_twisted.config.types import Network
from gaq_twisted.net.request_head import Head

_Address = IPv4Address | IPv6Address
# RFC 7239 section 4; a port may follow the address.
_FOR = re.compile(
    r'(?:^|[;,\s])for="?(\[[0-9a-f:.]+\]|[0-9a-f.:]+?)(?::[0-9]+)?"?(?=$|[;,\s])', re.I
)
_IPV4_WITH_PORT = re.compile(r"([0-9.]+):[0-9]+")


class TrustedProxies:
    """Believes the proxies of some networks."""

    def __init__(self, networks: Sequence[Network]) -> None:
        """Take whom to believe."""
        self._networks = [one.network for one in networks]

    def client(self, peer: str, head: Head) -> str | None:
        """Return the address of the client that a request came from by way of trusted proxies.

        The nearest proxy wrote the last address. From there on, back to the
        first one that is not a trusted proxy's, the addresses are true.

        Args:
            peer: the address of the other end of the connection.
            head: the request, of whose headers `X-Forwarded-For` counts, or else
                `Forwarded` (RFC 7239).

        Returns:
            The address, or None if the peer is no trusted proxy or tells none.
        """
        nearest = _address(peer)
        if nearest is None or not self._trusts(nearest):
            return None
        client = None
        for address in _forwarded(head):
            if address is None:
                break
            client = str(address)
            if not self._trusts(address):
                break
        return client

    def _trusts(self, address: _Address) -> bool:
        return any(address in network for network in self._networks)


def _forwarded(head: Head) -> Iterator[_Address | None]:
    """Yield the addresses, the nearest first; nearly always one is enough."""
    by_proxies = b",".join(head.values(b"x-forwarded-for")).decode("ascii", "replace")
    if by_proxies:
        for text in reversed(by_proxies.split(",")):
            yield _address(text.strip())
        return
    standard = b",".join(head.values(b"forwarded")).decode("ascii", "replace")
    for element in reversed(standard.split(",")):
        match = _FOR.search(element)
        yield _address(match[1]) if match else None


def _address(text: str) -> _Address | None:
    with_port = _IPV4_WITH_PORT.fullmatch(text)
    # A zone may be any text, and means something on one machine only (RFC 4007 section 6).
    bare, _, _ = text.strip("[]").partition("%")
    try:
        address = ip_address(with_port[1] if with_port else bare)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
