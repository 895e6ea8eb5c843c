"""The Redis commands, against a real Valkey."""

import os
import signal
import socket
from typing import Any

import trustme
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import deferLater
from twisted.protocols.portforward import ProxyFactory
from twisted.trial.unittest import TestCase

from gaq_twisted import streams
from gaq_twisted.config import Redis, Secret
from gaq_twisted.events import StreamId
from gaq_twisted.streams import Entry, StreamRefused, Streams, StreamsError, redis_connection
from tests.processes import DEADLINE_SECONDS, PREFIX, Valkey
from tests.samples import settings

MANY = 2**40


class StreamsTestCase(TestCase):
    """A test with a Valkey."""

    def setUp(self) -> None:
        """Start a Valkey."""
        self.valkey = Valkey(self)

    def streams(self, redis: Redis | None = None, **values: Any) -> Streams:
        """Return streams on the Valkey, which the test closes."""
        redis = redis or Redis(port=self.valkey.port)
        made = Streams(settings(redis=redis, **values), reactor)
        self.addCleanup(made.stopService)
        return made


class ReadingTests(StreamsTestCase):
    """What Streams returns."""

    def add(self, *ids: str, key: str = f"{PREFIX}full", field: str = "data") -> None:
        """Add entries whose data are their ids."""
        for stream_id in ids:
            self.valkey.client.xadd(key, {field: stream_id}, id=stream_id)

    async def test_newest(self) -> None:
        """The newest entries come oldest first, over several pages, over equal milliseconds."""
        ids = [f"{1 + number // 7}-{number % 7}" for number in range(1, 1300)]
        with self.valkey.client.pipeline(transaction=False) as pipeline:
            for stream_id in ids:
                pipeline.xadd(f"{PREFIX}full", {"data": "x"}, id=stream_id)
            pipeline.execute()
        for count in (1, 499, 500, 501, 1200, 5000):
            entries = await self.streams().newest(count=count, max_bytes=MANY)
            self.assertEqual([entry.id.decode() for entry in entries], ids[-count:])

    async def test_newest_by_bytes(self) -> None:
        """No more pages are read than are needed for the bytes."""
        with self.valkey.client.pipeline(transaction=False) as pipeline:
            for number in range(1, 1001):
                pipeline.xadd(f"{PREFIX}full", {"data": "x" * 1000}, id=f"{number}-0")
            pipeline.execute()
        entries = await self.streams().newest(count=1000, max_bytes=150_000)
        self.assertTrue(150 <= len(entries) <= 300, len(entries))
        self.assertEqual(entries[-1].id, b"1000-0")

    async def test_after(self) -> None:
        """A read goes on behind the cursor, in portions, and waits for what is not there yet."""
        self.add("1-1", "1-2", "2-0")
        streams = self.streams(redis_stream_read_count=2)
        self.assertEqual(
            await streams.after(b"0-0"), [Entry(b"1-1", b"1-1"), Entry(b"1-2", b"1-2")]
        )
        self.assertEqual(await streams.after(b"1-2"), [Entry(b"2-0", b"2-0")])
        waiting = Deferred.fromCoroutine(streams.after(b"2-0"))
        await streams.of_channel("red", StreamId(0, 0))  # The other connection is free meanwhile.
        self.assertNoResult(waiting)
        self.add("3-0")
        self.assertEqual(await waiting, [Entry(b"3-0", b"3-0")])

    async def test_after_nothing(self) -> None:
        """When the block time is over there is nothing."""
        self.assertEqual(await self.streams(redis_stream_read_block_ms=1).after(b"0-0"), [])

    async def test_of_channel(self) -> None:
        """A channel's stream is read from an id on, over several pages; others do not matter."""
        ids = [f"5-{number}" for number in range(1200)]
        with self.valkey.client.pipeline(transaction=False) as pipeline:
            for stream_id in ids:
                pipeline.xadd(f"{PREFIX}red", {"data": "x"}, id=stream_id)
            pipeline.execute()
        self.add("5-5", key=f"{PREFIX}blue")
        entries = await self.streams().of_channel("red", StreamId(5, 100))
        self.assertEqual([entry.id.decode() for entry in entries], ids[100:])
        self.assertEqual(await self.streams().of_channel("none", StreamId(0, 0)), [])

    async def test_fields(self) -> None:
        """The field `data` is found among others, and its lack is told."""
        self.valkey.client.xadd(f"{PREFIX}full", {"a": "1", "data": "2", "b": "3"}, id="1-0")
        self.add("2-0", field="other")
        entries = await self.streams().newest(count=10, max_bytes=MANY)
        self.assertEqual(entries, [Entry(b"1-0", b"2"), Entry(b"2-0", None)])

    async def test_numbers_stay_text(self) -> None:
        """Data that look like a number are not made one."""
        self.valkey.client.xadd(f"{PREFIX}full", {"data": "007"}, id="1-0")
        self.assertEqual(
            await self.streams().newest(count=1, max_bytes=MANY), [Entry(b"1-0", b"007")]
        )


class ConnectionTests(StreamsTestCase):
    """How Redis is reached, and what happens when it is not."""

    async def refusal(self, redis: Redis) -> str:
        """Return the error of a read."""
        with self.assertRaises(StreamsError) as caught:
            await self.streams(redis).newest(count=1, max_bytes=MANY)
        return str(caught.exception)

    async def test_password(self) -> None:
        """Users and passwords are sent; wrong ones are told with Redis's own words."""
        self.valkey.client.acl_setuser(
            "superset", enabled=True, passwords=["+sesame"], keys=["*"], commands=["+@all"]
        )
        self.valkey.client.config_set("requirepass", "open up")
        port = self.valkey.port
        for username, password in (("superset", "sesame"), ("default", "open up")):
            redis = Redis(port=port, username=username, password=Secret(password))
            self.assertEqual(await self.streams(redis).newest(count=1, max_bytes=MANY), [])
        wrong = await self.refusal(Redis(port=port, password=Secret("wrong")))
        self.assertIn(f"Redis at 127.0.0.1:{port} answered AUTH with: WRONGPASS", wrong)
        self.assertIn("NOAUTH", await self.refusal(Redis(port=port)))

    async def test_refused_connections_are_closed(self) -> None:
        """A connection that may not be used is not kept."""

        def names() -> list[str]:
            return [client["id"] for client in self.valkey.client.client_list()]

        before = names()
        for _ in range(5):
            await self.refusal(Redis(port=self.valkey.port, password=Secret("wrong")))
            await self.refusal(Redis(port=self.valkey.port, db=99))
        deadline = reactor.seconds() + DEADLINE_SECONDS
        while names() != before:
            self.assertLess(reactor.seconds(), deadline)
            await deferLater(reactor, 0)

    async def test_database(self) -> None:
        """The database number is selected."""
        self.valkey.client.execute_command("SELECT 3")
        self.valkey.client.xadd(f"{PREFIX}full", {"data": "in 3"}, id="1-0")
        redis = Redis(port=self.valkey.port, db=3)
        self.assertEqual(
            await self.streams(redis).newest(count=1, max_bytes=MANY), [Entry(b"1-0", b"in 3")]
        )
        self.assertIn("SELECT", await self.refusal(Redis(port=self.valkey.port, db=99)))

    async def test_absent(self) -> None:
        """Without Redis the error names the address; with it again the same object works."""
        port = self.valkey.port
        self.valkey.kill()
        self.assertIn(
            f"cannot connect to Redis at 127.0.0.1:{port}", await self.refusal(Redis(port=port))
        )
        streams = self.streams()
        with self.assertRaises(StreamsError):
            await streams.newest(count=1, max_bytes=MANY)
        self.valkey.restart()
        self.assertEqual(await streams.newest(count=1, max_bytes=MANY), [])

    async def test_lost(self) -> None:
        """A command under way fails when the connection is lost; the next one connects anew."""
        streams = self.streams()
        waiting = Deferred.fromCoroutine(streams.after(b"0-0"))
        await streams.of_channel("red", StreamId(0, 0))
        self.valkey.kill()
        with self.assertRaises(StreamsError) as caught:
            await waiting
        self.assertIn("was lost", str(caught.exception))
        self.valkey.restart()
        self.assertEqual(await streams.newest(count=1, max_bytes=MANY), [])

    async def test_hung(self) -> None:
        """A server that does not answer is given up in time, and a new connection is made."""
        connection = redis_connection(Redis(port=self.valkey.port), reactor)
        self.addCleanup(connection.close)
        await connection.ask("PING")
        self.valkey.signal(signal.SIGSTOP)
        with self.assertRaises(StreamsError) as caught:
            await connection.ask("PING", within_seconds=0.1)
        self.assertIn("did not answer within 0.1 s", str(caught.exception))
        self.valkey.signal(signal.SIGCONT)
        self.assertEqual(await connection.ask("PING"), b"PONG")

    async def test_vanished(self) -> None:
        """An address that does not answer at all is given up in time."""
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            port = full.getsockname()[1]
            # With its queue full, the system ignores who else wants to connect.
            queued = [socket.socket() for _ in range(4)]
            for one in queued:
                self.addCleanup(one.close)
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))
            self.patch(streams, "_CONNECT_SECONDS", 0.2)
            self.assertIn("within 0.2 s", await self.refusal(Redis(port=port)))

    async def test_refused_streams(self) -> None:
        """A key that is no stream, or not ours to read, is told from a Redis in trouble."""
        self.valkey.client.set(f"{PREFIX}red", "not a stream")
        self.valkey.client.acl_setuser(
            "some", enabled=True, passwords=["+x"], keys=[f"{PREFIX}full"], commands=["+@all"]
        )
        limited = Redis(port=self.valkey.port, username="some", password=Secret("x"))
        for redis, error in ((None, "WRONGTYPE"), (limited, "NOPERM")):
            with self.assertRaises(StreamRefused) as caught:
                await self.streams(redis).of_channel("red", StreamId(0, 0))
            self.assertIn(error, str(caught.exception))

    async def test_error_reply(self) -> None:
        """An error of Redis is told and does not cost the connection."""
        connection = redis_connection(Redis(port=self.valkey.port), reactor)
        self.addCleanup(connection.close)
        before = await connection.ask("CLIENT", "ID")
        self.valkey.client.set(f"{PREFIX}full", "not a stream")
        with self.assertRaises(StreamsError) as caught:
            await connection.ask("XRANGE", f"{PREFIX}full", "-", "+")
        self.assertIn("answered XRANGE with: WRONGTYPE", str(caught.exception))
        self.assertEqual(await connection.ask("CLIENT", "ID"), before)


class TlsTests(TestCase):
    """TLS to Redis."""

    def setUp(self) -> None:
        """Start a Valkey behind a front that speaks TLS as localhost, with a CA of its own."""
        ca = trustme.CA()
        certificate = ca.issue_cert("localhost")
        front = reactor.listenSSL(  # type: ignore[attr-defined]
            0,
            ProxyFactory("127.0.0.1", Valkey(self).port),
            PrivateCertificate.loadPEM(
                certificate.private_key_and_cert_chain_pem.bytes()
            ).options(),
            interface="127.0.0.1",
        )
        self.addCleanup(front.stopListening)
        self.port = front.getHost().port
        self.ca_file = self.mktemp()
        ca.cert_pem.write_to_path(self.ca_file)

    def trust(self, file: str) -> None:
        """Let OpenSSL find its trusted CAs in that file."""
        before = os.environ.get("SSL_CERT_FILE")
        os.environ["SSL_CERT_FILE"] = file

        def restore() -> None:
            del os.environ["SSL_CERT_FILE"]
            if before is not None:
                os.environ["SSL_CERT_FILE"] = before

        self.addCleanup(restore)

    async def newest(self, **values: Any) -> list[Entry]:
        """Read over TLS."""
        redis = Redis(port=self.port, ssl=True, **values)
        streams = Streams(settings(redis=redis), reactor)
        self.addCleanup(streams.stopService)
        return await streams.newest(count=1, max_bytes=MANY)

    async def test_good(self) -> None:
        """A certificate of a trusted CA for the right name is accepted."""
        self.trust(self.ca_file)
        self.assertEqual(await self.newest(host="localhost"), [])

    async def test_wrong_name(self) -> None:
        """Another name is refused, unless names are not to be compared."""
        self.trust(self.ca_file)
        with self.assertRaises(StreamsError):
            await self.newest(host="127.0.0.1")
        self.assertEqual(await self.newest(host="127.0.0.1", validate_hostname=False), [])

    async def test_unknown_ca(self) -> None:
        """An unknown CA is refused, also where names are not compared."""
        for validate_hostname in (True, False):
            with self.assertRaises(StreamsError):
                await self.newest(host="localhost", validate_hostname=validate_hostname)
