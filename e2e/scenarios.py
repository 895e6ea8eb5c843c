"""The scenarios: pages of Superset whose charts appear despite faults."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser

from e2e.browser import Profile, Tab
from e2e.stack import Site

Charts = Mapping[str, Sequence[str] | None]


class Failure(Exception):
    """The charts were drawn, but not in the way that is to be shown."""


@dataclass(frozen=True)
class View:
    """A page with charts."""

    path: str
    charts: Charts
    """For each chart's id the texts that it must show, or None for a picture."""


@dataclass(frozen=True)
class Scenario:
    """Something to show."""

    title: str
    show: Callable[[Site, Browser, Profile, Path], str]
    """Shows it, with the path for a picture of its failure; returns what was seen."""


def chart(site: Site) -> View:
    """Return the page of one chart."""
    number = str(site.fixtures["chart"])
    return View(f"/explore/?slice_id={number}", {number: site.fixtures["charts"][number]})


def dashboard(site: Site) -> View:
    """Return the page of the dashboard."""
    return View(f"/superset/dashboard/{site.fixtures['dashboard']}/", site.fixtures["charts"])


def log_in(site: Site, profile: Profile, picture: Path) -> None:
    """Log in and look at a chart, so that the browser knows the id of an event."""
    page = chart(site)
    with profile.tab(picture) as tab:
        tab.log_in(site.url, page.path)
        tab.wait_until(lambda: bool(tab.drawn(page.charts)), "no chart after the login")


def nothing(site: Site, tab: Tab) -> None:
    """Let the queries end."""
    site.gate.open()


def socket_cut(site: Site, tab: Tab) -> None:
    """Cut the browser's connection; it gets through again after the queries have ended."""
    site.proxy.hold()
    site.proxy.cut()
    tab.wait_until(lambda: not tab.is_connected, "the browser did not notice")
    site.gate.open()
    _wait_for_jobs(site, tab)
    _check(not tab.done_frames, "the connection was not cut")
    site.proxy.release()


def server_killed(site: Site, tab: Tab) -> None:
    """Kill the server; it comes back after the first query has ended."""
    site.server.kill()
    tab.wait_until(lambda: not tab.is_connected, "the browser did not notice")
    site.gate.open()
    # Not for all: on a slow machine the page might have given up by then.
    tab.wait_until(
        lambda: bool(site.ended_jobs() & set(tab.jobs)), "the worker did not publish the first end"
    )
    _check(not tab.done_frames, "the server was not killed")
    site.server.start()


def redis_killed(site: Site, tab: Tab) -> None:
    """Kill Redis; it comes back, with its data, before the queries end."""
    site.server.forget_log()
    site.redis.kill()
    site.server.wait_for_log("cannot follow the global stream")
    site.redis.start()
    site.redis.wait_until_ready()
    site.gate.open()


def during(
    view: Callable[[Site], View], trouble: Callable[[Site, Tab], None], *, sockets: int
) -> Callable[[Site, Browser, Profile, Path], str]:
    """Return what shows that a page's charts appear although there is trouble in mid-query.

    Args:
        view: which page.
        trouble: makes the trouble, and lets the queries end.
        sockets: how many sockets the page needs for that.
    """

    def show(site: Site, browser: Browser, profile: Profile, picture: Path) -> str:
        page = view(site)
        with _queries_waiting(site), profile.tab(picture) as tab:
            tab.go(site.url + page.path)
            _wait_for_queries(site, tab, page)
            tab.wait_until(lambda: tab.is_connected, "no socket was opened")
            _check(not tab.drawn(page.charts), "a chart was there before its query had ended")
            trouble(site, tab)
            seen = _wait_for_charts(tab, page, loads=1, sockets=sockets)
            _check(tab.last_socket.has_last_id, "the page did not say which event it had last")
            return seen

    return show


def first_page(site: Site, browser: Browser, profile: Profile, picture: Path) -> str:
    """Show that a chart appears whose query ends before a new browser's first socket opens."""
    page = chart(site)
    with (
        contextlib.closing(Profile(browser)) as fresh,
        _queries_waiting(site),
        fresh.tab(picture) as tab,
    ):
        site.proxy.hold()
        tab.log_in(site.url, page.path)
        _wait_for_queries(site, tab, page)
        site.gate.open()
        _wait_for_jobs(site, tab)
        _check(not tab.open_count, "the socket was open before the query had ended")
        site.proxy.release()
        # The login page and the chart's.
        seen = _wait_for_charts(tab, page, loads=2, sockets=1)
        _check(not tab.last_socket.has_last_id, "the browser was not new")
        return seen


def given_up(site: Site, browser: Browser, profile: Profile, picture: Path) -> str:
    """Show what no server can mend: Superset's page stops looking for it after a while.

    The page tries six times more, asks the polling API once, and that is all. A query that
    ends later is not heard of, though the page's clock is turned on by hours.
    """
    page = chart(site)
    with _queries_waiting(site), profile.tab(picture) as tab:
        tab.page.clock.install()
        tab.go(site.url + page.path)
        _wait_for_queries(site, tab, page)
        tab.wait_until(lambda: tab.is_connected, "no socket was opened")
        site.server.kill()

        def polled() -> bool:
            # The page goes by this clock, so its tries come faster.
            tab.page.clock.fast_forward(500)
            return tab.polls > 0

        tab.wait_until(polled, "the page did not ask the polling API")
        attempts = len(tab.sockets)
        site.server.start()
        site.server.wait_until_ready()
        site.gate.open()
        _wait_for_jobs(site, tab)
        tab.page.clock.fast_forward("10:00:00")
        _check(
            len(tab.sockets) == attempts and not tab.drawn(page.charts),
            "the page looked for the server again: this limit of Superset's is gone",
        )
        tab.page.reload(wait_until="commit")
        tab.wait_until(lambda: bool(tab.drawn(page.charts)), "not even a reload helped")
        return (
            f"NOT without a reload: {attempts - 1} more tries to connect, {tab.polls} poll(s),"
            " then Superset's page gives up"
        )


SCENARIOS = (
    Scenario("chart", during(chart, nothing, sockets=1)),
    Scenario("dashboard", during(dashboard, nothing, sockets=1)),
    Scenario("chart, socket cut in mid-query", during(chart, socket_cut, sockets=2)),
    Scenario("dashboard, socket cut in mid-query", during(dashboard, socket_cut, sockets=2)),
    Scenario("chart, server killed in mid-query", during(chart, server_killed, sockets=2)),
    Scenario("dashboard, server killed in mid-query", during(dashboard, server_killed, sockets=2)),
    Scenario("chart, Redis killed in mid-query", during(chart, redis_killed, sockets=1)),
    Scenario("dashboard, Redis killed in mid-query", during(dashboard, redis_killed, sockets=1)),
    Scenario("first page of a new browser, query ends before its socket opens", first_page),
    Scenario("chart, server away for longer than Superset's page tries", given_up),
)


@contextlib.contextmanager
def _queries_waiting(site: Site) -> Iterator[None]:
    # Computed before, they would not be in flight.
    site.forget_results()
    site.gate.close()
    try:
        yield
    finally:
        site.mend()


def _wait_for_queries(site: Site, tab: Tab, page: View) -> None:
    count = len(page.charts)
    tab.wait_until(lambda: len(tab.jobs) == count, f"Superset did not promise {count} results")
    tab.wait_until(lambda: site.gate.arrivals == count, f"the worker did not begin {count} queries")


def _wait_for_jobs(site: Site, tab: Tab) -> None:
    tab.wait_until(lambda: site.ended_jobs() >= set(tab.jobs), "the worker did not publish the end")


def _wait_for_charts(tab: Tab, page: View, *, loads: int, sockets: int) -> str:
    tab.wait_until(
        lambda: tab.drawn(page.charts) == set(page.charts),
        f"charts {set(page.charts)} were not drawn, the {len(tab.jobs)} jobs' frames were"
        f" {dict(tab.done_frames)}",
    )
    _check(set(tab.jobs) == set(tab.done_frames), f"frames of {dict(tab.done_frames)}")
    _check(tab.loads == loads, "the page was loaded again")
    _check(tab.polls == 0, "the page asked the polling API")
    _check(tab.open_count == sockets, f"the page opened {tab.open_count} sockets")
    last_id = "with" if tab.last_socket.has_last_id else "without"
    return (
        f"drawn: {len(tab.jobs)} answered 202, {tab.done_frames.total()} done,"
        f" {sockets} socket(s), the last {last_id} last_id"
    )


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Failure(otherwise)
