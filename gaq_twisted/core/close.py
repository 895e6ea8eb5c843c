"""How this server closes WebSockets: close codes and their texts (RFC 6455 section 7.4)."""

from enum import IntEnum
from typing import NamedTuple


class CloseCode(IntEnum):
    """The close codes that this server chooses itself; Autobahn chooses those for violations."""

    GOING_AWAY = 1001
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013


class Close(NamedTuple):
    """The contents of a close frame."""

    code: int
    reason: str
    """At most 123 bytes, because control frames hold no more than 125."""


GOING_AWAY = Close(CloseCode.GOING_AWAY, "the server is stopping")
REALTIME_GAP = Close(CloseCode.SERVICE_RESTART, "messages may have been missed")
TOKEN_EXPIRED = Close(CloseCode.POLICY_VIOLATION, "token expired")
TOO_MANY_BYTES = Close(CloseCode.POLICY_VIOLATION, "too many bytes per second")
INTERNAL_ERROR = Close(CloseCode.INTERNAL_ERROR, "internal error")


def message_too_big(max_bytes: int) -> Close:
    """Returns the close for a client that sends a larger message."""
    return Close(CloseCode.MESSAGE_TOO_BIG, f"message larger than {max_bytes} bytes")


def try_again_later(why: str) -> Close:
    """Returns the close for a socket beyond a limit; browsers then keep trying."""
    return Close(CloseCode.TRY_AGAIN_LATER, why)


def close_label(code: int | None) -> str:
    """Returns the metric label of a close: its code if the standard defines it, or `other`."""
    return str(code) if code is not None and 1000 <= code <= 1015 else "other"
