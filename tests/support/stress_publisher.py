"""Publishes jobs as one of Superset's workers does, in a process of its own.

    python -m tests.support.stress_publisher <Redis port> <name> <events> <seed> <channel>...

At the end it prints the ids of the jobs which it had to write again, as a JSON list.
"""

import json
import random
import sys
import time
from collections.abc import Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.processes import PREFIX
from tests.support.samples import job_data

_RETRY_SECONDS = 0.05
_LONGEST_REST_SECONDS = 0.012


class Publisher:
    """Writes each event to its channel's stream, then to the global one, until Redis says yes."""

    def __init__(self, port: int, name: str, rng: random.Random) -> None:
        """Take the port of Redis, the name that its jobs' ids begin with, and the dice."""
        self.written_again: set[str] = set()
        """Jobs whose first answer was lost, so that a stream may hold them twice."""
        self._name = name
        self._rng = rng
        # The package's own retries would hide what was written twice.
        self._redis = redis.Redis(port=port, retry=Retry(NoBackoff(), 0))

    def publish(self, count: int, channels: Sequence[str]) -> None:
        """Publish that many jobs, each for a channel by chance."""
        for number in range(count):
            channel = self._rng.choice(channels)
            job = f"{self._name}-{number}"
            data = {"data": job_data(channel, job)}
            self._add(job, f"{PREFIX}{channel}", data, 1_000)
            time.sleep(self._seconds_between())
            self._add(job, f"{PREFIX}full", data, 1_000_000)
            time.sleep(self._rng.uniform(0, _LONGEST_REST_SECONDS))

    def _add(self, job: str, stream: str, data: dict[Any, Any], length: int) -> None:
        while True:
            try:
                self._redis.xadd(stream, data, maxlen=length, approximate=True)
                return
            except (redis.ConnectionError, redis.TimeoutError):
                self.written_again.add(job)
                time.sleep(_RETRY_SECONDS)

    def _seconds_between(self) -> float:
        """Return how long a busy machine holds the worker up between its two commands."""
        dice = self._rng.random()
        if dice < 0.002:
            return self._rng.uniform(0.0, 1.0)
        return self._rng.uniform(0.0, 0.03) if dice < 0.03 else 0.0


def main() -> None:
    """Do what the command line says."""
    port, name, count, seed, *channels = sys.argv[1:]
    publisher = Publisher(int(port), name, random.Random(f"{seed} publisher {name}"))
    publisher.publish(int(count), channels)
    print(json.dumps(sorted(publisher.written_again)))


if __name__ == "__main__":
    main()
