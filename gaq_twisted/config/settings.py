"""All settings: names, defaults, allowed values and meanings.

Keys and defaults are those of Superset's Node.js servers where they have them.
"""

from typing import Annotated

from msgspec import Struct

from gaq_twisted.config.forms import SpareSecret
from gaq_twisted.config.sections import Redis, Statsd
from gaq_twisted.config.types import (
    Algorithms,
    AnyText,
    BasePath,
    Bytes,
    Count,
    Endpoints,
    Flag,
    JwtSecret,
    LogFormat,
    LogLevelName,
    Milliseconds,
    MillisecondsOrZero,
    Networks,
    Number,
    Origins,
    Port,
    PreviousJwtSecret,
    ProtocolName,
    RealtimeJwtSecret,
    Text,
    about,
    live,
    whole_number,
)


class Settings(Struct, frozen=True, kw_only=True, rename="camel"):
    """All settings."""

    port: Annotated[Port, about("the one port for everything, unless `listen` is set")] = 8080
    listen: Annotated[
        Endpoints,
        about(
            "where to listen, as Twisted's endpoint strings, such as"
            " `ssl:8443:privateKey=key.pem:certKey=chain.pem`, `unix:/run/gaq.sock`,"
            " `systemd:domain=INET:index=0` or `haproxy:tcp:8080`; if empty, `tcp:` and the port."
            " Certificates are read again when settings are"
        ),
    ] = ()
    internal_listen: Annotated[
        Endpoints,
        about(
            "where `/ready`, `/metrics` and `/status` are served, such as"
            " `tcp:9090:interface=127.0.0.1`; if empty, `/ready` and `/metrics` are served with"
            " all else, and `/status` is not"
        ),
    ] = ()
    reuse_port: Annotated[
        Flag,
        about("let several processes of this machine listen on the same TCP ports, and share"),
    ] = False
    base_path: Annotated[
        BasePath,
        about("what the paths of all HTTP resources begin with; an upgrade is taken on any path"),
    ] = ""
    log_level: Annotated[LogLevelName, live("the least level that is logged")] = "info"
    log_format: Annotated[
        LogFormat, about("lines of text, or a JSON object a line (not with syslog)")
    ] = "text"
    log_to_file: Annotated[
        Flag,
        about("log to `logFilename`, unless twistd's `--logfile` or `--syslog` says otherwise"),
    ] = False
    log_filename: Annotated[Text, about("the file for `logToFile`")] = "app.log"
    statsd: Statsd = Statsd()
    protocol: Annotated[
        ProtocolName,
        about(
            "which Supersets are served: `streams` is 1.2 to 6.1, `realtime` is 7, `both` is all"
            " of them, at once. If not set, it is `realtime` where `realtimeChannelPrefix` is"
            " set, even to an empty text in the file, or where `jwtCookieName` is"
            " `superset-ws-token`, as in a file of Superset 7's Node.js server; otherwise"
            " `streams`. The start is logged with the protocol and the reason"
        ),
    ] = "streams"
    redis: Redis = Redis()
    redis_stream_prefix: Annotated[
        AnyText, about("Superset's `GLOBAL_ASYNC_QUERIES_REDIS_STREAM_PREFIX`")
    ] = "async-events-"
    redis_stream_read_count: Annotated[
        Count,
        about(
            "how many entries a read that waits for new ones returns at most; a backlog is read"
            " 1,000 at a time, or so many if that is more"
        ),
    ] = 100
    redis_stream_read_block_ms: Annotated[
        Milliseconds, about("how long a read waits for an entry")
    ] = 5000
    jwt_secret: Annotated[
        JwtSecret,
        live(
            "Superset's `GLOBAL_ASYNC_QUERIES_JWT_SECRET`, or with `protocol` realtime Superset"
            " 7's `WEBSOCKET_JWT_SECRET`; 32 bytes or more, required; a PEM key (the public one"
            " will do) where `jwtAlgorithms` are not HS…"
        ),
    ]
    previous_jwt_secret: Annotated[
        PreviousJwtSecret,
        live("tokens signed with this are accepted too, while the secret is being changed"),
    ] = SpareSecret()
    jwt_algorithms: Annotated[
        Algorithms,
        live(
            "which algorithms are accepted, all of one kind: HS…, or RS… and PS…, or ES…, or EdDSA"
        ),
    ] = ("HS256",)
    jwt_cookie_name: Annotated[
        Text,
        live(
            "the cookie that holds the token: Superset's `GLOBAL_ASYNC_QUERIES_JWT_COOKIE_NAME`,"
            " or with `protocol` realtime Superset 7's `WEBSOCKET_JWT_COOKIE_NAME`"
        ),
    ] = "async-token"
    jwt_channel_id_key: Annotated[
        Text, live("the claim that names the channel, of Superset 1.2 to 6.1")
    ] = "channel"
    realtime_channel_prefix: Annotated[
        AnyText,
        about(
            "Superset 7's `REALTIME_CHANNEL_PREFIX`, with its separator, such as `tenant-a:`; the"
            " channel is this and `realtime`"
        ),
    ] = ""
    realtime_jwt_secret: Annotated[
        RealtimeJwtSecret,
        live("Superset 7's `WEBSOCKET_JWT_SECRET`; if empty, it is `jwtSecret`"),
    ] = SpareSecret()
    previous_realtime_jwt_secret: Annotated[
        PreviousJwtSecret,
        live(
            "tokens of Superset 7 signed with this are accepted too, while the secret is being"
            " changed; if neither this nor `realtimeJwtSecret` is set, it is `previousJwtSecret`"
        ),
    ] = SpareSecret()
    realtime_jwt_cookie_name: Annotated[
        Text,
        live(
            "Superset 7's `WEBSOCKET_JWT_COOKIE_NAME`; with `protocol` realtime it is"
            " `jwtCookieName`, if not set"
        ),
    ] = "superset-ws-token"
    realtime_redis: Redis = Redis()
    allowed_origins: Annotated[
        Origins,
        live(
            "the pages that may connect: origins, `https://*.example.com` for all below a domain,"
            " `same-host` for pages of the host that is connected to, `*` for any; if empty, any,"
            " with a warning"
        ),
    ] = ()
    trusted_proxies: Annotated[
        Networks,
        live(
            "the proxies whose `Forwarded` and `X-Forwarded-For` headers tell the log where a"
            " client is"
        ),
    ] = ()
    max_total_connections: Annotated[
        Number, live("how many sockets may be open; more are closed with 1013; 0 for any number")
    ] = 0
    max_connections_per_channel: Annotated[
        Number, live("how many of them may be of one channel; 0 for any number")
    ] = 0
    max_socket_buffer_bytes: Annotated[
        int,
        whole_number(0, 2**40),
        live(
            "a client that does not read is dropped when more than this waits for it; 0 for no"
            " limit; less than 65,536 counts as 65,536"
        ),
    ] = 2**20
    max_inbound_message_bytes: Annotated[
        Bytes, live("a client that sends a larger message is closed with 1009")
    ] = 4096
    max_inbound_bytes_per_second: Annotated[
        Bytes, live("a client that sends more is closed with 1008")
    ] = 16_384
    max_request_header_bytes: Annotated[
        Bytes, live("a request with longer headers is refused with 431")
    ] = 16_384
    request_timeout_ms: Annotated[
        Milliseconds, live("a connection on which no whole request comes within this is closed")
    ] = 10_000
    socket_response_timeout_ms: Annotated[
        Milliseconds,
        live(
            "a socket that answers no ping for so long, rounded up to whole intervals, is ended;"
            " more than the interval"
        ),
    ] = 60_000
    ping_sockets_interval_ms: Annotated[Milliseconds, live("how often each socket is pinged")] = (
        20_000
    )
    gc_channels_interval_ms: Annotated[
        Milliseconds,
        live("how often the server looks for sockets and channels that should not be there"),
    ] = 120_000
    drain_delay_ms: Annotated[
        MillisecondsOrZero,
        live(
            "after SIGTERM, how long to go on as before, but not ready, so that load balancers"
            " notice"
        ),
    ] = 0
    drain_ms: Annotated[
        MillisecondsOrZero, live("over how long sockets are then closed, evenly, with 1001")
    ] = 5000
    initial_replay_ms: Annotated[
        MillisecondsOrZero,
        live(
            "a browser without `last_id` gets its channel's events of this last time; 0 for none."
            " It compares Redis's clock with this machine's."
        ),
    ] = 10_000
    tail_max_events: Annotated[Count, about("how many events are kept in memory")] = 20_000
    tail_max_bytes: Annotated[
        Bytes,
        about("how much memory these may take; an event takes its data and 223 to 380 bytes more"),
    ] = 32 * 2**20
