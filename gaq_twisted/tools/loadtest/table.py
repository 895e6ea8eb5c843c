"""The result of the load test for people."""

from collections.abc import Iterator

from gaq_twisted.tools.loadtest.report import Report

_BUSY_CORE_SHARE = 0.8


def table(report: Report) -> str:
    """Returns the result as a table for people."""
    rows = list(_rows(report))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {value}" for name, value in rows)


def _rows(report: Report) -> Iterator[tuple[str, str]]:
    connected = report.clients - report.never_connected
    some = f" of {report.clients:,}" if report.never_connected else ""
    yield "clients", f"{connected:,}{some}, {report.channels:,} channels"
    yield "connects per second", f"{report.connects_per_second:,.0f}"
    yield "reconnects", f"{report.reconnects:,}"
    yield "failed connects", f"{sum(report.failed_connects.values()):,}"
    for reason, count in report.failed_connects.items():
        yield "", f"{count:,}: {reason}"
    yield (
        "events published",
        f"{report.published:,}, {report.published_per_second:,.1f} per second",
    )
    for reason, count in report.failed_publications.items():
        yield "", f"{count:,} not published: {reason}"
    yield "frames expected", f"{report.frames_expected:,}"
    yield "lost", f"{report.lost:,}"
    yield "duplicated", f"{report.duplicated:,}"
    yield "out of order", f"{report.out_of_order:,}"
    if report.misdelivered:
        yield "of other channels", f"{report.misdelivered:,}"
    if report.not_owed is None:
        yield "caught up after a reconnect", f"{report.caught_up:,}"
    else:
        yield "not owed", f"{sum(report.not_owed.values()):,}"
        for reason, count in report.not_owed.items():
            yield "", f"{count:,}: {reason}"
    for name, latency_ms in (
        ("latency, median", report.latency_median_ms),
        ("latency, 99 %", report.latency_99_ms),
        ("latency, 99.9 %", report.latency_999_ms),
        ("latency, worst", report.latency_worst_ms),
    ):
        yield name, "-" if latency_ms is None else f"{latency_ms:,.2f} ms"
    yield (
        "generator's share of a core",
        f"{report.core_share_running:.0%}, while connecting {report.core_share_connecting:.0%}",
    )


def remarks(report: Report) -> Iterator[str]:
    """Yields remarks that help to interpret the result."""
    if report.is_interrupted:
        yield "the test was interrupted; this is the result so far"
    if report.failed_publications:
        yield (
            f"{sum(report.failed_publications.values()):,} events could not be published, so the"
            " test has failed"
        )
    if report.frames_expected and not report.frames_received:
        names = "redis.db and redisStreamPrefix"
        if report.not_owed is not None:
            names = "and realtimeChannelPrefix"
        yield f"no event arrived: this test and the server must use the same Redis, {names}"
    if report.core_share_running > _BUSY_CORE_SHARE:
        yield (
            "this test was short of CPU time, which distorts latencies and rates: start several"
            " tests with fewer connections each, or run it on another machine"
        )
    elif report.core_share_connecting > _BUSY_CORE_SHARE:
        yield (
            "this test was short of CPU time while it connected: the server may accept"
            " connections faster"
        )
