"""The address of a client behind proxies, from the headers that the proxies add; for the log."""

import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address

from gaq_twisted.config.forms import Network
from gaq_twisted.core.peer import ip_of
from gaq_twisted.net.request_head import Head

_Address = IPv4Address | IPv6Address
# RFC 7239 section 4; a port may follow the address.
_FOR = re.compile(
    r'(?:^|[;,\s])for="?(\[[0-9a-f:.]+\]|[0-9a-f.:]+?)(?::[0-9]+)?"?(?=$|[;,\s])', re.I
)
_WITH_PORT = re.compile(r"([0-9.]+|\[[0-9A-Fa-f:.%]+\]):[0-9]+")


class TrustedProxies:
    """Reads the headers of trusted proxies, and of no others.

    Args:
        networks: where the trusted proxies are.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = [one.network for one in networks]

    def client(self, peer: str, head: Head) -> str | None:
        """Returns the address of a client whose request was forwarded by trusted proxies.

        The nearest proxy wrote the last address. Reading backwards, addresses are reliable up to
        the first one that is not a trusted proxy's.

        Args:
            peer: the address of the other end of the connection.
            head: the request; `X-Forwarded-For` is used, or `Forwarded` (RFC 7239) if that is
                missing.

        Returns:
            The address, or None if the peer is not a trusted proxy or gives no address.
        """
        if not self._networks:
            return None
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
    """Yields the addresses, the nearest first; usually one is enough."""
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
    with_port = _WITH_PORT.fullmatch(text)
    return ip_of(with_port[1] if with_port else text)
