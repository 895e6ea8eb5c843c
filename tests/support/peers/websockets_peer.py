"""The peer that is made of the Python package websockets."""

import asyncio
import sys

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.peers.lines import commands, report


async def obey(socket: ClientConnection) -> None:
    """Do what is to be done."""
    async for word, what in commands():
        if word == "ping":
            # Answered only if the payload comes back as it was sent.
            await (await socket.ping(what))
            report(pong=what)
        elif word == "fragments":
            await socket.send(what)
        elif word == "close":
            await socket.close(*what)


async def main(url: str, cookie: str) -> None:
    """Connect, and report until the end."""
    try:
        socket = await connect(url, additional_headers={"Cookie": cookie}, ping_interval=None)
    except InvalidStatus as error:
        report(refused=error.response.status_code)
        return
    report(open=True)
    obeying = asyncio.create_task(obey(socket))
    try:
        async for message in socket:
            report(text=message)
    except ConnectionClosed:
        # By another code than 1000 and 1001.
        pass
    obeying.cancel()
    report(closed=[socket.close_code, socket.close_reason])


asyncio.run(main(*sys.argv[1:]))
