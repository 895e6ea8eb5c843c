"""Where Redis is: at a host and port, behind a unix socket, or wherever the Sentinels say."""

from collections.abc import Sequence
from typing import Any

from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint

from gaq_twisted.config.settings import Settings
from gaq_twisted.redis.connection import Connection, Credentials, RedisError, ServerAddress
from gaq_twisted.redis.tls import ClientTls

READING_COMMANDS = ("+xread", "+xrange", "+xrevrange", "+xinfo")
"""What a user that only reads the streams must be allowed, as ACL SETUSER takes it."""
# A Sentinel that is slower is passed over for the next one.
_SENTINEL_SECONDS = 1.0


class RedisServer:
    """The Redis server that the settings name; makes connections to it."""

    def __init__(
        self, settings: Settings, reactor: Any, *, commands: Sequence[str] = READING_COMMANDS
    ) -> None:
        """Read what is needed; nothing is connected yet.

        Args:
            settings: say where it is.
            reactor: provides IReactorTime and what client endpoints need.
            commands: what the user must be allowed, for messages.

        Raises:
            ConfigError: if a file for TLS cannot be used.
        """
        redis = settings.redis
        self._settings = redis
        self._reactor = reactor
        self._tls = ClientTls(redis) if redis.ssl or redis.sentinel_ssl else None
        self._login = Credentials(
            username=redis.username,
            password=redis.password,
            db=redis.db,
            must_be_master=bool(redis.sentinels),
            acl_rule=_acl_rule(settings, commands),
            password_key="redis.password",
            without_command="Redis 5.0 or newer is needed, with this command neither renamed"
            " nor disabled",
        )
        # The one that answered last comes first.
        self._sentinels = list(redis.sentinels)

    def connection(self) -> Connection:
        """Return a new connection, not yet opened."""
        return Connection(self._locate, self._login, self._reactor)

    async def _locate(self) -> ServerAddress:
        redis = self._settings
        if self._sentinels:
            return await self._locate_master()
        if redis.unix_socket_path:
            endpoint = UNIXClientEndpoint(self._reactor, redis.unix_socket_path)
            return ServerAddress(f"Redis at {redis.unix_socket_path}", endpoint)
        return self._place("Redis", redis.host, redis.port, redis.ssl)

    def _place(self, kind: str, host: str, port: int, ssl: bool) -> ServerAddress:
        endpoint = HostnameEndpoint(self._reactor, host, port)
        name = f"{kind} at {_shown_address(host, port)}"
        if ssl and self._tls is not None:
            return ServerAddress(name, self._tls.wrap(endpoint, host), speaks_tls=True)
        return ServerAddress(name, endpoint)

    async def _locate_master(self) -> ServerAddress:
        """Ask one Sentinel after the other, as Redis's guide for Sentinel clients wants it."""
        master = self._settings.sentinel_master
        faults: list[str] = []
        for sentinel in list(self._sentinels):
            place = self._place(
                "Sentinel", sentinel.host, sentinel.port, self._settings.sentinel_ssl
            )
            try:
                address = await self._ask_sentinel(place, master)
            except RedisError as error:
                faults.append(str(error))
                continue
            if address is None:
                faults.append(f"{place.name} knows no master {master}")
                continue
            self._sentinels.remove(sentinel)
            self._sentinels.insert(0, sentinel)
            host, port = address
            return self._place(f"Redis master {master}", host, port, self._settings.ssl)
        raise RedisError("; ".join(faults))

    async def _ask_sentinel(self, place: ServerAddress, master: str) -> tuple[str, int] | None:
        async def there() -> ServerAddress:
            return place

        login = Credentials(
            username="default",
            password=self._settings.sentinel_password,
            db=0,
            must_be_master=False,
            acl_rule="+sentinel|get-master-addr-by-name",
            password_key="redis.sentinelPassword",
            without_command="this is no Sentinel",
        )
        connection = Connection(there, login, self._reactor, connect_seconds=_SENTINEL_SECONDS)
        try:
            reply = await connection.ask(
                *("SENTINEL", "get-master-addr-by-name", master), within_seconds=_SENTINEL_SECONDS
            )
        finally:
            connection.close()
        return (reply[0].decode(), int(reply[1])) if reply else None


def _acl_rule(settings: Settings, commands: Sequence[str]) -> str:
    """Return what the user must be allowed, as ACL SETUSER takes it."""
    redis = settings.redis
    rules = list(commands)
    if redis.db:
        rules.append("+select")
    if redis.sentinels:
        rules.append("+role")
    return f"{' '.join(rules)} ~{settings.redis_stream_prefix}*"


def _shown_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
