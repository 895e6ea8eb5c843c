"""Errors of commands to Redis; separate, so that catching them does not load the client."""


class RedisError(Exception):
    """A command to Redis failed; the text says what happened.

    Args:
        fact: what happened.
        state: the state of Redis, if several errors can have the same one.
        remedy: what to do about it, if known.
    """

    def __init__(self, fact: str, state: str = "", remedy: str = "") -> None:
        super().__init__(f"{fact} ({remedy})" if remedy else fact)
        self.fact = fact
        self.state = state or fact
        self.remedy = remedy


class RedisReplied(RedisError):
    """Redis replied with an error."""

    concerns_server = False
    """Whether any other command would get the same reply, so that waiting may help."""
    is_elsewhere = False
    """Whether another node of a Redis Cluster has the key, so that another connection may help."""


class RedisRefused(RedisReplied):
    """Redis refuses this command for this key; waiting does not change that."""


class RedisTooOld(RedisError):
    """Redis does not know a command that is needed."""
