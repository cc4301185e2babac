"""A hook for every process: faults that nobody foresaw, with a text that must not be seen, wherever one can come from."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import threading
import warnings
from typing import Any

TEXT = "unseen7 of the patient"
MARK = "fault-please"
DEADLY = "death-please"
"""It kills its worker, and fails in the child process of the quarantine that it comes to then."""
PLACES = ("headrace_worker.celery_app", "headrace_api.app", "headrace.broker.flower", "headrace.cli.version")


class Unforeseen(Exception):
    """One of them."""


def fail(*_: Any, **__: Any) -> Any:
    raise Unforeseen(TEXT)


async def fail_later(*_: Any, **__: Any) -> Any:
    await asyncio.sleep(0)
    raise Unforeseen(TEXT)


def fail_beside() -> None:
    """In a task that nobody awaits, a callback of the loop, a thread, a warning and somebody else's log."""
    loop = asyncio.get_running_loop()
    loop.create_task(fail_later())  # noqa: RUF006 (that nobody keeps it is the case)
    loop.call_soon(fail, TEXT)
    threading.Thread(target=fail).start()
    warnings.warn(TEXT, stacklevel=1)
    logging.getLogger("somebody").error(f"that {TEXT}", exc_info=Unforeseen(TEXT))
    logging.getLogger("somebody").error("of %s", TEXT)


def install(place: Any) -> None:
    {
        "headrace_worker.celery_app": in_worker,
        "headrace_api.app": in_gateway,
        "headrace.broker.flower": in_flower,
        "headrace.cli.version": in_command,
    }[place.__name__](place)


def in_worker(_: Any) -> None:
    from headrace_worker.engine.engine import Engine
    from headrace_worker.worker_process import WorkerProcess

    ask, start = Engine.ask, WorkerProcess.start

    async def fail_or_ask(self: Any, job: Any, **options: Any) -> Any:
        text = job.messages[-1]["content"]
        if DEADLY in text and multiprocessing.parent_process() is None:
            os.kill(os.getpid(), signal.SIGKILL)
        if MARK in text or DEADLY in text:
            raise Unforeseen(TEXT)
        return await ask(self, job, **options)

    async def start_and_fail(self: Any) -> None:
        await start(self)
        fail_beside()

    Engine.ask, WorkerProcess.start = fail_or_ask, start_and_fail


def in_gateway(place: Any) -> None:
    from litestar import get

    make_app = place.make_app

    @get("/fault/route")
    async def route() -> str:
        fail_beside()
        raise Unforeseen(TEXT)

    def with_faults(*arguments: Any) -> Any:
        app = make_app(*arguments)
        app.register(route)

        async def outer(scope: Any, receive: Any, send: Any) -> None:
            if scope.get("path") == "/fault/app":
                raise Unforeseen(TEXT)
            await app(scope, receive, send)

        return outer

    place.make_app = with_faults


def in_flower(_: Any) -> None:
    from flower.views.workers import WorkersView

    async def get(self: Any) -> None:
        fail_beside()
        raise Unforeseen(TEXT)

    WorkersView.get = get


def in_command(place: Any) -> None:
    place.version.callback = fail
