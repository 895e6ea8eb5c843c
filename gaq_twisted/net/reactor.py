"""The type of the reactor that this server runs on."""

from twisted.internet.interfaces import (
    IReactorCore,
    IReactorFromThreads,
    IReactorPluggableNameResolver,
    IReactorSocket,
    IReactorTCP,
    IReactorTime,
)


class Reactor(
    IReactorCore,
    IReactorFromThreads,
    IReactorPluggableNameResolver,
    IReactorSocket,
    IReactorTCP,
    IReactorTime,
):
    """The interfaces of a reactor that this server uses; for annotations only."""
