"""The address of a client, in one form for log lines, metrics and pages."""

import os
from ipaddress import IPv4Address, IPv6Address, ip_address
from socket import AF_INET, inet_pton
from typing import Any

import msgspec

_LOCAL = "local"


class Peer(msgspec.Struct, frozen=True, gc=False):
    """The client at the other end of a connection.

    Every open socket has one, so it is a Struct, which takes a third of the memory of a tuple.
    """

    address: str
    """An IP address without brackets, zone and port; the path of a unix socket; or `local`."""
    proxy: str | None = None
    """The address of the trusted proxy that forwarded the connection; None if it is direct."""

    @classmethod
    def at(cls, address: object) -> "Peer":
        """Returns the peer at a transport's address.

        Args:
            address: an IAddress with a host, or of a unix socket, whose name is often empty.
        """
        host = getattr(address, "host", None) or getattr(address, "name", None) or b""
        text = os.fsdecode(host)
        if _is_plain_ipv4(text):
            return cls(text)
        ip = ip_of(text)
        if ip is not None:
            return cls(str(ip))
        # A PROXY header, or a client's own socket file, can contain anything.
        return cls(text if text and text.isprintable() else _LOCAL)

    def __str__(self) -> str:
        return self.address if self.proxy is None else f"{self.address} via {self.proxy}"

    @property
    def log_fields(self) -> dict[str, Any]:
        """The fields of a log event about this client.

        `client` is for the event's text, and includes the proxy; `peer` and `proxy` are separate.
        """
        fields: dict[str, Any] = {"client": self, "peer": self.address}
        if self.proxy is not None:
            fields["proxy"] = self.proxy
        return fields

    @property
    def network(self) -> str:
        """The part of the address that does not identify the client.

        `192.0.2.*`, or `2001:db8:7:*`; `local` if it is not an IP address.
        """
        ip = ip_of(self.address)
        if ip is None:
            return _LOCAL
        if isinstance(ip, IPv6Address):
            return ":".join(f"{int(part, 16):x}" for part in ip.exploded.split(":")[:3]) + ":*"
        return str(ip).rpartition(".")[0] + ".*"


def _is_plain_ipv4(text: str) -> bool:
    # This is faster, and enough for most connections.
    try:
        inet_pton(AF_INET, text)
    except (OSError, ValueError):
        return False
    return True


def ip_of(text: str) -> IPv4Address | IPv6Address | None:
    """Returns the IP address in a text, an IPv4-mapped one as IPv4; None if it is not an address.

    Args:
        text: an address, perhaps in brackets, perhaps with a zone, which is ignored.
    """
    # A zone may be any text, and is meaningful on one machine only (RFC 4007 section 6).
    bare, _, _ = text.strip("[]").partition("%")
    try:
        ip = ip_address(bare)
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return mapped or ip
