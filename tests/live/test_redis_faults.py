"""What Redis can do to the server, with real processes: nothing that it still holds is lost."""

import contextlib
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from redis import Redis, ResponseError
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.streams.events import StreamId
from tests.support.processes import (
    DEADLINE_SECONDS,
    PREFIX,
    Proxy,
    RedisProcess,
    Server,
    Tab,
    environment,
    free_port,
    health,
    wait_until,
)
from tests.support.samples import CHANNEL, job_data

GLOBAL = f"{PREFIX}full"
OTHER_CHANNEL = "121a0484-17a2-480e-a50b-ed5f95c34312"
USER, PASSWORD = "gaq", "a password of the tests"

# Log events.
TROUBLE = "cannot follow the global stream, will retry until it works: "
RECOVERED = "following the global stream again"
CLIENTS_WAIT = "clients wait for their missed events"
GAP = "events may be lost"
CLIENT_GAP = "because Redis no longer has them"
TOO_OLD = "Redis 5.0 or newer is needed"

CALM_SECONDS = 2.0
CALM_CPU_SECONDS = 0.5
"""Twenty times what was measured; a loop without a pause takes all of the stretch."""


class ChangingRedis(RedisProcess):
    """A Redis that can be restarted with other options, and with other data."""

    def restart(self, *options: str, wait: bool = True) -> None:
        """Kill it and start it with these options and the data it had."""
        self.kill()
        self._options = options
        self.start(wait=wait)

    def save(self, directory: Path) -> None:
        """Copy its data into a directory."""
        shutil.copytree(
            self.directory, directory, ignore=shutil.ignore_patterns("log"), dirs_exist_ok=True
        )

    def restore(self, directory: Path) -> None:
        """Replace its data by those in a directory; it must be stopped."""
        self.lose_data()
        shutil.copytree(
            directory, self.directory, ignore=shutil.ignore_patterns("log"), dirs_exist_ok=True
        )

    def refusals(self) -> int:
        """Return how many commands and connections it has refused."""
        stats: Any = self.client.info("stats")
        return int(stats["total_error_replies"]) + int(stats["rejected_connections"])

    def looks(self) -> int:
        """Return how often the stream was verified."""
        stats: Any = self.client.info("commandstats")
        return int(stats.get("cmdstat_xrange", {"calls": 0})["calls"])

    def drop_clients(self) -> None:
        """Cut all connections but that of this test."""
        self.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def publish_at(self, stream_id: str, job: str) -> None:
        """Publish a job with the same id in both streams."""
        data: Any = {"data": job_data(CHANNEL, job)}
        for key in (f"{PREFIX}{CHANNEL}", GLOBAL):
            self.client.xadd(key, data, id=stream_id)


class FaultTestCase(SynchronousTestCase):
    """Common to all faults."""

    def setUp(self) -> None:
        """Start a Redis."""
        self.redis = ChangingRedis(self)

    def server(self, port: int | None = None, **values: str) -> Server:
        """Start a server on that port of Redis, not yet ready."""
        values = {"REDIS_STREAM_READ_BLOCK_MS": "200", "INITIAL_REPLAY_MS": "3600000", **values}
        return Server(self, environment(port or self.redis.port, **values))

    def ready_server(self, port: int | None = None, **values: str) -> Server:
        """Start a server and wait until it follows the stream."""
        server = self.server(port, **values)
        server.wait_until_ready()
        return server

    def check_outage(
        self,
        server: Server,
        *,
        begin: Callable[[], object],
        reason: str,
        end: Callable[[], object],
        outlast: Callable[[], object] | None = None,
        during: tuple[str, ...] = (),
    ) -> None:
        """Check that all clients come through an outage, and that it is logged once.

        Args:
            server: the server; it follows the stream, which is empty.
            begin: begins the outage.
            reason: what the log says then.
            end: ends the outage; all clients are there then.
            outlast: returns when the server has tried several times in vain; by default
                when Redis has refused several times.
            during: jobs that can be published meanwhile.
        """
        with Tab(server.port) as tab:
            self.redis.publish("1")
            last_id = tab.events(1)[0]["id"]
            begin()
            server.wait_for_text(reason)
            if outlast is None:
                wait_for_more(self.redis.refusals)
            else:
                outlast()
            self.assertEqual(health(server.port), 200)
            with (
                Tab(server.port, last_id=last_id) as returning,
                Tab(server.port, last_id="1-1") as old,
                Tab(server.port) as new,
            ):
                self.redis.publish(*during)
                end()
                self.redis.publish("after")
                for client, had in ((tab, True), (returning, True), (old, False), (new, False)):
                    missed = [*([] if had else ["1"]), *during, "after"]
                    self.assertEqual(client.jobs(len(missed)), missed)
                self.check_all_get((tab, returning, old, new), "last")
        self.check_told_once(server, reason)

    def check_all_get(self, clients: tuple[Tab, ...], job: str) -> None:
        """Check that a new event is the next one that these clients get."""
        self.redis.publish(job)
        self.assertEqual([client.jobs(1) for client in clients], [[job]] * len(clients))

    def check_told_once(self, server: Server, reason: str) -> None:
        """Check that an outage that is over was logged once for each kind of failure."""
        server.wait_for_text(RECOVERED)
        reasons = [
            line.partition(TROUBLE)[2] for line in server.text().splitlines() if TROUBLE in line
        ]
        self.assertEqual(len(reasons), len(set(reasons)), reasons)
        self.assertEqual(sum(reason in each for each in reasons), 1, reasons)
        self.assertEqual(server.text().count(RECOVERED), 1, server.text())
        self.assertLessEqual(server.text().count(CLIENTS_WAIT), 1, server.text())
        self.check_no_failure(server)

    def check_gap_told_once(self, server: Server) -> None:
        """Check that one gap was logged, and no failure."""
        self.assertEqual(server.text().count(GAP), 1, server.text())
        self.check_no_failure(server)

    def check_no_failure(self, server: Server) -> None:
        """Check that nothing was logged as a failure of the program."""
        self.assertNotIn("Traceback", server.text())

    def check_calm(self, server: Server, wait: Callable[[], None] | None = None) -> None:
        """Check that the server hardly uses the CPU for a while, or during a wait."""
        used, begun = cpu_seconds(server), time.monotonic()
        if wait is not None:
            wait()
        wait_until(lambda: time.monotonic() > begun + CALM_SECONDS, lambda: "")
        self.assertLess(cpu_seconds(server) - used, CALM_CPU_SECONDS)


class AwayTests(FaultTestCase):
    """Redis does not reply."""

    def test_absent_at_start(self) -> None:
        """Clients that connect before Redis is up wait at no cost, and are served."""
        (last_id,) = self.redis.publish("1")
        self.redis.publish("2")
        self.redis.kill()
        server = self.server()
        server.wait_until_healthy()
        server.wait_for_text("cannot connect to")
        with (
            Tab(server.port) as new,
            Tab(server.port, last_id=last_id) as returning,
            Tab(server.port, last_id="1-1") as old,
        ):
            self.check_calm(server)
            self.assertEqual(health(server.port), 200)
            self.redis.start()
            self.assertEqual(new.jobs(2), ["1", "2"])
            self.assertEqual(returning.jobs(1), ["2"])
            self.assertEqual(old.jobs(2), ["1", "2"])
            self.check_all_get((new, returning, old), "last")
        self.check_told_once(server, "cannot connect to")

    def test_killed(self) -> None:
        """A Redis that is killed and restarted with its data costs no client an event."""
        server = self.ready_server()

        def end() -> None:
            self.check_calm(server)
            self.redis.start()

        self.check_outage(
            server,
            begin=self.redis.kill,
            reason="cannot connect to",
            # The tries cannot be counted; several take place in this time.
            outlast=lambda: None,
            end=end,
        )
        self.assertNotIn(GAP, server.text())

    def test_hung(self) -> None:
        """A Redis that hangs is noticed; when it continues, so does the server."""
        server = self.ready_server()

        def try_twice() -> None:
            # The second connection replaces one without replies as well.
            for _ in range(2):
                wait_for_new_connection(self.redis.port)

        self.check_outage(
            server,
            begin=lambda: self.redis.signal(signal.SIGSTOP),
            reason="did not answer within",
            outlast=lambda: self.check_calm(server, try_twice),
            end=lambda: self.redis.signal(signal.SIGCONT),
        )
        self.assertNotIn(GAP, server.text())

    def test_vanished(self) -> None:
        """A connection that swallows everything is noticed and replaced."""
        proxy = Proxy(self, self.redis.port)
        server = self.ready_server(proxy.port)
        self.check_outage(
            server,
            begin=lambda: setattr(proxy, "swallows", True),
            reason="did not answer within",
            outlast=lambda: None,
            end=lambda: setattr(proxy, "swallows", False),
            during=("2", "3"),
        )
        self.assertNotIn(GAP, server.text())

    def test_slow(self) -> None:
        """Replies that take a second delay clients by no more than that, and nothing fails."""
        proxy = Proxy(self, self.redis.port)
        server = self.ready_server(proxy.port)
        self.redis.publish("1", "2")
        with contextlib.ExitStack() as stack:
            tab = stack.enter_context(Tab(server.port))
            self.assertEqual(tab.jobs(2), ["1", "2"])
            proxy.delay_seconds = 1.0
            returning = [stack.enter_context(Tab(server.port, last_id="1-1")) for _ in range(8)]
            self.redis.publish("3")
            self.assertEqual(tab.jobs(1), ["3"])
            for client in returning:
                self.assertEqual(client.jobs(3), ["1", "2", "3"])
            self.check_all_get((tab, *returning), "last")
        for text in (TROUBLE, CLIENTS_WAIT, GAP, "Traceback"):
            self.assertNotIn(text, server.text())


class RefusingTests(FaultTestCase):
    """Redis answers with errors."""

    def test_password_needed(self) -> None:
        """NOAUTH is logged with its remedy, and costs no client an event."""
        server = self.ready_server()

        def want_password() -> None:
            self.redis.client.config_set("requirepass", PASSWORD)
            self.redis.drop_clients()

        def end() -> None:
            self.check_calm(server)
            self.redis.client.config_set("requirepass", "")

        self.check_outage(server, begin=want_password, reason="NOAUTH", end=end, during=("2",))
        self.assertIn("(set redis.password)", server.text())

    def test_wrong_password(self) -> None:
        """WRONGPASS is logged with its remedy, also before the first reply."""
        self.redis.client.config_set("requirepass", "another password")
        server = self.server(REDIS_PASSWORD=PASSWORD)
        server.wait_for_text("WRONGPASS")
        wait_for_more(self.redis.refusals)
        with Tab(server.port, last_id="1-1") as tab:
            self.redis.publish("1")
            self.assertEqual(health(server.port), 200)
            self.redis.client.config_set("requirepass", PASSWORD)
            self.assertEqual(tab.jobs(1), ["1"])
            self.check_all_get((tab,), "last")
        self.check_told_once(server, "WRONGPASS")
        self.assertIn("correct redis.password or redis.username", server.text())

    def test_rights(self) -> None:
        """The rule that the log names is enough, at the start and later."""
        self.make_user()
        server = self.server(REDIS_USERNAME=USER, REDIS_PASSWORD=PASSWORD)
        server.wait_for_text("NOPERM")
        wait_for_more(self.redis.refusals)
        self.grant(server)
        server.wait_for_text(RECOVERED)
        self.assertEqual(server.text().count(TROUBLE), 1, server.text())
        self.redis.client.execute_command("ACL", "LOG", "RESET")
        with Tab(server.port) as tab, Tab(server.port, last_id="1-1") as old:
            self.check_all_get((tab, old), "1")
            with Tab(server.port, last_id="1-1") as returning, Tab(server.port) as new:
                for client in (returning, new):
                    self.assertEqual(client.jobs(1), ["1"])
        # This names every refused command, also those that the server can do without.
        self.assertEqual(self.redis.client.execute_command("ACL", "LOG"), [])

    def test_rights_of_another_database(self) -> None:
        """The rule that the log names is enough for a database that has to be selected."""
        self.redis.client = Redis(port=self.redis.port, db=1)
        self.addCleanup(self.redis.client.close)
        self.make_user()
        server = self.server(REDIS_USERNAME=USER, REDIS_PASSWORD=PASSWORD, REDIS_DB="1")
        server.wait_for_text("NOPERM")
        self.assertIn("+select", self.grant(server))
        server.wait_for_text(RECOVERED)
        with Tab(server.port) as tab:
            self.check_all_get((tab,), "1")

    def test_rights_taken_away(self) -> None:
        """NOPERM after the start costs no client an event."""
        self.make_user("+@all", f"~{PREFIX}*")
        server = self.ready_server(REDIS_USERNAME=USER, REDIS_PASSWORD=PASSWORD)
        self.check_outage(
            server,
            begin=lambda: self.make_user("-@all"),
            reason="NOPERM",
            end=lambda: self.grant(server),
            during=("2",),
        )

    def test_one_right_taken_away(self) -> None:
        """NOPERM for one command is logged once too, although the others still work."""
        self.make_user("+@all", f"~{PREFIX}*")
        server = self.ready_server(REDIS_USERNAME=USER, REDIS_PASSWORD=PASSWORD)
        self.check_outage(
            server,
            begin=lambda: self.redis.client.execute_command("ACL", "SETUSER", USER, "-xread"),
            reason="NOPERM",
            end=lambda: self.grant(server),
            during=("2",),
        )

    def make_user(self, *rules: str) -> None:
        """Make the server's user, or change it."""
        self.redis.client.execute_command(
            "ACL", "SETUSER", USER, "on", f">{PASSWORD}", "resetkeys", *rules
        )

    def grant(self, server: Server) -> str:
        """Grant exactly the rule that the log names, and return it."""
        rule = server.text().partition(f"the user {USER} needs ")[2].partition(")")[0]
        self.redis.client.execute_command("ACL", "SETUSER", USER, *rule.split())
        return rule

    def test_loading(self) -> None:
        """The server waits for a Redis that loads its data."""
        with self.redis.client.pipeline(transaction=False) as pipeline:
            for number in range(30_000):
                pipeline.set(f"key:{number}", "")
            pipeline.execute()

        def end_loading() -> None:
            # Redis 6.2 refuses this, and takes the few seconds.
            with contextlib.suppress(ResponseError):
                self.redis.client.config_set("key-load-delay", 0)
            wait_until(self.redis.answers, lambda: "still loading")

        self.check_outage(
            self.ready_server(),
            begin=lambda: self.redis.restart("--key-load-delay", "150", wait=False),
            reason="LOADING",
            end=end_loading,
        )

    def test_master_down(self) -> None:
        """The server waits for a replica that may not reply without its master."""
        self.redis.client.config_set("replica-serve-stale-data", "no")
        self.check_outage(
            self.ready_server(),
            begin=lambda: self.redis.client.replicaof("127.0.0.1", free_port()),
            reason="MASTERDOWN",
            end=lambda: self.redis.client.replicaof("NO", "ONE"),
        )

    def test_too_many_clients(self) -> None:
        """The server waits for a Redis that has no room for another client."""

        def fill() -> None:
            # The test itself has the one connection.
            self.redis.client.config_set("maxclients", 1)
            self.redis.drop_clients()

        self.check_outage(
            self.ready_server(),
            begin=fill,
            reason="max number of clients reached",
            end=lambda: self.redis.client.config_set("maxclients", 1000),
            during=("2",),
        )


class OldRedisTests(FaultTestCase):
    """Redis lacks a command."""

    def test_too_old(self) -> None:
        """A Redis before 5.0 makes the start fail, with a reason and an exit code of its own."""
        self.redis.restart("--rename-command", "XREVRANGE", "")
        server = self.server()
        self.assertEqual(server.wait(), os.EX_UNAVAILABLE)
        self.assertEqual(server.text().count(TOO_OLD), 1, server.text())
        self.assertIn("critical", server.text())
        self.check_no_failure(server)

    def test_login_is_not_known(self) -> None:
        """A server without AUTH repeats the password in its reply; the log does not."""
        self.redis.restart("--rename-command", "AUTH", "")
        server = Server(self, environment(self.redis.port, REDIS_PASSWORD="hunter2"))
        server.wait()
        self.assertIn("ERR unknown command", server.text())
        self.assertNotIn("hunter2", server.text())

    def test_too_old_for_a_daemon(self) -> None:
        """A daemon that gives up leaves no pidfile."""
        self.redis.kill()
        server = Server(
            self,
            environment(self.redis.port),
            arguments=("--pidfile", "ws.pid", "--logfile", "ws.log"),
        )
        pid_file, log = server.directory / "ws.pid", server.directory / "ws.log"
        self.addCleanup(kill_daemon, pid_file)
        self.assertEqual(server.wait(), 0, server.text())
        pid = int(pid_file.read_text())
        self.redis.restart("--rename-command", "XREVRANGE", "")
        wait_until(lambda: TOO_OLD in log.read_text(), log.read_text)
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), log.read_text)
        self.assertFalse(pid_file.exists())
        self.assertNotIn("Traceback", log.read_text())

    def test_command_vanishes(self) -> None:
        """A server that has been following waits until a command is there again."""
        server = self.ready_server()
        self.check_outage(
            server,
            begin=lambda: self.redis.restart("--rename-command", "XREAD", ""),
            reason=TOO_OLD,
            end=self.redis.restart,
            during=("2",),
        )

    def test_without_xinfo(self) -> None:
        """Without the command that shows what was trimmed, everything else works."""
        self.redis.restart("--rename-command", "XINFO", "")
        server = self.ready_server()
        with Tab(server.port, last_id="1-1") as old:
            self.check_all_get((old,), "1")
            with Tab(server.port, last_id="1-1") as returning:
                self.assertEqual(returning.jobs(1), ["1"])


class LostDataTests(FaultTestCase):
    """Redis has lost, or never had, what was read."""

    def test_restarted_empty(self) -> None:
        """A Redis that lost its data is followed from its new beginning."""
        with statsd() as (port, wait_for_count):
            server = self.ready_server(STATSD_PORT=port)
            with Tab(server.port) as tab:
                self.redis.publish("1")
                last_id = tab.events(1)[0]["id"]
                self.redis.kill()
                server.wait_for_text("cannot connect to")
                with (
                    Tab(server.port, last_id=last_id) as returning,
                    Tab(server.port, last_id="1-1") as old,
                ):
                    self.redis.lose_data()
                    self.redis.start()
                    self.assertEqual(old.jobs(1), ["1"])
                    self.check_all_get((tab, returning, old), "2")
                    server.wait_for_text(
                        f"{GAP} for 1 channels with listeners: the global stream has lost {last_id}"
                    )
                    self.check_all_get((tab, returning, old), "last")
            wait_for_count("ws_stream_gap:1|c")
        self.check_gap_told_once(server)
        self.check_told_once(server, "cannot connect to")

    def test_emptied(self) -> None:
        """A stream that is deleted from a running Redis is reported once, and followed on."""
        redises = [self.redis, ChangingRedis(self), ChangingRedis(self)]
        for redis in redises:
            redis.publish("0")
        servers = [self.ready_server(redis.port) for redis in redises]
        with contextlib.ExitStack() as stack:
            tabs = [stack.enter_context(Tab(server.port, last_id="1-1")) for server in servers]
            places = [redis.publish("1")[0] for redis in redises]
            for tab in tabs:
                self.assertEqual(tab.jobs(2), ["0", "1"])

            redises[0].client.flushall()
            redises[1].client.delete(GLOBAL)
            data: Any = {"data": job_data(job="2")}
            with redises[2].client.pipeline() as transaction:
                transaction.flushall()
                # As if its clock had moved on.
                transaction.xadd(GLOBAL, data, id=str(StreamId.parse(places[2].encode()).after()))
                transaction.execute()
            self.assertEqual(tabs[2].jobs(1), ["2"])
            for place, server in zip(places[:2], servers[:2], strict=True):
                server.wait_for_text(
                    f"{GAP} for 1 channels with listeners: the global stream has lost"
                )
                server.wait_for_text(f"{place}, which was already read; continuing after 0-0")
            servers[2].wait_for_text("the global stream was emptied and has new entries")
            for redis, tab in zip(redises[:2], tabs[:2], strict=True):
                redis.publish("2")
                self.assertEqual(tab.jobs(1), ["2"])

            # Another verification must report nothing.
            looks = [redis.looks() for redis in redises]
            for redis, before in zip(redises, looks, strict=True):
                wait_for_more(redis.looks, before, by=1)
            for redis, tab in zip(redises, tabs, strict=True):
                redis.publish("3")
                self.assertEqual(tab.jobs(1), ["3"])
        for server in servers:
            self.check_gap_told_once(server)
            self.assertNotIn(TROUBLE, server.text())

    def test_another_type(self) -> None:
        """A key that is no stream is logged with its remedy, and reading continues after it."""
        server = self.ready_server()
        with Tab(server.port) as tab:
            self.redis.publish("1")
            last_id = tab.events(1)[0]["id"]
            self.redis.client.set(GLOBAL, "not a stream")
            server.wait_for_text("WRONGTYPE")
            wait_for_more(self.redis.refusals)
            with (
                Tab(server.port, last_id=last_id) as returning,
                Tab(server.port, last_id="1-1") as old,
            ):
                self.assertEqual(old.jobs(1), ["1"])
                self.assertEqual(health(server.port), 200)
                self.redis.client.delete(GLOBAL)
                self.check_all_get((tab, returning, old), "2")
        self.check_told_once(server, "WRONGTYPE")
        self.assertIn("delete it", server.text())

    def test_older_backup(self) -> None:
        """Entries that replaced others are all delivered once, whatever their ids."""
        entries = [f"3000-{number}" for number in range(1, 151)]
        self.check_restored([*entries, "4500-0"])

    def test_backup_with_later_entries(self) -> None:
        """Entries before, in place of, and after the last one that was read are all delivered."""
        self.check_restored(["3500-0", "5000-0", "6000-0", "7000-0"])

    def check_restored(self, new: list[str]) -> None:
        """Check that a backup of the first three of five events, with new ones, is read."""
        server = self.ready_server()
        with Tab(server.port) as tab:
            for job in "123":
                self.redis.publish_at(f"{job}000-0", job)
            backup = Path(self.mktemp())
            self.redis.save(backup)
            for job in "45":
                self.redis.publish_at(f"{job}000-0", job)
            self.assertEqual(tab.jobs(5), list("12345"))
            self.redis.kill()
            server.wait_for_text("cannot connect to")

            def publish_new(redis: ChangingRedis) -> None:
                for stream_id in new:
                    redis.publish_at(stream_id, f"new {stream_id}")

            self.restore(backup, publish_new)
            new_jobs = [f"new {stream_id}" for stream_id in new]
            with Tab(server.port, last_id="4000-0") as returning:
                self.redis.start()
                self.assertEqual(tab.jobs(len(new)), new_jobs)
                self.assertEqual(returning.jobs(1 + len(new)), ["5", *new_jobs])
                self.check_all_get((tab, returning), "last")
        self.check_gap_told_once(server)
        self.assertIn(
            "has lost 5000-0, which was already read; continuing after 3000-0", server.text()
        )

    def test_ids_that_begin_anew(self) -> None:
        """Entries whose ids go back below all earlier ones, twice, are all delivered."""
        self.redis.publish_at("8000-0", "0")
        self.redis.publish_at("9000-0", "1")
        # It starts with the newest entry only.
        server = self.ready_server(TAIL_MAX_EVENTS="1")
        with Tab(server.port) as tab:
            self.redis.kill()
            self.redis.lose_data()
            self.redis.start()
            server.wait_for_text("has lost 9000-0, which was already read; continuing after 0-0")
            self.redis.publish_at("1000-0", "2")
            backup = Path(self.mktemp())
            self.redis.save(backup)
            self.redis.publish_at("2000-0", "3")
            self.assertEqual(tab.jobs(2), ["2", "3"])
            self.redis.kill()
            self.restore(backup, lambda redis: redis.publish_at("1500-0", "4"))
            self.redis.start()
            self.assertEqual(tab.jobs(1), ["4"])
            self.check_all_get((tab,), "last")
        self.assertIn(
            "has lost 2000-0, which was already read; continuing after 1000-0", server.text()
        )
        self.assertEqual(server.text().count(GAP), 2, server.text())

    def restore(self, data: Path, change: Callable[[ChangingRedis], object]) -> None:
        """Give a stopped Redis those data after a change."""
        other = ChangingRedis(self)
        other.kill()
        other.restore(data)
        other.start()
        change(other)
        other.kill()
        self.redis.restore(other.directory)

    def test_trimmed_past_the_place(self) -> None:
        """The rest of a stream trimmed during an outage is delivered, and the gap is logged."""
        server = self.ready_server()
        with Tab(server.port) as tab:
            self.redis.publish("1")
            last_id = tab.events(1)[0]["id"]
            self.redis.kill()
            server.wait_for_text("cannot connect to")

            def publish_and_trim(redis: ChangingRedis) -> None:
                redis.publish("2", "3", "4", "5")
                redis.client.xtrim(GLOBAL, maxlen=2, approximate=False)

            data = Path(self.mktemp())
            self.redis.save(data)
            self.restore(data, publish_and_trim)
            with Tab(server.port, last_id=last_id) as returning:
                self.redis.start()
                for client in (tab, returning):
                    self.assertEqual(client.jobs(2), ["4", "5"])
                self.check_all_get((tab, returning), "last")
        self.check_gap_told_once(server)

    def test_trimmed_channel(self) -> None:
        """A client that missed trimmed events gets the rest, and its loss is logged."""
        with statsd() as (port, wait_for_count):
            # Trimmed long before any client listened.
            other = f"{PREFIX}{OTHER_CHANNEL}"
            for stream_id in ("1-1", "1-2"):
                self.redis.client.xadd(other, {"data": job_data(OTHER_CHANNEL)}, id=stream_id)
            self.redis.client.xtrim(other, maxlen=1, approximate=False)
            server = self.ready_server(STATSD_PORT=port, TAIL_MAX_EVENTS="2")
            with Tab(server.port) as tab:
                self.redis.publish("0")
                last_id = tab.events(1)[0]["id"]
            with Tab(server.port, channel=OTHER_CHANNEL) as witness:
                jobs = [str(number) for number in range(1, 1131)]
                self.redis.publish(*jobs[:50])
                self.redis.publish("other", channel=OTHER_CHANNEL)
                self.assertEqual(witness.jobs(1), ["other"])
                # One stream is untrimmed, and no missed event was trimmed from the other.
                with Tab(server.port, last_id=last_id) as tab:
                    self.assertEqual(tab.jobs(51), ["0", *jobs[:50]])
                with Tab(server.port, channel=OTHER_CHANNEL, last_id=last_id) as tab:
                    self.assertEqual(tab.jobs(1), ["other"])
                self.redis.publish(*jobs[50:])
                self.redis.publish("another", channel=OTHER_CHANNEL)
                self.assertEqual(witness.jobs(1), ["another"])
            self.assertNotIn(CLIENT_GAP, server.text())
            self.redis.client.xtrim(f"{PREFIX}{CHANNEL}", maxlen=1000, approximate=False)
            with Tab(server.port, last_id=last_id) as tab:
                self.assertEqual(tab.jobs(1000), jobs[-1000:])
                self.check_all_get((tab,), "last")
            info: Any = self.redis.client.xinfo_stream(f"{PREFIX}{CHANNEL}")
            count = "up to 131" if "entries-added" in info else "some"
            self.assertIn(f"has lost {count} events since {last_id}, {CLIENT_GAP}", server.text())
            self.assertEqual(server.text().count(CLIENT_GAP), 1)
            wait_for_count("ws_stream_gap:1|c")


class LoadTests(FaultTestCase):
    """Much at once."""

    def test_backlog_in_one_reply(self) -> None:
        """Ten thousand events at once arrive in order, and delay no other client."""
        server = self.ready_server(REDIS_STREAM_READ_COUNT="10000")
        jobs = [str(number) for number in range(10_000)]
        with contextlib.ExitStack() as stack:
            tabs = [stack.enter_context(Tab(server.port)) for _ in range(4)]
            bystander = stack.enter_context(Tab(server.port, channel=OTHER_CHANNEL))
            server.process.send_signal(signal.SIGSTOP)
            with self.redis.client.pipeline() as transaction:
                for job in jobs:
                    transaction.xadd(GLOBAL, {"data": job_data(job=job)})
                transaction.execute()
            received: list[list[str]] = [[] for _ in tabs]
            readers = [
                threading.Thread(target=lambda i=i, tab=tab: received[i].extend(tab.jobs(10_000)))
                for i, tab in enumerate(tabs)
            ]
            for reader in readers:
                reader.start()
                stack.callback(reader.join)
            server.process.send_signal(signal.SIGCONT)
            health_seconds: list[float] = []
            ping_seconds: list[float] = []
            while not health_seconds or any(reader.is_alive() for reader in readers):
                begun = time.monotonic()
                self.assertEqual(health(server.port), 200)
                health_seconds.append(time.monotonic() - begun)
                begun = time.monotonic()
                self.assertTrue(bystander.connection.ping().wait(DEADLINE_SECONDS))
                ping_seconds.append(time.monotonic() - begun)
            for each in received:
                self.assertEqual(each, jobs)
        print(
            f"\nbacklog of {len(jobs)} events to {len(tabs)} sockets, {len(health_seconds)} probes:"
            f" slowest health {max(health_seconds):.3f} s, slowest pong {max(ping_seconds):.3f} s"
        )

    def test_server_killed(self) -> None:
        """Clients of a killed server reconnect to the next one and lose nothing."""
        environ = environment(self.redis.port, REDIS_STREAM_READ_BLOCK_MS="200")
        server = Server(self, environ)
        server.wait_until_ready()
        last_ids = []
        with contextlib.ExitStack() as stack:
            tabs = [stack.enter_context(Tab(server.port)) for _ in range(20)]
            self.redis.publish(*"0123456789")
            # Each has received this much when the server ends.
            for place, tab in enumerate(tabs):
                last_ids.append(tab.events(1 + place % 10)[-1]["id"])
            server.stop(signal.SIGKILL)
        self.redis.publish("10", "11")
        begun = time.monotonic()
        server = Server(self, environ, directory=server.directory)
        server.wait_until_healthy()
        print(f"\nhealthy {time.monotonic() - begun:.2f} s after the start")
        with contextlib.ExitStack() as stack:
            tabs = [stack.enter_context(Tab(server.port, last_id=last_id)) for last_id in last_ids]
            self.redis.publish("12")
            for place, tab in enumerate(tabs):
                missed = [str(number) for number in range(1 + place % 10, 13)]
                self.assertEqual(tab.jobs(len(missed)), missed)
            self.check_all_get(tuple(tabs), "last")
        self.check_no_failure(server)


def cpu_seconds(server: Server) -> float:
    """Return how much processor time a server has used."""
    stat = Path(f"/proc/{server.process.pid}/stat").read_text()
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for_more(count: Callable[[], int], before: int | None = None, *, by: int = 2) -> None:
    """Wait until a count has grown by that much."""
    start = count() if before is None else before
    wait_until(lambda: count() >= start + by, lambda: f"only {count() - start} times")


def wait_for_new_connection(port: int) -> None:
    """Wait until a connection to that port of the loopback interface is open."""
    before = connections(port)
    wait_until(lambda: not connections(port) <= before, lambda: "no new connection")


def connections(port: int) -> set[str]:
    """Return the local addresses of the connections to that port of the loopback interface."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[1] for row in rows if row[2] == f"0100007F:{port:04X}"}


@contextlib.contextmanager
def statsd() -> Iterator[tuple[str, Callable[[str], None]]]:
    """Yield the port of a StatsD server, and a function that waits until it receives something."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(DEADLINE_SECONDS)

        def wait_for_count(line: str) -> None:
            while line not in server.recv(2000).decode().splitlines():
                pass

        yield str(server.getsockname()[1]), wait_for_count


def kill_daemon(pid_file: Path) -> None:
    """Kill the daemon that wrote that file, if it is still there."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int(pid_file.read_text()), signal.SIGKILL)
