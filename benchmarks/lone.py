"""The loads of events that come one at a time."""

import time

from benchmarks.clients import Clients, LatencyMeter
from benchmarks.measuring import DEADLINE_SECONDS, Meter, Progress, Result, quantiles, settle
from benchmarks.target import Target

_WARM_UP_SECONDS = 2


def lone(target: Target, progress: Progress, *, rate: int, seconds: int) -> Result:
    """Publishes so many events a second, one by one, to 100 sockets; CPU an event, and latency."""
    waits, meter = latencies(target, progress, sockets=100, rate=rate, seconds=seconds)
    median, high = quantiles(waits)
    return Result(
        meter.cpu_seconds / len(waits) * 1e6,
        "µs CPU an event",
        meter.generator_busy,
        {
            "ms median": median * 1e3,
            "ms 99 %": high * 1e3,
            "% of a core": meter.server_busy * 100,
            "wake-ups an event": meter.wakeups / len(waits),
        },
    )


def latencies(
    target: Target, progress: Progress, *, sockets: int, rate: int, seconds: int
) -> tuple[list[float], Meter]:
    """Publishes events at a steady pace, each to one of the sockets.

    The first two seconds are not measured, as they are those of a program that has just begun.

    Returns:
        the times from before XADD to the arrival of each frame, and the costs.
    """
    crowd = Clients(target.address)
    publisher = target.publisher()
    channels = [f"lone-{index:05d}" for index in range(sockets)]
    crowd.open([target.request(channel) for channel in channels])
    settle(crowd)
    arrivals = LatencyMeter()
    crowd.on_bytes = arrivals

    def publish(count: int, progress: Progress) -> None:
        arrivals.seconds.clear()
        began = time.perf_counter()
        for index in range(count):
            due = began + index / rate
            while (left := due - time.perf_counter()) > 0:
                crowd.poll(left)
            publisher.send([target.command(channels[index % sockets])])
            progress(index / count)
        deadline = time.monotonic() + 10
        while len(arrivals.seconds) < count and time.monotonic() < deadline:
            crowd.poll(0.1)
        if len(arrivals.seconds) != count:
            raise TimeoutError(f"{len(arrivals.seconds)} of {count} events arrived")

    publish(_WARM_UP_SECONDS * rate, lambda _: None)
    meter = Meter(target)
    publish(seconds * rate, progress)
    meter.stop()
    crowd.close_all()
    publisher.close()
    return arrivals.seconds, meter


def steady(
    target: Target, progress: Progress, *, rate: int, heard: bool = False, seconds: int = 20
) -> Result:
    """Publishes so many events a second, of 100 channels; CPU and Redis's output per event."""
    crowd = Clients(target.address)
    publisher = target.publisher()
    channels = [f"steady-{index:03d}" for index in range(100)]
    crowd.open([target.request(channel) for channel in channels if heard])
    crowd.open([target.request("marker")])
    settle(crowd)
    crowd.received = 0
    count = rate * seconds
    commands = target.commands([channels[index % len(channels)] for index in range(count)])
    marker = target.commands(["marker"])
    frames_bytes = heard * count * target.frame_bytes(channels[0]) + target.frame_bytes("marker")
    sent = 0
    sent_before = target.redis_output_bytes()
    meter = Meter(target)
    began = time.perf_counter()
    while sent < count:
        # Workers publish one by one.
        due = min(count, int((time.perf_counter() - began) * rate) + 1)
        publisher.send(commands[sent:due])
        sent = due
        progress(sent / count)
        crowd.poll(max(0.0, began + sent / rate - time.perf_counter()))
    publisher.send(marker)
    crowd.receive(frames_bytes, lambda _: None, time.monotonic() + DEADLINE_SECONDS)
    meter.stop()
    output_bytes = target.redis_output_bytes() - sent_before
    crowd.close_all()
    publisher.close()
    return Result(
        meter.cpu_seconds / count * 1e6,
        "µs CPU an event",
        meter.generator_busy,
        {
            "events/s": count / meter.seconds,
            "% of a core": meter.server_busy * 100,
            "Redis bytes an event": output_bytes / count,
            "Redis bytes/s": output_bytes / meter.seconds,
        },
    )
