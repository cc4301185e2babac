"""The asyncio pool of a Celery worker: hundreds of coroutine tasks in one process, on one loop in its own thread.

Two threads: the *hub* is Celery's (messages, acknowledgements, events, remote control), the *loop* is asyncio's and
runs the tasks and the service. Celery's tracer is not used, so there are no results, retries or time limits of Celery's.

The contract with Celery 5.7, found by running it:

* Celery's callbacks run on the hub only (its locks are dummies there), one outcome for each task whatever it raised,
  and none after `terminate_job`. An outcome holding SystemExit or KeyboardInterrupt ends the worker, one holding
  MemoryError raises inside Celery: hence `TaskFailed`.
* `Hub.call_soon` may be called from any thread since kombu 5.7. A reader of our own on the hub would be dropped by
  `Hub.reset` when the link to the broker breaks.
* `on_close` comes before the consumer is stopped, `on_stop` after it. Draining in `on_close` keeps link, heartbeats and
  remote control alive, and what finishes is acknowledged while the rest still runs.
* The answer of a task and the text of an exception never reach Celery, which would print them in events and logs.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import inspect
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any, Protocol

from billiard.einfo import ExceptionInfo
from celery import signals
from celery.concurrency.base import BasePool
from celery.exceptions import Reject
from celery.worker import state as worker_state
from kombu.asynchronous import get_event_loop

from headrace.errors import HeadraceError
from headrace.logs import get_logger, words_before_values
from headrace.text.safe_errors import kind_of, where_of
from headrace_worker.flower_progress import CURRENT, EVENT, Numbers, Reporter

log = get_logger("headrace.worker.pool")

DRAIN_S = 45.0
CLEAN_UP_S = 5.0  # what a cancelled task, and the service's stop, get to hand things back
TURN_S = 0.05  # how long one turn of the hub may wait for something to happen while it drains


class Service(Protocol):
    """The service beside the tasks on the loop: clients, the beat of the leases. `app.headrace_service()` makes it."""

    async def start(self) -> None:
        """Prepare; awaited before the first task. When it raises, the worker ends with a code that is not 0."""

    def draining(self) -> None:
        """Handle the start of the drain: no new tasks come; those that run have `drain_s` left. Called on the loop."""

    async def stop(self) -> None:
        """Clean up; awaited after the last task."""


class TaskFailed(Exception):
    """A task's exception as Celery and Flower get to see it: the name of its type."""


class HandBack(Exception):
    """Raised by a task that was not begun: its hint goes back into the queue, for a worker that stays."""


class PoolJob:
    """One task in the pool, and the handle that Celery gets. Celery's reference is weak: the pool keeps it alive."""

    def __init__(self, number: int, name: str, request: dict[str, Any], callback: Callable[..., Any] | None):
        self.number = number
        self.name = name
        self.request = request
        self.callback = callback
        self.began = time.monotonic()
        self.task: asyncio.Task[None] | None = None
        self.error: BaseException | None = None
        self.told = False  # its outcome is with Celery: nothing more may be said of it
        self.cancelled = False
        self.handed_back = False  # cancelled by the drain: if the task agrees, its hint goes back into the queue

    def terminate(self, signal: int | None = None) -> None:
        """Do nothing: Celery calls this after `terminate_job`, which has done the work."""


class TaskPool(BasePool):
    """Runs `app.tasks[name].run(*args)` for each hint: a coroutine function on the loop, a plain function in a thread.

    At SIGTERM it drains (`on_close`). A task that is still running at the deadline is cancelled; when it lets the
    `CancelledError` out, its hint goes back into the queue, when it returns or fails, the hint is acknowledged.
    """

    signal_safe = False
    task_join_will_block = False
    body_can_be_buffer = True

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        settings = getattr(self.app, "headrace_settings", None)
        self.drain_s: float = settings.drain_s if settings else DRAIN_S
        self._jobs: dict[int, PoolJob] = {}
        self._numbers = count(1)
        self._ended: deque[PoolJob] = deque()  # written by the loop, read by the hub
        self._woken = False
        self._hub: Any = None
        self._hub_turns: Any = None
        self._consumer: Any = None
        self._service: Service | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closing_loop = False
        self._drain_until: float | None = None
        self._signals: set[str] = set()
        self._hurry = False
        self._stopped = False

    def on_start(self) -> None:
        self._hub = get_event_loop()
        if self._hub is None:
            raise RuntimeError("the pool needs Celery's event loop, which exists with Redis on Linux and macOS")
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_on_loop_error)
        self._thread = threading.Thread(target=self._run_loop, args=(self._loop,), name="headrace-loop", daemon=True)
        self._thread.start()
        signals.worker_ready.connect(self._on_ready, weak=False)
        signals.worker_shutting_down.connect(self._on_signal, weak=False)
        self._start_service(self._loop)

    def on_apply(  # pyright: ignore[reportIncompatibleMethodOverride] (Celery keeps the handle, its type says None)
        self,
        target: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None = None,
        callback: Callable[..., Any] | None = None,
        accept_callback: Callable[..., Any] | None = None,
        **_: Any,
    ) -> PoolJob:
        name, _uuid, request, *_rest = args
        job = PoolJob(next(self._numbers), name, request, callback)
        self._jobs[job.number] = job
        if accept_callback:
            accept_callback(job.number, job.began)
        if self._loop is None or self._stopped or self._drain_until is not None:
            self._hand_back(job)  # it slipped in while we drain
        else:
            self._loop.call_soon_threadsafe(self._begin, self._loop, job)
        return job

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Cancel task number `pid`. Celery tells its outcome (revoked) itself."""
        job = self._jobs.get(pid)
        if job:
            job.told = True
            self._cancel(job)

    def on_close(self) -> None:
        """Drain: take nothing new, let what runs finish until the deadline, hand the rest back."""
        if self._stopped or self._loop is None or worker_state.should_terminate:
            return
        self._drain_until = 0.0 if self._hurry else time.monotonic() + self.drain_s
        if self._consumer is not None:
            with contextlib.suppress(Exception):  # the link may be down just now
                # A message already on its way to us finds no consumer: kombu puts it back into its queue.
                self._consumer.task_consumer.cancel()
        if self._service is not None:
            self._loop.call_soon_threadsafe(self._service.draining)
        log.info("draining", running=len(self._jobs), deadline_s=self.drain_s)
        tick = self._hub.call_repeatedly(TURN_S, lambda: None)
        try:
            # The deadline is read anew each turn: a second signal moves it.
            while self._jobs and time.monotonic() < self._drain_until:
                self._turn()
            self._cancel_all()
            until = time.monotonic() + CLEAN_UP_S
            while self._jobs and time.monotonic() < until:
                self._turn()
            for job in list(self._jobs.values()):
                self._hand_back(job)
            for _ in range(2):  # acknowledge the last tasks now: the service's stop may take its time
                self._turn()
            if self._consumer is not None:
                with contextlib.suppress(Exception):
                    self._consumer.tell_broker()
        finally:
            tick.cancel()

    def on_stop(self) -> None:
        """End the service and the loop. After a cold shutdown's signal the tasks are cancelled here.

        Celery calls this from the signal's handler, perhaps in the middle of `on_close`: no lock may be taken here.
        """
        if self._stopped or self._loop is None:
            return
        self._stopped = True
        self._drain_until = 0.0
        if self._service is not None:  # a cold shutdown begins here
            self._loop.call_soon_threadsafe(self._service.draining)
        self._cancel_all()
        until = time.monotonic() + CLEAN_UP_S
        while self._jobs and time.monotonic() < until:
            self._tell_outcomes()
            time.sleep(0.005)
        for job in list(self._jobs.values()):
            self._hand_back(job)
        self._stop_service(self._loop)
        self._end_loop(self._loop)
        signals.worker_ready.disconnect(self._on_ready)
        signals.worker_shutting_down.disconnect(self._on_signal)

    def on_terminate(self) -> None:
        self.on_stop()

    def _on_ready(self, sender: Any = None, **_: Any) -> None:
        self._consumer = sender

    def _on_signal(self, sig: str = "", how: str = "", **_: Any) -> None:
        """End the drain at the same signal twice, or a cold one. (Ctrl-C and a supervisor's SIGTERM are one wish.)"""
        if sig in self._signals or how == "Cold":
            self._hurry = True
            if self._drain_until is not None:
                self._drain_until = 0.0
        self._signals.add(sig)

    def _turn(self) -> None:
        """Take one turn of Celery's own loop, which `on_close` has interrupted."""
        try:
            if self._hub_turns is None:
                self._hub_turns = self._hub.create_loop()
            next(self._hub_turns)
        except (Exception, SystemExit) as error:
            # The link broke, or `shutdown` came by remote control. There is no reconnecting now: hints that cannot be
            # acknowledged come back, and find their records finished.
            self._hub_turns = None
            log.warning("the hub stumbled while draining", kind=type(error).__name__)
            self._tell_outcomes()
            time.sleep(TURN_S)

    def _cancel_all(self) -> None:
        for job in list(self._jobs.values()):
            job.handed_back = True
            self._cancel(job)

    def _cancel(self, job: PoolJob) -> None:
        if not job.cancelled and self._loop is not None:
            job.cancelled = True
            self._loop.call_soon_threadsafe(lambda: job.task and job.task.cancel())

    def _hand_back(self, job: PoolJob) -> None:
        job.handed_back, job.error = True, asyncio.CancelledError()
        self._tell(job)

    def _tell_outcomes(self) -> None:
        """Tell Celery, on the hub, of every task that has ended since."""
        self._woken = False
        if self._ended and self._loop is not None and not self._stopped:
            # What Celery queues on the hub from in here (acknowledging) would wait for the hub's next event, up to 1 s:
            # the hub polls before it looks again, and only another thread wakes it.
            self._loop.call_soon_threadsafe(self._hub.call_soon, lambda: None)
        while self._ended:
            self._tell(self._ended.popleft())

    def _tell(self, job: PoolJob) -> None:
        self._jobs.pop(job.number, None)
        if job.told:
            return
        job.told = True
        runtime = time.monotonic() - job.began
        try:
            if job.error is None:
                outcome = (0, "None", runtime)
            elif isinstance(job.error, HandBack) or (job.handed_back and isinstance(job.error, asyncio.CancelledError)):
                outcome = (1, _info(Reject("handed back", requeue=True), ""), runtime)
            else:
                kind, where = kind_of(job.error), where_of(job.error)
                log.error("task failed", task=job.name, uuid=job.request.get("id"), kind=kind, where=where)
                outcome = (1, _info(TaskFailed(kind), where), runtime)
            if job.callback:
                job.callback(outcome)
        except Exception as error:
            # Out of here it would end the worker, and the outcomes behind this one would be lost with it.
            log.error("Celery did not take an outcome", kind=kind_of(error), where=where_of(error))
        finally:
            job.error = None  # it holds the frames, and with them the answer

    def _begin(self, loop: asyncio.AbstractEventLoop, job: PoolJob) -> None:
        job.task = loop.create_task(self._work(job))
        # A task that is cancelled before its first step never enters `_work`: only this callback is certain.
        job.task.add_done_callback(lambda task: self._on_ended(job, task))

    async def _work(self, job: PoolJob) -> None:
        # Everything is caught, also what asyncio would let through to end its loop (SystemExit, KeyboardInterrupt).
        CURRENT.set(Reporter(str(job.request.get("id")), self._send_progress))
        try:
            run = self.app.tasks[job.name].run  # type: ignore[union-attr]
            args, kwargs = job.request["args"], job.request["kwargs"]
            if inspect.iscoroutinefunction(run):
                await run(*args, **kwargs)
            else:
                await asyncio.to_thread(_call, run, args, kwargs)
        except BaseException as error:
            job.error = error

    def _send_progress(self, uuid: str, numbers: Numbers) -> None:
        if (dispatcher := getattr(self._consumer, "event_dispatcher", None)) is not None:
            self._hub.call_soon(lambda: dispatcher.send(EVENT, uuid=uuid, **numbers))

    def _on_ended(self, job: PoolJob, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            job.error = asyncio.CancelledError()
        self._ended.append(job)
        if not self._woken:
            self._woken = True
            self._hub.call_soon(self._tell_outcomes)

    def _run_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        while not self._closing_loop:
            try:
                loop.run_forever()
            except BaseException as error:
                # SystemExit in a task that a task has started: asyncio lets it out. The loop itself is intact.
                log.error("an exception left the loop", kind=kind_of(error), where=where_of(error))
        rest = asyncio.all_tasks(loop)
        for task in rest:
            task.cancel()
        if rest:
            loop.run_until_complete(asyncio.wait(rest, timeout=1))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    def _end_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        self._closing_loop = True
        loop.call_soon_threadsafe(loop.stop)
        if self._thread:
            self._thread.join(timeout=CLEAN_UP_S)

    def _start_service(self, loop: asyncio.AbstractEventLoop) -> None:
        factory = getattr(self.app, "headrace_service", None)
        if factory is None:
            return

        async def start() -> Service:
            service = factory()
            await service.start()
            return service

        future = asyncio.run_coroutine_threadsafe(start(), loop)
        while not concurrent.futures.wait([future], timeout=0.1).done:
            worker_state.maybe_shutdown()  # SIGTERM while it starts
        error = future.exception()
        if error is None:
            self._service = future.result()
            return
        # The text of our own errors is written for people; of another's only the kind is known to be harmless.
        text = str(error) if isinstance(error, HeadraceError) else f"{kind_of(error)} at {where_of(error)}"
        log.critical("the worker cannot start", error=text)
        self._end_loop(loop)
        raise SystemExit(error.exit_code if isinstance(error, HeadraceError) else 1)

    def _stop_service(self, loop: asyncio.AbstractEventLoop) -> None:
        service, self._service = self._service, None
        if service is None:
            return
        future = asyncio.run_coroutine_threadsafe(service.stop(), loop)
        if not concurrent.futures.wait([future], timeout=CLEAN_UP_S).done:
            log.error("the service did not stop in time", timeout_s=CLEAN_UP_S)
        elif error := future.exception():
            log.error("the service did not stop in order", kind=kind_of(error), where=where_of(error))


def _call(run: Callable[..., Any], args: Any, kwargs: Any) -> None:
    try:
        run(*args, **kwargs)
    except StopIteration:  # no future takes it: the task would never end
        raise RuntimeError("StopIteration") from None


def _info(error: Exception, where: str) -> ExceptionInfo:
    """Return what Celery takes for a failure. Billiard's own text would quote source lines."""
    try:
        raise error
    except Exception:
        info = ExceptionInfo()
    info.exception = error.with_traceback(None)  # pyright: ignore[reportAttributeAccessIssue] (Celery takes both)
    info.traceback = f"{error}: {where}"
    return info


def _on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log the kind of a fault alone: asyncio's own handler prints the exception's text."""
    error = context.get("exception")
    if error is None:
        log.error("a fault on the loop", kind=words_before_values(str(context.get("message", ""))))
    else:
        log.error("an exception that nobody awaited", kind=kind_of(error), where=where_of(error))
