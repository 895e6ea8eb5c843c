"""Redis Cluster, with real nodes: what works there, and what one channel's stream leaves alone."""

import contextlib
import socket
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.processes import (
    PREFIX,
    Proxy,
    RedisProcess,
    Server,
    Tab,
    answer,
    environment,
    free_port,
    wait_until,
)
from tests.support.samples import CHANNEL, job_data

TAGGED = "{async-events}-"
HASH_SLOTS = 16_384
BUS_PORT_OFFSET = 10_000
REMEDY = "(this is a Redis Cluster: put a hash tag into redisStreamPrefix"
FOLLOWING_AGAIN = "following the global stream again"


class Cluster:
    """Three masters, each with a third of the hash slots; the test ends them."""

    def __init__(self, test: SynchronousTestCase) -> None:
        options = ("--cluster-enabled", "yes", "--cluster-require-full-coverage", "no")
        self.nodes = [RedisProcess(test, *options, port=_port()) for _ in range(3)]
        first = self.nodes[0]
        for number, node in enumerate(self.nodes):
            slots = range(HASH_SLOTS * number // 3, HASH_SLOTS * (number + 1) // 3)
            self.ask(node, "CLUSTER", "ADDSLOTS", *slots)
            self.ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            self.ask(first, "CLUSTER", "MEET", "127.0.0.1", node.port)
        wait_until(self._is_up, lambda: str(self.ask(first, "CLUSTER", "INFO")))

    def ask(self, node: RedisProcess, *command: Any) -> Any:
        """Returns the reply of a node."""
        return node.client.execute_command(*command)

    def _is_up(self) -> bool:
        return all(
            len(self.ask(node, "CLUSTER", "SLOTS")) == len(self.nodes)
            and "cluster_state:ok" in _text(self.ask(node, "CLUSTER", "INFO"))
            for node in self.nodes
        )

    def node_of(self, key: str) -> RedisProcess:
        """Returns the node that has the hash slot of a key."""
        slot = self.ask(self.nodes[0], "CLUSTER", "KEYSLOT", key)
        return self.nodes[int(slot) * 3 // HASH_SLOTS]

    def publish(
        self, job: str, *, prefix: str = PREFIX, channel: str = CHANNEL, node: Any = None
    ) -> None:
        """Publishes a job as a Cluster's client would; on that node, if one is given."""
        for key in (f"{prefix}{channel}", f"{prefix}full"):
            where = node or self.node_of(key)
            where.client.xadd(key, {"data": job_data(channel, job)})

    def move(self, key: str, to: RedisProcess) -> None:
        """Moves the hash slot of a key, with all its keys, to another node."""
        source = self.node_of(key)
        slot = self.ask(source, "CLUSTER", "KEYSLOT", key)
        names = {node: _text(self.ask(node, "CLUSTER", "MYID")) for node in self.nodes}
        self.ask(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", names[source])
        self.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", names[to])
        keys = self.ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 100)
        self.ask(source, "MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)
        for node in (to, source, *self.nodes):
            self.ask(node, "CLUSTER", "SETSLOT", slot, "NODE", names[to])


class ClusterTests(SynchronousTestCase):
    """A server at one node of a Cluster."""

    def setUp(self) -> None:
        """Starts a Cluster."""
        self.cluster = Cluster(self)

    def test_channel_elsewhere(self) -> None:
        """A channel whose stream another node has gets new events at once; the gap is reported."""
        node = self.cluster.node_of(f"{PREFIX}full")
        self.assertIsNot(node, self.cluster.node_of(f"{PREFIX}{CHANNEL}"))
        near = next(name for name in "abcdefgh" if self.cluster.node_of(f"{PREFIX}{name}") is node)
        self.cluster.publish("before")
        self.cluster.publish("missed", channel=near)
        server = Server(self, environment(node.port, TAIL_MAX_EVENTS="1"))
        server.wait_until_ready()
        with (
            Tab(server.port, last_id="1-0") as tab,
            Tab(server.port, channel=near, last_id="1-0") as other,
        ):
            self.cluster.publish("new")
            self.assertEqual(tab.jobs(1), ["new"])
            self.assertEqual(other.jobs(1), ["missed"])
            self.cluster.publish("newer", channel=near)
            self.assertEqual(other.jobs(1), ["newer"])
        server.wait_for_text("answered XRANGE with: MOVED ")
        server.wait_for_text("has lost some events since 1-0, because Redis no longer has them")
        self.assertIn("ws_stream_gap", answer(server.port, "/metrics")[1])

    def test_one_slot(self) -> None:
        """With a hash tag in the prefix everything works at the node that has the slot."""
        node = self.cluster.node_of(f"{TAGGED}full")
        for job in ("first", "second"):
            self.cluster.publish(job, prefix=TAGGED)
        environ = environment(node.port, REDIS_STREAM_PREFIX=TAGGED, TAIL_MAX_EVENTS="1")
        server = Server(self, environ)
        server.wait_until_ready()
        with Tab(server.port, last_id="1-0") as tab:
            self.assertEqual(tab.jobs(2), ["first", "second"])
            self.cluster.publish("new", prefix=TAGGED)
            self.assertEqual(tab.jobs(1), ["new"])
        self.assertNotIn("MOVED", server.text())

    def test_slot_moves(self) -> None:
        """A name is resolved again when the slot has moved, though the old node is still there."""
        old = self.cluster.node_of(f"{TAGGED}full")
        new = next(node for node in self.cluster.nodes if node is not old)
        name = Proxy(self, old.port)
        self.cluster.publish("before", prefix=TAGGED)
        server = Server(
            self,
            environment(name.port, REDIS_STREAM_PREFIX=TAGGED, REDIS_STREAM_READ_BLOCK_MS="200"),
        )
        server.wait_until_ready()
        with Tab(server.port) as tab:
            self.assertEqual(tab.jobs(1), ["before"])
            self.cluster.move(f"{TAGGED}full", new)
            server.wait_for_text("answered XREAD with: MOVED ")
            self.assertIn(REMEDY, server.text())
            name.lead_to(new.port)
            self.cluster.publish("after", prefix=TAGGED, node=new)
            self.assertEqual(tab.jobs(1), ["after"])
        self.assertIn(FOLLOWING_AGAIN, server.text())
        self.assertNotIn("events may be lost", server.text())


def _port() -> int:
    """Returns a free port whose port of the Cluster's bus is free, too."""
    while True:
        port = free_port()
        with (
            contextlib.suppress(OSError),
            socket.create_server(("127.0.0.1", port + BUS_PORT_OFFSET)),
        ):
            return port


def _text(reply: Any) -> str:
    return reply.decode() if isinstance(reply, bytes) else str(reply)
