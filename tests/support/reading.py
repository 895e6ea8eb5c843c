"""Single reads of a stream that the server follows without end."""

from gaq_twisted.streams.events import Entry
from gaq_twisted.streams.firehose import GlobalStream


async def read_once(streams: GlobalStream, last: Entry) -> list[Entry]:
    """Returns what the first read after an entry returns."""
    found: list[Entry] = []

    def take(entries: list[Entry]) -> None:
        found.extend(entries)

    await streams.follow(last, take)
    return found
