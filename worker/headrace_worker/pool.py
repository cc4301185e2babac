"""The asyncio pool of a Celery worker: hundreds of coroutine tasks in one process, on one loop in its own thread.

Two threads: the *hub* is Celery's (messages, acknowledgements, events, remote control), the *loop* is asyncio's and runs
the tasks and the service. Celery's tracer is not used, so there are no results, retries or time limits of Celery's.

The contract with Celery 5.7, found by running it:

* Celery's callbacks run on the hub only (its locks are dummies), one outcome for each task whatever it raised, and none
  after `terminate_job`. An outcome holding SystemExit or KeyboardInterrupt ends the worker, one holding MemoryError
  raises inside Celery: hence `TaskFailed`.
* `Hub.call_soon` may be called from any thread since kombu 5.7. Our own reader on the hub would be lost by `Hub.reset`
  when the broker's link breaks.
* `on_close` comes before the consumer is stopped, `on_stop` after it: draining in `on_close` keeps the link, heartbeats
  and remote control alive, and finished tasks are acknowledged while others still run.
* The answer of a task and the text of an exception are never handed to Celery: it would print them in events and logs.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from itertools import count
from pathlib import Path
from traceback import walk_tb
from types import SimpleNamespace
from typing import Any, Protocol

import structlog
from billiard.einfo import ExceptionInfo
from celery import signals
from celery.concurrency.base import BasePool
from celery.exceptions import Reject
from celery.worker import state as worker_state
from kombu.asynchronous import get_event_loop

from headrace.errors import HeadraceError

log = structlog.get_logger("headrace.worker.pool")

DRAIN_S = 45.0
CLEAN_UP_S = 5.0  # what a cancelled task, and the service's stop, get to hand things back


class Service(Protocol):
    """What runs beside the tasks on the loop: clients, the beat of the leases. `app.headrace_service` makes it."""

    async def start(self) -> None:
        """Awaited before the first task. When it raises, the worker ends with that error's exit code."""
        ...

    def draining(self) -> None:
        """No new tasks will come; those that run have `drain_s` left. Called on the loop."""
        ...

    async def stop(self) -> None:
        """Awaited after the last task."""
        ...


class TaskFailed(Exception):
    """What Celery and Flower get to see of a task's exception: the name of its type."""


class Job:
    """One task in the pool. Celery keeps only a weak reference to it, so the pool keeps it until its end."""

    def __init__(self, pool: TaskPool, number: int, name: str, request: dict[str, Any], callback: Callable[..., Any]):
        self.pool = pool
        self.number = number
        self.name = name
        self.request = request
        self.callback = callback
        self.began = time.monotonic()
        self.task: asyncio.Task[None] | None = None
        self.error: BaseException | None = None
        self.settled = False  # its one outcome was told, or must not be told any more (hub)
        self.cancelled = False  # cancellation was asked for (hub)
        self.handed_back = False  # cancelled by the drain: its hint goes back into the queue

    def terminate(self, signal: int | None = None) -> None:
        """Celery calls it on the handle of a task that is revoked or cancelled; `terminate_job` has done the work."""


class TaskPool(BasePool):
    """Runs `app.tasks[name].run(*args)` for each hint: a coroutine function on the loop, a plain one in a thread."""

    signal_safe = False
    task_join_will_block = False
    body_can_be_buffer = True

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        settings = getattr(self.app, "headrace_settings", None)
        self.drain_s: float = settings.drain_s if settings else DRAIN_S
        self._jobs: dict[int, Job] = {}
        self._numbers = count(1)
        self._ended: deque[Job] = deque()  # loop -> hub
        self._woken = False
        self._hub: Any = None
        self._consumer: Any = None
        self._service: Service | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._drain_until: float | None = None
        self._signals: set[str] = set()
        self._stopped = False

    # ---- Celery's interface: every method below runs on the hub ----

    def on_start(self) -> None:
        self._hub = get_event_loop()
        if self._hub is None:
            raise RuntimeError("headrace's pool needs Celery's event loop, which is there with Redis on Linux and macOS")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, args=(self._loop,), name="headrace-loop", daemon=True)
        self._thread.start()
        signals.worker_ready.connect(self._on_ready, weak=False)
        signals.worker_shutting_down.connect(self._on_signal, weak=False)
        self._start_service()

    def on_apply(
        self,
        target: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None = None,
        accept_callback: Callable[..., Any] | None = None,
        callback: Callable[..., Any] | None = None,
        **_: Any,
    ) -> Job:
        name, _, request, *_ = args
        job = Job(self, next(self._numbers), name, request, callback or (lambda outcome: None))
        self._jobs[job.number] = job
        if accept_callback:
            accept_callback(job.number, time.monotonic())
        if self._drain_until is not None or self._loop is None or self._loop.is_closed():
            job.handed_back = True  # came in between (a message with a date): another worker's
            self._settle(job)
        else:
            self._loop.call_soon_threadsafe(self._begin, job)
        return job

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Cancel task number `pid`. Celery has told its outcome itself (revoked), so none is told from here."""
        job = self._jobs.get(pid)
        if job:
            job.settled = True
            self._cancel(job)

    def grow(self, n: int = 1) -> None:
        self.limit = (self.limit or 0) + n

    def shrink(self, n: int = 1) -> None:
        self.limit = max(1, (self.limit or 0) - n)

    def on_close(self) -> None:
        """SIGTERM: drain. Take nothing new, let what runs finish until the deadline, then hand the rest back."""
        if self._stopped or self._loop is None or not worker_state.should_stop_is_warm():
            return

    def on_terminate(self) -> None:
        self.on_stop()
