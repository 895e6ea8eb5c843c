"""New connections: those that are served, and those that are rejected."""

from typing import Any

import txaio
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.config.forms import Network
from gaq_twisted.core.metrics import REQUEST_REJECTED, UPGRADE_REJECTED
from gaq_twisted.net.gateway import Capacity
from gaq_twisted.net.request_head import read_head
from tests.support.fakes import finish
from tests.support.memory import PEER, Browser, MemoryServer
from tests.support.samples import cookie, job_event, upgrade_request

HEALTH = b"GET /health HTTP/1.1\r\nHost: gaq.test\r\n\r\n"
# Room for two connections, one of them a WebSocket.
FILES_FOR_TWO = 66


def status(browser: Browser) -> int:
    """Returns the status of the answer; 0 if there is none."""
    return int(browser.received.split(b" ", 2)[1]) if browser.received else 0


class GatewayTestCase(SynchronousTestCase):
    """Has a server in memory."""

    def setUp(self) -> None:
        """Makes the server; Autobahn's timers follow txaio's loop."""
        self.clock = Clock()
        self.patch(txaio.config, "loop", self.clock)
        self.start()

    def start(self, **values: Any) -> None:
        """Makes the server, with these settings."""
        self.server = MemoryServer(self.clock, **values)

    def sent(self, *segments: bytes) -> Browser:
        """Returns a client that has sent these segments."""
        browser = self.server.connect()
        for segment in segments:
            browser.send(segment)
        return browser

    def is_open(self, browser: Browser) -> bool:
        """Returns whether a client has a WebSocket, on which events arrive."""
        if status(browser) != 101:
            return False
        finish(self.server.resumption.deliver([job_event("1-0")]))
        browser.pump.flush()
        return browser.received.count(b'{"id":"1-0"') == 1


class ServedTests(GatewayTestCase):
    """Requests that are taken."""

    def test_upgrade(self) -> None:
        """An upgrade is taken however it is cut into pieces, and leaves nothing behind it."""
        request = upgrade_request()
        for segments in (
            (request,),
            (request[:1], request[1:]),
            (request[:-1], request[-1:]),
            (*(request[at : at + 1] for at in range(len(request))),),
            (b"\r\n" + request,),
        ):
            browser = self.sent(*segments)
            self.assertTrue(self.is_open(browser), segments)
            self.assertEqual(self.server.site.channel_count, 0)
            browser.lose()
            self.assertEqual(self.server.hub.socket_count, 0)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_spellings(self) -> None:
        """Case, order and further tokens do not count in the header that asks for an upgrade."""
        for line in (b"upgrade:websocket", b"UPGRADE:  WebSocket\t", b"Upgrade: h2c, websocket"):
            request = upgrade_request().replace(b"Upgrade: websocket", line)
            self.assertTrue(self.is_open(self.sent(request)), line)

    def test_frames_behind_it(self) -> None:
        """Frames that follow in the same segment as the upgrade are read."""
        ping = b"\x89\x84\x00\x00\x00\x00ping"
        for segments in ((upgrade_request() + ping,), (upgrade_request() + ping[:3], ping[3:])):
            browser = self.sent(*segments)
            self.assertTrue(browser.received.endswith(b"\x8a\x04ping"), segments)

    def test_request(self) -> None:
        """All else is the Site's: one request a connection, with the connection's end said."""
        for segments in ((HEALTH,), (HEALTH[:20], HEALTH[20:]), (HEALTH + HEALTH,)):
            browser = self.sent(*segments)
            self.assertEqual(browser.received.count(b"HTTP/1.1 200 OK"), 1)
            self.assertIn(b"\r\nconnection: close\r\n", browser.received.lower())
            self.assertTrue(browser.received.endswith(b"\r\n\r\nOK"))
            self.assertTrue(browser.lost)
            self.assertEqual(self.server.site.channel_count, 0)

    def test_read_again(self) -> None:
        """What is handed on is read the same again, be it of an absolute target or odd cookies."""
        for request in (
            b"GET http://a.test/ HTTP/1.1\r\nHost: b.test\r\nCookie: c=d\r\nX: y\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a.test\r\nCookie: c=d\r\nCookie:\r\n\r\n",
        ):
            found = read_head(request, 1000)
            assert found is not None
            self.assertEqual(read_head(bytes(found[0]), 1000), found)

    def test_old_version(self) -> None:
        """HTTP/1.0 will do for a health check; an upgrade that it asks for is ignored."""
        self.assertTrue(self.sent(b"GET /health HTTP/1.0\r\n\r\n").received.endswith(b"OK"))
        request = upgrade_request().replace(b"HTTP/1.1", b"HTTP/1.0")
        self.assertEqual(status(self.sent(request)), 404)

    def test_absolute_target(self) -> None:
        """A target with scheme and host is taken, and its host counts."""
        request = HEALTH.replace(b" /health", b" http://other.test/health")
        self.assertTrue(self.sent(request).received.endswith(b"OK"))
        self.start(allowed_origins=("same-host",))
        for host, expected in ((b"page.test", 101), (b"other.test", 403)):
            request = upgrade_request("Origin: http://page.test:8088")
            request = request.replace(b" /ws", b" http://%b:8080/ws" % host)
            self.assertEqual(status(self.sent(request)), expected, host)


class RefusedTests(GatewayTestCase):
    """Requests that are not taken."""

    def assert_refused(self, code: int, reason: str, *segments: bytes) -> bytes:
        """Checks the answer, its end, the count and the line in the log; return the answer."""
        before = self.server.metrics.counts(REQUEST_REJECTED).get(reason, 0)
        with capturedLogs() as logs:
            browser = self.sent(*segments)
        self.assertEqual(status(browser), code, segments)
        head, _, body = browser.received.partition(b"\r\n\r\n")
        self.assertIn(b"\r\nConnection: close", head)
        self.assertEqual((body.count(b"\n"), body[-1:]), (1, b"\n"))
        self.assertTrue(browser.lost)
        (line,) = [one for one in logs if one["log_level"] > LogLevel.debug]
        self.assertEqual((line["peer"], line["code"]), (PEER.host, code))
        self.assertEqual(self.server.metrics.counts(REQUEST_REJECTED).get(reason, 0), before + 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(10)
        return body

    def test_what_can_be_read_in_two_ways(self) -> None:
        """Shapes by which requests are smuggled past a proxy are refused."""
        end = b"\r\n\r\n"
        for request in (upgrade_request(), HEALTH):
            for odd in (
                b"\r\nX: 1\r\n folded",
                b"\r\n\tfolded: 1",
                b"\nX: 1",
                b"\rX: 1",
                b"\r\nX : 1",
                b"\r\n: 1",
                b"\r\nX",
                b"\r\nX: \x00",
                b"\r\nX: \x0b",
                b"\r\nX: \x7f",
                b"\r\nX\x85: 1",
                "\r\nX\u2028: 1".encode(),
            ):
                self.assert_refused(400, "not_http", request.replace(end, odd + end))
            for line in (b"GET  /", b"GET /a b", b"GET\t/", b"G(T /", b" GET /", b"\nGET /", b"/"):
                self.assert_refused(400, "not_http", request.replace(b"GET /", line, 1))
            for version in (b"HTTP/2.0", b"HTTP/1.2", b"http/1.1", b"HTTP/1.1 ", b"HTTP/0.9", b""):
                self.assert_refused(400, "not_http", request.replace(b"HTTP/1.1", version))

    def test_head(self) -> None:
        """The answer to HEAD has no body, whatever is wrong with it, or whatever it asks for."""
        for request, code in (
            (upgrade_request(), 404),
            (HEALTH[:-4] + b"\r\nUpgrade: websocket\r\n\r\n", 200),
            (HEALTH[:-4] + b"\r\nX\r\n\r\n", 400),
            (b"\r\n" + HEALTH.replace(b"Host", b"X"), 400),
            (HEALTH + b"x" * 20_000, 200),
            (HEALTH[:-2] + b"x" * 20_000, 431),
        ):
            request = request.replace(b"GET ", b"HEAD ", 1)
            browser = self.sent(request)
            self.assertEqual((status(browser), browser.lost), (code, True), request[:99])
            self.assertTrue(browser.received.endswith(b"\r\n\r\n"), browser.received)
            self.assertEqual(browser.received.count(b"\r\n\r\n"), 1)

    def test_hosts(self) -> None:
        """A request without a host, or with two, is refused."""
        for request in (upgrade_request(), HEALTH):
            two = request.replace(b"\r\nHost", b"\r\nHost: other\r\nHost")
            self.assert_refused(400, "host", two)
            self.assert_refused(400, "host", request.replace(b"Host: gaq.test\r\n", b""))

    def test_targets(self) -> None:
        """A target must be a path, perhaps with a scheme and host before it."""
        for target in (b"health", b"http://", b"http://?x", b"ftp://a/b", b"gaq.test:80", b"://"):
            self.assert_refused(400, "target", HEALTH.replace(b"/health", target))

    def test_bodies(self) -> None:
        """A body is refused before it is read, but an empty one is none."""
        for line in (
            b"\r\nContent-Length: 4",
            b"\r\nContent-Length: 0\r\nContent-Length: 4",
            b"\r\nContent-Length: +0",
            b"\r\nContent-Length: 0, 4",
            b"\r\ncontent-length: 18446744073709551616",
            b"\r\nTransfer-Encoding: chunked",
            b"\r\nTransfer-Encoding: identity\r\nContent-Length: 0",
        ):
            for request in (upgrade_request(), HEALTH):
                self.assert_refused(413, "body", request[:-4] + line + b"\r\n\r\n")
        self.assertEqual(status(self.sent(HEALTH[:-4] + b"\r\nContent-Length: 0\r\n\r\n")), 200)

    def test_long_headers(self) -> None:
        """Headers that are too long are refused, at the latest when so much has come."""
        self.start(max_request_header_bytes=len(upgrade_request("X: 1")))
        self.assertEqual(status(self.sent(upgrade_request("X: 1"))), 101)
        self.assert_refused(431, "long_headers", upgrade_request("X: 12"))
        self.assert_refused(431, "long_headers", b"x" * 100, b"x" * 500)
        self.start()
        self.assert_refused(431, "long_headers", b"GET / HTTP/1.1\r\nX: " + b"x" * 16_384)

    def test_not_http(self) -> None:
        """Other protocols are answered with 400."""
        for data in (b"\x16\x02\x01\x02\x00", b"PING", b"*1\r\n$4\r\nPING", b"\x89\x00" * 8):
            self.assert_refused(400, "not_http", data + b"\r\n\r\n")

    def test_nothing_after_the_answer(self) -> None:
        """Data after a refusal is ignored."""
        browser = self.server.connect()
        browser.line.disconnecting = False
        browser.send(b"x\r\n\r\n")
        browser.line.protocol.dataReceived(HEALTH)
        browser.pump.flush()
        self.assertEqual(browser.received.count(b"\r\n\r\n"), 1)

    def test_flood(self) -> None:
        """Of many refusals a few are logged, and then how many more there were."""
        with capturedLogs() as logs:
            for _ in range(1000):
                self.sent(b"x\r\n\r\n")
            self.server.rejections.summarise()
            self.clock.advance(10)
            self.server.rejections.summarise()
        ours = [one for one in logs if one["log_level"] > LogLevel.debug]
        self.assertEqual((len(ours), ours[-1]["count"]), (11, 990))
        self.assertEqual(self.server.metrics.total(REQUEST_REJECTED), 1000)

    def test_header_that_ends_a_line(self) -> None:
        """No header can be hidden in another, by any character that some take for a line's end."""
        forged = cookie().encode()
        without = upgrade_request().replace(forged, b"a=b")
        for character in ("\x85", "\u2028", "\u2029"):
            for text in (character.encode(), character.encode("latin-1", "ignore")):
                line = b"X: 1" + text + b"Cookie: " + forged
                self.assertEqual(status(self.sent(without[:-2] + line + b"\r\n\r\n")), 401)

    def test_cookie_of_others(self) -> None:
        """A cookie in UTF-8 that has such a character in it does not hide ours."""
        self.assertTrue(self.is_open(self.sent(upgrade_request("Cookie: a=\u00c5"))))


class WaitingTests(GatewayTestCase):
    """Connections without a request."""

    def test_late(self) -> None:
        """A connection without a whole request is ended in time, whatever it sends meanwhile."""
        silent, slow = self.server.connect(), self.server.connect()
        for _ in range(10):
            self.server.gateway.close_late()
            self.assertFalse(silent.line.aborted or slow.line.aborted)
            slow.send(b"G")
            self.clock.advance(1)
        self.server.gateway.close_late()
        self.assertTrue(silent.line.aborted and slow.line.aborted)

    def test_setting(self) -> None:
        """How long that is can be set."""
        self.start(request_timeout_ms=500)
        browser = self.server.connect()
        self.clock.advance(0.6)
        self.server.gateway.close_late()
        self.assertTrue(browser.line.aborted)

    def test_others(self) -> None:
        """Those that left, and those that are served, are not ended."""
        gone, served = self.server.connect(), self.sent(upgrade_request())
        gone.lose()
        self.clock.advance(3600)
        self.server.gateway.close_late()
        self.assertFalse(gone.line.aborted or served.line.aborted)
        self.assertTrue(self.is_open(served))

    def test_answer_not_read(self) -> None:
        """A client that does not take its refusal is ended as well."""
        browser = self.server.connect()
        self.patch(browser.line, "loseConnection", lambda: None)
        browser.send(b"x\r\n\r\n")
        self.assertFalse(browser.lost)
        self.clock.advance(11)
        self.server.gateway.close_late()
        self.assertTrue(browser.line.aborted)


class CapacityTests(GatewayTestCase):
    """A process that can open only so many files."""

    def test_shares(self) -> None:
        """WebSockets leave room for health checks, and both leave some to the process."""
        for files in (1, 64, 65, 66, 100, 256, 1024, 20_000, 1_000_000):
            capacity = Capacity.of_files(files)
            self.assertGreaterEqual(capacity.sockets, 1)
            self.assertLess(capacity.sockets, capacity.connections)
            if files > 65:
                self.assertLessEqual(capacity.connections, files - 64)
        self.assertEqual(Capacity.of_files(20_000), (19_936, 19_680))

    def test_no_room_for_sockets(self) -> None:
        """An upgrade too many is refused with 503; a health check is not; a place is given back."""
        self.start(files=FILES_FOR_TWO)
        first = self.sent(upgrade_request())
        second = self.sent(upgrade_request())
        self.assertEqual((status(first), status(second)), (101, 503))
        self.assertEqual(self.server.metrics.total(UPGRADE_REJECTED), 1)
        self.assertEqual(status(self.sent(HEALTH)), 200)
        first.lose()
        self.assertEqual(status(self.sent(upgrade_request())), 101)

    def test_crowd(self) -> None:
        """Idle connections do not starve active ones."""
        self.start(files=FILES_FOR_TWO)
        socket = self.sent(upgrade_request())
        silent = [self.server.connect() for _ in range(5)]
        self.assertEqual([one.line.aborted for one in silent], [True] * 4 + [False])
        self.assertEqual(status(self.sent(HEALTH)), 200)
        self.assertTrue(silent[-1].line.aborted)
        self.assertTrue(self.is_open(socket))

    def test_full(self) -> None:
        """Where all connections are of use, the next one is ended at once, and counted."""
        self.start(files=FILES_FOR_TWO)
        self.sent(upgrade_request())
        self.patch(self.server.site, "channel_count", 1)
        browser = self.server.connect()
        self.assertTrue(browser.line.aborted)
        self.assertEqual(self.server.metrics.counts(REQUEST_REJECTED), {"files": 1})


class ProxyTests(GatewayTestCase):
    """What the log calls a client behind a proxy."""

    def peers(self, proxies: tuple[str, ...], *headers: str) -> set[str]:
        """Returns what the hub and the HTTP side call a client that sends these headers."""
        self.start(trusted_proxies=tuple(map(Network, proxies)))
        browser = self.sent(upgrade_request(*headers))
        (socket,) = self.server.hub.sockets
        with capturedLogs() as logs:
            self.sent(HEALTH[:-2] + "\r\n".join([*headers, "", ""]).encode())
            self.sent(upgrade_request(*headers).replace(b"async-token", b"other"))
        browser.lose()
        return {str(socket.peer), *(str(one["client"]) for one in logs if "client" in one)}

    def test_trusted(self) -> None:
        """A trusted proxy is believed, and named."""
        for proxy in (PEER.host, "192.0.2.0/24"):
            peers = self.peers((proxy,), "X-Forwarded-For: 198.51.100.1")
            self.assertEqual(peers, {f"198.51.100.1 via {PEER.host}"})

    def test_one_spelling(self) -> None:
        """Whichever part of the server logs a client, its address and proxy are spelled alike."""
        forwarded = "X-Forwarded-For: 198.51.100.1"
        self.start(files=FILES_FOR_TWO, trusted_proxies=(Network(PEER.host),))
        with capturedLogs() as logs:
            self.sent(upgrade_request(forwarded).replace(b"async-token", b"other"))
            self.sent(HEALTH[:-2] + f"{forwarded}\r\n\r\n".encode())
            self.sent(upgrade_request(forwarded))
            self.sent(upgrade_request(forwarded))
        clients = [one for one in logs if "peer" in one]
        self.assertEqual(
            {one["event"] for one in clients if "event" in one}, {"upgrade_refused"}, clients
        )
        self.assertGreater(len(clients), 3)
        for one in clients:
            self.assertEqual((one["peer"], one["proxy"]), ("198.51.100.1", PEER.host), one)

    def test_not_trusted(self) -> None:
        """Nobody else is believed."""
        for proxies in ((), ("198.51.100.0/24",)):
            peers = self.peers(proxies, "X-Forwarded-For: 198.51.100.1", "Forwarded: for=1.2.3.4")
            self.assertEqual(peers, {PEER.host})
