"""Facts on the page that must be queried elsewhere, such as in Redis."""

from collections.abc import Mapping, Sequence

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from gaq_twisted.core.dashboard import Question
from gaq_twisted.web.status.sampler import Sample


class Answers:
    """Queries facts while they are shown, and again only when something has changed.

    Args:
        questions: the queries.
    """

    _log = Logger()

    def __init__(self, questions: Sequence[Question]) -> None:
        self._questions = questions
        self._asked_at: dict[str, float | None] = {}
        self._asking: dict[Question, Deferred[None]] = {}
        self._facts: dict[str, str] = {}

    @property
    def facts(self) -> Mapping[str, str]:
        """The known facts, by name."""
        return self._facts

    def refresh(self, sample: Sample) -> None:
        """Queries facts that may have changed; the answers arrive later.

        Args:
            sample: the present sample.
        """
        for question in self._questions:
            value = sample[question.column]
            is_new = self._asked_at.get(question.column, -1) != value
            if sample[question.up] and is_new and question not in self._asking:
                self._asked_at[question.column] = value
                asking = self._asking[question] = Deferred.fromCoroutine(self._ask(question))
                asking.addBoth(self._finished, question)

    def stop(self) -> None:
        """Stops all queries."""
        for asking in list(self._asking.values()):
            asking.cancel()

    async def _ask(self, question: Question) -> None:
        self._facts.update(await question.ask())

    def _finished(self, result: object, question: Question) -> None:
        self._asking.pop(question, None)
        if isinstance(result, Failure) and not result.check(CancelledError):
            self._log.failure(
                "the query after a change of {column} failed", result, event="question_failed"
            )
