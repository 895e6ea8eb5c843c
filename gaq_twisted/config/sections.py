"""The settings for the connections to StatsD and Redis."""

from typing import Annotated

from msgspec import Struct

from gaq_twisted.config.forms import FilePath, HostName, Secret, StatsdHost
from gaq_twisted.config.redis_url import RedisUrl
from gaq_twisted.config.types import (
    AnyText,
    File,
    Flag,
    Host,
    MetricsHost,
    Number,
    Password,
    Port,
    Sentinels,
    SocketPath,
    Tags,
    Text,
    Url,
    about,
)


class Statsd(Struct, frozen=True, kw_only=True, rename="camel"):
    """The StatsD server that receives metrics."""

    enabled: Annotated[
        Flag, about("send metrics to StatsD; if false, no UDP port is opened for that")
    ] = True
    host: Annotated[
        MetricsHost,
        about(
            "the StatsD host, for metrics over UDP, or a unix datagram socket; if not set,"
            " `DD_AGENT_HOST` in the environment is used"
        ),
    ] = StatsdHost("127.0.0.1")
    port: Annotated[
        Port,
        about("the StatsD port; if not set, `DD_DOGSTATSD_PORT` in the environment is used"),
    ] = 8125
    global_tags: Annotated[
        Tags,
        about(
            "tags for every metric, such as `env:prod`; `DD_ENV`, `DD_SERVICE`, `DD_VERSION` and"
            " `DD_ENTITY_ID` in the environment add more"
        ),
    ] = ()


class Redis(Struct, frozen=True, kw_only=True, rename="camel"):
    """The Redis server that events come from."""

    url: Annotated[
        Url,
        about(
            "a URL that sets host, port, user, password, database and TLS at once, or"
            " `unix:///path`; do not also set its parts separately"
        ),
    ] = RedisUrl()
    host: Annotated[Host, about("the host of Redis (5.0 or newer) or Valkey")] = HostName(
        "127.0.0.1"
    )
    port: Annotated[Port, about("the port of Redis or Valkey")] = 6379
    username: Annotated[AnyText, about("the user to log in to Redis as")] = "default"
    password: Annotated[Password, about("that user's password; empty for none")] = Secret()
    db: Annotated[Number, about("the database number")] = 0
    unix_socket_path: Annotated[
        SocketPath, about("connect to this socket instead of `redis.host` and `redis.port`")
    ] = ""
    ssl: Annotated[Flag, about("use TLS")] = False
    validate_hostname: Annotated[
        Flag,
        about(
            "with TLS, require a certificate for the host name or IP address that is connected"
            " to; if false, any certificate from a trusted CA is accepted"
        ),
    ] = True
    ssl_ca_certs: Annotated[
        File,
        about(
            "a PEM file with the CAs to trust; if empty, the system's CAs (or those in the file"
            " named by `SSL_CERT_FILE`)"
        ),
    ] = FilePath()
    ssl_certfile: Annotated[
        File, about("a PEM file with the client's certificate and its chain")
    ] = FilePath()
    ssl_keyfile: Annotated[
        File, about("a PEM file with the client's key, if it is in a separate file")
    ] = FilePath()
    sentinels: Annotated[
        Sentinels,
        about(
            "the Sentinels to ask for the master's address, each as `host:port`; used instead of"
            " `redis.host` and `redis.port`"
        ),
    ] = ()
    sentinel_master: Annotated[Text, about("the master's name")] = "mymaster"
    sentinel_username: Annotated[
        AnyText, about("the user to log in to the Sentinels as (Redis 6.2 or newer)")
    ] = "default"
    sentinel_password: Annotated[Password, about("the Sentinels' password")] = Secret()
    sentinel_ssl: Annotated[
        Flag, about("use TLS for connections to the Sentinels, with the files of `redis.ssl…`")
    ] = False
