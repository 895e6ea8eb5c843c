"""The loads: each puts one kind of work on a server and returns what that cost."""

import multiprocessing
import resource
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.clients import Crowd, LatencyMeter, answer_pings
from benchmarks.target import Publisher, StreamsTarget, Target, frame_bytes

DEADLINE_SECONDS = 120.0
# What the clients that only wait are called by.
_IDLE_CHANNELS = 1000
# What a process needs beside its sockets, and those of the clients that look on.
_OTHER_FILES = 500

Progress = Callable[[float], None]
"""Called with the part that is done, from 0 to 1."""


@dataclass
class Result:
    """What a load cost."""

    value: float
    unit: str
    generator_busy: float
    """The part of one core that the load generator used meanwhile."""
    more: dict[str, float] = field(default_factory=dict)
    """Further figures, by name and unit."""


class Meter:
    """The server's and the generator's CPU time over a stretch."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._rss_bytes = target.rss_bytes()
        self._cpu, self._own, self._began = (
            target.cpu_seconds(),
            time.process_time(),
            time.perf_counter(),
        )

    def stop(self) -> None:
        """Ends the stretch, and notes what it cost."""
        self.cpu_seconds = self._target.cpu_seconds() - self._cpu
        self.seconds = time.perf_counter() - self._began
        self.generator_busy = (time.process_time() - self._own) / self.seconds
        self.server_busy = self.cpu_seconds / self.seconds
        self.grown_mb = (self._target.rss_bytes() - self._rss_bytes) / 1e6


def floor(target: Target, progress: Progress, *, sockets: int = 1_000) -> Result:
    """Send equal frames to sockets by a bare loop of socket.send; CPU per frame."""
    frame = bytes(frame_bytes("channel-0000"))
    count, sockets = 50_000, most_sockets(sockets)
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    sender = context.Process(target=_send_bare, args=(listener, frame, sockets, count, there))
    sender.start()
    crowd = Crowd(listener.getsockname())
    crowd.open([b"GET / HTTP/1.1\r\n\r\n"] * sockets)
    own, began = time.process_time(), time.perf_counter()
    crowd.receive(
        count * len(frame),
        lambda received: progress(received / count / len(frame)),
        time.monotonic() + DEADLINE_SECONDS,
    )
    busy = (time.process_time() - own) / (time.perf_counter() - began)
    crowd.close_all()
    listener.close()
    cpu = here.recv()
    here.send("end")
    sender.join()
    return Result(cpu / count * 1e6, "µs CPU a frame", busy)


def _send_bare(listener: socket.socket, frame: bytes, sockets: int, count: int, pipe: Any) -> None:
    connections = []
    for _ in range(sockets):
        connection, _ = listener.accept()
        connection.recv(100)
        connection.send(b"HTTP/1.1 101 \r\n\r\n")
        connections.append(connection)
    time.sleep(0.2)
    before = time.process_time()
    for index in range(count):
        connections[index % sockets].send(frame)
    pipe.send(time.process_time() - before)
    pipe.recv()


def fanout(
    target: Target, progress: Progress, *, sockets: int = 1_000, events: int = 50_000
) -> Result:
    """Deliver events of many channels with one socket each; CPU per frame."""
    channels = [f"channel-{index:05d}" for index in range(most_sockets(sockets))]
    return _deliver(target, progress, channels, 1, events)


def tabs(target: Target, progress: Progress) -> Result:
    """Deliver 5,000 events of 50 channels with 20 sockets each; CPU per frame."""
    return _deliver(target, progress, [f"tabs-{n:05d}" for n in range(50)], 20, 5_000)


def _deliver(
    target: Target,
    progress: Progress,
    channels: Sequence[str],
    sockets_each: int,
    events: int,
) -> Result:
    crowd = Crowd(target.address)
    publisher = target.publisher()
    crowd.open([target.request(channel) for channel in channels for _ in range(sockets_each)])
    # What the sockets were sent at first is of no interest.
    settle(crowd)
    crowd.received = 0
    commands = target.commands([channels[n % len(channels)] for n in range(events)])
    size = target.frame_bytes(channels[0])
    meter = Meter(target)
    with published(publisher, commands):
        crowd.receive(
            events * sockets_each * size,
            lambda received: progress(received / size / events / sockets_each),
            time.monotonic() + DEADLINE_SECONDS,
        )
    meter.stop()
    crowd.close_all()
    publisher.close()
    frames = events * sockets_each
    return Result(
        meter.cpu_seconds / frames * 1e6,
        "µs CPU a frame",
        meter.generator_busy,
        {
            "frames/s": frames / meter.seconds,
            "server busy": meter.server_busy,
            "MB more": meter.grown_mb,
        },
    )


def discard(
    target: Target, progress: Progress, *, channels: int = 1_000, events: int = 200_000
) -> Result:
    """Read events of channels that nobody listens to; CPU per event."""
    crowd = Crowd(target.address)
    publisher = target.publisher()
    crowd.open([target.request("marker")])
    settle(crowd)
    crowd.received = 0
    commands = target.commands([f"nobody-{n % channels:06d}" for n in range(events)])
    commands.extend(target.commands(["marker"]))
    meter = Meter(target)
    with published(publisher, commands):
        crowd.receive(
            target.frame_bytes("marker"),
            lambda _: progress(0.5),
            time.monotonic() + DEADLINE_SECONDS,
        )
    meter.stop()
    crowd.close_all()
    publisher.close()
    return Result(
        meter.cpu_seconds / events * 1e6,
        "µs CPU an event",
        meter.generator_busy,
        {
            "events/s": events / meter.seconds,
            "server busy": meter.server_busy,
            "MB more": meter.grown_mb,
        },
    )


def connect(target: Target, progress: Progress) -> Result:
    """Open 3,000 WebSockets, 64 at a time; CPU each."""
    count = 3_000
    requests = [target.request(f"connect-{index % _IDLE_CHANNELS}") for index in range(count)]
    crowd = Crowd(target.address)
    meter = Meter(target)
    crowd.open(requests, progress=lambda done: progress(done / count))
    meter.stop()
    crowd.close_all()
    return Result(
        meter.cpu_seconds / count * 1e3,
        "ms CPU a connect",
        meter.generator_busy,
        {"connects/s": count / meter.seconds, "server busy": meter.server_busy},
    )


def memory(target: Target, progress: Progress, *, sockets: int = 5_000) -> Result:
    """Hold idle connections; memory each."""
    requests = [target.request(f"memory-{index}") for index in range(sockets + 1_000)]
    crowd = Crowd(target.address)
    # The first ones make the server's own caches.
    crowd.open(requests[:1_000])
    settle(crowd)
    before = target.rss_bytes()
    crowd.open(requests[1_000:], progress=lambda done: progress(done / sockets))
    settle(crowd)
    used = target.rss_bytes() - before
    crowd.close_all()
    return Result(used / sockets / 1e3, "kB a socket", 0.0)


def latency(target: Target, progress: Progress) -> Result:
    """Publish 200 events a second to 100 sockets; from before XADD to the frame's arrival."""
    rate, duration_seconds = 200, 10
    meter = Meter(target)
    seconds, busy = _latencies(
        target, progress, sockets=100, rate=rate, duration_seconds=duration_seconds
    )
    meter.stop()
    median, high = _quantiles(seconds)
    each = meter.cpu_seconds / rate / duration_seconds
    return Result(
        median * 1e3, "ms median", busy, {"99 % ms": high * 1e3, "ms CPU an event": each * 1e3}
    )


def sweep(target: Target, progress: Progress) -> Result:
    """Publish 100 events a second beside 10,000 idle sockets that are pinged; the worst wait."""
    return _beside_idle(target, progress, sockets=10_000, churn_per_second=0)


def churn(target: Target, progress: Progress) -> Result:
    """As sweep, beside 20,000 sockets and 200 connects and closes a second."""
    return _beside_idle(target, progress, sockets=20_000, churn_per_second=200)


def _beside_idle(
    target: Target, progress: Progress, *, sockets: int, churn_per_second: int
) -> Result:
    sockets = most_sockets(sockets)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    idle = context.Process(target=_stay_idle, args=(target, sockets, churn_per_second, there))
    idle.start()
    here.recv()
    meter = Meter(target)
    seconds, busy = _latencies(target, progress, sockets=100, rate=100, duration_seconds=25)
    meter.stop()
    here.send("end")
    idle_busy = here.recv()
    idle.join()
    median, high = _quantiles(seconds)
    return Result(
        max(seconds) * 1e3,
        "ms worst",
        max(busy, idle_busy),
        {
            "median ms": median * 1e3,
            "99 % ms": high * 1e3,
            "server busy": meter.server_busy,
            "sockets": sockets,
        },
    )


def _stay_idle(target: Target, sockets: int, churn_per_second: int, pipe: Any) -> None:
    """Hold sockets that answer pings, and replace some, until the pipe says to end."""
    crowd = Crowd(target.address)
    crowd.on_bytes = answer_pings
    requests = [target.request(f"idle-{index % _IDLE_CHANNELS}") for index in range(sockets)]
    crowd.open(requests)
    pipe.send("ready")
    own, began, replaced = time.process_time(), time.perf_counter(), 0
    while not pipe.poll():
        crowd.poll(0.005)
        due = int((time.perf_counter() - began) * churn_per_second)
        while replaced < due:
            oldest = crowd.oldest()
            if oldest.upgraded_at:
                crowd.close(oldest)
            crowd.begin(requests[replaced % sockets])
            replaced += 1
    pipe.recv()
    pipe.send((time.process_time() - own) / (time.perf_counter() - began))
    crowd.close_all()


def _latencies(
    target: Target, progress: Progress, *, sockets: int, rate: int, duration_seconds: int
) -> tuple[list[float], float]:
    crowd = Crowd(target.address)
    publisher = target.publisher()
    channels = [f"latency-{index:05d}" for index in range(sockets)]
    crowd.open([target.request(channel) for channel in channels])
    settle(crowd)
    meter = LatencyMeter()
    crowd.on_bytes = meter
    own, began = time.process_time(), time.perf_counter()
    count = rate * duration_seconds
    for index in range(count):
        due = began + index / rate
        while (left := due - time.perf_counter()) > 0:
            crowd.poll(left)
        publisher.send(target.commands([channels[index % sockets]]))
        progress(index / count)
    deadline = time.monotonic() + 10
    while len(meter.seconds) < count and time.monotonic() < deadline:
        crowd.poll(0.1)
    busy = (time.process_time() - own) / (time.perf_counter() - began)
    crowd.close_all()
    publisher.close()
    if len(meter.seconds) != count:
        raise TimeoutError(f"{len(meter.seconds)} of {count} events arrived")
    return meter.seconds, busy


def steady(
    target: Target, progress: Progress, *, rate: int, heard: bool = False, seconds: int = 20
) -> Result:
    """Publish so many events a second, of 100 channels; CPU and Redis's output per event."""
    crowd = Crowd(target.address)
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
            "server busy": meter.server_busy,
            "Redis bytes an event": output_bytes / count,
            "Redis bytes/s": output_bytes / meter.seconds,
        },
    )


def idle(target: Target, progress: Progress, *, sockets: int, seconds: int = 40) -> Result:
    """Hold sockets that are only pinged; CPU as a part of one core."""
    sockets = most_sockets(sockets)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_stay_idle, args=(target, sockets, 0, there))
    process.start()
    here.recv()
    sent_before = target.redis_output_bytes()
    meter = Meter(target)
    for second in range(seconds):
        time.sleep(1)
        progress((second + 1) / seconds)
    meter.stop()
    output_bytes = target.redis_output_bytes() - sent_before
    rss_bytes = target.rss_bytes()
    here.send("end")
    busy = here.recv()
    process.join()
    return Result(
        meter.server_busy * 100,
        "% of a core",
        busy,
        {
            "sockets": sockets,
            "MB in all": rss_bytes / 1e6,
            "Redis bytes/s": output_bytes / meter.seconds,
        },
    )


def catchup(target: StreamsTarget, progress: Progress) -> Result:
    """Reconnect with last_id on a quiet system; until the last of 3 missed events is there."""
    times, count = [], 25
    publisher = target.publisher()
    for index in range(count):
        channel = f"catchup-{index:05d}"
        requests = _missed(target, publisher, [channel], each=3)
        crowd = Crowd(target.address)
        [client] = crowd.open(requests, enough_bytes=3 * target.frame_bytes(channel))
        times.append(time.perf_counter() - client.begun_at)
        crowd.close_all()
        progress(index / count)
    publisher.close()
    return Result(statistics.median(times) * 1e3, "ms median", 0.0, {"worst ms": max(times) * 1e3})


def storm(target: StreamsTarget, progress: Progress) -> Result:
    """Let 3,000 clients that each missed an event reconnect at once; how many a second."""
    count = 3_000
    publisher = target.publisher()
    channels = [f"storm-{index:05d}" for index in range(count)]
    requests = _missed(target, publisher, channels, each=1)
    crowd = Crowd(target.address)
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
            "server busy": meter.server_busy,
            "ms CPU a reconnect": meter.cpu_seconds / count * 1e3,
        },
    )


def _missed(
    target: StreamsTarget, publisher: Publisher, channels: Sequence[str], *, each: int
) -> list[bytes]:
    """Publish events that clients have missed; return the requests with which they come back."""
    requests = []
    for channel in channels:
        last_id = target.next_id()
        publisher.send([target.command_to_both(channel, last_id)])
        requests.append(target.request(channel, last_id.decode()))
    for channel in channels:
        for _ in range(each):
            publisher.send([target.command_to_both(channel, target.next_id())])
    # All are read once one that was published after them arrives.
    crowd = Crowd(target.address)
    crowd.open([target.request("marker")])
    settle(crowd)
    crowd.received = 0
    publisher.send(target.commands(["marker"]))
    crowd.receive(target.frame_bytes("marker"), lambda _: None, time.monotonic() + DEADLINE_SECONDS)
    crowd.close_all()
    return requests


@contextmanager
def published(publisher: Publisher, commands: Sequence[bytes]) -> Iterator[None]:
    """Publish in a thread, which spends its time outside of Python."""
    thread = threading.Thread(target=publisher.send, args=(commands,))
    thread.start()
    try:
        yield
    finally:
        thread.join()


def settle(crowd: Crowd) -> None:
    """Wait until nothing more comes, but now and then a ping."""
    for _ in range(10):
        before = crowd.received
        crowd.poll(0.1)
        if crowd.received == before:
            return


def _quantiles(seconds: Sequence[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(seconds, n=100)
    return statistics.median(seconds), cuts[98]


def most_sockets(wanted: int) -> int:
    """Return that number, or a little less where a process may not have so many files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(wanted, files - _OTHER_FILES)
