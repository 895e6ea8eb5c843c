"""Checks that the global stream is still the one that was read.

After a failover or a restored backup, the stream may lack entries that were read. It may hold
others in their place, with ids that a read after the last one would never return. Redis may also
trim entries before they were read.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gaq_twisted.streams.events import BEGINNING, Entry, StreamId

# Seconds between checks.
_CHECK_SECONDS = 5.0
# More entries than a replica lacks after a failover.
_REMEMBERED_ENTRIES = 10_000


class VerifiedStream(Protocol):
    """The part of Streams that is needed to verify the global stream."""

    @property
    def times_connected(self) -> int:
        """See Streams.times_connected."""

    async def following(self, last: Entry) -> list[Entry] | None:
        """See Streams.following."""

    async def holds(self, entry: Entry) -> bool:
        """See Streams.holds."""

    async def up_to(self, last: StreamId) -> list[Entry]:
        """See Streams.up_to."""

    async def is_untrimmed(self) -> bool:
        """See Streams.is_untrimmed."""


@dataclass(frozen=True)
class Intact:
    """No entry is missing between what was read and what follows."""

    entries: list[Entry]
    """The entries that follow; may be empty."""


@dataclass(frozen=True)
class Truncated:
    """The stream does not hold the last entry that was read."""

    resume_at: Entry
    """The newest older entry that was read and still exists; BEGINNING if there is none."""


@dataclass(frozen=True)
class Reset:
    """The stream was emptied and has new entries."""

    entries: list[Entry]
    """The entries after the last one that was read; may be empty."""


Verdict = Intact | Truncated | Reset


class Continuity:
    """Verifies regularly, and on each new connection, that the stream is still the same.

    Args:
        streams: the stream; `verify` passes its exceptions on.
        seconds: returns the time in seconds.
    """

    def __init__(self, streams: VerifiedStream, seconds: Callable[[], float]) -> None:
        self._streams = streams
        self._seconds = seconds
        # The last verification: its last entry, its connection, and its time.
        self._verified = BEGINNING
        self._verified_connection = 0
        self._verified_at = 0.0
        # The last entries that were read, to recognize them. Entries older than the first of these
        # were read before.
        self._remembered: deque[tuple[bytes, int]] = deque(maxlen=_REMEMBERED_ENTRIES)

    def begin(self, recent: Sequence[Entry], *, connection: int, is_whole: bool) -> None:
        """Keeps the entries of the first read for later comparisons.

        Args:
            recent: the newest entries of the stream, oldest first.
            connection: `times_connected` before they were read.
            is_whole: whether these are all entries of the stream.
        """
        if is_whole:
            self.remember([BEGINNING])
        self.remember(recent)
        self._note_verified(connection, recent[-1] if recent else BEGINNING)

    def remember(self, entries: Iterable[Entry]) -> None:
        """Keeps what is needed to recognize entries that were just read."""
        self._remembered.extend(map(_fingerprint, entries))

    @property
    def is_reconnected(self) -> bool:
        """Whether the connection is new since the last verification.

        It may lead to another server, whose entries must not be used before they are verified.
        """
        return self._streams.times_connected != self._verified_connection

    def due(self) -> bool:
        """Returns whether it is time to verify."""
        return self.is_reconnected or self.is_overdue(self._seconds())

    def is_overdue(self, now: float) -> bool:
        """Returns whether the last verification of this connection was long ago.

        Args:
            now: the time in seconds.
        """
        return now >= self._verified_at + _CHECK_SECONDS

    async def verify(self, last: Entry) -> Verdict:
        """Returns whether the stream continues after the last entry that was read, and how.

        Args:
            last: that entry, the last one passed to `remember`.
        """
        connection = self._streams.times_connected
        entries = await self._streams.following(last)
        if entries is None:
            resume_at = await self._newest_remembered(last)
            self._forget_after(resume_at)
            self._note_verified(connection, resume_at)
            return Truncated(resume_at)
        if not self.due():
            return Intact(entries)
        is_reset = await self._is_reset(last)
        self._note_verified(connection, last)
        return Reset(entries) if is_reset else Intact(entries)

    def _note_verified(self, connection: int, last: Entry) -> None:
        self._verified_connection, self._verified = connection, last
        self._verified_at = self._seconds()

    async def _is_reset(self, last: Entry) -> bool:
        """Returns whether entries are missing although Redis has not trimmed any."""
        if self._verified in (last, BEGINNING) or await self._streams.holds(self._verified):
            return False
        return await self._streams.is_untrimmed()

    async def _newest_remembered(self, last: Entry) -> Entry:
        """Returns the newest entry read that is not above that one's id, or BEGINNING."""
        known, oldest = set(self._remembered), StreamId.parse(self._remembered[0][0])
        page = await self._streams.up_to(StreamId.parse(last.id))
        while page:
            for entry in page:
                if _fingerprint(entry) in known or StreamId.parse(entry.id) < oldest:
                    return entry
            page = await self._streams.up_to(StreamId.parse(page[-1].id).before())
        return BEGINNING

    def _forget_after(self, place: Entry) -> None:
        """Forgets entries later than a place, so that the remembered ids always ascend."""
        last = _fingerprint(place)
        while self._remembered and self._remembered[-1] != last:
            self._remembered.pop()
        if not self._remembered:
            self._remembered.append(last)


def _fingerprint(entry: Entry) -> tuple[bytes, int]:
    """Returns the part of an entry by which it is recognized."""
    return entry.id, hash(entry.data)
