"""The settings of the Superset under test: everything is in its working directory.

Read by Superset's own Python, as SUPERSET_CONFIG_PATH says.
"""

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

_HERE = Path.cwd()
_REDIS_PORT = int(os.environ["E2E_REDIS_PORT"])
_STREAMS_DB, _CACHE_DB, _BROKER_DB = 0, 1, 2


def _redis_cache(db: int, prefix: str) -> dict[str, Any]:
    return {
        "CACHE_TYPE": "RedisCache",
        "CACHE_REDIS_HOST": "127.0.0.1",
        "CACHE_REDIS_PORT": _REDIS_PORT,
        "CACHE_REDIS_DB": db,
        "CACHE_KEY_PREFIX": prefix,
        "CACHE_DEFAULT_TIMEOUT": 3600,
    }


# The data base is made once and used in many runs.
SECRET_KEY = "known to everybody, so for tests only"
SQLALCHEMY_DATABASE_URI = f"sqlite:///{_HERE}/superset.db"
# The worker and the web server write to it at the same time.
SQLALCHEMY_ENGINE_OPTIONS = {"connect_args": {"timeout": 60}}
TALISMAN_ENABLED = False
AUTH_RATE_LIMITED = False
RATELIMIT_ENABLED = False

FEATURE_FLAGS = {"GLOBAL_ASYNC_QUERIES": True}
GLOBAL_ASYNC_QUERIES_TRANSPORT = "ws"
GLOBAL_ASYNC_QUERIES_WEBSOCKET_URL = os.environ["E2E_WEBSOCKET_URL"]
GLOBAL_ASYNC_QUERIES_JWT_SECRET = os.environ["E2E_JWT_SECRET"]
GLOBAL_ASYNC_QUERIES_CACHE_BACKEND = _redis_cache(_STREAMS_DB, "")
CACHE_CONFIG = _redis_cache(_CACHE_DB, "metadata-")
DATA_CACHE_CONFIG = _redis_cache(_CACHE_DB, "data-")
FILTER_STATE_CACHE_CONFIG = _redis_cache(_CACHE_DB, "filters-")
EXPLORE_FORM_DATA_CACHE_CONFIG = _redis_cache(_CACHE_DB, "explore-")


class CELERY_CONFIG:
    """Celery's settings."""

    broker_url = f"redis://127.0.0.1:{_REDIS_PORT}/{_BROKER_DB}"
    imports = ("superset.sql_lab", "superset.tasks.scheduler")
    worker_prefetch_multiplier = 1
    # A query's result goes into the cache, and Superset asks Celery for nothing.
    task_ignore_result = True


def _pass_gate() -> int:
    """Report that a query has arrived, and wait while the gate is closed."""
    with (_HERE / "arrivals").open("a") as arrivals:
        arrivals.write(".")
    with (_HERE / "gate").open() as gate:
        fcntl.flock(gate, fcntl.LOCK_SH)
    return 1


def _offer_gate(connection: Any, _: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        # Said to be deterministic, it is called once in a query, not for each row.
        connection.create_function("pass_gate", 0, _pass_gate, deterministic=True)


event.listen(Engine, "connect", _offer_gate)
