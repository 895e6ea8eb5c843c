"""Several servers on one status page: which servers a page may query, and from which origins."""

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

# Hosts that a Content-Security-Policy allows (CSP 3, section 2.3.1): no underscore, no IPv6.
_ADDRESS = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?")
_MOST_ADDRESSES = 20
# Names that nobody can register (RFC 6761, RFC 6762, ICANN's resolution 2024.07.29.06).
_INTERNAL_DOMAINS = (".internal", ".local", ".localhost")


def addresses(text: str) -> list[str] | None:
    """Returns the hosts and ports in a comma-separated text; None if one is invalid.

    Args:
        text: such as `gaq-1:9090,10.0.0.7:9090`.
    """
    found = [address for address in text.split(",") if address]
    if len(found) > _MOST_ADDRESSES or not all(map(_ADDRESS.fullmatch, found)):
        return None
    return found


def is_internal(origin: str) -> bool:
    """Returns whether only servers within the network can have an origin.

    This holds for addresses that are not routed on the Internet, for names without a dot, and for
    names of internal domains.

    Args:
        origin: the Origin header.
    """
    try:
        host = urlsplit(origin).hostname or ""
    except ValueError:
        return False
    try:
        return not ip_address(host).is_global
    except ValueError:
        return bool(host) and ("." not in host or host.endswith(_INTERNAL_DOMAINS))
