"""The settings of the servers that are spoken to: StatsD and Redis."""

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
            "where metrics go, by UDP or to a unix datagram socket; if not set, `DD_AGENT_HOST` of"
            " the environment"
        ),
    ] = StatsdHost("127.0.0.1")
    port: Annotated[
        Port,
        about("where metrics go, by UDP; if not set, `DD_DOGSTATSD_PORT` of the environment"),
    ] = 8125
    global_tags: Annotated[
        Tags,
        about(
            "tags of every metric, such as `env:prod`; `DD_ENV`, `DD_SERVICE`, `DD_VERSION` and"
            " `DD_ENTITY_ID` of the environment are added"
        ),
    ] = ()


class Redis(Struct, frozen=True, kw_only=True, rename="camel"):
    """The Redis server that events come from."""

    url: Annotated[
        Url,
        about(
            "a URL, as providers hand it out, for the host, port, user, password, database and TLS"
            " in one, or `unix:///path`; the parts that it has are not to be set beside it"
        ),
    ] = RedisUrl()
    host: Annotated[Host, about("where Redis (5.0 or newer) or Valkey is")] = HostName("127.0.0.1")
    port: Annotated[Port, about("where Redis (5.0 or newer) or Valkey is")] = 6379
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
            "with TLS, the certificate must be for the host name or IP address that was asked"
            " for; if false, it must still be of a trusted CA"
        ),
    ] = True
    ssl_ca_certs: Annotated[
        File,
        about(
            "a PEM file with the CAs to trust; if empty, the system's CAs (or those in the file"
            " that `SSL_CERT_FILE` names)"
        ),
    ] = FilePath()
    ssl_certfile: Annotated[
        File, about("a PEM file with the client's certificate, with its chain")
    ] = FilePath()
    ssl_keyfile: Annotated[
        File, about("a PEM file with the client's key, if that is in another file")
    ] = FilePath()
    sentinels: Annotated[
        Sentinels,
        about(
            "ask these Sentinels, `host:port` each, where the master is, instead of `redis.host`"
            " and `redis.port`"
        ),
    ] = ()
    sentinel_master: Annotated[Text, about("the master's name")] = "mymaster"
    sentinel_username: Annotated[
        AnyText, about("the user to log in to the Sentinels as (Redis 6.2 or newer)")
    ] = "default"
    sentinel_password: Annotated[Password, about("the Sentinels' password")] = Secret()
    sentinel_ssl: Annotated[
        Flag, about("use TLS to the Sentinels, with the files of `redis.ssl…`")
    ] = False
