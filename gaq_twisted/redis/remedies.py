"""Explains errors of Redis to operators, with the settings to change."""

from typing import NamedTuple

from twisted.internet.error import ConnectionAborted
from twisted.python.failure import Failure

from gaq_twisted.redis.errors import RedisError, RedisRefused, RedisReplied, RedisTooOld
from gaq_twisted.redis.tls import WrongHostName

_USERNAME_KEYS = {"password": "username", "sentinelPassword": "sentinelUsername"}
# The commands of a login; an error reply to one concerns every command that would follow.
_LOGIN = ("AUTH", "SELECT", "ROLE")
# The beginnings of error replies that are not about the key of the command.
_ABOUT_SERVER = (
    "LOADING",
    "BUSY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "NOAUTH",
    "WRONGPASS",
    "ERR max number of clients",
)


class Usage(NamedTuple):
    """The rights that a client needs on a server, and the remedies for its errors."""

    commands: tuple[str, ...]
    """The commands that its user needs, in the syntax of ACL SETUSER."""
    patterns: tuple[str, ...]
    """The keys and channels that its user needs, in the syntax of ACL SETUSER."""
    unknown_command: str
    """What is wrong if the server does not know a command."""
    wrong_type: str = ""
    """What to do if a key holds another type of value."""
    cluster: str = ""
    """What to do if the server is a node of a Redis Cluster without the key."""

    @property
    def acl_rule(self) -> str:
        """What the user needs, in the syntax of ACL SETUSER."""
        return " ".join(self.commands + self.patterns)


class Remedies(NamedTuple):
    """Explains the errors of one server."""

    section: str
    """The name of the settings section for the server."""
    username: str
    password_key: str
    """The key of the password in that section."""
    usage: Usage

    def error_reply(self, server: str, command: str, reply: str) -> RedisError:
        """Returns the exception for an error reply.

        Args:
            server: the name of the server.
            command: the name of the command.
            reply: the error, as the server wrote it.
        """
        error = self._explained(server, command, reply)
        if isinstance(error, RedisReplied):
            error.concerns_server = command in _LOGIN or reply.startswith(_ABOUT_SERVER)
            error.is_elsewhere = reply.startswith("MOVED")
        return error

    def _explained(self, server: str, command: str, reply: str) -> RedisError:
        text = f"{server} answered {command} with: {reply}"
        for beginnings, kind, remedy in self._known_replies():
            if reply.startswith(beginnings):
                return kind(text, f"{server}: {beginnings[0]}", remedy)
        return RedisReplied(text, f"{server}: {reply}")

    def _known_replies(self) -> tuple[tuple[tuple[str, ...], type[RedisError], str], ...]:
        """Returns how error replies begin, their exceptions, and their remedies."""
        usage, password = self.usage, f"{self.section}.{self.password_key}"
        wrong_login = ("WRONGPASS", "ERR invalid password")
        no_password = ("ERR AUTH", "ERR Client sent AUTH")
        no_database = ("ERR DB index", "ERR invalid DB index")
        return (
            (("NOPERM",), RedisRefused, f"the user {self.username} needs {usage.acl_rule}"),
            (("WRONGTYPE",), RedisRefused, usage.wrong_type),
            (("NOAUTH",), RedisReplied, f"set {password}"),
            (
                wrong_login,
                RedisReplied,
                f"correct {password} or {self.section}.{_USERNAME_KEYS[self.password_key]}",
            ),
            (no_password, RedisReplied, f"leave {password} empty: this Redis has no password"),
            (no_database, RedisReplied, f"set {self.section}.db to a database that exists"),
            (("MOVED", "CROSSSLOT"), RedisReplied, usage.cluster),
            (("ERR unknown command",), RedisTooOld, usage.unknown_command),
        )

    def lost_connection(
        self, reason: Failure | None, *, speaks_tls: bool, has_answered: bool
    ) -> str:
        """Returns why a connection was lost, with a hint if a setting may be wrong.

        Args:
            reason: what Twisted gave as the reason; None if there was no connection.
            speaks_tls: whether the connection uses TLS.
            has_answered: whether the server had sent anything.
        """
        if reason is None:
            return "it was not connected"
        if isinstance(reason.value, WrongHostName):
            return (
                f"{reason.value} (connect by a name in the certificate, or set"
                f" {self.section}.validateHostname to false)"
            )
        if isinstance(reason.value, ConnectionAborted):
            return "this server closed it"
        text = str(reason.value)
        for known, explanation in self._tls_faults():
            if known in text:
                return f"{known}: {explanation}"
        hint = ""
        if not speaks_tls and not has_answered:
            hint = f"; perhaps it expects TLS ({self.section}.ssl)"
        return f"{reason.getErrorMessage()}{hint}"

    def _tls_faults(self) -> tuple[tuple[str, str], ...]:
        """Returns what OpenSSL's errors contain, and what they mean."""
        section = self.section
        own_certificate = (
            "it requires a client certificate, or does not accept this one (set"
            f" {section}.sslCertfile)"
        )
        return (
            (
                "certificate verify failed",
                "its CA is not trusted here, or the certificate has expired (set"
                f" {section}.sslCaCerts to a PEM file with its CA; NODE_EXTRA_CA_CERTS is not"
                " read)",
            ),
            ("certificate required", own_certificate),
            ("bad certificate", own_certificate),
            ("unknown ca", own_certificate),
            ("handshake failure", own_certificate),
            ("protocol version", "it has no version of TLS in common with this client"),
            ("unsupported protocol", "it has no version of TLS in common with this client"),
            ("wrong version number", f"its answer is not TLS{self.no_tls_hint}"),
        )

    @property
    def no_tls_hint(self) -> str:
        """What to add to an error of a server that may not use TLS."""
        return f"; perhaps it does not speak TLS ({self.section}.ssl)"
