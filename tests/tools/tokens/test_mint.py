"""New cookies."""

import json
import shlex

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.access.principals import PrincipalAuthenticator
from gaq_twisted.access.tokens import Authenticator
from gaq_twisted.config.errors import ConfigError
from gaq_twisted.config.load import Loaded, load
from gaq_twisted.realtime.envelope import parse
from gaq_twisted.streams.events import parse_event
from gaq_twisted.tools.tokens.mint import NewCookie, Wish, new_cookie
from tests.support.samples import SECRET

NOW = 1_900_000_000.5


def loaded(**environ: str) -> Loaded:
    """Returns settings with the tests' secret and those variables."""
    return load(None, {"JWT_SECRET": SECRET, **environ})


def made(wish: Wish, **environ: str) -> NewCookie:
    """Returns a new cookie for these settings."""
    return new_cookie(loaded(**environ), wish, NOW)


class MintTests(SynchronousTestCase):
    """Cookies, and the commands to use them with."""

    def test_streams(self) -> None:
        """The server finds in it the channel and the time that were asked for."""
        cookie = made(Wish(channel="a b", expires_seconds=60), REDIS_STREAM_PREFIX="x-")
        identity = Authenticator(loaded().settings).identify(cookie.header)
        self.assertEqual(identity, ("a b", int(NOW) + 60))
        *command, data = shlex.split(cookie.publish)
        self.assertEqual(command[-4:], ["XADD", "x-full", "*", "data"])
        self.assertEqual(parse_event(b"1-0", data.encode()).channel, "a b")

    def test_realtime(self) -> None:
        """The server finds in it the user, and the message is for that user."""
        environ = {"PROTOCOL": "realtime", "REALTIME_CHANNEL_PREFIX": "a:"}
        cookie = made(Wish(user="5"), **environ)
        principal = PrincipalAuthenticator(loaded(**environ).settings, lambda: NOW).identify(
            cookie.header
        )
        self.assertEqual(principal, ("user:5", int(NOW) + 3600))
        *command, data = shlex.split(cookie.publish)
        self.assertEqual(command[-2:], ["PUBLISH", "a:realtime"])
        self.assertEqual(parse(data.encode()).routes, ("user:5",))
        self.assertIn("ws://127.0.0.1:8080/?tab_id=1", cookie.connect[0])

    def test_new_names(self) -> None:
        """Each cookie has a channel or user of its own, unless one is named."""
        for environ in ({}, {"PROTOCOL": "realtime"}):
            first, second = (made(Wish(), **environ).whom for _ in range(2))
            self.assertNotEqual(first, second)

    def test_commands(self) -> None:
        """They can be pasted into a shell, and show neither secret nor password."""
        url = "ws://x/?a=b&c='d'"
        place = ["-h", "127.0.0.1", "-p", "6379", "-n"]
        for environ, client in (
            ({}, [*place, "0"]),
            ({"REDIS_SSL": "true", "REDIS_DB": "3"}, [*place, "3", "--tls"]),
            ({"REDIS_UNIX_SOCKET_PATH": "/a b"}, ["-s", "/a b", "-n", "0"]),
            ({"REDIS_SENTINELS": "s:1"}, ["-h", "MASTER", "-n", "0"]),
            ({"REDIS_PASSWORD": "pass word"}, [*place, "0", "--user", "default", "--askpass"]),
        ):
            cookie = made(Wish(url=url), **environ)
            websocat, python = cookie.connect
            self.assertEqual(
                shlex.split(websocat), ["websocat", url, f"-H=Cookie: {cookie.header}"]
            )
            program, _, code = shlex.split(python)
            self.assertEqual(program, "python3")
            compile(code, "python", "exec")
            words = shlex.split(cookie.publish)
            self.assertEqual(words[: words.index("XADD")], ["redis-cli", *client])
            for text in (*cookie.connect, cookie.publish):
                self.assertNotIn(SECRET, text)
                self.assertNotIn("pass word", text)

    def test_url(self) -> None:
        """The URL follows the settings as far as these tell it."""
        self.assertIn("ws://127.0.0.1:9999/", made(Wish(), PORT="9999").connect[0])
        realtime = made(Wish(url="wss://x/?a=b"), PROTOCOL="realtime")
        self.assertIn("'wss://x/?a=b&tab_id=1'", realtime.connect[0])
        self.assertIn("ws://HOST:PORT/", made(Wish(), LISTEN="tcp:81").connect[0])

    def test_impossible(self) -> None:
        """What the server would reject, or does not serve, is not made."""
        for wish, environ, reason in (
            (Wish(channel=""), {}, "the server would reject such a token: no channel"),
            (Wish(user="a:b"), {"PROTOCOL": "realtime"}, "names no user or guest"),
            (Wish(user="5"), {}, "--user is only for the protocol realtime"),
            (Wish("streams"), {"PROTOCOL": "realtime"}, "serve only the protocol realtime"),
            (Wish(), {"PROTOCOL": "both"}, "choose one with --protocol"),
        ):
            error = self.assertRaises(ConfigError, made, wish, **environ)
            self.assertIn(reason, " ".join(error.faults))

    def test_both(self) -> None:
        """Where both protocols are served, each can be chosen."""
        for protocol, name in (("streams", "async-token"), ("realtime", "superset-ws-token")):
            cookie = made(Wish(protocol), PROTOCOL="both")
            self.assertTrue(cookie.header.startswith(f"{name}="))


class DocumentTests(SynchronousTestCase):
    """What is published."""

    def test_event(self) -> None:
        """It is an event as Superset writes it, for pages that read all its keys."""
        event = json.loads(shlex.split(made(Wish(channel="c")).publish)[-1])
        self.assertEqual(
            event.keys(),
            {"channel_id", "job_id", "user_id", "status", "errors", "result_url"},
        )
