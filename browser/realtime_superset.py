"""A stand-in for Superset 7: its cookie, its two REST endpoints, and its workers."""

import contextlib
import hashlib
import itertools
import json
import time
import uuid
from dataclasses import dataclass
from http import HTTPStatus
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from twisted.trial.unittest import SynchronousTestCase

CHANNEL = "realtime"
COOKIE_NAME = "superset-ws-token"
SESSION_COOKIE_NAME = "session"
_AUDIENCE = "superset-websocket"
_ISSUER = "superset"
_PAGE = Path(__file__).with_name("realtime_page.html").read_bytes()
# As Superset has it.
_LIFETIME_SECONDS = 900


@dataclass
class Task:
    """A query that a worker runs."""

    key: int
    id: str
    chart: str
    principal: str
    tab_id: str
    status: str = "in_progress"
    changed_at: int = 0
    """The cursor of its last change."""


class SupersetStandIn:
    """Serves the page, and publishes the ends of its queries as Superset's workers do.

    Args:
        test: the test that it is for.
        redis_port: where to publish.
        websocket_url: what the page connects to.
        secret: signs the tokens.
        lifetime_seconds: how long they are valid.
        keepalive_lifetime_seconds: the lifetime that the page receives; it renews the
            token after 0.6 of it.
    """

    def __init__(
        self,
        test: SynchronousTestCase,
        redis_port: int,
        websocket_url: str,
        secret: str,
        *,
        lifetime_seconds: float = _LIFETIME_SECONDS,
        keepalive_lifetime_seconds: float = _LIFETIME_SECONDS,
    ) -> None:
        self.page_settings = {
            "websocket_url": websocket_url,
            "keepalive_lifetime_seconds": keepalive_lifetime_seconds,
        }
        self.finished_at: dict[str, float] = {}
        """When each chart's query ended, in seconds since 1970."""
        self._secret = secret
        self._lifetime_seconds = lifetime_seconds
        # What is published while Redis is away is lost; a connection that was lost is replaced.
        self._redis = redis.Redis(port=redis_port, retry=Retry(NoBackoff(), 1))
        test.addCleanup(self._redis.close)
        self._lock = Lock()
        self._keys = itertools.count(1)
        self._cursor = 0
        self._tasks: dict[tuple[str, str], Task] = {}
        http = _HttpServer(self)
        test.addCleanup(http.server_close)
        self.url = f"http://127.0.0.1:{http.server_port}/"
        Thread(target=http.serve_forever, daemon=True).start()
        test.addCleanup(http.shutdown)

    def finish(self, chart: str, status: str = "success") -> None:
        """Ends the queries of a chart, and publishes that."""
        self.finished_at[chart] = time.time()
        for task in [task for task in self._tasks.values() if task.chart == chart]:
            self._change(task, status)
            route = f"{task.principal}:{task.tab_id}"
            payload = {"task_id": task.id, "status": status}
            self._publish("task.status", "tab", payload, routes=[route])

    # What the endpoints do

    def chart_data(self, principal: str, chart: str, tab_id: str) -> tuple[HTTPStatus, object]:
        """Returns the data, or the task that will make them."""
        task = self._tasks.get((principal, chart))
        if task is not None and task.status == "success":
            return HTTPStatus.OK, {"result": f"data of {chart}"}
        with self._lock:
            cursor = self._cursor
        task = Task(next(self._keys), str(uuid.uuid4()), chart, principal, tab_id)
        self._tasks[principal, chart] = task
        self._change(task, task.status)
        return HTTPStatus.ACCEPTED, {
            "task_ids": [task.id],
            "cursor": str(cursor),
            "tab_id": tab_id,
        }

    def status_changes(self, principal: str, cursor: int) -> object:
        """Returns the tasks of a principal that changed after the cursor."""
        with self._lock:
            statuses = {
                task.id: {"status": task.status, "progress": None}
                for task in self._tasks.values()
                if task.principal == principal and task.changed_at > cursor
            }
            return {"statuses": statuses, "cursor": str(self._cursor)}

    def renewed_token(self, principal: str, token: str) -> str | None:
        """Returns a token to replace this one, unless it is good for half of its life yet."""
        now = time.time()
        with contextlib.suppress(jwt.InvalidTokenError):
            claims = jwt.decode(
                token, self._secret, algorithms=["HS256"], audience=_AUDIENCE, issuer=_ISSUER
            )
            is_fresh = claims["exp"] - now > self._lifetime_seconds / 2
            if is_fresh and claims["channel"] == principal:
                return None
        kind, _, identity = principal.partition(":")
        return jwt.encode(
            {
                "aud": _AUDIENCE,
                "iss": _ISSUER,
                "iat": int(now),
                "exp": int(now + self._lifetime_seconds),
                "sub": principal if kind == "guest" else identity,
                "principal_type": kind,
                "channel": principal,
            },
            self._secret,
        )

    def _change(self, task: Task, status: str) -> None:
        with self._lock:
            self._cursor += 1
            task.status, task.changed_at = status, self._cursor
        payload = {"entity_type": "task", "id": task.key}
        self._publish("entity.changed", "authenticated_global", payload)

    def _publish(self, topic: str, scope: str, payload: object, **routes: list[str]) -> None:
        message = json.dumps({"topic": topic, "scope": scope, "payload": payload, **routes})
        with contextlib.suppress(redis.RedisError):
            self._redis.publish(CHANNEL, message)


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, superset: SupersetStandIn) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.superset = superset


class _Request(BaseHTTPRequestHandler):
    server: _HttpServer

    def do_GET(self) -> None:
        """Answers with the page, the state of tasks, or the page's settings."""
        url = urlsplit(self.path)
        principal = self._principal()
        if url.path == "/":
            self._answer(HTTPStatus.OK, _PAGE, "text/html", principal)
        elif principal is None:
            self._answer_json(HTTPStatus.UNAUTHORIZED, {}, None)
        elif url.path == "/api/v1/me/":
            self._answer_json(HTTPStatus.OK, self.server.superset.page_settings, principal)
        elif url.path == "/api/v1/task/status_changes":
            (cursor,) = parse_qs(url.query)["cursor"]
            changes = self.server.superset.status_changes(principal, int(cursor))
            self._answer_json(HTTPStatus.OK, changes, principal)
        else:
            self._answer_json(HTTPStatus.NOT_FOUND, {}, principal)

    def do_POST(self) -> None:
        """Answers a chart that asks for its data."""
        principal = self._principal()
        body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if principal is None:
            self._answer_json(HTTPStatus.UNAUTHORIZED, {}, None)
        elif self.path == "/api/v1/chart/data":
            status, answer = self.server.superset.chart_data(
                principal, body["chart"], body["tab_id"]
            )
            self._answer_json(status, answer, principal)
        else:
            self._answer_json(HTTPStatus.NOT_FOUND, {}, principal)

    def log_message(self, *_: object) -> None:
        """Writes nothing."""

    def _principal(self) -> str | None:
        if guest_token := self.headers.get("X-GuestToken"):
            return f"guest:{hashlib.sha256(guest_token.encode()).hexdigest()}"
        user_id = self._cookie(SESSION_COOKIE_NAME)
        return f"user:{user_id}" if user_id else None

    def _cookie(self, name: str) -> str:
        morsel = SimpleCookie(self.headers.get("Cookie", "")).get(name)
        return "" if morsel is None else morsel.value

    def _answer_json(self, status: HTTPStatus, answer: object, principal: str | None) -> None:
        self._answer(status, json.dumps(answer).encode(), "application/json", principal)

    def _answer(
        self, status: HTTPStatus, body: bytes, content_type: str, principal: str | None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if principal is not None:
            token = self.server.superset.renewed_token(principal, self._cookie(COOKIE_NAME))
            if token is not None:
                self.send_header("Set-Cookie", f"{COOKIE_NAME}={token}; HttpOnly; Path=/")
        self.end_headers()
        self.wfile.write(body)
