"""The addresses where connections are accepted, in the form of the log."""

import os
from typing import NamedTuple

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from zope.interface import implementer

_ANY = ("0.0.0.0", "::")


class Place(NamedTuple):
    """A port or socket that is open."""

    kind: str
    """The first word of its endpoint string, such as `tcp`."""
    address: IAddress

    def __str__(self) -> str:
        if isinstance(self.address, UNIXAddress):
            return f"{self.kind}:{os.fsdecode(self.address.name or b'')}"
        assert isinstance(self.address, IPv4Address | IPv6Address)
        host, port = self.address.host, self.address.port
        if host in _ANY:
            return f"{self.kind}:{port}"
        text = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return text if self.kind == "tcp" else f"{self.kind}:{text}"


@implementer(IStreamServerEndpoint)
class NotingEndpoint:
    """Listens as another endpoint does, and records the address, which the system may choose.

    Args:
        endpoint: the other endpoint.
        kind: the first word of its string.
        places: the address is added to these.
    """

    def __init__(self, endpoint: IStreamServerEndpoint, kind: str, places: list[Place]) -> None:
        self._endpoint = endpoint
        self._kind = kind
        self._places = places

    def listen(self, factory: IProtocolFactory) -> "Deferred[IListeningPort]":
        """Listens; see IStreamServerEndpoint."""
        return self._endpoint.listen(factory).addCallback(self._note)

    def _note(self, port: IListeningPort) -> IListeningPort:
        self._places.append(Place(self._kind, port.getHost()))
        return port
