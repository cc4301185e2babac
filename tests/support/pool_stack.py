"""Real worker processes on one Valkey, for tests: start them, send tasks, see what Flower would see."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from celery import Celery
from hooked import hooked
from time_scaling import scaled_s

from headrace.broker import hints
from headrace.broker.queue import queue_key, unacked_key
from headrace.local.valkey import die_with_parent


def until(condition: Callable[[], Any], timeout_s: float = 10.0, what: str = "") -> Any:
    timeout_s = scaled_s(timeout_s)
    deadline = time.monotonic() + timeout_s
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what or condition}"
        time.sleep(0.01)


class Worker:
    def __init__(self, process: subprocess.Popen[bytes], log: Path, ready: Path):
        self.process = process
        self._log = log
        self.ready = ready

    @property
    def log(self) -> str:
        return self._log.read_text()

    def stop(self, sig: int = signal.SIGTERM, timeout_s: float = 15.0) -> int:
        self.process.send_signal(sig)
        return self.process.wait(timeout_s)


class Stack:
    """One Valkey, one namespace, and any number of workers."""

    def __init__(self, url: str, namespace: str, folder: Path):
        self.url = url
        self.namespace = namespace
        self.folder = folder
        self.redis = redis.Redis.from_url(url, decode_responses=True)
        self.app = Celery("test", set_as_current=False, fixups=[])
        self.app.conf.update(hints.configure(url, namespace))
        self.workers: list[Worker] = []

    def launch(self, *arguments: str, role: str = "interactive", **environ: str) -> Worker:
        number = len(self.workers)
        log, ready = self.folder / f"{self.namespace}.{number}.log", self.folder / f"{self.namespace}.{number}.ready"
        env = {key: value for key, value in os.environ.items() if not key.startswith(("HEADRACE_", "CELERY_"))}
        env |= {
            "HEADRACE_REDIS_URL": self.url,
            "HEADRACE_NAMESPACE": self.namespace,
            **hooked("pool_tasks"),
            **environ,
        }
        command = [sys.executable, "-m", "headrace_worker", "--role", role, "--ready-file", str(ready), *arguments]
        with log.open("wb") as out:
            process = subprocess.Popen(command, env=env, stdout=out, stderr=out, preexec_fn=die_with_parent)
        worker = Worker(process, log, ready)
        self.workers.append(worker)
        return worker

    def worker(self, *arguments: str, role: str = "interactive", **environ: str) -> Worker:
        worker = self.launch(*arguments, role=role, **environ)
        until(lambda: worker.ready.exists() or worker.process.poll() is not None, 30)
        assert worker.ready.exists(), worker.log
        return worker

    def send(self, task: str, *args: Any, queue: str = "interactive", **options: Any) -> str:
        options = {"argsrepr": "()", "kwargsrepr": "{}", **options}
        return self.app.send_task(task, args=args, queue=queue, **options).id

    def words(self) -> list[str]:
        """What the tasks have said, in its order."""
        return [str(word) for word in self.redis.lrange(f"marks:{self.namespace}", 0, -1)]

    def marks(self) -> Counter[str]:
        return Counter(self.words())

    @property
    def queued(self) -> int:
        return self.redis.llen(queue_key(self.namespace, "interactive"))

    @property
    def unacked(self) -> int:
        return self.redis.hlen(unacked_key(self.namespace))

    def close(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.kill()
            worker.process.wait()
        self.redis.close()
        self.app.producer_pool.force_close_all()
        self.app.pool.force_close_all()
        self.app.close()


class Events:
    """Everything that Flower would see, through Celery's own receiver."""

    def __init__(self, app: Celery):
        self.seen: list[dict[str, Any]] = []
        self._stop = threading.Event()
        self._connection = app.connection_for_read()
        self._receiver = app.events.Receiver(self._connection, handlers={"*": self.seen.append})
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for _ in self._receiver.consume(limit=None, timeout=0.2, safety_interval=0, wakeup=False, ignore_timeouts=True):
            if self._stop.is_set():
                return

    def count(self) -> Counter[str]:
        return Counter(event["type"] for event in list(self.seen) if event["type"].startswith("task-"))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in list(self.seen) if event["type"] == kind]

    def close(self) -> None:
        self._stop.set()
        self._receiver.should_stop = True
        self._thread.join(10)
        self._connection.release()
