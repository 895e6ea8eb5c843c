"""The loads of clients that come back and have missed events."""

import statistics
import time
from collections.abc import Sequence

from benchmarks.clients import Clients
from benchmarks.measuring import DEADLINE_SECONDS, Meter, Progress, Result, settle
from benchmarks.target import Publisher, StreamsTarget


def catchup(target: StreamsTarget, progress: Progress) -> Result:
    """Reconnects with last_id on a quiet system; until the last of 3 missed events is there."""
    times, count = [], 25
    publisher = target.publisher()
    for index in range(count):
        channel = f"catchup-{index:05d}"
        requests = _missed(target, publisher, [channel], each=3)
        crowd = Clients(target.address)
        [client] = crowd.open(requests, enough_bytes=3 * target.frame_bytes(channel))
        times.append(time.perf_counter() - client.begun_at)
        crowd.close_all()
        progress(index / count)
    publisher.close()
    return Result(statistics.median(times) * 1e3, "ms median", 0.0, {"worst ms": max(times) * 1e3})


def storm(target: StreamsTarget, progress: Progress) -> Result:
    """Lets 3,000 clients that each missed an event reconnect at once; how many a second."""
    count = 3_000
    publisher = target.publisher()
    channels = [f"storm-{index:05d}" for index in range(count)]
    requests = _missed(target, publisher, channels, each=1)
    crowd = Clients(target.address)
    meter = Meter(target)
    clients = crowd.open(
        requests,
        at_a_time=count,
        enough_bytes=target.frame_bytes(channels[0]),
        progress=lambda done: progress(done / count),
    )
    meter.stop()
    median = statistics.median(client.upgraded_at - client.begun_at for client in clients)
    crowd.close_all()
    publisher.close()
    return Result(
        count / meter.seconds,
        "reconnects/s",
        meter.generator_busy,
        {
            "median s": median,
            "% of a core": meter.server_busy * 100,
            "ms CPU a reconnect": meter.cpu_seconds / count * 1e3,
        },
    )


def _missed(
    target: StreamsTarget, publisher: Publisher, channels: Sequence[str], *, each: int
) -> list[bytes]:
    """Publishes events that clients have missed; returns the requests with which they come back."""
    requests = []
    for channel in channels:
        last_id = target.next_id()
        publisher.send([target.command_to_both(channel, last_id)])
        requests.append(target.request(channel, last_id.decode()))
    for channel in channels:
        for _ in range(each):
            publisher.send([target.command_to_both(channel, target.next_id())])
    # All are read once one that was published after them arrives.
    crowd = Clients(target.address)
    crowd.open([target.request("marker")])
    settle(crowd)
    crowd.received = 0
    publisher.send(target.commands(["marker"]))
    crowd.receive(target.frame_bytes("marker"), lambda _: None, time.monotonic() + DEADLINE_SECONDS)
    crowd.close_all()
    return requests
