"""Entries that a real Superset wrote, and WebSocket clients of other makers."""

import json
import shutil
import sys
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.support.peers import contract
from tests.support.processes import PREFIX, RedisProcess, Server, environment
from tests.support.raw import RawClient
from tests.support.recorded import WIRE_SAMPLES, browser_request
from tests.support.rfc6455 import TEXT, Handshake, frame


def frame_of(stream_id: str, data: str) -> bytes:
    """Return the bytes in which an entry must reach a browser."""
    return frame(TEXT, b'{"id":"%b",%b' % (stream_id.encode(), data.encode()[1:]), key=None)


class SupersetTests(SynchronousTestCase):
    """What Superset 6.1 published, byte for byte."""

    def setUp(self) -> None:
        """Start a Redis."""
        self.redis = RedisProcess(self)
        self.accepted = Handshake(sent="", section="", status=101)

    def start(self) -> Server:
        """Start a server and wait until it is ready."""
        server = Server(self, environment(self.redis.port))
        server.wait_until_ready()
        return server

    def connect(self, server: Server, channel: str, last_id: str | None = None) -> RawClient:
        """Return a client that says what a browser said."""
        client = RawClient(server.port, browser_request(channel, last_id))
        self.addCleanup(client.__exit__)
        self.assertEqual(self.accepted.faults(client.head), [])
        return client

    def entries(self, stream: str) -> list[tuple[str, str]]:
        """Return the recorded ids and data of a stream's entries."""
        return [(stream_id, fields["data"]) for stream_id, fields in WIRE_SAMPLES[stream]]

    def test_recorded_commands(self) -> None:
        """Each entry, written by the commands that Superset sent, arrives with its id in front."""
        entries = self.entries("entries_of_the_global_stream")
        # A command's last word is the data, and holds spaces.
        commands = [line.split(" ", 7) for line in WIRE_SAMPLES["redis_commands"]]
        self.assertEqual([words[-1] for words in commands], [entries[0][1]] * 2)
        client = self.connect(self.start(), json.loads(entries[0][1])["channel_id"])
        for _, data in entries:
            for *words, _ in commands:
                stream_id: Any = self.redis.client.execute_command(*words, data)
            expected = frame_of(stream_id.decode(), data)
            self.assertEqual(client.read(len(expected)), expected)
            payload = expected[expected.index(b"{") :]
            self.assertEqual(json.loads(payload), {"id": stream_id.decode(), **json.loads(data)})

    def test_recorded_streams(self) -> None:
        """A browser that comes back to the recorded streams gets the recorded rest of them."""
        entries = self.entries("entries_of_the_global_stream")
        channel = json.loads(entries[0][1])["channel_id"]
        for stream, suffix in (
            ("entries_of_a_channel_stream", channel),
            ("entries_of_the_global_stream", "full"),
        ):
            for stream_id, data in self.entries(stream):
                self.redis.client.xadd(f"{PREFIX}{suffix}", {"data": data}, id=stream_id)
        server = self.start()
        for seen in range(1, len(entries)):
            client = self.connect(server, channel, last_id=entries[seen - 1][0])
            expected = b"".join(frame_of(*entry) for entry in entries[seen:])
            self.assertEqual(client.read(len(expected)), expected)

    def test_node_frames(self) -> None:
        """What the Node server sent for an entry is what is sent here, white space aside."""
        # So the publisher's text can be had from a frame.
        for _, data in self.entries("entries_of_the_global_stream"):
            self.assertEqual(json.dumps(json.loads(data)), data)
        server = self.start()
        for text in WIRE_SAMPLES["frames_that_the_node_server_sent"]:
            event = json.loads(text)
            stream_id = event.pop("id")
            client = self.connect(server, event["channel_id"])
            data = json.dumps(event)
            self.redis.client.xadd(f"{PREFIX}full", {"data": data}, id=stream_id)
            (received,) = client.read_until(lambda one: one.opcode == TEXT)
            self.assertEqual(frame(TEXT, received.payload, key=None), frame_of(stream_id, data))
            compact = json.dumps(
                json.loads(received.payload), ensure_ascii=False, separators=(",", ":")
            )
            self.assertEqual(compact, text)


class WebsocketsTests(contract.PeerTests):
    """The Python package websockets."""

    def command(self) -> list[str]:
        """Return how it is started."""
        return [sys.executable, "-m", "tests.support.peers.websockets_peer"]


class PicowsTests(contract.PeerTests):
    """The Python package picows, whose protocol is compiled C."""

    def command(self) -> list[str]:
        """Return how it is started."""
        return [sys.executable, "-m", "tests.support.peers.picows_peer"]


class NodeTests(contract.PeerTests):
    """The npm package ws, with which Superset's own server is made."""

    def command(self) -> list[str]:
        """Return how it is started.

        Raises:
            SkipTest: Node.js or the package is not there.
        """
        node = shutil.which("node")
        if node is None:
            raise SkipTest("there is no node on this machine")
        if not (contract.PEERS / "node_modules" / "ws").exists():
            raise SkipTest("the npm package ws is not installed; `make test` does that")
        return [node, str(contract.PEERS / "ws_peer.mjs")]
