"""The command `twistd gaq-ws --check`: looks whether the server would work, and changes nothing.

Import this module only where a reactor is installed.
"""

import errno
import json
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater, react
from twisted.web.client import Agent, readBody

from gaq_twisted.config.catalogue import doubts
from gaq_twisted.config.load import load
from gaq_twisted.config.settings import Settings
from gaq_twisted.config.types import ConfigError
from gaq_twisted.redis.connection import Connection
from gaq_twisted.redis.errors import RedisError, RedisRefused, RedisTooOld
from gaq_twisted.redis.server import RedisServer
from gaq_twisted.service import make_server
from gaq_twisted.streams.commands import stream_usage
from gaq_twisted.streams.events import InvalidEvent, StreamId, parse_event
from gaq_twisted.tools.check.verdicts import (
    Finding,
    Mark,
    cookie_header,
    cut,
    duration,
    judge_cookie,
    judge_origin,
    settings_table,
)

_HEALTH_SECONDS = 5.0
_CLOCK_TOLERANCE_SECONDS = 1.0
# Stands for the channels of Superset, which are UUIDs, where no real one is known.
_NO_CHANNEL = "00000000-0000-0000-0000-000000000000"


def run(
    file: Path | None,
    environ: Mapping[str, str],
    *,
    cookie: str | None,
    origin: str | None,
    host: str | None,
) -> NoReturn:
    """Look at everything, print what was found, and end.

    Args:
        file: the JSON file with the settings, or None.
        environ: the environment variables.
        cookie: a browser's Cookie header, or its token, to judge; `-` to read it from the
            standard input; None for none.
        origin: the origin of a page to judge, or None.
        host: the host that it connects to, or None if that is not known.

    Raises:
        SystemExit: with 0 if nothing failed, else 1.
    """
    if cookie == "-":
        cookie = sys.stdin.readline()
    asked = Questions(cookie, origin, host)

    def main(reactor: Any) -> Deferred[None]:
        checking = Deferred.fromCoroutine(_check(file, environ, asked, reactor))
        # A signal would end the reactor, and be taken for success.
        reactor.addSystemEventTrigger("before", "shutdown", checking.cancel)
        return checking

    react(main)


class Questions(NamedTuple):
    """What the operator wants to know beside the settings and Redis; None where nothing."""

    cookie: str | None
    origin: str | None
    host: str | None


class Report:
    """Prints findings as they come, and counts the bad ones."""

    def __init__(self, write_line: Callable[[str], object]) -> None:
        """Take what prints a line."""
        self.write_line = write_line
        self._counts = dict.fromkeys(Mark, 0)

    def add(self, finding: Finding) -> None:
        """Print a finding."""
        self._counts[finding.mark] += 1
        self.write_line(str(finding))

    @property
    def failures(self) -> int:
        """How many findings are failures."""
        return self._counts[Mark.FAIL]

    def end(self) -> None:
        """Print the sum."""
        warnings = self._counts[Mark.WARN]
        self.write_line(f"{self.failures} failed, {warnings} to look at")


async def _check(
    file: Path | None, environ: Mapping[str, str], asked: Questions, reactor: Any
) -> None:
    report = Report(_print)
    try:
        # Until the reactor runs, it does not handle signals.
        await deferLater(reactor, 0)
        await _report(file, environ, asked, reactor, report)
    except CancelledError:
        raise SystemExit("gaq-ws: the check was interrupted") from None
    report.end()
    raise SystemExit(1 if report.failures else 0)


def _print(line: str) -> None:
    encoding = sys.stdout.encoding or "ascii"
    print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)


async def _report(
    file: Path | None,
    environ: Mapping[str, str],
    asked: Questions,
    reactor: Any,
    report: Report,
) -> None:
    try:
        loaded = load(file, environ)
    except ConfigError as error:
        for fault in error.faults:
            report.add(Finding(Mark.FAIL, "settings", fault))
        return
    for line in settings_table(loaded):
        report.write_line(line)
    report.write_line("Findings:")
    settings = loaded.settings
    for warning in (*loaded.warnings, *doubts(settings)):
        report.add(Finding(Mark.WARN, "settings", warning))
    try:
        # It is not started; but this reads all keys and certificates.
        make_server(settings, reactor)
        usage = stream_usage(settings.redis_stream_prefix)
        connection = RedisServer(settings.redis, reactor, usage).connection()
    except ConfigError as error:
        for fault in error.faults:
            report.add(Finding(Mark.FAIL, "settings", fault))
        return
    report.add(Finding(Mark.OK, "settings", "they can be used"))
    report.add(await _listening(settings, reactor))
    channel = None
    if asked.cookie is not None:
        header = cookie_header(settings, asked.cookie)
        findings, channel = judge_cookie(loaded, header, reactor.seconds())
        for finding in findings:
            report.add(finding)
    if asked.origin is not None:
        report.add(judge_origin(settings, asked.origin, asked.host))
    async for finding in RedisCheck(settings, connection, reactor.seconds).findings(channel):
        report.add(finding)


async def _listening(settings: Settings, reactor: Any) -> Finding:
    """Say whether the server could listen; nobody can connect meanwhile."""
    if settings.listen:
        return Finding(Mark.NOTE, "listen", f"not tried: {', '.join(settings.listen)}")
    port = settings.port
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if settings.reuse_port:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            one.bind(("", port))
        except OSError as error:
            reason = error
        else:
            return Finding(Mark.OK, "port", f"{port} is free")
    if reason.errno != errno.EADDRINUSE:
        return Finding(Mark.FAIL, "port", f"{port}: {reason.strerror}", "set another port")
    if await _is_healthy(f"http://127.0.0.1:{port}{settings.base_path}/health", reactor):
        return Finding(Mark.OK, "port", f"{port} is in use, and a server there answers /health")
    return Finding(
        Mark.FAIL,
        "port",
        f"{port} is in use, and what uses it does not answer /health with OK",
        "stop that, or set another port",
    )


async def _is_healthy(url: str, reactor: Any) -> bool:
    asking = Agent(reactor).request(b"GET", url.encode()).addCallback(readBody)
    try:
        return bool(await asking.addTimeout(_HEALTH_SECONDS, reactor) == b"OK")
    except CancelledError:
        raise
    except Exception:
        # Whatever it is, it is not our server.
        return False


class RedisCheck:
    """Tries with Redis what the server does with it."""

    def __init__(
        self, settings: Settings, connection: Connection, seconds: Callable[[], float]
    ) -> None:
        """Take what is needed.

        Args:
            settings: name the streams.
            connection: to Redis; closed at the end.
            seconds: returns the time in seconds.
        """
        self._settings = settings
        self._connection = connection
        self._seconds = seconds

    async def findings(self, channel: str | None) -> AsyncIterator[Finding]:
        """Yield what is found; after a failure of the connection nothing more.

        Args:
            channel: a channel whose stream to try; None to try with one that does not exist.
        """
        try:
            async for finding in self._findings(channel):
                yield finding
        except RedisError as error:
            yield _failure("redis", error, self._where())
        finally:
            self._connection.close()

    async def _findings(self, channel: str | None) -> AsyncIterator[Finding]:
        facts = await self._facts()
        for finding in _about_server(facts):
            yield finding
            if finding.mark is Mark.FAIL:
                return
        yield await self._clock()
        async for finding in self._global_stream(facts):
            yield finding
        async for finding in self._channel_stream(channel):
            yield finding

    def _where(self) -> str:
        redis = self._settings.redis
        keys = "redis.host and redis.port"
        if redis.sentinels:
            keys = "redis.sentinels"
        elif redis.unix_socket_path:
            keys = "redis.unixSocketPath"
        return (
            f"see that Redis runs, that redis-cli gets answers of it from here, and that {keys}"
            " lead to the one of Superset's GLOBAL_ASYNC_QUERIES_CACHE_BACKEND"
        )

    async def _facts(self) -> dict[str, str]:
        """Return what INFO tells; nothing if the user may not ask."""
        try:
            text = await self._connection.ask("INFO")
        except (RedisRefused, RedisTooOld):
            if not self._connection.times_opened:
                # It was the login that was refused.
                raise
            return {}
        pairs = (line.partition(":") for line in text.decode("utf-8", "replace").splitlines())
        return {name: value.strip() for name, found, value in pairs if found}

    async def _clock(self) -> Finding:
        asked_at = self._seconds()
        try:
            seconds, microseconds = await self._connection.ask("TIME")
        except (RedisRefused, RedisTooOld):
            return Finding(
                Mark.NOTE, "clock", "cannot be compared: this user may not ask TIME, nor needs to"
            )
        answered_at = self._seconds()
        difference = int(seconds) + int(microseconds) / 1e6 - (asked_at + answered_at) / 2
        certain = abs(difference) - (answered_at - asked_at) / 2
        text = f"Redis's is {abs(difference):.2f} s {'ahead of' if difference > 0 else 'behind'}"
        if certain <= _CLOCK_TOLERANCE_SECONDS:
            return Finding(Mark.OK, "clock", f"{text} this machine's")
        return Finding(
            Mark.WARN,
            "clock",
            f"{text} this machine's, so initialReplayMs covers another time than it says",
            "set the clocks right",
        )

    async def _global_stream(self, facts: Mapping[str, str]) -> AsyncIterator[Finding]:
        key = f"{self._settings.redis_stream_prefix}full"
        attempt = _Attempt(self._connection, f"stream {key}")
        newest = await attempt.ask("XREVRANGE", key, "+", "-", "COUNT", 1) or []
        last = newest[0][0] if newest else b"0-0"
        await attempt.ask("XREAD", "COUNT", 1, "BLOCK", 1, "STREAMS", key, last)
        await attempt.ask("XRANGE", key, last, last)
        size = await attempt.size(key)
        if attempt.failed:
            yield attempt.failure()
            return
        if newest:
            yield self._full(attempt.topic, newest[0], size)
            for finding in _about_entry(attempt.topic, *newest[0]):
                yield finding
        else:
            others = sorted(name for name in facts if name[:2] == "db" and name[2:].isdigit())
            where = f"; there are keys in {', '.join(others)}" if others else ""
            yield Finding(
                Mark.WARN,
                attempt.topic,
                f"database {self._settings.redis.db} has no such stream, or an empty one{where}",
                "if Superset has computed charts in the background before, compare redis.db with"
                " CACHE_REDIS_DB, and redisStreamPrefix with"
                " GLOBAL_ASYNC_QUERIES_REDIS_STREAM_PREFIX",
            )
        for finding in attempt.about_size():
            yield finding

    async def _channel_stream(self, channel: str | None) -> AsyncIterator[Finding]:
        prefix = self._settings.redis_stream_prefix
        key = f"{prefix}{channel or _NO_CHANNEL}"
        attempt = _Attempt(
            self._connection, f"stream {prefix}{cut(channel)}" if channel else "channels' streams"
        )
        await attempt.ask("XRANGE", key, "-", "+", "COUNT", 1)
        newest = await attempt.ask("XREVRANGE", key, "+", "-", "COUNT", 1) or []
        size = await attempt.size(key)
        if attempt.failed:
            yield attempt.failure()
        elif newest:
            yield self._full(attempt.topic, newest[0], size)
        elif channel:
            yield Finding(Mark.OK, attempt.topic, "it can be read, but holds nothing")
        else:
            yield Finding(
                Mark.OK, attempt.topic, "they can be read, as was tried with one that is not there"
            )
        for finding in attempt.about_size():
            yield finding

    def _full(self, topic: str, entry: tuple[bytes, Any], size: str) -> Finding:
        entry_id = entry[0].decode()
        age_seconds = self._seconds() - StreamId.parse(entry[0]).ms / 1000
        text = f"it can be read; {size}the newest entry is {entry_id}"
        if age_seconds >= -_CLOCK_TOLERANCE_SECONDS:
            return Finding(Mark.OK, topic, f"{text}, {duration(max(0, age_seconds))} ago")
        return Finding(
            Mark.WARN,
            topic,
            f"{text}, {duration(-age_seconds)} in the future by this machine's clock",
            "set the clocks right",
        )


class _Attempt:
    """Tries commands on one stream, and remembers which were refused."""

    def __init__(self, connection: Connection, topic: str) -> None:
        self.topic = topic
        self._connection = connection
        self._refused: dict[str, RedisRefused] = {}
        self._size_refused: RedisRefused | None = None

    async def ask(self, *command: object) -> Any:
        """Return the reply, or None if the command was refused."""
        try:
            return await self._connection.ask(*command)
        except RedisRefused as error:
            self._refused[str(command[0])] = error
            return None

    async def size(self, key: str) -> str:
        """Return how many entries there are and were, for a sentence; empty if it is not told."""
        try:
            reply = await self._connection.ask("XINFO", "STREAM", key)
        except RedisRefused as error:
            self._size_refused = error
            return ""
        except RedisTooOld:
            return ""
        except RedisError as error:
            if "no such key" in error.fact:
                return ""
            raise
        facts = dict(zip(reply[::2], reply[1::2], strict=True))
        length = int(facts[b"length"])
        trimmed = int(facts.get(b"entries-added", length)) - length
        more = f", {trimmed:,} older ones are trimmed" if trimmed else ""
        return f"{length:,} entries{more}; "

    @property
    def failed(self) -> bool:
        """Whether a command was refused that the server cannot do without."""
        return bool(self._refused)

    def failure(self) -> Finding:
        """Say which commands were refused, and why the first one was."""
        names = ", ".join(self._refused)
        first = next(iter(self._refused.values()))
        return Finding(Mark.FAIL, self.topic, f"refused: {names}; {first.fact}", first.remedy)

    def about_size(self) -> Iterator[Finding]:
        """Say if the size is not told, which the server can do without."""
        if self._size_refused and not self.failed:
            yield Finding(
                Mark.WARN,
                self.topic,
                "XINFO is refused, so it is not known how many events were trimmed;"
                f" {self._size_refused.fact}",
                self._size_refused.remedy,
            )


def _about_server(facts: Mapping[str, str]) -> Iterator[Finding]:
    if not facts:
        yield Finding(
            Mark.OK,
            "redis",
            "it answers; which it is cannot be told: this user may not ask INFO, nor needs to",
        )
        return
    name, version = "Redis", facts.get("redis_version", "of unknown version")
    if "valkey_version" in facts:
        name, version = "Valkey", facts["valkey_version"]
    mode = facts.get("redis_mode") or facts.get("server_mode", "of unknown mode")
    if mode == "sentinel":
        yield Finding(
            Mark.FAIL,
            "redis",
            f"this is a Sentinel ({version}), which has no streams",
            "put its address into redis.sentinels, and the master's name into redis.sentinelMaster",
        )
    else:
        yield Finding(Mark.OK, "redis", f"{name} {version}, {mode}")
    if facts.get("role") == "slave":
        yield Finding(
            Mark.WARN,
            "redis",
            "this is a replica, which may lag behind or lose its master",
            "let redis.host lead to the master, or set redis.sentinels",
        )
    policy = facts.get("maxmemory_policy", "")
    if policy.startswith("allkeys") and facts.get("maxmemory", "0") != "0":
        yield Finding(
            Mark.WARN,
            "redis",
            f"streams are thrown away when memory is short (maxmemory-policy is {policy})",
            "set maxmemory-policy to one that begins with volatile, or give the streams a Redis of"
            " their own",
        )


def _about_entry(topic: str, entry_id: bytes, fields: list[bytes]) -> Iterator[Finding]:
    data = dict(zip(fields[::2], fields[1::2], strict=True)).get(b"data")
    try:
        parse_event(entry_id, data)
    except InvalidEvent as error:
        yield Finding(
            Mark.WARN,
            topic,
            f"its newest entry is not an event: {json.dumps(str(error))}",
            "look what else writes to this stream; such entries are skipped",
        )


def _failure(topic: str, error: RedisError, remedy: str) -> Finding:
    return Finding(Mark.FAIL, topic, error.fact, error.remedy or remedy)
