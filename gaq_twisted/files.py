"""How many files, which sockets are too, this process may have open."""

import resource


def allow_many() -> int:
    """Raise the limit as far as an ordinary process may, and return it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most if most != resource.RLIM_INFINITY else 2**31
