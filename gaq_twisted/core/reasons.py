"""Why clients are rejected: the values of the label `reason`, by metric."""

from enum import StrEnum
from typing import Literal


class RequestReason(StrEnum):
    """Why a request is rejected before its purpose is known."""

    LONG_HEADERS = "long_headers"
    NOT_HTTP = "not_http"
    TARGET = "target"
    HOST = "host"
    BODY = "body"
    TLS = "tls"
    NO_TLS = "no_tls"
    TLS_HANDSHAKE = "tls_handshake"
    PROXY_HEADER = "proxy_header"
    NO_PROXY_HEADER = "no_proxy_header"
    FILES = "files"


class UpgradeReason(StrEnum):
    """Why an upgrade is rejected."""

    NO_COOKIE = "no_cookie"
    NO_JWT = "no_jwt"
    SIGNATURE = "signature"
    ALGORITHM = "algorithm"
    TOKEN_EXPIRED = "token_expired"
    TOKEN_NOT_YET_VALID = "token_not_yet_valid"
    NO_CHANNEL = "no_channel"
    OTHER_PROTOCOL = "other_protocol"
    AUDIENCE = "audience"
    ISSUER = "issuer"
    NO_EXPIRY = "no_expiry"
    PRINCIPAL = "principal"
    NO_SUBSCRIPTION = "no_subscription"
    ORIGIN = "origin"
    BAD_HANDSHAKE = "bad_handshake"
    FILES = "files"
    INTERNAL_ERROR = "internal_error"


TokenReason = Literal[
    UpgradeReason.NO_COOKIE,
    UpgradeReason.NO_JWT,
    UpgradeReason.SIGNATURE,
    UpgradeReason.ALGORITHM,
    UpgradeReason.TOKEN_EXPIRED,
    UpgradeReason.TOKEN_NOT_YET_VALID,
    UpgradeReason.NO_CHANNEL,
    UpgradeReason.OTHER_PROTOCOL,
    UpgradeReason.AUDIENCE,
    UpgradeReason.ISSUER,
    UpgradeReason.NO_EXPIRY,
    UpgradeReason.PRINCIPAL,
]
"""The reasons about the cookie; mypy reports a `match` with `assert_never` that lacks one."""


class ConnectionReason(StrEnum):
    """Why an open WebSocket is closed: a limit on connections, or what its client sends."""

    TOTAL = "total"
    CHANNEL = "channel"
    RATE = "rate"
    MESSAGE_SIZE = "message_size"
