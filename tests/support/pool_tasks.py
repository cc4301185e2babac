"""Tasks for the tests of the pool. They stand in a worker's application in place of its own.

A task's `mark` is pushed to the Redis list `marks:<namespace>`, so that a test sees what ran without Celery.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
import types
from typing import Any

import redis

CANARY = "CANARY-the-patient-said"

SETTINGS: Any = None


def mark(text: str) -> None:
    client = redis.Redis.from_url(SETTINGS.redis_url)
    client.rpush(f"marks:{SETTINGS.namespace}", text)
    client.close()


class Nasty(Exception):
    """Cannot be shown and cannot be pickled."""

    def __init__(self, text: str):
        super().__init__(text, lambda: text)

    def __str__(self) -> str:
        raise ValueError(CANARY)

    __repr__ = __str__


ERRORS = {
    "value": lambda: ValueError(CANARY),
    "systemexit": lambda: SystemExit(CANARY),
    "keyboard": lambda: KeyboardInterrupt(CANARY),
    "memory": lambda: MemoryError(CANARY),
    "cancelled": lambda: asyncio.CancelledError(CANARY),
    "generatorexit": lambda: GeneratorExit(CANARY),
    "stopiteration": lambda: StopIteration(CANARY),
    "nasty": lambda: Nasty(CANARY),
    "group": lambda: BaseExceptionGroup(CANARY, [SystemExit(CANARY), ValueError(CANARY)]),
    "unnameable": lambda: type(CANARY, (Exception,), {})(CANARY),
}


class Service:
    def __init__(self, how: str):
        self.how = how

    async def start(self) -> None:
        if self.how == "fails":
            raise ValueError(CANARY)
        if self.how == "unreachable":
            from headrace.errors import Unreachable

            raise Unreachable("the store is not there: start it")
        if self.how == "hangs":
            await asyncio.sleep(1000)
        mark("service started")

    def draining(self) -> None:
        mark("service draining")

    async def stop(self) -> None:
        mark("service stopped")
        if self.how == "stuck":
            await asyncio.sleep(1000)


def install(module: Any) -> None:
    """Have `make_app` register these instead of the worker's own."""
    worker_tasks = types.ModuleType("headrace_worker.tasks")
    worker_tasks.register = register  # type: ignore[attr-defined]
    sys.modules["headrace_worker.tasks"] = worker_tasks


def register(app: Any) -> None:
    global SETTINGS
    SETTINGS = app.headrace_settings
    how = os.environ.get("POOL_TASKS_SERVICE")
    if how:
        app.headrace_service = lambda: Service(how)

    @app.task(name="t.sleep")
    async def sleep(seconds: float, word: str = "") -> str:
        if word:
            mark(f"began {word}")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            mark(f"cancelled {word}")
            raise
        if word:
            mark(f"ended {word}")
        return CANARY

    @app.task(name="t.plain")
    def plain(word: str) -> str:
        time.sleep(0.01)
        mark(f"ended {word}")
        return CANARY

    @app.task(name="t.fail")
    async def fail(kind: str) -> None:
        secret = CANARY  # a local value, for tracebacks that show locals
        await asyncio.sleep(0)
        raise ERRORS[kind]() from ValueError(secret)

    @app.task(name="t.fail_plain")
    def fail_plain(kind: str) -> None:
        raise ERRORS[kind]()

    @app.task(name="t.fail_child")
    async def fail_child(kind: str) -> None:
        async def child() -> None:
            raise ERRORS[kind]()

        task = asyncio.create_task(child())
        await asyncio.sleep(0.05)
        del task

    @app.task(name="t.swallows")
    async def swallows() -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            mark("swallowed")

    @app.task(name="t.deaf")
    async def deaf() -> None:
        mark("began deaf")
        while True:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                mark("not listening")
