"""The samples that are worth a line: Redis lost and found, gaps, stalls, the shutdown."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gaq_twisted.core.dashboard import Level, News, Reached, Rose, Rule, Switched
from gaq_twisted.web.status.sampler import Sample

_MOST = 50


@dataclass(frozen=True)
class Incident:
    """One line."""

    at: float
    """When it was last so, in seconds since 1970."""
    count: int
    """In how many samples in a row it was so."""
    level: Level
    kind: str
    text: str


class Incidents:
    """The last incidents.

    Args:
        rules: what makes an incident.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._last: deque[Incident] = deque(maxlen=_MOST)
        self.version = 0
        """Changes whenever there is a new incident."""

    def compare(self, before: Sample | None, now: Sample) -> None:
        """Notes what is new in a sample.

        Args:
            before: the sample before; None if it is the first.
            now: the sample.
        """
        for rule in self._rules:
            for news, text in _news(rule, before, now):
                self._note(now["at"] or 0.0, news, text)

    def newest_first(self) -> Sequence[Incident]:
        """Returns the incidents."""
        return list(reversed(self._last))

    def _note(self, at: float, news: News, text: str) -> None:
        count = 1
        if self._last and self._last[-1].kind == news.kind:
            # Of what goes on, only the newest is kept.
            count += self._last.pop().count
        self._last.append(Incident(at, count, news.level, news.kind, text))
        self.version += 1


def _news(rule: Rule, before: Sample | None, now: Sample) -> Iterator[tuple[News, str]]:
    """Yields what a rule says of a sample, with its text: nothing, or one thing."""
    value = now[rule.column] or 0
    last = (before[rule.column] or 0) if before else 0
    match rule:
        case Rose(news=news) if value != last:
            count = int(value - last)
            yield news, news.text.format(count=count, times=_times(count))
        case Switched(on=news) if value and not last:
            yield news, news.text
        case Switched(off=News() as news) if last and not value:
            yield news, news.text
        case Reached(least=least, news=news) if value >= least:
            yield news, news.text.format(value=value)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"
