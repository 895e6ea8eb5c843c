"""All settings: names, defaults, allowed values and meanings.

Keys and defaults match those of Superset's Node.js servers, where these have them.
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

    port: Annotated[Port, about("the port to listen on, unless `listen` is set")] = 8080
    listen: Annotated[
        Endpoints,
        about(
            "the endpoints to listen on, as Twisted endpoint strings, such as"
            " `ssl:8443:privateKey=key.pem:certKey=chain.pem`, `unix:/run/gaq.sock`,"
            " `systemd:domain=INET:index=0` or `haproxy:tcp:8080`; if empty, `tcp:` with the"
            " port. Certificates are read again on reload"
        ),
    ] = ()
    internal_listen: Annotated[
        Endpoints,
        about(
            "the endpoints for `/ready`, `/metrics` and `/status`, such as"
            " `tcp:9090:interface=127.0.0.1`; if empty, `/ready` and `/metrics` are served on"
            " the public port, and `/status` is not served"
        ),
    ] = ()
    reuse_port: Annotated[
        Flag,
        about("let several processes on this machine share the same TCP ports"),
    ] = False
    base_path: Annotated[
        BasePath,
        about("the prefix of all HTTP paths; WebSocket upgrades are accepted on any path"),
    ] = ""
    log_level: Annotated[LogLevelName, live("the lowest level that is logged")] = "info"
    log_format: Annotated[
        LogFormat, about("lines of text, or one JSON object per line (not with syslog)")
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
            "the Superset versions to serve: `streams` for 1.2 to 6.1, `realtime` for 7, `both`"
            " for all of them at once. The default is `realtime` if `realtimeChannelPrefix` is"
            " set, even to an empty string in the file, or if `jwtCookieName` is"
            " `superset-ws-token`, as in a file of Superset 7's Node.js server; otherwise"
            " `streams`. The log shows the protocol and the reason at start"
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
            " 1,000 entries at a time, or this many if that is more"
        ),
    ] = 100
    redis_stream_read_block_ms: Annotated[
        Milliseconds, about("how long a read waits for new entries")
    ] = 5000
    jwt_secret: Annotated[
        JwtSecret,
        live(
            "Superset's `GLOBAL_ASYNC_QUERIES_JWT_SECRET`, or with `protocol` realtime"
            " Superset 7's `WEBSOCKET_JWT_SECRET`; at least 32 bytes; for `jwtAlgorithms` other"
            " than HS…, a PEM key (the public key is enough)"
        ),
    ]
    previous_jwt_secret: Annotated[
        PreviousJwtSecret,
        live(
            "the former secret: tokens signed with it are still accepted while the secret is"
            " being changed"
        ),
    ] = SpareSecret()
    jwt_algorithms: Annotated[
        Algorithms,
        live("accepted algorithms, all of one kind: HS…, or RS… and PS…, or ES…, or EdDSA"),
    ] = ("HS256",)
    jwt_cookie_name: Annotated[
        Text,
        live(
            "the cookie that contains the token: Superset's `GLOBAL_ASYNC_QUERIES_JWT_COOKIE_NAME`,"
            " or with `protocol` realtime Superset 7's `WEBSOCKET_JWT_COOKIE_NAME`"
        ),
    ] = "async-token"
    jwt_channel_id_key: Annotated[
        Text, live("the claim that contains the channel (Superset 1.2 to 6.1)")
    ] = "channel"
    realtime_channel_prefix: Annotated[
        AnyText,
        about(
            "Superset 7's `REALTIME_CHANNEL_PREFIX`, including its separator, such as"
            " `tenant-a:`; the channel's name is this prefix and `realtime`"
        ),
    ] = ""
    realtime_jwt_secret: Annotated[
        RealtimeJwtSecret,
        live("Superset 7's `WEBSOCKET_JWT_SECRET`; if empty, `jwtSecret` is used"),
    ] = SpareSecret()
    previous_realtime_jwt_secret: Annotated[
        PreviousJwtSecret,
        live(
            "the former secret of Superset 7: tokens signed with it are still accepted while the"
            " secret is being changed; if neither this nor `realtimeJwtSecret` is set,"
            " `previousJwtSecret` is used"
        ),
    ] = SpareSecret()
    realtime_jwt_cookie_name: Annotated[
        Text,
        live(
            "Superset 7's `WEBSOCKET_JWT_COOKIE_NAME`; with `protocol` realtime the default is"
            " `jwtCookieName`"
        ),
    ] = "superset-ws-token"
    realtime_redis: Redis = Redis()
    allowed_origins: Annotated[
        Origins,
        live(
            "the origins of the pages that may connect; `https://*.example.com` allows all"
            " subdomains, `same-host` the host in the WebSocket's URL, `*` any page; if empty,"
            " any page may connect, with a warning"
        ),
    ] = ()
    trusted_proxies: Annotated[
        Networks,
        live(
            "the proxies whose `Forwarded` and `X-Forwarded-For` headers give the client's"
            " address for the log"
        ),
    ] = ()
    max_total_connections: Annotated[
        Number,
        live("how many sockets may be open; further ones are closed with 1013; 0 for no limit"),
    ] = 0
    max_connections_per_channel: Annotated[
        Number, live("how many of them may be open per channel; 0 for no limit")
    ] = 0
    max_socket_buffer_bytes: Annotated[
        int,
        whole_number(0, 2**40),
        live(
            "a slow client is dropped once more than this many bytes wait for it; 0 for no"
            " limit; values below 65,536 count as 65,536"
        ),
    ] = 2**20
    max_inbound_message_bytes: Annotated[
        Bytes, live("a client that sends a larger message is closed with 1009")
    ] = 4096
    max_inbound_bytes_per_second: Annotated[
        Bytes, live("a client that sends more is closed with 1008")
    ] = 16_384
    max_request_header_bytes: Annotated[
        Bytes, live("a request with longer headers is rejected with 431")
    ] = 16_384
    request_timeout_ms: Annotated[
        Milliseconds, live("a connection without a complete request within this time is closed")
    ] = 10_000
    socket_response_timeout_ms: Annotated[
        Milliseconds,
        live(
            "a socket that answers no ping for this long, rounded up to whole ping intervals, is"
            " dropped; must be greater than the interval"
        ),
    ] = 60_000
    ping_sockets_interval_ms: Annotated[Milliseconds, live("how often each socket is pinged")] = (
        20_000
    )
    gc_channels_interval_ms: Annotated[
        Milliseconds,
        live("how often the server removes sockets and channels that are left over"),
    ] = 120_000
    drain_delay_ms: Annotated[
        MillisecondsOrZero,
        live(
            "after SIGTERM, how long to keep serving but report not ready, so that load"
            " balancers notice"
        ),
    ] = 0
    drain_ms: Annotated[
        MillisecondsOrZero,
        live("the time over which sockets are then closed, at an even rate, with 1001"),
    ] = 5000
    initial_replay_ms: Annotated[
        MillisecondsOrZero,
        live(
            "a browser that connects without `last_id` gets its channel's events from this"
            " recent period; 0 for none. Redis's clock is compared with this machine's"
        ),
    ] = 10_000
    tail_max_events: Annotated[Count, about("how many events are kept in memory")] = 20_000
    tail_max_bytes: Annotated[
        Bytes,
        about("how much memory these may take; an event takes 223 to 380 bytes more than its data"),
    ] = 32 * 2**20
