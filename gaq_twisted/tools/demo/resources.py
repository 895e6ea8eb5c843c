"""The resources that the demo's pages call."""

from collections.abc import Callable

from twisted.web.resource import Resource
from twisted.web.server import Request

from gaq_twisted.core.edition import Unauthorized
from gaq_twisted.tools.demo.cookies import as_json
from gaq_twisted.tools.demo.dashboards import Dashboard, Loads
from gaq_twisted.tools.demo.faults import Fault


class DashboardResource(Resource):
    """Starts loading dashboards, and reports their progress.

    Args:
        make: creates the dashboard for a request; raises Unauthorized.
        loads: loads it.
    """

    isLeaf = True

    def __init__(self, make: Callable[[Request], Dashboard], loads: Loads) -> None:
        super().__init__()
        self._make = make
        self._loads = loads

    def render_POST(self, request: Request) -> bytes:
        """Starts loading a dashboard; sends its id and its charts."""
        faults = self._loads.faults
        try:
            fault = Fault(argument(request, b"fault"))
        except ValueError:
            return _refused(request, 400, f"fault must be {', '.join(Fault)}")
        if fault is not Fault.NONE:
            if faults is None:
                return _refused(request, 400, "this page cannot cause faults")
            if faults.is_busy:
                return _refused(
                    request, 409, "another fault is still in progress: wait a few seconds"
                )
        try:
            dashboard = self._make(request)
        except Unauthorized as error:
            return _refused(request, 401, str(error))
        self._loads.begin(dashboard, fault)
        return as_json(request, {"id": dashboard.id, "charts": dashboard.charts})

    def render_GET(self, request: Request) -> bytes:
        """Sends the progress of a dashboard.

        That is its faults, the charts whose queries have ended, and what Superset's Node.js server
        would have made of them.
        """
        dashboard = self._loads.get(argument(request, b"id"))
        if dashboard is None:
            return _refused(request, 404, "no such dashboard: load it again")
        story, now = dashboard.story, dashboard.seconds()
        outcomes = {
            chart: outcome for chart, outcome in dashboard.outcomes().items() if outcome.at <= now
        }
        return as_json(
            request,
            {
                "cut": story.cut_at,
                "redis": story.redis_down,
                "server": story.server_down,
                "ended": list(story.ended),
                "node": {
                    "shown": [chart for chart, one in outcomes.items() if one.is_shown],
                    "lost": [chart for chart, one in outcomes.items() if not one.is_shown],
                },
            },
        )


def argument(request: Request, name: bytes) -> str:
    """Returns a parameter of the query; empty if there is none."""
    value: bytes = request.args.get(name, [b""])[0]
    return value.decode("ascii", "replace")


def _refused(request: Request, code: int, text: str) -> bytes:
    request.setResponseCode(code)
    request.setHeader(b"content-type", b"text/plain; charset=utf-8")
    return f"{text}\n".encode()
