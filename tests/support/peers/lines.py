"""Lines of JSON between a peer and the program that started it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any


def report(**what: Any) -> None:
    """Report what happened."""
    print(json.dumps(what), flush=True)


async def commands() -> AsyncIterator[tuple[str, Any]]:
    """Yield what is to be done: a word, and with what."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        for item in json.loads(line).items():
            yield item
