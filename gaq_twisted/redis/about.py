"""Describes the Redis server of a section of the settings, for the status page."""

from collections.abc import Mapping

from gaq_twisted.config.sections import Redis
from gaq_twisted.redis.errors import RedisError
from gaq_twisted.redis.protocol import as_dict
from gaq_twisted.redis.server import RedisServer, host_and_port

_NAMES = {"redis": "Redis", "valkey": "Valkey"}
_MOST_CHARACTERS = 40


def database(redis: Redis) -> str:
    """Returns the address of a database, without its credentials."""
    if redis.sentinels:
        place = f"master {redis.sentinel_master}"
    else:
        place = redis.unix_socket_path or host_and_port(redis.host, redis.port)
    return _with_number(place, redis.db)


class RedisAbout:
    """Asks a server for its name and version, on a short-lived connection.

    HELLO is the only command with the version that every user may send, whatever the ACL says.

    Args:
        server: the server.
        redis: the section of the settings with its address.
        name: the prefix of the facts' names.
    """

    def __init__(self, server: RedisServer, redis: Redis, name: str) -> None:
        self._server = server
        self._redis = redis
        self._name = name

    async def ask(self) -> Mapping[str, str]:
        """Returns the server's address and its version, if known.

        It is no error if the server cannot be reached or does not know the command.
        """
        connection = self._server.connection()
        facts: dict[str, str] = {}
        try:
            reply = as_dict(await connection.ask("HELLO"))
            facts[f"{self._name}Version"] = _version(reply)
        except (RedisError, KeyError, TypeError, ValueError):
            # Other servers with Redis's protocol may send any reply.
            pass
        finally:
            if self._redis.sentinels and connection.server_name:
                place = connection.server_name.removeprefix("Redis master ")
                facts[f"{self._name}Server"] = _with_number(place, self._redis.db)
            connection.close()
        return facts


def _version(reply: Mapping[bytes, bytes]) -> str:
    server, version = (reply[key].decode("ascii") for key in (b"server", b"version"))
    return f"{_NAMES.get(server, server)} {version}"[:_MOST_CHARACTERS]


def _with_number(place: str, db: int) -> str:
    return f"{place}, db {db}"
