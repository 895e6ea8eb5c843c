"""Single reads of a stream that the server follows without end."""

from gaq_twisted.streams.events import Entry
from gaq_twisted.streams.firehose import GlobalStream


async def read_once(streams: GlobalStream, last: Entry) -> list[Entry]:
    """Returns what a read after an entry returns; it waits if there is nothing at once."""
    reads: list[list[Entry]] = []

    def take(entries: list[Entry]) -> Entry | None:
        reads.append(entries)
        return None if entries or len(reads) == 2 else last

    await streams.follow(last, take)
    return reads[-1]
