"""The peer that is made of the Python package picows."""

import asyncio
import sys

from picows import WSFrame, WSHandshakeError, WSListener, WSMsgType, WSTransport, ws_connect

from tests.support.peers.lines import commands, report


class Reporter(WSListener):
    """Reports what comes; picows answers pings, but leaves close frames to its user."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Tell it."""
        report(open=True)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Tell it, and answer a close frame."""
        if frame.msg_type == WSMsgType.TEXT:
            report(text=frame.get_payload_as_utf8_text())
        elif frame.msg_type == WSMsgType.PONG:
            report(pong=frame.get_payload_as_utf8_text())
        elif frame.msg_type == WSMsgType.CLOSE:
            payload = frame.get_payload_as_bytes()
            report(closed=[int.from_bytes(payload[:2], "big"), payload[2:].decode()])
            if not transport.is_close_frame_sent:
                transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()


async def obey(socket: WSTransport) -> None:
    """Do what is to be done."""
    async for word, what in commands():
        if word == "ping":
            socket.send_ping(what.encode())
        elif word == "fragments":
            for index, text in enumerate(what):
                kind = WSMsgType.CONTINUATION if index else WSMsgType.TEXT
                socket.send(kind, text.encode(), fin=index == len(what) - 1)
        elif word == "close":
            code, reason = what
            socket.send_close(code, reason.encode())


async def main(url: str, cookie: str) -> None:
    """Connect, and report until the end."""
    try:
        socket, _ = await ws_connect(Reporter, url, extra_headers={"Cookie": cookie})
    except WSHandshakeError as error:
        report(refused=int(error.response.status) if error.response else None)
        return
    obeying = asyncio.create_task(obey(socket))
    await socket.wait_disconnected()
    obeying.cancel()


asyncio.run(main(*sys.argv[1:]))
