"""The entries of the global stream turned into events, and a report of those that are not."""

from collections import Counter
from collections.abc import Iterator, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from gaq_twisted.core.metrics import Metrics
from gaq_twisted.core.throttle import Throttle
from gaq_twisted.streams.events import Entry, Event, InvalidEvent, InvalidReason, parse_event
from gaq_twisted.streams.metrics import INVALID_EVENT

# How many entries are parsed as one step; the largest take a millisecond each.
_STEP_ENTRIES = 16


class EntryParser:
    """Parses entries, and counts and logs those that it skips.

    Args:
        metrics: where to count.
        clock: the source of time, to limit how often is logged.
    """

    _log = Logger()

    def __init__(self, metrics: Metrics, clock: IReactorTime) -> None:
        self._metrics = metrics
        self._skipped: list[tuple[bytes, InvalidReason]] = []
        self._throttle = Throttle(clock.seconds, most=1)

    def parse(self, entries: Sequence[Entry], events: list[Event]) -> Iterator[None]:
        """Appends the events of some entries to a list; returns the steps that do so.

        There is a pause between two steps, none after the last one.
        """
        for start in range(0, len(entries), _STEP_ENTRIES):
            if start:
                yield
            for entry in entries[start : start + _STEP_ENTRIES]:
                try:
                    events.append(parse_event(entry.id, entry.data))
                except InvalidEvent as error:
                    self._skipped.append((entry.id, error.reason))

    def report_skipped(self) -> None:
        """Counts the entries skipped since the last report; logs them, but not too often."""
        if not self._skipped:
            return
        for reason, count in Counter(reason for _, reason in self._skipped).items():
            self._metrics.increment(INVALID_EVENT, count, reason)
        if self._throttle.admits():
            first_id, reason = self._skipped[0]
            self._log.warn(
                "skipped {count} entries that are not events; the first is {id}: {reason}",
                event="entries_skipped",
                count=len(self._skipped),
                id=first_id.decode(),
                reason=reason,
            )
        self._skipped.clear()
