"""Things that end at some second, found without looking at the others."""

from heapq import heappop, heappush
from typing import Generic, TypeVar

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Many things, each with the whole second at which it is over."""

    def __init__(self) -> None:
        """Have none."""
        self._by_second: dict[int, dict[T, None]] = {}
        # The seconds of the above, the next one first.
        self._seconds: list[int] = []

    def add(self, thing: T, second: int) -> None:
        """Note that a thing is over from that second on."""
        things = self._by_second.get(second)
        if things is None:
            things = self._by_second[second] = {}
            heappush(self._seconds, second)
        things[thing] = None

    def discard(self, thing: T, second: int) -> None:
        """Forget a thing that was added for that second, if it is there."""
        self._by_second.get(second, {}).pop(thing, None)

    def pop(self, now: float) -> T | None:
        """Forget one of the things that are over at that time, and return it; None if none is."""
        while self._seconds and self._seconds[0] <= now:
            things = self._by_second[self._seconds[0]]
            if things:
                return things.popitem()[0]
            del self._by_second[heappop(self._seconds)]
        return None
