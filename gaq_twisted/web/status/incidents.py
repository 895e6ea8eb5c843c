"""Incidents: outages of Redis and their end, gaps, stalls, the shutdown."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gaq_twisted.core.dashboard import Level, News, Reached, Rose, Rule, Switched
from gaq_twisted.web.status.sampler import Sample

_MOST = 50


@dataclass(frozen=True)
class Incident:
    """One line in the list of incidents."""

    at: float
    """When it last occurred, in seconds since 1970."""
    count: int
    """In how many consecutive samples it occurred."""
    level: Level
    kind: str
    text: str


class Incidents:
    """The last incidents.

    Args:
        rules: define incidents.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._last: deque[Incident] = deque(maxlen=_MOST)
        self.version = 0
        """Changes whenever there is a new incident."""

    def compare(self, before: Sample | None, now: Sample) -> None:
        """Records the incidents of a sample.

        Args:
            before: the previous sample; None if there is none.
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
            # An incident that continues is kept once, with the newest time.
            count += self._last.pop().count
        self._last.append(Incident(at, count, news.level, news.kind, text))
        self.version += 1


def _news(rule: Rule, before: Sample | None, now: Sample) -> Iterator[tuple[News, str]]:
    """Yields the text of a rule's incident in a sample, if there is one."""
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
