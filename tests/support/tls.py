"""A WebSocket client for TLS."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from websockets.asyncio.client import connect

_T = TypeVar("_T")


class TlsConnection:
    """A WebSocket whose reads and writes are all done by one thread.

    The synchronous client of `websockets` reads in one thread and writes in others, which a
    TLS object of Python does not allow.

    Args:
        url: where it connects to, as `wss://host:port/path`.
        options: further arguments for websockets.asyncio.client.connect.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        try:
            self._socket = self._result(_connected(url, options))
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> "TlsConnection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def recv(self, timeout: float) -> Any:
        """Return the next message.

        Raises:
            TimeoutError: if it does not come within so many seconds.
        """
        return self._result(asyncio.wait_for(self._socket.recv(), timeout))

    def close(self) -> None:
        """Close the connection, if it is open."""
        if self._thread.is_alive():
            try:
                self._result(self._socket.close())
            finally:
                self._end()

    def _result(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _connected(url: str, options: dict[str, Any]) -> Any:
    return await connect(url, **options)
