"""What the buttons of the demo's pages call."""

from collections.abc import Coroutine
from typing import Any
from uuid import UUID

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from gaq_twisted.core.edition import Unauthorized
from gaq_twisted.realtime.publisher import Publisher as MessagePublisher
from gaq_twisted.streams.publisher import Publisher as EventPublisher
from gaq_twisted.tools.demo.cookies import ChannelCookies, PrincipalCookies, as_json
from gaq_twisted.tools.demo.jobs import publish_job, publish_task

_JOBS = {b"chart": 1, b"dashboard": 20, b"failure": 1}
_TARGETS = (b"tab", b"user", b"everybody")


class BadRequest(Exception):
    """A request means nothing; the text says what would."""


class PublishResource(Resource):
    """Publishes what a request asks for, and sends what the page needs to know of it."""

    isLeaf = True
    _log = Logger()

    def publishing(self, request: Request) -> Coroutine[Any, Any, object]:
        """Returns what publishes, and returns the answer.

        Raises:
            BadRequest: if the request means nothing.
            Unauthorized: if the browser's cookie is refused.
        """
        raise NotImplementedError

    def render_POST(self, request: Request) -> bytes | int:
        """Publishes, and sends the answer as JSON."""
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        try:
            publishing = Deferred.fromCoroutine(self.publishing(request))
        except BadRequest as error:
            return _refused(request, 400, error)
        except Unauthorized as error:
            return _refused(request, 401, error)
        request.notifyFinish().addErrback(lambda _: publishing.cancel())
        publishing.addCallbacks(
            lambda answer: self._finish(request, 200, as_json(request, answer)),
            lambda failure: self._failed(request, failure),
        )
        return NOT_DONE_YET

    def _failed(self, request: Request, failure: Failure) -> None:
        if failure.check(CancelledError):
            return  # The browser is gone.
        self._log.failure("the demo could not publish", failure, event="demo_failed")
        self._finish(request, 503, f"{failure.getErrorMessage()}\n".encode())

    def _finish(self, request: Any, code: int, body: bytes) -> None:
        request.setResponseCode(code)
        request.write(body)
        request.finish()


class PublishJobs(PublishResource):
    """Publishes jobs to the channel of the browser; `kind` is chart, dashboard or failure.

    Args:
        cookies: name the channel.
        publisher: publishes them.
    """

    def __init__(self, cookies: ChannelCookies, publisher: EventPublisher) -> None:
        super().__init__()
        self._cookies = cookies
        self._publisher = publisher

    def publishing(self, request: Request) -> Coroutine[Any, Any, object]:
        """Returns what publishes the jobs, and returns their ids."""
        kind = _argument(request, b"kind")
        if kind not in _JOBS:
            raise BadRequest("kind must be chart, dashboard or failure")
        return self._publish(self._cookies.channel(request), kind)

    async def _publish(self, channel: str, kind: bytes) -> object:
        failed = kind == b"failure"
        jobs = [
            (await publish_job(self._publisher, channel, failed=failed))._asdict()
            for _ in range(_JOBS[kind])
        ]
        return {"jobs": jobs}


class PublishTask(PublishResource):
    """Publishes the end of a task.

    It is for the page's tab, all tabs of its user, or everybody, as `to` says.

    Args:
        cookies: name the user.
        publisher: publishes it.
    """

    def __init__(self, cookies: PrincipalCookies, publisher: MessagePublisher) -> None:
        super().__init__()
        self._cookies = cookies
        self._publisher = publisher

    def publishing(self, request: Request) -> Coroutine[Any, Any, object]:
        """Returns what publishes the task's end, and returns its route."""
        to = _argument(request, b"to")
        if to not in _TARGETS:
            raise BadRequest("to must be tab, user or everybody")
        try:
            task_id = str(UUID(_argument(request, b"task_id").decode()))
        except ValueError:
            raise BadRequest("task_id must be a UUID") from None
        route = self._cookies.principal(request).route
        if to == b"tab":
            tab_id = _argument(request, b"tab_id").decode("ascii", "replace")
            return self._publish(task_id, "tab", f"{route}:{tab_id}")
        return self._publish(task_id, "principal", route if to == b"user" else None)

    async def _publish(self, task_id: str, scope: str, route: str | None) -> object:
        servers = await publish_task(self._publisher, task_id, scope, route)
        return {"route": route, "servers": servers}


def _argument(request: Request, name: bytes) -> bytes:
    argument: bytes = request.args.get(name, [b""])[0]
    return argument


def _refused(request: Request, code: int, error: Exception) -> bytes:
    request.setResponseCode(code)
    return f"{error}\n".encode()
