"""Counts for the realtime protocol: the messages that a socket is owed, and those it received.

The protocol stores nothing, so a socket is owed only what is published while it is open.
Messages in transit when a socket ends may never arrive.
"""

from collections import Counter
from collections.abc import Iterator

import msgspec

from gaq_twisted.tools.loadtest.report import Counts, Report

EVERYBODY = "*"
"""Stands for the routes of every socket."""
GAP = "closed with 1012 after a gap"
CUT_OFF = "in transit when the connection ended"
AWAY = "published while the client was away"


class Payload(msgspec.Struct, gc=False):
    """The payload of the test's messages."""

    number: int
    route: str
    """The route that the message was published for."""
    published_ns: int
    """When it was sent to Redis, by the generator's own clock."""
    task_id: str = ""
    status: str = "success"


class Frame(msgspec.Struct, gc=False):
    """What a browser gets."""

    topic: str
    payload: Payload


class Tab:
    """A browser tab, and what its socket is owed.

    Args:
        principal: the route of all tabs of its user.
        tab_id: its id.
    """

    def __init__(self, principal: str, tab_id: str) -> None:
        self.principal = principal
        self.tab_id = tab_id
        self.routes = frozenset((principal, f"{principal}:{tab_id}", EVERYBODY))
        self.is_open = False
        self.has_connected = False
        self.owed: dict[int, int] = {}
        """When each message was published that the socket is owed and has not got."""
        self.newest_before = 0
        """The number of the newest message that was published before the socket opened."""
        self.newest_seen = 0
        """The highest number that the socket has got."""
        self.early: set[int] = set()
        """Those of messages from before the client knew that its socket was open."""


class RealtimeRecord(Counts):
    """All counts of a load test of the realtime protocol.

    Args:
        tabs: all tabs.
        settle_ns: how long a message may take at most.
    """

    def __init__(self, tabs: list[Tab], settle_ns: int) -> None:
        super().__init__()
        self.tabs = tabs
        self._settle_ns = settle_ns
        self._by_route: dict[str, list[Tab]] = {}
        for tab in tabs:
            for route in tab.routes:
                self._by_route.setdefault(route, []).append(tab)
        self._newest = 0
        self._received = 0
        self._lost = 0
        self._not_owed: Counter[str] = Counter()
        # Messages that Redis may not have passed on.
        self._unpublished: set[int] = set()

    def publish(self, route: str, now_ns: int) -> Payload:
        """Returns the payload of a new message; from now on all open sockets are owed it."""
        self._newest += 1
        for tab in self._by_route.get(route, ()):
            if tab.is_open:
                tab.owed[self._newest] = now_ns
            elif tab.has_connected:
                self._not_owed[AWAY] += 1
        return Payload(self._newest, route, now_ns, task_id=f"load-{self._newest}")

    def fail_publication(self, payload: Payload, reason: str) -> None:
        """Notes that Redis may not have passed a message on; nobody is owed it."""
        self.failed_publications[reason] += 1
        self._unpublished.add(payload.number)
        for tab in self._by_route.get(payload.route, ()):
            tab.owed.pop(payload.number, None)

    def open(self, tab: Tab) -> None:
        """Notes that the socket of a tab is open: its upgrade was accepted."""
        self.reconnects += tab.has_connected
        tab.has_connected = tab.is_open = True
        tab.newest_before = self._newest
        tab.newest_seen = 0
        tab.early = set()

    def take(self, tab: Tab, payload: Payload, now_ns: int) -> None:
        """Notes a message that the socket of a tab has got."""
        number = payload.number
        if payload.route not in tab.routes or not 1 <= number <= self._newest:
            self.misdelivered += 1
            return
        self.frames += 1
        if self._is_again(tab, number):
            self.duplicated += 1
            return
        self.out_of_order += number < tab.newest_seen
        tab.newest_seen = max(tab.newest_seen, number)
        self.latencies.add((now_ns - payload.published_ns) // 1000)

    def _is_again(self, tab: Tab, number: int) -> bool:
        if tab.owed.pop(number, None) is not None:
            self._received += 1
            return False
        if number > tab.newest_before and number not in self._unpublished:
            return True
        is_again = number in tab.early
        tab.early.add(number)
        return is_again

    def close(self, tab: Tab, now_ns: int, *, is_gap: bool = False) -> None:
        """Notes that the socket of a tab has ended.

        Args:
            tab: the tab.
            now_ns: the time.
            is_gap: whether the server said by 1012 that messages may be missing.
        """
        tab.is_open = False
        for number, published_ns in tab.owed.items():
            is_late = number < tab.newest_seen or now_ns - published_ns > self._settle_ns
            if is_gap:
                self._not_owed[GAP] += 1
            elif is_late:
                self._lost += 1
            else:
                self._not_owed[CUT_OFF] += 1
        tab.owed.clear()

    def lost(self) -> int:
        """Returns how many messages have not arrived that sockets are owed, or were."""
        return self._lost + sum(len(tab.owed) for tab in self.tabs)

    def report(self) -> Report:
        """Returns the result."""
        connected = sum(tab.has_connected for tab in self.tabs)
        return Report(
            **self.totals(connected, self._newest - len(self._unpublished)),
            channels=len({tab.principal for tab in self.tabs}),
            frames_expected=self._received + self.lost(),
            caught_up=0,
            lost=self.lost(),
            not_owed=dict(self._not_owed.most_common()),
        )

    def routes(self) -> Iterator[tuple[str, str]]:
        """Yields the routes of each tab: that of its principal, and its own."""
        for tab in self.tabs:
            yield tab.principal, f"{tab.principal}:{tab.tab_id}"
