"""Every default of Superset's two Node.js servers, written out as operators would.

The secret, which is empty by default, is that of the tests.
"""

from typing import Any

from tests.support.samples import SECRET

_SHARED: dict[str, Any] = {
    "port": 8080,
    "logLevel": "info",
    "logToFile": False,
    "logFilename": "app.log",
    "statsd": {"host": "127.0.0.1", "port": 8125, "globalTags": []},
    "redis": {
        "host": "127.0.0.1",
        "port": 6379,
        "username": "default",
        "password": "",
        "db": 0,
        "ssl": False,
        "validateHostname": True,
    },
    "jwtSecret": SECRET,
    "jwtAlgorithms": ["HS256"],
    "allowedOrigins": [],
    "socketResponseTimeoutMs": 60000,
    "pingSocketsIntervalMs": 20000,
    "gcChannelsIntervalMs": 120000,
    "maxSocketBufferBytes": 0,
    "maxConnectionsPerChannel": 0,
    "maxTotalConnections": 0,
}
STREAMS_FILE: dict[str, Any] = {
    **_SHARED,
    "redisStreamPrefix": "async-events-",
    "redisStreamReadCount": 100,
    "redisStreamReadBlockMs": 5000,
    "jwtCookieName": "async-token",
    "jwtChannelIdKey": "channel",
    "eventYieldBatchSize": 100,
}
"""The `config.json` of the last server for Superset 1.2 to 6.1."""
REALTIME_FILE: dict[str, Any] = {
    **_SHARED,
    "previousJwtSecret": "",
    "jwtCookieName": "superset-ws-token",
    "realtimeChannelPrefix": "",
}
"""The `config.json` of the server for Superset 7."""

_SHARED_ENVIRONMENT = {
    "PORT": "8080",
    "LOG_LEVEL": "info",
    "LOG_TO_FILE": "false",
    "LOG_FILENAME": "app.log",
    "STATSD_HOST": "127.0.0.1",
    "STATSD_PORT": "8125",
    "STATSD_GLOBAL_TAGS": "",
    "REDIS_HOST": "127.0.0.1",
    "REDIS_PORT": "6379",
    "REDIS_USERNAME": "default",
    "REDIS_PASSWORD": "",
    "REDIS_DB": "0",
    "REDIS_SSL": "false",
    "JWT_SECRET": SECRET,
    "ALLOWED_ORIGINS": "",
    "SOCKET_RESPONSE_TIMEOUT_MS": "60000",
    "PING_SOCKETS_INTERVAL_MS": "20000",
    "GC_CHANNELS_INTERVAL_MS": "120000",
    "MAX_SOCKET_BUFFER_BYTES": "0",
    "MAX_CONNECTIONS_PER_CHANNEL": "0",
    "MAX_TOTAL_CONNECTIONS": "0",
}
STREAMS_ENVIRONMENT = {
    **_SHARED_ENVIRONMENT,
    "REDIS_STREAM_PREFIX": "async-events-",
    "REDIS_STREAM_READ_COUNT": "100",
    "REDIS_STREAM_READ_BLOCK_MS": "5000",
    "JWT_COOKIE_NAME": "async-token",
    "EVENT_YIELD_BATCH_SIZE": "100",
}
"""The variables that the server for Superset 1.2 to 6.1 reads."""
REALTIME_ENVIRONMENT = {
    **_SHARED_ENVIRONMENT,
    "PREVIOUS_JWT_SECRET": "",
    "JWT_COOKIE_NAME": "superset-ws-token",
    "REALTIME_CHANNEL_PREFIX": "",
}
"""The variables that the server for Superset 7 reads."""
