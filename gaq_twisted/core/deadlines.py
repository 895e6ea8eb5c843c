"""Deadlines in whole seconds; those that have passed are found without a search."""

from heapq import heappop, heappush
from typing import Generic, TypeVar

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Items, each with a deadline in whole seconds."""

    def __init__(self) -> None:
        self._by_second: dict[int, dict[T, None]] = {}
        # The keys of the above, as a heap.
        self._seconds: list[int] = []

    def add(self, item: T, second: int) -> None:
        """Adds an item with its deadline."""
        items = self._by_second.get(second)
        if items is None:
            items = self._by_second[second] = {}
            heappush(self._seconds, second)
        items[item] = None

    def discard(self, item: T, second: int) -> None:
        """Removes an item that was added with that deadline, if it is there."""
        self._by_second.get(second, {}).pop(item, None)

    def pop(self, now: float) -> T | None:
        """Removes and returns an item whose deadline has passed; None if there is none.

        Args:
            now: the time in seconds.
        """
        while self._seconds and self._seconds[0] <= now:
            items = self._by_second[self._seconds[0]]
            if items:
                return items.popitem()[0]
            del self._by_second[heappop(self._seconds)]
        return None
