"""The remedies with which errors of Redis are reported, and the keys that they name."""

from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.redis.errors import RedisRefused, RedisReplied, RedisTooOld
from gaq_twisted.redis.remedies import Remedies, Usage
from gaq_twisted.redis.tls import WrongHostName

USAGE = Usage(
    commands=("+subscribe", "+ping"),
    patterns=("&news",),
    unknown_command="it is too old",
    wrong_type="delete the key",
    cluster="ask another node",
)
REMEDIES = Remedies("otherRedis", "gaq", "password", USAGE)
LOST = Failure(ConnectionLost())


class ErrorReplyTests(SynchronousTestCase):
    """Error replies."""

    def test_known_replies(self) -> None:
        """Each reply has its exception, and a remedy that names the right settings and rights."""
        for reply, kind, state, remedy in (
            ("NOPERM no", RedisRefused, "NOPERM", "the user gaq needs +subscribe +ping &news"),
            ("WRONGTYPE Operation", RedisRefused, "WRONGTYPE", "delete the key"),
            ("NOAUTH Authentication", RedisReplied, "NOAUTH", "set otherRedis.password"),
            *(
                (
                    text,
                    RedisReplied,
                    "WRONGPASS",
                    "correct otherRedis.password or otherRedis.username",
                )
                for text in ("WRONGPASS invalid", "ERR invalid password")
            ),
            *(
                (
                    text,
                    RedisReplied,
                    "ERR AUTH",
                    "leave otherRedis.password empty: this Redis has no password",
                )
                for text in ("ERR AUTH <password> called", "ERR Client sent AUTH, but")
            ),
            (
                "ERR DB index is out of range",
                RedisReplied,
                "ERR DB index",
                "set otherRedis.db to a database that exists",
            ),
            ("MOVED 1 127.0.0.1:7", RedisReplied, "MOVED", "ask another node"),
            ("CROSSSLOT Keys", RedisReplied, "MOVED", "ask another node"),
            ("ERR unknown command `X`", RedisTooOld, "ERR unknown command", "it is too old"),
        ):
            error = REMEDIES.error_reply("Redis at x:1", "GET", reply)
            self.assertIs(type(error), kind, reply)
            self.assertEqual(error.fact, f"Redis at x:1 answered GET with: {reply}")
            self.assertEqual((error.state, error.remedy), (f"Redis at x:1: {state}", remedy))
            self.assertEqual(str(error), f"{error.fact} ({remedy})")

    def test_another_reply(self) -> None:
        """Any other reply is reported as it is, without a remedy."""
        error = REMEDIES.error_reply("Redis at x:1", "GET", "LOADING the dataset")
        self.assertIs(type(error), RedisReplied)
        self.assertEqual(str(error), "Redis at x:1 answered GET with: LOADING the dataset")
        self.assertEqual(error.state, "Redis at x:1: LOADING the dataset")

    def test_elsewhere(self) -> None:
        """Only a reply that names another node says that the key is elsewhere."""
        for reply, is_elsewhere in (
            ("MOVED 1 127.0.0.1:7", True),
            ("ASK 1 127.0.0.1:7", False),
            ("CROSSSLOT Keys", False),
        ):
            error = REMEDIES.error_reply("Redis at x:1", "XREAD", reply)
            assert isinstance(error, RedisReplied)
            self.assertEqual(error.is_elsewhere, is_elsewhere, reply)

    def test_without_a_remedy(self) -> None:
        """If there is no remedy for a reply, none is added."""
        remedies = Remedies("redis", "gaq", "password", Usage(("+get",), ("~a",), "too old"))
        for reply in ("WRONGTYPE", "MOVED"):
            self.assertEqual(remedies.error_reply("Redis", "GET", reply).remedy, "")


class LostConnectionTests(SynchronousTestCase):
    """Connections that were lost."""

    def reason(
        self, reason: Failure | None, *, speaks_tls: bool = True, has_answered: bool = False
    ) -> str:
        """Returns the explanation."""
        return REMEDIES.lost_connection(reason, speaks_tls=speaks_tls, has_answered=has_answered)

    def test_not_connected(self) -> None:
        """There may have been no connection."""
        self.assertEqual(self.reason(None), "it was not connected")

    def test_no_hint(self) -> None:
        """A connection that was good once, or that used TLS, needs no hint."""
        text = LOST.getErrorMessage()
        self.assertEqual(self.reason(LOST), text)
        self.assertEqual(self.reason(LOST, speaks_tls=False, has_answered=True), text)

    def test_hints(self) -> None:
        """The setting that may be wrong is named with its section."""
        self.assertIn(
            "; perhaps it expects TLS (otherRedis.ssl)", self.reason(LOST, speaks_tls=False)
        )
        garbage = Failure(SSL.Error([("SSL routines", "", "wrong version number")]))
        self.assertIn("; perhaps it does not speak TLS (otherRedis.ssl)", self.reason(garbage))
        self.assertIn(
            "or set otherRedis.validateHostname to false", self.reason(Failure(WrongHostName()))
        )

    def test_given_up(self) -> None:
        """A connection that this side closed gives no misleading hint."""
        reason = self.reason(Failure(ConnectionAborted()), speaks_tls=False)
        self.assertEqual(reason, "this server closed it")

    def test_tls(self) -> None:
        """Faults of TLS become sentences that name the setting."""
        for text, words in (
            ("certificate verify failed", "set otherRedis.sslCaCerts"),
            ("tlsv13 alert certificate required", "set otherRedis.sslCertfile"),
            ("tlsv1 alert protocol version", "version of TLS"),
        ):
            reason = self.reason(Failure(SSL.Error([("SSL routines", "", text)])))
            self.assertIn(words, reason)
            self.assertNotIn("SSL routines", reason)
