"""Superset 7 with a real server and a real Redis: the samples, and the conformance cases.

The numbers in the names are those of the cases. What Superset's own Node.js server did is in
tests/support/realtime-samples.json; this server differs where no browser can object.
"""

import contextlib
import json
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import trustme
from twisted.trial.unittest import SynchronousTestCase
from websockets.exceptions import ConnectionClosed

from tests.live.test_hostile import is_closed
from tests.support.processes import (
    DEADLINE_SECONDS,
    Page,
    RedisProcess,
    Server,
    answer,
    free_port,
    realtime_environment,
    wait_until,
)
from tests.support.raw import RawClient
from tests.support.rfc6455 import PING, Frame
from tests.support.samples import (
    REALTIME_COOKIE,
    SECRET,
    cookie,
    envelope,
    realtime_cookie,
    realtime_token,
    upgrade_request,
)

SAMPLES: Mapping[str, Any] = json.loads(
    (Path(__file__).parent.parent / "support" / "realtime-samples.json").read_text()
)
GUEST = "guest:06f00c414a649ce030ebf8cb6011250c6ac6351db2b0b4c83b0dfc80b81fc075"
OTHER_SECRET = "another secret, which is also long enough"
A1, A2, A0, B1, G1 = EVERYBODY = ("A1", "A2", "A0", "B1", "G1")
ALICE = (A1, A2, A0)
FAR = 2_000_000_000
SWITCHING, UNAUTHORIZED, FORBIDDEN, UNAVAILABLE = 101, 401, 403, 503


class RealtimeTestCase(SynchronousTestCase):
    """Has a Redis."""

    def setUp(self) -> None:
        """Starts a Redis."""
        self.redis = RedisProcess(self)

    def start(self, **values: str) -> Server:
        """Returns a server that has subscribed."""
        server = Server(self, realtime_environment(self.redis.port, **values))
        server.wait_until_subscribed()
        return server

    def open(
        self, server: Server, cookies: str | None = None, query: str = "", **more: Any
    ) -> Page:
        """Returns a page that ends with the test."""
        page = Page(server.port, cookies, query, **more)
        self.addCleanup(page.connection.close)
        return page

    def raw(self, server: Server, *more: str, **request: Any) -> RawClient:
        """Returns a client of no more than a TCP socket, which ends with the test."""
        client = RawClient(
            server.port, upgrade_request(*more, **{"cookies": realtime_cookie(), **request})
        )
        self.addCleanup(client.__exit__)
        return client

    def status(self, server: Server, *more: str, **request: Any) -> int:
        """Returns the status of an upgrade's answer."""
        return int(self.raw(server, *more, **request).head.split()[1])

    def publish(self, message: bytes, channel: str = "realtime") -> int:
        """Publishes a message as Superset does; returns how many servers get it."""
        count: Any = self.redis.client.publish(channel, message)
        return int(count)

    def five(self, server: Server) -> dict[str, Page]:
        """Returns the five pages of the cases."""
        return {
            A1: self.open(server, query="?tab_id=1"),
            A2: self.open(server, query="?tab_id=2"),
            A0: self.open(server),
            B1: self.open(server, realtime_cookie("9"), "?tab_id=1"),
            G1: self.open(
                server, realtime_cookie(GUEST, kind="guest"), "?tab_id=V1StGXR8_Z5jdHi6B-myT"
            ),
        }

    def heard(
        self, pages: Mapping[str, Page], *messages: bytes, channel: str = "realtime"
    ) -> dict[str, list[str]]:
        """Returns the frames that each page gets when these are published, if it gets any."""
        for message in messages:
            self.publish(message, channel)
        self.publish(envelope("that is all"))
        heard = {name: page.read_until('{"topic":"that is all"}') for name, page in pages.items()}
        return {name: frames for name, frames in heard.items() if frames}

    def assert_ready(self, server: Server) -> None:
        """Waits until the server says that it is ready."""
        wait_until(lambda: answer(server.port, "/ready")[0] == 200, server.text)

    def assert_not_ready(self, server: Server) -> None:
        """Waits until the server says that it is not ready, and why; it is healthy all the time."""
        wait_until(lambda: answer(server.port, "/ready")[0] == UNAVAILABLE, server.text)
        self.assertIn("SUBSCRIBER_UNAVAILABLE", answer(server.port, "/ready")[1])
        self.assertEqual(answer(server.port, "/health")[0], 200)


class SampleTests(RealtimeTestCase):
    """What Superset's Node.js server was seen to do."""

    def start_with_secrets(self) -> Server:
        """Returns a server with the samples' secrets, whose cookie has its default name."""
        secrets = SAMPLES["secrets"]
        return self.start(JWT_SECRET=secrets["current"], PREVIOUS_JWT_SECRET=secrets["previous"])

    def test_messages(self) -> None:
        """Each message reaches the same sockets, once, with the same frame."""
        server = self.start_with_secrets()
        secret = SAMPLES["secrets"]["current"]
        pages = {
            one["name"]: self.open(
                server,
                realtime_cookie(one["sub"], kind=one["principal_type"], secret=secret),
                f"?tab_id={one['tab_id']}" if one["tab_id"] else "",
            )
            for one in SAMPLES["sockets"]
        }
        for sample in SAMPLES["redis_messages"]:
            frames = self.heard(pages, sample["raw"].encode(), channel=sample["channel"])
            self.assertCountEqual(frames, sample["expect"]["delivered_to"], sample["name"])
            for texts in frames.values():
                (text,) = texts
                self.assertEqual(
                    json.loads(text), json.loads(sample["expect"]["frame"]), sample["name"]
                )
                self.assertEqual(text, _forwarded(sample["raw"]), sample["name"])

    def test_tokens(self) -> None:
        """The same tokens are accepted; the others get 401."""
        server = self.start_with_secrets()
        self.assertEqual(
            {
                one["name"]: self.status(server, cookies=f"{REALTIME_COOKIE}={one['token']}")
                for one in SAMPLES["jwts"]
            },
            {one["name"]: SWITCHING if one["accept"] else UNAUTHORIZED for one in SAMPLES["jwts"]},
        )


class UpgradeTests(RealtimeTestCase):
    """Who may open a socket, and which routes it has."""

    def test_01_to_12_tokens(self) -> None:
        """A token must be whole, for this server, valid now, and agree with itself."""
        server = self.start(PREVIOUS_JWT_SECRET=OTHER_SECRET)
        good, now = realtime_token(), int(time.time())
        head = self.raw(server, cookies=realtime_cookie()).head.lower()
        self.assertNotIn(b"sec-websocket-extensions", head)
        accepted = {
            "1 user": good,
            "2 guest": realtime_token(GUEST, kind="guest"),
            "3 previous secret": realtime_token(secret=OTHER_SECRET),
            "5 exp with a fraction": realtime_token(exp=now + 60.5),
            "7 aud a list": realtime_token(aud=["other", "superset-websocket"]),
            "11 iat in the future": realtime_token(iat=FAR),
            "11 iat absent": realtime_token(iat=None),
            "12 good first": f"{good}; {REALTIME_COOKIE}=bad",
        }
        refused = {
            "3 other secret": realtime_token(secret="secret of somebody else, long enough"),
            "5 exp past": realtime_token(exp=now - 1),
            "5 exp now": realtime_token(exp=now),
            "5 exp absent": realtime_token(exp=None),
            "5 exp a text": realtime_token(exp=str(FAR)),
            "6 aud other": realtime_token(aud="superset"),
            "6 aud absent": realtime_token(aud=None),
            "6 iss other": realtime_token(iss="other"),
            "6 iss absent": realtime_token(iss=None),
            "8 principal_type absent": realtime_token(principal_type=None),
            "8 principal_type robot": realtime_token(principal_type="robot"),
            "8 sub absent": realtime_token(sub=None),
            "8 sub empty": realtime_token(""),
            "8 sub a number": realtime_token(sub=5),
            "9 channel of another": realtime_token(channel="user:6"),
            "9 guest without prefix": realtime_token("abc", kind="guest"),
            "9 guest's channel of another": realtime_token(GUEST, kind="guest", channel="guest:0"),
            "9 sub that names a tab": realtime_token("5:1"),
            "10 nbf in the future": realtime_token(nbf=FAR),
            "12 bad first": f"bad; {REALTIME_COOKIE}={good}",
            "12 no token": "",
        }
        self.assertEqual(
            {
                name: self.status(server, cookies=f"{REALTIME_COOKIE}={token}")
                for name, token in (accepted | refused).items()
            },
            dict.fromkeys(accepted, SWITCHING) | dict.fromkeys(refused, UNAUTHORIZED),
        )
        for cookies in ("", cookie(), f"async-token={good}"):
            refusal = self.raw(server, cookies=cookies)
            self.assertIn(b" 401 ", refusal.head, "4 cookie absent or of another name")
            self.assertIn(REALTIME_COOKIE.encode(), refusal.head + refusal.rest())

    def test_13_origins(self) -> None:
        """Where origins are listed, only those pages may connect."""
        server = self.start(ALLOWED_ORIGINS="https://bi.example.com")
        origins = {
            # No page can make a browser omit it; Node refuses such clients.
            None: SWITCHING,
            "https://other.example.com": FORBIDDEN,
            "http://bi.example.com": FORBIDDEN,
            "null": FORBIDDEN,
            "https://bi.example.com": SWITCHING,
            # The same origin, which Node does not recognise.
            "https://BI.example.com": SWITCHING,
            "https://bi.example.com:443": SWITCHING,
            "https://bi.example.com/": FORBIDDEN,
        }
        self.assertEqual(
            {
                origin: self.status(server, *([f"Origin: {origin}"] if origin else []))
                for origin in origins
            },
            origins,
        )

    def test_32_to_34_tabs(self) -> None:
        """A good tab id adds the tab's route; another is ignored; none reaches another user."""
        server = self.start()
        longest = "x" * 64
        queries = {
            "32 longest": (f"?tab_id={longest}", True),
            "32 other parameters": (f"?a=b&tab_id={longest}&c", True),
            "33 first of two": (f"?tab_id={longest}&tab_id=2", True),
            "33 second of two": (f"?tab_id=2&tab_id={longest}", False),
            "32 too long": (f"?tab_id={longest}x", False),
            "32 space": ("?tab_id=1%202", False),
            "32 colon": ("?tab_id=5:1", False),
            "32 newline": (f"?tab_id={longest}%0a", False),
            "32 empty": ("?tab_id=", False),
            "32 capitals": (f"?TAB_ID={longest}", False),
            "34 another user's": ("?tab_id=9:1", False),
        }
        pages = {name: self.open(server, query=query) for name, (query, _) in queries.items()}
        self.assertEqual(list(self.heard(pages, targeted("user:5"))), list(queries))
        self.assertEqual(
            list(self.heard(pages, targeted(f"user:5:{longest}"))),
            [name for name, (_, has_route) in queries.items() if has_route],
        )
        nothing = [f"user:5:{tab}" for tab in ("1 2", "5:1", f"{longest}\n", "", f"{longest}x")]
        self.assertEqual(self.heard(pages, targeted(*nothing, "user:9:1", "user:9")), {})

    def test_35_paths(self) -> None:
        """No path and no Host header brings the server down."""
        server = self.start()
        for target in ("/", "/foo/bar", "/health", "//", "/?", "/%zz", "http://x/", "*"):
            for host in ("gaq.test", "", "[", "a b", "x:99999999"):
                for upgrade in ("Connection: Upgrade\r\nUpgrade: websocket\r\n", ""):
                    request = (
                        f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{upgrade}"
                        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key:"
                        f" dGhlIHNhbXBsZSBub25jZQ==\r\nCookie: {realtime_cookie()}\r\n\r\n"
                    )
                    with RawClient(server.port, request.encode()) as client:
                        self.assertRegex(client.head, rb"^HTTP/1\.1 [1-4]\d\d ", request)
        for target in ("/", "/foo/bar", "/health"):
            self.assertEqual(self.status(server, target=target), SWITCHING, target)
        self.assertEqual(answer(server.port, "/health"), (200, "OK"))
        self.assertEqual(answer(server.port, "/ready?x=1")[0], 200)
        self.assertEqual(answer(server.port, "/other")[0], 404)
        self.assertNotIn("Traceback", server.text())


def targeted(*routes: object, scope: str = "principal", **fields: Any) -> bytes:
    """Returns a message for some routes."""
    return envelope("t", scope, routes=list(routes), **fields)


ROUTING: Mapping[str, tuple[bytes, Iterable[str]]] = {
    "15 principal": (targeted("user:5"), ALICE),
    "16 tab": (targeted("user:5:1", scope="tab"), (A1,)),
    "17 tabs": (targeted("user:5:1", "user:5:2", "user:9:1", scope="tab"), (A1, A2, B1)),
    "18 guest": (targeted(GUEST), (G1,)),
    "18 guest's tab": (targeted(f"{GUEST}:V1StGXR8_Z5jdHi6B-myT", scope="tab"), (G1,)),
    "19 broadcast": (envelope(), EVERYBODY),
    "20 broadcast with routes": (envelope(routes=["user:9"]), EVERYBODY),
    "21 unknown scope": (targeted("user:9", scope="whatever"), (B1,)),
    "21 scope in capitals": (targeted("user:9", scope="AUTHENTICATED_GLOBAL"), (B1,)),
    "22 without routes": (envelope("t", "principal"), ()),
    "22 no routes": (targeted(), ()),
    "22 unknown route": (targeted("user:77"), ()),
    "23 routes null": (envelope(routes=None), ()),
    "23 routes a text": (envelope(routes="user:5"), ()),
    "23 empty route": (envelope(routes=[""]), ()),
    "23 a number among routes": (targeted("user:5", 7), ()),
    "24 not JSON": (b"{", ()),
    "24 nothing": (b"", ()),
    "24 list": (b"[]", ()),
    "24 number": (b"1", ()),
    "24 NaN": (b'{"topic":"t","scope":"authenticated_global","payload":NaN}', ()),
    "24 no topic": (b'{"scope":"authenticated_global"}', ()),
    "24 empty topic": (envelope(""), ()),
    "24 no scope": (b'{"topic":"t"}', ()),
    "24 empty scope": (envelope(scope=""), ()),
    "27 equal routes": (targeted("user:9", "user:9"), (B1,)),
    "28 principal and tab": (targeted("user:5", "user:5:1"), ALICE),
    "29 names of JavaScript": (targeted("toString", "__proto__", "user:5"), ALICE),
}
"""Messages without a payload, and who gets one copy of each."""
FRAMES: Mapping[str, tuple[bytes, str]] = {
    "25 absent": (envelope("a"), '{"topic":"a"}'),
    "25 null": (envelope("a", payload=None), '{"topic":"a","payload":null}'),
    "25 text": (envelope("a", payload="x"), '{"topic":"a","payload":"x"}'),
    "25 list": (envelope("a", payload=[1, "2"]), '{"topic":"a","payload":[1, "2"]}'),
    "26 extra keys": (envelope("a", payload=1, id="9", ts=1), '{"topic":"a","payload":1}'),
    "30 keys in another order": (
        b'{"payload": {"b":1.0} ,"routes":[], "scope":"authenticated_global","topic":"a"}',
        '{"topic":"a","payload":{"b":1.0}}',
    ),
}
"""Broadcasts, and the frames that they become."""


class MessageTests(RealtimeTestCase):
    """Which socket gets what."""

    def test_15_to_29_routing(self) -> None:
        """Everyone whom a message is for gets one copy, and nobody else; what is bad is counted."""
        server = self.start()
        pages = self.five(server)
        self.assertEqual(
            {name: self.heard(pages, message) for name, (message, _) in ROUTING.items()},
            {
                name: {page: ['{"topic":"t"}'] for page in expected}
                for name, (_, expected) in ROUTING.items()
            },
        )
        metrics = answer(server.port, "/metrics")[1]
        for reason, count in (("not_json", 3), ("not_an_object", 2), ("topic", 2), ("scope", 2)):
            self.assertIn(f'messages_dropped_total{{reason="{reason}"}} {count}', metrics)
        self.assertIn('messages_dropped_total{reason="routes"} 4', metrics)
        self.assertIn("from the realtime channel, the last one because", server.text())
        self.assertNotIn("Traceback", server.text())

    def test_25_26_30_frames(self) -> None:
        """A frame has topic and payload, the latter byte for byte, and nothing else."""
        pages = {A1: self.open(self.start())}
        self.assertEqual(
            {name: self.heard(pages, message) for name, (message, _) in FRAMES.items()},
            {name: {A1: [frame]} for name, (_, frame) in FRAMES.items()},
        )

    def test_31_large(self) -> None:
        """A payload of 3 MB arrives as it was published, beyond ASCII too."""
        pages = {A1: self.open(self.start())}
        payload = json.dumps('é😀x\\u0000"' * 300_000, ensure_ascii=False)
        published = f'{{"topic": "a", "scope": "authenticated_global", "payload": {payload}}}'
        self.assertGreater(len(published.encode()), 3_000_000)
        heard = self.heard(pages, published.encode())
        self.assertTrue(heard == {A1: [f'{{"topic":"a","payload":{payload}}}']})

    def test_50_51_prefix_and_database(self) -> None:
        """The channel is the one with the prefix; Redis' databases do not matter to it."""
        server = self.start(REALTIME_CHANNEL_PREFIX="tenant-a:", REDIS_DB="3")
        page = self.open(server)
        self.assertEqual(self.publish(envelope("not this")), 0)
        self.assertEqual(self.publish(envelope("this"), "tenant-a:realtime"), 1)
        self.assertEqual(page.read(), '{"topic":"this"}')

    def test_52_two_servers(self) -> None:
        """Each of two servers gets every message."""
        pages = {str(number): self.open(self.start()) for number in range(2)}
        frames = ['{"topic":"a"}']
        self.assertEqual(self.heard(pages, envelope("a")), {"0": frames, "1": frames})

    def test_53_published_while_opening(self) -> None:
        """From the answer to its upgrade on a socket gets every message, once and in order."""
        server = self.start()
        published, over = [0], threading.Event()

        def publish() -> None:
            while not over.is_set():
                self.publish(envelope("t", payload=published[0]))
                published[0] += 1

        publisher = threading.Thread(target=publish)
        publisher.start()
        clients = []
        try:
            for _ in range(50):
                # One more may have been published and not counted.
                client = self.raw(server)
                clients.append((client, published[0] + 1))
                time.sleep(0.002)
        finally:
            over.set()
            publisher.join()
        self.publish(envelope("that is all"))
        for client, first in clients:
            frames = client.read_until(lambda frame: b"that is all" in frame.payload)
            numbers = [json.loads(frame.payload)["payload"] for frame in frames[:-1]]
            self.assertEqual(numbers, list(range(published[0]))[-len(numbers) :])
            self.assertLessEqual(numbers[0], first)


class SocketTests(RealtimeTestCase):
    """How sockets live and end."""

    def test_36_37_client_frames(self) -> None:
        """What a page sends is ignored, a ping is answered, and so is a close."""
        server = self.start()
        page = self.open(server)
        page.connection.send("text")
        page.connection.send(b"binary")
        page.connection.send('{"topic":"t","scope":"authenticated_global"}')
        self.assertEqual(self.heard({A1: page}), {})
        self.assertTrue(page.connection.ping().wait(DEADLINE_SECONDS))
        for code in (1000, 4001):
            other = self.open(server)
            other.connection.close(code)
            self.assertEqual(other.connection.close_code, code)
        self.assertEqual(self.heard({A1: page}, envelope("a")), {A1: ['{"topic":"a"}']})

    def test_38_no_pong(self) -> None:
        """A client that answers no ping is dropped."""
        server = self.start(PING_SOCKETS_INTERVAL_MS="200", SOCKET_RESPONSE_TIMEOUT_MS="500")
        page = self.open(server)
        client = self.raw(server)

        def is_ping(frame: Frame) -> bool:
            return frame.opcode == PING

        client.read_until(is_ping)
        client.wait_for_end()
        self.assertEqual(self.heard({A1: page}, envelope("a")), {A1: ['{"topic":"a"}']})

    def test_39_40_expiry(self) -> None:
        """A socket is closed when its token expires, not before; with a new cookie it goes on."""
        server = self.start()
        expires_at = int(time.time()) + 2
        page = self.open(server, realtime_cookie(exp=expires_at))
        frames = 0
        with self.assertRaises(ConnectionClosed) as closed:
            while True:
                self.publish(envelope("a"))
                page.connection.recv(DEADLINE_SECONDS)
                frames += 1
                time.sleep(0.02)
        self.assertGreaterEqual(time.time(), expires_at)
        self.assertLess(time.time(), expires_at + 5)
        assert closed.exception.rcvd is not None
        self.assertEqual(closed.exception.rcvd.code, 1008)
        self.assertEqual(closed.exception.rcvd.reason, "token expired")
        self.assertGreater(frames, 10)
        again = self.open(server)
        self.assertEqual(self.heard({A1: again}, targeted("user:5")), {A1: ['{"topic":"t"}']})

    def test_41_limit_of_a_principal(self) -> None:
        """All tabs of a user count together; room is free again as soon as one has left."""
        server = self.start(MAX_CONNECTIONS_PER_CHANNEL="2")
        first = self.open(server, query="?tab_id=1")
        second = self.open(server, query="?tab_id=2")
        code, _ = self.open(server, query="?tab_id=3").close_frame()
        self.assertEqual(code, 1013)
        other = self.open(server, realtime_cookie("6"))
        first.connection.close()
        pages = {"third": self.open(server), "second": second, "other": other}
        self.assertEqual(list(self.heard(pages, envelope("a"))), list(pages))

    def test_42_limit_of_all(self) -> None:
        """The second of one socket in all is closed, whoever it is of."""
        server = self.start(MAX_TOTAL_CONNECTIONS="1")
        pages = {A1: self.open(server)}
        code, _ = self.open(server, realtime_cookie("9")).close_frame()
        self.assertEqual(code, 1013)
        self.assertEqual(list(self.heard(pages, envelope("a"))), [A1])

    def test_43_slow_client(self) -> None:
        """A client that does not read is dropped; the others get everything."""
        server = self.start(MAX_SOCKET_BUFFER_BYTES="100000")
        slow = socket.socket()
        self.addCleanup(slow.close)
        # By default the system would take many megabytes for it.
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", server.port))
        slow.sendall(upgrade_request(cookies=realtime_cookie()))
        self.assertTrue(slow.recv(12).endswith(b"101"))
        pages = {A1: self.open(server)}
        dropped = "ws_client_backpressure_disconnect_total 1.0"
        number = 0
        while dropped not in answer(server.port, "/metrics")[1]:
            self.assertLess(number, 1000)
            messages = [
                envelope("a", payload=f"{n}" + "x" * 30_000) for n in range(number, number + 3)
            ]
            heard = self.heard(pages, *messages)
            self.assertTrue(heard == {A1: [_forwarded(one.decode()) for one in messages]})
            number += 3
        wait_until(lambda: is_closed(slow), server.text)

    def test_54_sigterm(self) -> None:
        """SIGTERM closes the sockets and ends the server with success."""
        server = self.start()
        page = self.open(server)
        server.process.send_signal(signal.SIGTERM)
        code, _ = page.close_frame()
        self.assertEqual(code, 1001)
        self.assertEqual(server.wait(), 0)

    def test_58_secrets(self) -> None:
        """A secret that is too short is refused at the start."""
        for values in ({"JWT_SECRET": SECRET[:31]}, {"PREVIOUS_JWT_SECRET": "short"}):
            server = Server(self, realtime_environment(self.redis.port, **values))
            self.assertNotEqual(server.wait(), 0)
            self.assertIn("jwtSecret" if "JWT_SECRET" in values else "previous", server.text())


class SubscriptionTests(RealtimeTestCase):
    """The subscription is lost, refused, or not there yet."""

    def test_44_connection_killed(self) -> None:
        """Redis ends the connection: whoever was connected is closed, and can come back."""
        server = self.start()
        pages = self.five(server)
        self.redis.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        for page in pages.values():
            self.assertEqual(page.close_frame(), (1012, "messages may have been missed"))
        server.wait_until_subscribed(2)
        pages = self.five(server)
        self.assertEqual(self.publish(envelope("a")), 1)
        self.assertEqual(self.heard(pages), {page: ['{"topic":"a"}'] for page in EVERYBODY})

    def test_14_45_46_redis_away(self) -> None:
        """Without Redis upgrades wait for 10 s; the health check does not care."""
        server = self.start()
        page = self.open(server)
        self.redis.kill()
        self.assert_not_ready(server)
        begun = time.monotonic()
        self.assertEqual(self.status(server, cookies=""), UNAUTHORIZED)
        waiting = socket.create_connection(("127.0.0.1", server.port), DEADLINE_SECONDS)
        self.addCleanup(waiting.close)
        waiting.sendall(upgrade_request(cookies=realtime_cookie()))
        self.assertEqual(page.close_frame()[0], 1012)
        refusal = waiting.recv(2**16)
        self.assertTrue(refusal.startswith(b"HTTP/1.1 503 "), refusal)
        self.assertGreater(time.monotonic() - begun, 9)
        self.redis.start(wait=False)
        again = self.open(server)
        self.assert_ready(server)
        self.assertEqual(self.publish(envelope("a")), 1)
        self.assertEqual(self.heard({A1: again}), {A1: ['{"topic":"a"}']})
        self.assertNotIn("Traceback", server.text())

    def waiting(self, server: Server) -> list[socket.socket]:
        """Ends Redis; returns clients whose upgrades wait for it."""
        self.redis.kill()
        self.assert_not_ready(server)
        clients = []
        for _ in range(20):
            clients.append(socket.create_connection(("127.0.0.1", server.port), DEADLINE_SECONDS))
            self.addCleanup(clients[-1].close)
            clients[-1].sendall(upgrade_request(cookies=realtime_cookie()))
        self.assert_waiting(server, 20)
        return clients

    def assert_waiting(self, server: Server, count: int) -> None:
        """Waits until the server says that so many upgrades wait."""
        wait_until(
            lambda: f'"waitingUpgrades": {count},' in answer(server.port, "/ready")[1], server.text
        )

    def test_45_clients_leave(self) -> None:
        """A client that leaves while its upgrade waits was no socket; the others become some."""
        server = self.start()
        clients = self.waiting(server)
        for client in clients[:10]:
            client.close()
        self.assert_waiting(server, 10)
        self.redis.start(wait=False)
        for client in clients[10:]:
            self.assertTrue(client.recv(12).endswith(b"101"))
        wait_until(lambda: answer(server.port, "/ready")[0] == 200, server.text)
        metrics = answer(server.port, "/metrics")[1]
        self.assertIn("ws_connected_client_total 10.0", metrics)
        self.assertNotIn("ws_closed_total{", metrics)
        self.assertNotIn("Traceback", server.text())

    def test_54_sigterm_while_upgrades_wait(self) -> None:
        """Upgrades that wait for Redis are refused at once, and with the reason."""
        server = self.start()
        clients = self.waiting(server)
        self.assertEqual(server.stop(), 0)
        for client in clients:
            answer = client.recv(2**16)
            self.assertTrue(answer.startswith(b"HTTP/1.1 503 "), answer)
            self.assertIn(b"is stopping", answer)
        self.assertNotIn("Traceback", server.text())

    def test_48_start_without_redis(self) -> None:
        """A server that starts before Redis lives, and is ready when Redis is."""
        port = free_port()
        server = Server(self, realtime_environment(port))
        server.wait_until_healthy()
        self.assert_not_ready(server)
        late = RedisProcess(self, port=port)
        self.assert_ready(server)
        page = self.open(server)
        late.client.publish("realtime", envelope("a"))
        self.assertEqual(page.read(), '{"topic":"a"}')

    def test_49_refused(self) -> None:
        """What Redis refuses is in the log; the server is ready as soon as that is mended."""
        for values, words, remedy in (
            ({"REDIS_PASSWORD": "right"}, ("NOPERM", "&realtime"), "&realtime"),
            ({"REDIS_PASSWORD": "wrong"}, ("WRONGPASS",), ">wrong"),
        ):
            user = f"user-{values['REDIS_PASSWORD']}"
            channel = () if values["REDIS_PASSWORD"] == "right" else ("&realtime",)
            self.redis.client.execute_command(
                *("ACL", "SETUSER", user, "on", ">right", "resetchannels", *channel),
                *("+subscribe", "+ping"),
            )
            server = Server(
                self, realtime_environment(self.redis.port, REDIS_USERNAME=user, **values)
            )
            for word in words:
                server.wait_for_text(word)
            self.assert_not_ready(server)
            self.redis.client.execute_command("ACL", "SETUSER", user, remedy)
            self.assert_ready(server)

    def test_57_wrong_host_name(self) -> None:
        """A Redis whose certificate is for another name is not used, and the log says why."""
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.redis.directory / "ca.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("redis.example.com").configure_cert(context)
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with (
                    contextlib.suppress(OSError),
                    context.wrap_socket(connection, server_side=True),
                ):
                    pass

        threading.Thread(target=accept, daemon=True).start()
        server = Server(
            self,
            realtime_environment(
                listener.getsockname()[1],
                REDIS_SSL="true",
                REDIS_SSL_CA_CERTS=str(self.redis.directory / "ca.pem"),
            ),
        )
        server.wait_for_text("no subscription to the realtime channel")
        self.assertIn("certificate", server.text())
        self.assert_not_ready(server)


def _forwarded(published: str) -> str:
    """Returns the frame of a message whose payload is published as Python's json writes it."""
    message = json.loads(published)
    if "payload" not in message:
        return json.dumps({"topic": message["topic"]}, separators=(",", ":"))
    return f'{{"topic":{json.dumps(message["topic"])},"payload":{json.dumps(message["payload"])}}}'
