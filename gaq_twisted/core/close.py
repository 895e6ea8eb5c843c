"""How this server closes WebSockets: close codes and their texts (RFC 6455 section 7.4)."""

from enum import IntEnum
from typing import NamedTuple


class CloseCode(IntEnum):
    """The close codes that this server chooses itself; Autobahn chooses those of violations."""

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


GOING_AWAY = Close(CloseCode.GOING_AWAY, "the server stops")
REALTIME_GAP = Close(CloseCode.SERVICE_RESTART, "messages may have been missed")
TOKEN_EXPIRED = Close(CloseCode.POLICY_VIOLATION, "token expired")
TOO_MANY_BYTES = Close(CloseCode.POLICY_VIOLATION, "too many bytes a second")
INTERNAL_ERROR = Close(CloseCode.INTERNAL_ERROR, "internal error")


def message_too_big(max_bytes: int) -> Close:
    """Returns how a client that sends a message of more bytes is closed."""
    return Close(CloseCode.MESSAGE_TOO_BIG, f"a message of more than {max_bytes} bytes")


def try_again_later(why: str) -> Close:
    """Returns how a socket is closed for which there is no room; browsers then keep trying."""
    return Close(CloseCode.TRY_AGAIN_LATER, why)


def close_label(code: int | None) -> str:
    """Returns what a close is counted by: its code if the standard defines it, else `other`."""
    return str(code) if code is not None and 1000 <= code <= 1015 else "other"
