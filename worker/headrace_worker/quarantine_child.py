"""A child process of the quarantine: claims the records that its parent names, runs them, and says which have ended.

Messages are one line each. From the parent: `+ID` begin, `-ID` give up, `drain` (begin nothing more), `stop` (hand back what
runs), `end`; to it: the id of a record whose attempt is over, `!ID` when it was not begun. It hears no signals but SIGKILL: they
are the parent's. It ends with its parent, and its death is what the parent reports.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import threading
from multiprocessing.connection import Connection

from headrace.guards.service_address import redis_url
from headrace.ledger.queues import QUARANTINE
from headrace.logs import configure, get_logger
from headrace.settings import Settings
from headrace.text.safe_errors import kind_of, where_of
from headrace_worker.celery_app import make_app
from headrace_worker.pool import HandBack
from headrace_worker.tasks import work_on
from headrace_worker.worker_process import WorkerProcess

log = get_logger("headrace.worker.quarantine_child")


def main(name: str, pipe: Connection) -> None:
    """Serve the parent at the other end of `pipe` until it says so, or is gone."""
    try:
        serve(name, pipe)
    except SystemExit as error:
        raise SystemExit(error.code if isinstance(error.code, int) else 1) from None
    except Exception as error:  # multiprocessing would print its text
        log.critical("the process ended by a fault", kind=kind_of(error), where=where_of(error))
        os._exit(1)


def serve(name: str, pipe: Connection) -> None:
    with contextlib.suppress(OSError):
        os.setsid()  # what kills its process group kills itself, not the children beside it
    threading.Thread(target=end_with_parent, args=(pipe.fileno(),), name="headrace-parent", daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = Settings.load()
    configure(settings.log_level)
    make_app(settings)
    asyncio.run(QuarantineChild(WorkerProcess(settings, redis_url(settings), QUARANTINE, name=name), pipe).serve())


def end_with_parent(descriptor: int) -> None:
    """End this process when the other end of the pipe is closed, whatever the loop is at. (The kernel's own way ties it to
    the fork server, whose death would be taken for that of every child.)"""
    poll = select.poll()
    poll.register(descriptor, 0)  # only that it is hung up is told
    while not any(happened & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, happened in poll.poll()):
        pass
    os._exit(1)


class QuarantineChild:
    """Runs what it is told on its loop; `serve()` returns when it was told to end and everything has ended."""

    def __init__(self, process: WorkerProcess, pipe: Connection):
        self._process = process
        self._pipe = pipe
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._over = asyncio.Event()

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        await self._process.start()
        loop.add_reader(self._pipe.fileno(), self._on_message)
        await self._over.wait()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._process.stop()

    def _on_message(self) -> None:
        try:
            text = self._pipe.recv_bytes(1000).decode()
        except (EOFError, OSError):
            os._exit(1)
        if text == "drain":
            self._process.draining()
        elif text == "end":
            self._over.set()
        elif text == "stop":
            self._hand_back_all()
        elif text.startswith("+"):
            self._tasks[text[1:]] = asyncio.create_task(self._work(text[1:]), name=text[1:])
        elif text[1:] in self._tasks:
            self._tasks[text[1:]].cancel()

    def _hand_back_all(self) -> None:
        self._process.draining()
        for task in self._tasks.values():
            task.cancel()
        self._over.set()

    async def _work(self, record_id: str) -> None:
        over = record_id
        try:
            await work_on(self._process, record_id)
        except HandBack:
            over = f"!{record_id}"
        except asyncio.CancelledError:
            log.debug("handed back", record=record_id)
        except Exception as error:
            # The hint is done with, as it is in a worker: the record's lease runs out, or it has ended.
            log.error("task failed", record=record_id, kind=kind_of(error), where=where_of(error))
        finally:
            self._tasks.pop(record_id, None)
            with contextlib.suppress(OSError):
                self._pipe.send_bytes(over.encode())
