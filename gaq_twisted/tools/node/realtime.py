"""What a page of Superset 7 would have shown with its Node.js server, simulated.

docs/migrating.md and docs/superset-7.md document the behaviour that the simulation follows:

- Nothing is stored. A page asks Superset which queries have ended each time its socket opens.
- When the server loses Redis, it closes all sockets with 1012 and rejects upgrades with 503, until
  3.5 s after Redis is back.
- A page tries again 1, 2, 4 s and so on after each end, and up to 1 s more; half a second is taken
  here. At the third end without an open in between, it fails every chart that waits.
"""

from gaq_twisted.tools.node.story import Outcome, Span, Story

_RECOVERY_SECONDS = 3.5
_JITTER_SECONDS = 0.5
_MOST_ENDS = 3


def realtime_outcomes(story: Story) -> dict[str, Outcome]:
    """Returns the outcome of each chart whose query has ended.

    An outcome may be in the future.

    Args:
        story: what happened.
    """
    closed_at, refusing = story.cut_at, None
    if story.server_down is not None:
        closed_at, refusing = story.server_down.start, story.server_down
    elif story.redis_down is not None:
        closed_at = story.redis_down.start
        refusing = Span(closed_at, story.redis_down.end + _RECOVERY_SECONDS)
    if closed_at is None:
        return {chart: Outcome(True, at) for chart, at in story.ended.items()}
    back = _return(closed_at, refusing)
    return {
        chart: Outcome(True, at) if at < closed_at else Outcome(back.is_shown, max(at, back.at))
        for chart, at in story.ended.items()
    }


def _return(closed_at: float, refusing: Span | None) -> Outcome:
    """Returns when the page's socket opens again, or when the page fails its charts."""
    at = closed_at
    for ends in range(1, _MOST_ENDS):
        at += 2 ** (ends - 1) + _JITTER_SECONDS
        if refusing is None or not refusing.has(at):
            return Outcome(True, at)
    return Outcome(False, at)
