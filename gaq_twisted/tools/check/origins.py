"""Whether a page may connect, and what to do if it may not."""

import json
from urllib.parse import urlsplit

from gaq_twisted.access.origins import OriginRules
from gaq_twisted.config.forms import OriginPattern
from gaq_twisted.tools.check.findings import Finding, Mark


def judge_origin(patterns: tuple[OriginPattern, ...], origin: str, host: str | None) -> Finding:
    """Returns whether a page of an origin may connect, and the remedy if it may not.

    Args:
        patterns: the setting `allowedOrigins`.
        origin: the Origin header.
        host: the Host header; None if it is not known.
    """
    shown = json.dumps(origin)
    if OriginRules(patterns).allow(origin, host or ""):
        why = "" if patterns else ", because allowedOrigins is empty"
        return Finding(Mark.OK, "origin", f"{shown} is accepted{why}")
    if origin == "null":
        return Finding(
            Mark.FAIL,
            "origin",
            f"{shown} is rejected with 403: it is not among allowedOrigins",
            "open Superset by its URL, not in a sandboxed frame or from a file; to allow these,"
            " add null to allowedOrigins",
        )
    if not _is_origin(origin):
        url = urlsplit(origin if "://" in origin else f"https://{origin}")
        return Finding(
            Mark.FAIL,
            "origin",
            f"{shown} is not an origin that browsers send",
            f"give the scheme and host without a path, such as {url.scheme}://{url.netloc}",
        )
    if "same-host" in patterns and host is None:
        return Finding(
            Mark.WARN,
            "origin",
            f"{shown} is accepted by same-host if GLOBAL_ASYNC_QUERIES_WEBSOCKET_URL has the"
            " same host and proxies forward the Host header; otherwise it is rejected with 403",
            "add --host to be certain",
        )
    return Finding(
        Mark.FAIL,
        "origin",
        f"{shown} is rejected with 403: it is not among allowedOrigins, which is"
        f" {', '.join(patterns)}" + (f", for the host {json.dumps(host)}" if host else ""),
        f"add {shown} to allowedOrigins",
    )


def _is_origin(text: str) -> bool:
    """Returns whether that is the origin of one site, neither a pattern nor a keyword."""
    if "://" not in text or "*" in text:
        return False
    try:
        OriginPattern(text)
    except ValueError:
        return False
    return True
