"""The Redis commands, against a real Redis or Valkey."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from gaq_twisted.config.forms import Secret
from gaq_twisted.config.sections import Redis
from gaq_twisted.redis.errors import RedisError, RedisRefused
from gaq_twisted.streams.commands import Streams
from gaq_twisted.streams.events import BEGINNING, ChannelEntries, Entry, StreamId
from tests.live.test_connection import REACTOR
from tests.support.processes import PREFIX, RedisProcess
from tests.support.reading import read_once
from tests.support.samples import job_data, settings

MANY = 2**40


class StreamsTestCase(TestCase):
    """A test with a Redis."""

    def setUp(self) -> None:
        """Start a Redis."""
        self.redis = RedisProcess(self)

    def counts_entries(self) -> bool:
        """Return whether this server knows how many entries a stream ever had."""
        version = str(self.redis.client.info("server")["redis_version"])
        return int(version.partition(".")[0]) >= 7

    def streams(self, redis: Redis | None = None, **values: Any) -> Streams:
        """Return streams on the Redis, which the test closes."""
        redis = redis or Redis(port=self.redis.port)
        made = Streams(settings(redis=redis, **values), REACTOR)
        self.addCleanup(made.stopService)
        return made


class ReadingTests(StreamsTestCase):
    """What Streams returns."""

    def add(self, *ids: str, key: str = f"{PREFIX}full", field: str = "data") -> None:
        """Add entries whose data are their ids."""
        for stream_id in ids:
            self.redis.client.xadd(key, {field: stream_id}, id=stream_id)

    async def test_newest(self) -> None:
        """The newest entries come oldest first, over several pages, over equal milliseconds."""
        ids = [f"{1 + number // 7}-{number % 7}" for number in range(1, 1300)]
        with self.redis.client.pipeline(transaction=False) as pipeline:
            for stream_id in ids:
                pipeline.xadd(f"{PREFIX}full", {"data": "x"}, id=stream_id)
            pipeline.execute()
        for count in (1, 499, 500, 501, 1200, 5000):
            entries = await self.streams().newest(count=count, max_bytes=MANY)
            self.assertEqual([entry.id.decode() for entry in entries], ids[-count:])

    async def test_newest_by_bytes(self) -> None:
        """No more pages are read than are needed for the bytes."""
        with self.redis.client.pipeline(transaction=False) as pipeline:
            for number in range(1, 1001):
                pipeline.xadd(f"{PREFIX}full", {"data": "x" * 1000}, id=f"{number}-0")
            pipeline.execute()
        entries = await self.streams().newest(count=1000, max_bytes=150_000)
        self.assertTrue(150 <= len(entries) <= 300, len(entries))
        self.assertEqual(entries[-1].id, b"1000-0")

    async def test_follow(self) -> None:
        """A read continues after the last entry, in portions, and waits for the next one."""
        self.add("1-1", "1-2", "2-0")
        streams = self.streams(redis_stream_read_count=2)
        first, second, third = (Entry(name, name) for name in (b"1-1", b"1-2", b"2-0"))
        self.assertEqual(await read_once(streams, BEGINNING), [first, second])
        self.assertEqual(await read_once(streams, second), [third])
        waiting = Deferred.fromCoroutine(read_once(streams, third))
        await streams.of_channel("red", StreamId(0, 0))  # The other connection is free meanwhile.
        self.assertNoResult(waiting)
        self.add("3-0")
        self.assertEqual(await waiting, [Entry(b"3-0", b"3-0")])

    async def test_follow_many_reads(self) -> None:
        """One read follows the other until the reader has enough; then other commands work."""
        self.add("1-0", "2-0", "3-0", "4-0")
        streams = self.streams(redis_stream_read_count=1)
        reads: list[list[bytes]] = []

        def take(entries: list[Entry]) -> Entry | None:
            reads.append([entry.id for entry in entries])
            return entries[-1] if len(reads) < 3 else None

        await streams.follow(BEGINNING, take)
        self.assertEqual(reads, [[b"1-0"], [b"2-0"], [b"3-0"]])
        self.assertTrue(await streams.holds(Entry(b"4-0", b"4-0")))

    async def test_follow_fails(self) -> None:
        """What the reader raises ends the reading, and the connection goes on."""
        self.add("1-0")
        streams = self.streams()

        def take(entries: list[Entry]) -> Entry | None:
            raise ZeroDivisionError

        with self.assertRaises(ZeroDivisionError):
            await streams.follow(BEGINNING, take)
        self.assertEqual(await read_once(streams, BEGINNING), [Entry(b"1-0", b"1-0")])
        self.assertEqual(streams.times_connected, 1)

    async def test_follow_error(self) -> None:
        """An error reply to a later read ends the reading with that error."""
        self.add("1-0")
        streams = self.streams()

        def take(entries: list[Entry]) -> Entry | None:
            self.redis.client.set(f"{PREFIX}full", "no stream")
            return entries[-1]

        with self.assertRaises(RedisRefused):
            await streams.follow(BEGINNING, take)

    async def test_closed_while_following(self) -> None:
        """A reader that closes the connection gets no more, and the reading fails."""
        self.add("1-0", "2-0")
        streams = self.streams(redis_stream_read_count=1)
        reads = 0

        def take(entries: list[Entry]) -> Entry | None:
            nonlocal reads
            reads += 1
            streams.stopService()
            return entries[-1]

        with self.assertRaises(RedisError):
            await streams.follow(BEGINNING, take)
        self.assertEqual(reads, 1)

    async def test_follow_at_once(self) -> None:
        """The first read does not wait, so that it is known at once whether reading works."""
        streams = self.streams(redis_stream_read_block_ms=3_600_000)
        reads: list[list[Entry]] = []
        await streams.follow(BEGINNING, reads.append)
        self.assertEqual(reads, [[]])

    async def test_follow_nothing(self) -> None:
        """After the block time a read returns nothing."""
        streams = self.streams(redis_stream_read_block_ms=1)
        self.assertEqual(await read_once(streams, BEGINNING), [])

    async def test_following(self) -> None:
        """Entries after the last one come at once, in portions, if that one is still there."""
        self.add(*(f"{number}-0" for number in range(1, 1004)))
        entries = [Entry(name, name) for name in (b"%d-0" % number for number in range(1, 1004))]
        streams = self.streams(redis_stream_read_count=2)
        self.assertEqual(streams.read_count, 2)
        self.assertEqual(await streams.following(BEGINNING), entries[:1000])
        self.assertEqual(await streams.following(entries[0]), entries[1:1001])
        self.assertEqual(await streams.following(entries[1000]), entries[1001:])
        self.assertEqual(await streams.following(entries[-1]), [])
        many = self.streams(redis_stream_read_count=1002)
        self.assertEqual(await many.following(BEGINNING), entries[:1002])

    async def test_following_what_is_gone(self) -> None:
        """If the last entry is missing, or is another one, the result says so."""
        self.add("1-1", "1-2", "2-0")
        streams = self.streams()
        for absent in (Entry(b"1-1", b"x"), Entry(b"1-0", b"1-0"), Entry(b"9-0", b"9-0")):
            self.assertIsNone(await streams.following(absent))
        self.redis.client.xtrim(f"{PREFIX}full", maxlen=1, approximate=False)
        self.assertIsNone(await streams.following(Entry(b"1-2", b"1-2")))
        self.redis.client.delete(f"{PREFIX}full")
        self.assertIsNone(await streams.following(Entry(b"2-0", b"2-0")))
        self.assertEqual(await streams.following(BEGINNING), [])

    async def test_times_connected(self) -> None:
        """It is known whether the global stream is still followed on the same connection."""
        streams = self.streams()
        self.assertEqual(streams.times_connected, 0)
        for _ in range(2):
            await streams.following(BEGINNING)
            await streams.of_channel("red", StreamId(0, 0))
            self.assertEqual(streams.times_connected, 1)
        self.redis.kill()
        with self.assertRaises(RedisError):
            await streams.following(BEGINNING)
        self.redis.start()
        await streams.of_channel("red", StreamId(0, 0))
        self.assertEqual(streams.times_connected, 1)
        await streams.following(BEGINNING)
        self.assertEqual(streams.times_connected, 2)

    async def test_holds(self) -> None:
        """The stream holds an entry if it has that id and those data, and only then."""
        self.add("1-0", "1-1")
        self.redis.client.xadd(f"{PREFIX}full", {"other": "x"}, id="2-0")
        streams = self.streams()
        self.assertTrue(await streams.holds(Entry(b"1-0", b"1-0")))
        self.assertTrue(await streams.holds(Entry(b"2-0", None)))
        self.assertFalse(await streams.holds(Entry(b"1-0", b"1-1")))
        self.assertFalse(await streams.holds(Entry(b"1-2", b"1-1")))
        self.assertFalse(await streams.holds(Entry(b"2-0", b"x")))
        self.redis.client.xtrim(f"{PREFIX}full", maxlen=1, approximate=False)
        self.assertFalse(await streams.holds(Entry(b"1-0", b"1-0")))
        self.redis.client.delete(f"{PREFIX}full")
        self.assertFalse(await streams.holds(Entry(b"2-0", None)))

    async def test_up_to(self) -> None:
        """Pages go back from an id, that one included, until there is nothing."""
        ids = [f"3-{number}" for number in range(250)]
        with self.redis.client.pipeline(transaction=False) as pipeline:
            for stream_id in ids:
                pipeline.xadd(f"{PREFIX}full", {"data": stream_id}, id=stream_id)
            pipeline.execute()
        streams = self.streams()
        last = StreamId(3, 220)
        found: list[str] = []
        while page := await streams.up_to(last):
            self.assertLess(len(page), 221, "a page is a part of it")
            found.extend(entry.id.decode() for entry in page)
            last = StreamId.parse(page[-1].id).before()
        self.assertEqual(found, ids[220::-1])
        self.assertEqual((await streams.up_to(StreamId(4, 0)))[0], Entry(b"3-249", b"3-249"))

    async def test_of_channel(self) -> None:
        """A channel's stream is read from an id on, over several pages, without those of others."""
        ids = [f"5-{number}" for number in range(1200)]
        with self.redis.client.pipeline(transaction=False) as pipeline:
            for stream_id in ids:
                pipeline.xadd(f"{PREFIX}red", {"data": "x"}, id=stream_id)
            pipeline.execute()
        self.add("5-5", key=f"{PREFIX}blue")
        entries, trimmed = await self.streams().of_channel("red", StreamId(5, 100))
        self.assertEqual([entry.id.decode() for entry in entries], ids[100:])
        self.assertEqual(trimmed, 0)
        nothing = ChannelEntries([], 0)
        self.assertEqual(await self.streams().of_channel("none", StreamId(0, 0)), nothing)
        self.assertEqual(await self.streams().of_channel("red", StreamId(6, 0)), nothing)

    async def test_fields(self) -> None:
        """The field `data` is found among others, and may be missing."""
        self.redis.client.xadd(f"{PREFIX}full", {"a": "1", "data": "2", "b": "3"}, id="1-0")
        self.add("2-0", field="other")
        entries = await self.streams().newest(count=10, max_bytes=MANY)
        self.assertEqual(entries, [Entry(b"1-0", b"2"), Entry(b"2-0", None)])

    async def test_numbers_stay_text(self) -> None:
        """Data that look like a number stay bytes."""
        self.redis.client.xadd(f"{PREFIX}full", {"data": "007"}, id="1-0")
        self.assertEqual(
            await self.streams().newest(count=1, max_bytes=MANY), [Entry(b"1-0", b"007")]
        )


class TrimmingTests(StreamsTestCase):
    """What is known of entries that Redis has trimmed."""

    def publish(self, count: int, *, limit: int, key: str = f"{PREFIX}red") -> None:
        """Add that many entries as Superset does."""
        with self.redis.client.pipeline(transaction=False) as pipeline:
            for number in range(1, count + 1):
                data: Any = {"data": job_data("red", str(number))}
                pipeline.xadd(key, data, id=f"{number}-0", maxlen=limit)
            pipeline.execute()

    async def trimmed(self, first_ms: int, redis: Redis | None = None) -> int | None:
        """Return what is known to be trimmed of a channel's stream before that id."""
        entries, trimmed = await self.streams(redis).of_channel("red", StreamId(first_ms, 0))
        self.assertNotEqual(entries, [])
        return trimmed

    async def test_nothing(self) -> None:
        """A stream below Superset's limit is certainly untrimmed, on every Redis."""
        self.publish(999, limit=1000)
        self.assertEqual(await self.trimmed(0), 0)
        self.assertEqual(await self.trimmed(1), 0)

    async def test_some(self) -> None:
        """The number of trimmed entries is known if Redis counts them."""
        self.publish(1500, limit=1000)
        gone = 1500 - self.redis.client.xlen(f"{PREFIX}red")
        self.assertGreater(gone, 0)
        self.assertEqual(await self.trimmed(0), gone if self.counts_entries() else None)
        self.assertEqual(await self.trimmed(1), gone if self.counts_entries() else None)

    async def test_long_and_untrimmed(self) -> None:
        """A long stream is known to be untrimmed if Redis counts; otherwise it is unknown."""
        self.publish(1000, limit=1000)
        self.assertEqual(await self.trimmed(0), 0 if self.counts_entries() else None)

    async def test_exact_limit(self) -> None:
        """What XTRIM removes is counted too."""
        self.publish(1100, limit=2000)
        self.redis.client.xtrim(f"{PREFIX}red", maxlen=1050, approximate=False)
        self.assertEqual(await self.trimmed(10), 50 if self.counts_entries() else None)

    async def test_older_left(self) -> None:
        """While an older entry is left, no later one was trimmed."""
        self.publish(1100, limit=2000)
        self.redis.client.xtrim(f"{PREFIX}red", maxlen=1000, approximate=False)
        self.assertEqual(await self.trimmed(102), 0)
        self.assertNotEqual(await self.trimmed(101), 0)

    async def test_not_allowed_to_know(self) -> None:
        """A user who may read, but not use XINFO, gets the entries."""
        self.publish(5, limit=1000)
        self.redis.client.acl_setuser(
            "reader",
            enabled=True,
            passwords=["+x"],
            keys=[f"{PREFIX}*"],
            commands=["+xread", "+xrange", "+xrevrange"],
        )
        reader = Redis(port=self.redis.port, username="reader", password=Secret("x"))
        self.assertIsNone(await self.trimmed(0, reader))
        self.assertEqual(await self.trimmed(2, reader), 0)
        self.publish(5, limit=1000, key=f"{PREFIX}full")
        self.assertFalse(await self.streams(reader).is_untrimmed())

    async def test_disabled(self) -> None:
        """Without XINFO everything else works."""
        redis = RedisProcess(self, "--rename-command", "XINFO", "")
        redis.client.xadd(f"{PREFIX}red", {"data": "x"}, id="1-0")
        self.assertIsNone(await self.trimmed(0, Redis(port=redis.port)))

    async def test_global_stream(self) -> None:
        """The global stream counts as untrimmed only if that is certain."""
        key = f"{PREFIX}full"
        streams = self.streams()
        with self.assertRaises(RedisError):
            await streams.is_untrimmed()
        self.publish(999, limit=1000, key=key)
        self.assertTrue(await streams.is_untrimmed())
        self.redis.client.delete(key)
        self.publish(1050, limit=2000, key=key)
        self.assertEqual(await streams.is_untrimmed(), self.counts_entries())
        self.redis.client.xtrim(key, maxlen=1049, approximate=False)
        self.assertFalse(await streams.is_untrimmed())


class RefusalTests(StreamsTestCase):
    """Streams that Redis refuses to read."""

    async def test_refused_streams(self) -> None:
        """A key that is no stream, or that the user may not read, is a refusal, not an outage."""
        self.redis.client.set(f"{PREFIX}red", "not a stream")
        self.redis.client.acl_setuser(
            "some", enabled=True, passwords=["+x"], keys=[f"{PREFIX}full"], commands=["+@all"]
        )
        limited = Redis(port=self.redis.port, username="some", password=Secret("x"))
        for redis, error in ((None, "WRONGTYPE"), (limited, "NOPERM")):
            with self.assertRaises(RedisRefused) as caught:
                await self.streams(redis).of_channel("red", StreamId(0, 0))
            self.assertIn(error, str(caught.exception))
