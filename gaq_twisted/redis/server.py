"""Locates Redis: at a host and port, at a unix socket, or through Sentinels."""

from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import (
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
    IReactorUNIX,
)

from gaq_twisted.config.sections import Redis
from gaq_twisted.redis.connection import Connection, Credentials
from gaq_twisted.redis.errors import RedisError
from gaq_twisted.redis.remedies import Remedies, Usage
from gaq_twisted.redis.session import ServerAddress
from gaq_twisted.redis.tls import ClientTls

# If a Sentinel takes longer, the next one is asked.
_SENTINEL_SECONDS = 1.0
_SENTINEL_USAGE = Usage(
    commands=("+sentinel|get-master-addr-by-name",),
    patterns=(),
    unknown_command="this is not a Sentinel",
)


class IClientReactor(IReactorPluggableNameResolver, IReactorTCP, IReactorTime, IReactorUNIX):
    """A reactor that can connect to all of these."""


class RedisServer:
    """The Redis server of a section of the settings; makes connections to it.

    Args:
        redis: the section.
        reactor: connects, and is the source of time.
        usage: the rights that the connections need, besides those for the login.
        section: the name of the section, for messages.

    Raises:
        ConfigError: if a file for TLS cannot be used.
    """

    def __init__(
        self, redis: Redis, reactor: IClientReactor, usage: Usage, *, section: str = "redis"
    ) -> None:
        self._settings = redis
        self._reactor = reactor
        self._section = section
        self._tls = self.read_certificates()
        self._credentials = Credentials(
            username=redis.username,
            password=redis.password,
            db=redis.db,
            must_be_master=bool(redis.sentinels),
        )
        self._remedies = Remedies(
            section, redis.username, "password", _with_login_commands(usage, redis)
        )
        # The one that answered last comes first.
        self._sentinels = list(redis.sentinels)

    def read_certificates(self) -> ClientTls | None:
        """Returns the files for TLS as they are now; None if there is no TLS.

        Raises:
            ConfigError: if a file cannot be used.
        """
        redis = self._settings
        return ClientTls(redis, self._section) if redis.ssl or redis.sentinel_ssl else None

    def renew(self, certificates: ClientTls | None) -> None:
        """Uses these files for connections that are made from now on."""
        self._tls = certificates

    def connection(self) -> Connection:
        """Returns a new connection, not yet opened."""
        return Connection(self._locate, self._credentials, self._remedies, self._reactor)

    async def _locate(self) -> ServerAddress:
        redis = self._settings
        if self._sentinels:
            return await self._locate_master()
        if redis.unix_socket_path:
            endpoint = UNIXClientEndpoint(self._reactor, redis.unix_socket_path)
            return ServerAddress(f"Redis at {redis.unix_socket_path}", endpoint)
        return self._address("Redis", redis.host, redis.port, redis.ssl)

    def _address(self, kind: str, host: str, port: int, ssl: bool) -> ServerAddress:
        endpoint = HostnameEndpoint(self._reactor, host, port)
        name = f"{kind} at {host_and_port(host, port)}"
        if ssl and self._tls is not None:
            return ServerAddress(name, self._tls.wrap(endpoint, host), speaks_tls=True)
        return ServerAddress(name, endpoint)

    async def _locate_master(self) -> ServerAddress:
        """Asks one Sentinel after another, as Redis's guide for Sentinel clients requires."""
        redis, master = self._settings, self._settings.sentinel_master
        faults: list[str] = []
        for sentinel in list(self._sentinels):
            address = self._address("Sentinel", sentinel.host, sentinel.port, redis.sentinel_ssl)
            try:
                found = await self._ask_sentinel(address, master)
            except RedisError as error:
                faults.append(str(error))
                continue
            if found is None:
                faults.append(f"{address.name} does not know the master {master}")
                continue
            self._sentinels.remove(sentinel)
            self._sentinels.insert(0, sentinel)
            host, port = found
            return self._address(f"Redis master {master}", host, port, redis.ssl)
        raise RedisError("; ".join(faults))

    async def _ask_sentinel(self, address: ServerAddress, master: str) -> tuple[str, int] | None:
        async def locate() -> ServerAddress:
            return address

        username = self._settings.sentinel_username
        connection = Connection(
            locate,
            Credentials(username, self._settings.sentinel_password, db=0, must_be_master=False),
            Remedies(self._section, username, "sentinelPassword", _SENTINEL_USAGE),
            self._reactor,
            connect_seconds=_SENTINEL_SECONDS,
        )
        question = ("SENTINEL", "get-master-addr-by-name", master)
        try:
            reply = await connection.ask(*question, within_seconds=_SENTINEL_SECONDS)
        finally:
            connection.close()
        return (reply[0].decode(), int(reply[1])) if reply else None


def _with_login_commands(usage: Usage, redis: Redis) -> Usage:
    commands = list(usage.commands)
    if redis.db:
        commands.append("+select")
    if redis.sentinels:
        commands.append("+role")
    return usage._replace(commands=tuple(commands))


def host_and_port(host: str, port: int) -> str:
    """Returns a host and a port as URLs have them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
