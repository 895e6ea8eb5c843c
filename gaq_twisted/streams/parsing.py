"""Parses the entries of the global stream, and reports those that are no valid events."""

from collections import Counter
from collections.abc import Iterator, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from gaq_twisted.core.metrics import Metrics
from gaq_twisted.core.throttle import Throttle
from gaq_twisted.streams.events import Entry, Event, InvalidEvent, InvalidReason, parse_event
from gaq_twisted.streams.metrics import INVALID_EVENT

# Entries parsed in one step; the largest take a millisecond each.
_STEP_ENTRIES = 16


class EntryParser:
    """Parses entries; counts and logs those that it skips.

    Args:
        metrics: count skipped entries.
        clock: provides the time, to limit the number of log lines.
    """

    _log = Logger()

    def __init__(self, metrics: Metrics, clock: IReactorTime) -> None:
        self._metrics = metrics
        self._skipped: list[tuple[bytes, InvalidReason]] = []
        self._throttle = Throttle(clock.seconds, most=1)

    def parse(self, entries: Sequence[Entry], events: list[Event]) -> Iterator[None]:
        """Appends the events of some entries to a list; returns the steps that do so.

        There is a pause between two steps, but none after the last one.
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
        """Counts the entries skipped since the last report; logs them at a limited rate."""
        if not self._skipped:
            return
        for reason, count in Counter(reason for _, reason in self._skipped).items():
            self._metrics.increment(INVALID_EVENT, count, reason)
        if self._throttle.admits():
            first_id, reason = self._skipped[0]
            self._log.warn(
                "skipped {count} entries that are not valid events; the first is {id}: {reason}",
                event="entries_skipped",
                count=len(self._skipped),
                id=first_id.decode(),
                reason=reason,
            )
        self._skipped.clear()
