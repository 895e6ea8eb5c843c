"""The loads that come as fast as the server can take them."""

import multiprocessing
import socket
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.clients import Clients
from benchmarks.measuring import (
    DEADLINE_SECONDS,
    Meter,
    Progress,
    Result,
    most_sockets,
    published,
    settle,
)
from benchmarks.target import Target, frame_bytes


def floor(target: Target, progress: Progress, *, sockets: int = 1_000) -> Result:
    """Sends equal frames to sockets by a bare loop of socket.send; CPU per frame."""
    frame = bytes(frame_bytes("channel-0000"))
    count, sockets = 50_000, most_sockets(sockets)
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    sender = context.Process(target=_send_bare, args=(listener, frame, sockets, count, there))
    sender.start()
    crowd = Clients(listener.getsockname())
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
    """Delivers events of many channels with one socket each; CPU per frame."""
    channels = [f"channel-{index:05d}" for index in range(most_sockets(sockets))]
    return _deliver(target, progress, channels, 1, events)


def tabs(target: Target, progress: Progress) -> Result:
    """Delivers 5,000 events of 50 channels with 20 sockets each; CPU per frame."""
    return _deliver(target, progress, [f"tabs-{n:05d}" for n in range(50)], 20, 5_000)


def _deliver(
    target: Target,
    progress: Progress,
    channels: Sequence[str],
    sockets_each: int,
    events: int,
) -> Result:
    crowd = Clients(target.address)
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
    return meter.bulk_result(events * sockets_each, "a frame", "frames/s")


def discard(
    target: Target, progress: Progress, *, channels: int = 1_000, events: int = 200_000
) -> Result:
    """Reads events of channels that nobody listens to; CPU per event."""
    crowd = Clients(target.address)
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
    return meter.bulk_result(events, "an event", "events/s")


def connect(target: Target, progress: Progress) -> Result:
    """Opens 3,000 WebSockets, 64 at a time; CPU each."""
    count = 3_000
    requests = [target.request(f"connect-{index % 1_000}") for index in range(count)]
    crowd = Clients(target.address)
    meter = Meter(target)
    crowd.open(requests, progress=lambda done: progress(done / count))
    meter.stop()
    crowd.close_all()
    return Result(
        meter.cpu_seconds / count * 1e3,
        "ms CPU a connect",
        meter.generator_busy,
        {"connects/s": count / meter.seconds, "% of a core": meter.server_busy * 100},
    )
