"""The quarantine: suspects of a crash run in child processes, in small groups, then alone. One that crashes its process
costs few others, and any other has its crash count reset as soon as it ends.

The worker passes ids to its children (`quarantine_child.py`), which claim and run the records themselves. It sees a child
end and reports it to the ledger at once, which splits the group or counts a death (`headrace/ledger/recover.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import secrets
import signal
from collections.abc import Awaitable, Callable
from itertools import count
from multiprocessing.connection import Connection
from typing import Any

from redis.exceptions import RedisError

from headrace.errors import Refused
from headrace.ledger.keys import batch_of
from headrace.ledger.queued_record import company
from headrace.ledger.recover import MAX_COMPANY, report_end
from headrace.ledger.script import UNAVAILABLE
from headrace.logs import get_logger
from headrace.waiting import retry_write
from headrace_worker.pool import HandBack
from headrace_worker.worker_process import WorkerProcess

IDLE_S = 5.0
CLEAN_UP_S = 5.0
PRELOAD = ["headrace_worker.quarantine_server"]

log = get_logger("headrace.worker.quarantine")


class Suspect:
    """A record for a child. `ended` is set when the child has released it, or has died. With a `company` of 0 nothing else
    runs in the whole worker meanwhile: it may crash the worker itself."""

    def __init__(self, record_id: str, company: int):
        self.record_id = record_id
        self.company = company
        self.is_shard = batch_of(record_id) != "-"
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class ChildProcess:
    """One process of the quarantine, for at most `company` records at a time; a shard has one to itself."""

    def __init__(self, name: str, company: int, process: Any, pipe: Any):
        self.name = name
        self.company = company
        self.process = process
        self.pipe = pipe
        self.suspects: dict[str, Suspect] = {}
        self.idle: asyncio.TimerHandle | None = None
        self.closing = False
        self.gone = asyncio.Event()

    def takes(self, suspect: Suspect) -> bool:
        if self.closing or self.process.exitcode is not None:
            return False
        if not self.suspects:
            return self.company == suspect.company and self.company > 1
        if suspect.is_shard or any(each.is_shard for each in self.suspects.values()):
            return False
        return self.company == suspect.company and len(self.suspects) < self.company


class Quarantine:
    """Runs suspects in at most `processes` children. `run(record_id)` returns when the record's attempt has ended."""

    def __init__(self, process: WorkerProcess, processes: int, revoke: Callable[[str], Awaitable[None]]):
        self._process = process
        self._revoke = revoke
        self._limit = processes
        self._known: set[str] = set()
        self._waiting: list[Suspect] = []
        self._children: dict[str, ChildProcess] = {}
        self._numbers = count(1)
        # Forked from a small server process that has imported everything: 20 ms instead of a second each.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOAD)
        self._starting: asyncio.Task[None] | None = None

    async def run(self, record_id: str) -> None:
        """Run an attempt at the record in a child. A cancelled call ends the attempt there, handed back."""
        if record_id in self._known:
            return  # a second copy of its hint
        self._known.add(record_id)
        try:
            await self._run(record_id)
        finally:
            self._known.discard(record_id)

    async def _run(self, record_id: str) -> None:
        suspect = Suspect(record_id, await self._company(record_id))
        if self._process.stopping.is_set():
            raise HandBack
        self._waiting.append(suspect)
        # Singles before shards, the smallest company first: what is most suspect is decided soonest.
        self._waiting.sort(key=lambda each: (each.is_shard, each.company or MAX_COMPANY + 1))
        self._fill()
        try:
            await asyncio.shield(suspect.ended)
        except asyncio.CancelledError:
            await self._give_up(suspect)
            raise

    async def _company(self, record_id: str) -> int:
        with contextlib.suppress(RedisError):  # away, or a damaged record: whoever claims it sees which
            return min(await company(self._process.ledger, record_id), MAX_COMPANY)
        return 1

    async def _give_up(self, suspect: Suspect) -> None:
        if suspect in self._waiting:
            self._waiting.remove(suspect)
            if not self._process.stopping.is_set():
                await self._revoke(suspect.record_id)
            return
        for child in self._children.values():
            if suspect.record_id in child.suspects:
                self._send(child, f"-{suspect.record_id}")
                await asyncio.wait([suspect.ended], timeout=CLEAN_UP_S)

    def drain(self) -> None:
        """Hand back what waits; children begin nothing more."""
        for suspect in self._waiting:
            suspect.ended.set_exception(HandBack())
        self._waiting.clear()
        for child in self._children.values():
            self._send(child, "drain")

    async def stop(self) -> None:
        """End the children; records that still run there are handed back."""
        children = list(self._children.values())
        for child in children:
            child.closing = True
            self._send(child, "stop")
        if children:
            gone = [asyncio.ensure_future(child.gone.wait()) for child in children]
            await asyncio.wait(gone, timeout=CLEAN_UP_S)
        for child in self._children.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.process.pid, signal.SIGKILL)

    def _fill(self) -> None:
        """Assign waiting suspects to children with a free place; start one child at a time for the others."""
        at_work = [each for child in self._children.values() for each in child.suspects.values()]
        if any(each.company == 0 for each in at_work):
            return
        for suspect in list(self._waiting):
            child = next((each for each in self._children.values() if each.takes(suspect)), None)
            if child is not None:
                self._waiting.remove(suspect)
                self._give(child, suspect)
        next_one = next((each for each in self._waiting if each.company or not at_work), None)
        if next_one is not None and self._starting is None and not self._process.stopping.is_set():
            if len(self._children) >= self._limit:
                self._make_room()
            if len(self._children) < self._limit:
                self._starting = asyncio.create_task(self._start(next_one.company))

    def _make_room(self) -> None:
        for child in self._children.values():
            if not child.suspects and not child.closing:
                self._close(child)
                return

    async def _start(self, company: int) -> None:
        try:
            name = f"{self._process.name}/{next(self._numbers)}-{secrets.token_hex(2)}"
            pipe, childs = self._context.Pipe()
            process = self._context.Process(target=entry, args=(name, childs), name=name, daemon=True)
            await asyncio.to_thread(process.start)
            childs.close()
            child = self._children[name] = ChildProcess(name, company, process, pipe)
            loop = asyncio.get_running_loop()
            loop.add_reader(pipe.fileno(), self._on_message, child)
            log.info("quarantine process started", child=name, pid=process.pid, company=company)
            for suspect in self._waiting:
                if suspect.company == company:
                    self._waiting.remove(suspect)
                    self._give(child, suspect)
                    break
        except OSError as error:
            log.error("no process for the quarantine", error=type(error).__name__)
            await asyncio.sleep(1)
        finally:
            self._starting = None
            self._fill()

    def _give(self, child: ChildProcess, suspect: Suspect) -> None:
        if child.idle is not None:
            child.idle.cancel()
            child.idle = None
        child.suspects[suspect.record_id] = suspect
        self._send(child, f"+{suspect.record_id}")

    def _send(self, child: ChildProcess, text: str) -> None:
        with contextlib.suppress(OSError):  # it has died: the reader sees it too
            child.pipe.send_bytes(text.encode())

    def _on_message(self, child: ChildProcess) -> None:
        try:
            record_id = child.pipe.recv_bytes(1000).decode()
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(child.pipe.fileno())
            child.pipe.close()
            asyncio.get_running_loop().create_task(self._on_end(child), name=f"end of {child.name}")
            return
        not_begun = record_id.startswith("!")
        suspect = child.suspects.pop(record_id.lstrip("!"), None)
        if suspect is not None and not suspect.ended.done():
            suspect.ended.set_exception(HandBack()) if not_begun else suspect.ended.set_result(None)
        if not child.suspects:
            if child.company <= 1:
                self._close(child)  # the next one that runs alone gets a fresh process
            elif child.idle is None:
                child.idle = asyncio.get_running_loop().call_later(IDLE_S, self._close, child)
        self._fill()

    def _close(self, child: ChildProcess) -> None:
        child.closing = True
        self._send(child, "end")

    async def _on_end(self, child: ChildProcess) -> None:
        await asyncio.to_thread(child.process.join)
        code = child.process.exitcode
        if child.suspects:
            cause = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
            log.warning("quarantine process died", child=child.name, cause=cause, records=len(child.suspects))
            await self._report(child)
        for suspect in child.suspects.values():
            if not suspect.ended.done():
                suspect.ended.set_result(None)
        child.suspects.clear()
        self._children.pop(child.name, None)
        child.process.close()
        child.gone.set()
        self._fill()

    async def _report(self, child: ChildProcess) -> None:
        ledger = self._process.ledger
        try:
            hints = await retry_write(lambda: report_end(ledger, child.name))
        except (Refused, *UNAVAILABLE) as error:
            log.warning("not reported; its leases will run out", child=child.name, error=type(error).__name__)
            return
        await self._process.publish(hints)


def entry(name: str, pipe: Connection) -> None:
    """Run in a child. Its modules are imported by the server process that it is forked from."""
    from headrace_worker.quarantine_child import main

    main(name, pipe)
