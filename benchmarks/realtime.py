"""The loads that only Superset 7's protocol has: losses of the subscription, and broadcasts."""

import multiprocessing
import os
import socket
import statistics
import time
from typing import Any

from benchmarks.clients import Client, Clients
from benchmarks.measuring import (
    DEADLINE_SECONDS,
    Meter,
    Progress,
    Result,
    most_sockets,
    settle,
)
from benchmarks.target import RealtimeTarget

_CLOSE_1012 = b"\x03\xf4"
# The masks are zeros.
_CLOSE_REPLY = b"\x88\x82\0\0\0\0" + _CLOSE_1012
_PING = b"\x89\x80\0\0\0\0"
_PONG = b"\x8a\0"
_PING_INTERVAL_SECONDS = 0.001


def rt_storm(target: RealtimeTarget, progress: Progress) -> Result:
    """Kills the subscription below 3,000 sockets, which reconnect once closed; CPU each."""
    count = 3_000
    crowd = Clients(target.address)
    requests = [target.request(f"storm-{index:05d}") for index in range(count)]
    crowd.open(requests)
    settle(crowd)
    request_of = dict(zip(crowd.clients, requests, strict=True))
    successors: list[Client] = []

    def come_back(client: Client, chunk: memoryview) -> None:
        if bytes(chunk[:1]) == b"\x88" and bytes(chunk[2:4]) == _CLOSE_1012:
            client.connection.send(_CLOSE_REPLY)
            crowd.close(client)
            successors.append(crowd.begin(request_of[client]))

    crowd.on_bytes = come_back
    meter = Meter(target)
    target.kill_subscribers()
    deadline = time.monotonic() + DEADLINE_SECONDS
    while len(successors) < count or not all(client.upgraded_at for client in successors[-64:]):
        crowd.poll(0.5)
        progress(len(successors) / count)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(successors)} of {count} sockets were closed with 1012")
    while not all(client.upgraded_at for client in successors):
        crowd.poll(0.1)
    meter.stop()
    away = [client.upgraded_at - client.begun_at for client in successors]
    crowd.close_all()
    return Result(
        meter.cpu_seconds / count * 1e3,
        "ms CPU a reconnect",
        meter.generator_busy,
        {
            "median away ms": statistics.median(away) * 1e3,
            "longest away ms": max(away) * 1e3,
            "s until all are back": meter.seconds,
            "% of a core": meter.server_busy * 100,
        },
    )


def rt_broadcast(target: RealtimeTarget, progress: Progress, *, sockets: int = 10_000) -> Result:
    """Sends messages to 10,000 sockets each; the longest wait for a pong meanwhile."""
    sockets, times = most_sockets(sockets), 20
    crowd = Clients(target.address)
    crowd.open(
        [target.request(f"broadcast-{index % 1_000:05d}") for index in range(sockets)],
        progress=lambda done: progress(done / sockets / 2),
    )
    settle(crowd)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    pinger = context.Process(target=_ping, args=(target, there))
    pinger.start()
    publisher = target.publisher()
    size = target.frame_bytes("")
    until_last, waits_idle = [], []
    here.recv()
    # Reading must not keep the pinger from noting the time.
    os.nice(19)
    meter = Meter(target)
    waits = []
    for number in range(times):
        time.sleep(0.2)
        waits_idle.append(_worst(here))
        crowd.received = 0
        began = time.perf_counter()
        publisher.send([target.broadcast()])
        crowd.receive(sockets * size, lambda _: None, time.monotonic() + DEADLINE_SECONDS)
        until_last.append(time.perf_counter() - began)
        waits.append(_worst(here))
        progress(0.5 + number / times / 2)
    meter.stop()
    here.send(False)
    pinger.join()
    crowd.close_all()
    publisher.close()
    return Result(
        max(waits) * 1e3,
        "ms worst",
        meter.generator_busy,
        {
            "median of worst ms": statistics.median(waits) * 1e3,
            "worst without ms": max(waits_idle) * 1e3,
            "ms until the last, median": statistics.median(until_last) * 1e3,
            "µs CPU a frame": meter.cpu_seconds / times / sockets * 1e6,
            "sockets": sockets,
        },
    )


def _worst(pipe: Any) -> float:
    """Returns the longest wait of the pinger since the last question."""
    pipe.send(True)
    worst: float = pipe.recv()
    return worst


def _ping(target: RealtimeTarget, pipe: Any) -> None:
    """Pings the server all the time, and answers with the longest wait, until it is to end."""
    connection = socket.create_connection(target.address)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(target.request("pinger"))
    while b"\r\n\r\n" not in connection.recv(4096):
        pass
    pipe.send("ready")
    worst = 0.0
    while True:
        began = time.perf_counter()
        connection.sendall(_PING)
        while _PONG not in connection.recv(4096):
            pass
        worst = max(worst, time.perf_counter() - began)
        if pipe.poll():
            if not pipe.recv():
                break
            pipe.send(worst)
            worst = 0.0
        time.sleep(_PING_INTERVAL_SECONDS)
    connection.close()
