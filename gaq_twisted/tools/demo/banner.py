"""The demo's last lines in the terminal, printed once its page works."""

from typing import Any, TextIO

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater
from twisted.web.client import Agent, ResponseFailed, readBody

_POLL_SECONDS = 0.1
_RULE = "-" * 64


class Banner(Service):
    """Waits until the server is ready, and prints where its pages are.

    Args:
        ready_url: answers 200 once the server is ready.
        lines: what to print, the most important line last.
        output: where to print it.
        reactor: connects, and provides the time.
    """

    def __init__(self, ready_url: str, lines: list[str], output: TextIO, reactor: Any) -> None:
        self._ready_url = ready_url.encode()
        self._lines = lines
        self._output = output
        self._reactor = reactor

    def startService(self) -> None:
        """Starts waiting."""
        super().startService()
        self._waiting = Deferred.fromCoroutine(self._print_when_ready())
        # It is cancelled if the demo ends first.
        self._waiting.addErrback(lambda _: None)

    def stopService(self) -> None:
        """Stops waiting."""
        super().stopService()
        self._waiting.cancel()

    async def _print_when_ready(self) -> None:
        while not await self._is_ready():
            await deferLater(self._reactor, _POLL_SECONDS)
        print("", _RULE, *self._lines, sep="\n", file=self._output, flush=True)

    async def _is_ready(self) -> bool:
        try:
            response = await Agent(self._reactor).request(b"GET", self._ready_url)
            await readBody(response)
        except (ConnectError, ResponseFailed):
            return False
        return bool(response.code == 200)
