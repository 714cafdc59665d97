"""One example of every event, all from one run; they stand in the schemas, and tests hold them to these."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from runmesh.events import (
    BlockStatus,
    CancelRequest,
    Cause,
    DeadLetter,
    Event,
    ExecuteTask,
    LogLines,
    RetryRequest,
    RunFact,
    RunRequest,
    RunState,
    TaskFact,
    TaskState,
)
from runmesh.subjects import DEFAULT_POOL, ExecutorType, request, task_key

_RUN: Final = "orders-2026-03-01"
_AT: Final = datetime(2026, 3, 1, 6, 30, 12, tzinfo=UTC)
_KEY: Final = task_key(_RUN, "load_orders", 1, 0)

EXAMPLES: Final[Mapping[str, Event]] = {
    "RunRequest": RunRequest(id=_RUN, pipeline="daily_orders", variables={"day": "2026-03-01"}, timeout=3600),
    "CancelRequest": CancelRequest(run=_RUN, reason="the source is being repaired"),
    "RetryRequest": RetryRequest(run=_RUN, id=f"{_RUN}-again"),
    "ExecuteTask": ExecuteTask(
        run=_RUN,
        block="load_orders",
        attempt=1,
        key=_KEY,
        project="shop",
        revision="3f9c2a7be01d",
        pipeline="daily_orders",
        executor_type=ExecutorType.LOCAL_PYTHON,
        pool=DEFAULT_POOL,
        config={"kill_grace": 10.0},
        command=("runmesh-run", "/projects/shop", "daily_orders", "--block-uuid", "load_orders"),
        start_timeout=1800,
    ),
    "TaskFact": TaskFact(
        run=_RUN,
        block="load_orders",
        attempt=1,
        key=_KEY,
        state=TaskState.FAILED,
        n=3,
        epoch=1,
        executor_type=ExecutorType.LOCAL_PYTHON,
        pool=DEFAULT_POOL,
        worker="01JN7Z3T5YB6Q2M8",
        handle=f"local:worker-1:4711:88231:{_KEY}",
        exit_code=1,
        cause=Cause.USER,
        reason="exit code 1",
        log_tail=("KeyError: 'order_id'",),
        at=_AT,
    ),
    "RunFact": RunFact(
        run=_RUN,
        project="shop",
        pipeline="daily_orders",
        state=RunState.FAILED,
        reason="load_orders failed",
        blocks={
            "load_orders": BlockStatus(state=TaskState.FAILED, attempts=1),
            "clean_orders": BlockStatus(state=TaskState.UPSTREAM_FAILED),
        },
        at=_AT,
    ),
    "LogLines": LogLines(
        run=_RUN, block="load_orders", attempt=1, stream="stderr", first=17, lines=("KeyError: 'order_id'",), at=_AT
    ),
    "DeadLetter": DeadLetter(
        subject=request("run", "shop"),
        reason="undecodable",
        error="not JSON: expected value at line 1 column 1",
        headers={},
        body="run daily_orders",
        deliveries=1,
        at=_AT,
    ),
}
"""By the event's name."""
