"""Which Redis server a section of the settings leads to, in the words of the status page."""

from collections.abc import Mapping

from gaq_twisted.config.sections import Redis
from gaq_twisted.redis.errors import RedisError
from gaq_twisted.redis.protocol import as_dict
from gaq_twisted.redis.server import RedisServer, host_and_port

_NAMES = {"redis": "Redis", "valkey": "Valkey"}
_MOST_CHARACTERS = 40


def database(redis: Redis) -> str:
    """Returns where a database is, without what is needed to log in to it."""
    if redis.sentinels:
        place = f"master {redis.sentinel_master}"
    else:
        place = redis.unix_socket_path or host_and_port(redis.host, redis.port)
    return _with_number(place, redis.db)


class RedisAbout:
    """Asks a server which one it is, on a connection that is closed again.

    HELLO is the one command with the version that every user may send, whatever the ACL says.

    Args:
        server: the server.
        redis: the section that leads to it.
        name: what the names of the facts begin with.
    """

    def __init__(self, server: RedisServer, redis: Redis, name: str) -> None:
        self._server = server
        self._redis = redis
        self._name = name

    async def ask(self) -> Mapping[str, str]:
        """Returns where the server is and its version, as far as is known.

        A server that cannot be reached, or does not know the command, is not an error.
        """
        connection = self._server.connection()
        facts: dict[str, str] = {}
        try:
            reply = as_dict(await connection.ask("HELLO"))
            facts[f"{self._name}Version"] = _version(reply)
        except (RedisError, KeyError, TypeError, ValueError):
            # What is no Redis but speaks its protocol may reply anything.
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
