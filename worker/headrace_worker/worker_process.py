"""The services of one worker process: its ledger, its file store, its engine, the records it holds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from hashlib import sha256

import msgspec
from headrace_providers.registry import Registry
from headrace_providers.wire.transport import Deadlines

from headrace import telemetry
from headrace.batches.revalidation import template_of
from headrace.batches.template import Template
from headrace.broker.hints import Hints, is_hint
from headrace.errors import InputError, StorageError
from headrace.guards.service_address import files_address
from headrace.instruments.ledger_gauges import LedgerGauges
from headrace.instruments.loop_lag import measure_loop_lag
from headrace.instruments.tracing import Tracer
from headrace.ledger.announce import EVERY_S, Announcement, announce
from headrace.ledger.batch_record import template_body
from headrace.ledger.claim import Claimed
from headrace.ledger.evict_damaged import readable
from headrace.ledger.queues import INTERACTIVE
from headrace.ledger.recover import process_prefix
from headrace.ledger.script import UNAVAILABLE, Ledger
from headrace.ledger.stop_reason import StopReason
from headrace.logs import get_logger
from headrace.settings import Settings
from headrace.spend.prices import local_profiles
from headrace.storage.file_store import FileStore
from headrace.storage.open_store import attach
from headrace.text.readable import UNREADABLE
from headrace_worker.damage import DamageHandler
from headrace_worker.engine.answer_cache import AnswerCache
from headrace_worker.engine.engine import Engine
from headrace_worker.leases import LeaseKeeper
from headrace_worker.limits.shared_limits import SharedLimits, configured_limits
from headrace_worker.observability.metrics_server import MetricsServer, metrics_address
from headrace_worker.observability.worker_meter import WorkerMeter
from headrace_worker.paid_choices import RedisChoices
from headrace_worker.publishing.publisher import Flusher

log = get_logger("headrace.worker.worker_process")

MIB = 1 << 20


class WorkerProcess:
    """A worker process and its services: what the pool starts and stops (`headrace_worker.pool.Service`), and every attempt is
    given."""

    def __init__(self, settings: Settings, redis_url: str, role: str, *, name: str | None = None):
        self.settings = settings
        self.role = role
        self.name = name or f"{process_prefix(role, os.getpid())}{secrets.token_hex(4)}"
        self.ledger = Ledger.at(redis_url, settings.namespace)
        self.damage = DamageHandler(self.ledger)
        self.hints = Hints(settings.namespace)
        self.registry = Registry(deadlines_of(settings), connections=settings.calls * 2)
        local_profiles(settings.profiles or "")  # what is wrong with them is told at the start, and fails no job
        self.limits = SharedLimits(
            self.ledger, self.name, role=role, configured=configured_limits(self.registry, os.environ)
        )
        self.tracer = Tracer("headrace-worker") if settings.traces else None
        is_observed = settings.metrics is not None or self.tracer is not None
        self.meter = WorkerMeter(tracer=self.tracer) if is_observed else None
        self.metrics: MetricsServer | None = None
        self.answers = answer_cache_of(settings, self.ledger, self.name, self.meter)
        self.engine = Engine(
            self.registry,
            calls=settings.calls,
            choices=RedisChoices(self.ledger, settings.cache_ttl_s),
            answers=self.answers,
            limits=self.limits,
            shares_calls=role == INTERACTIVE,
            meter=self.meter,
            breakers=self.limits.breakers,
            ledger=self.ledger,
        )
        self.leases = LeaseKeeper(redis_url, settings.namespace, self.name, loop_limit_s=settings.loop_limit_s)
        self.flusher = Flusher(self.ledger)
        self.stopping = asyncio.Event()
        self.store: FileStore | None = None
        self.store_problem = ""
        self.running: dict[str, tuple[str, Callable[[StopReason], None]]] = {}
        """By shard or join: its batch, and how to stop it."""
        self._templates: dict[str, Template] = {}
        self.loop: asyncio.AbstractEventLoop | None = None  # of the pool, from start on
        self.loops: list[Callable[[], Coroutine[None, None, None]]] = []  # what else runs from start to stop
        self._loops: list[asyncio.Task[None]] = []
        self.on_drain: Callable[[], None] | None = None
        self.on_stop: Callable[[], Coroutine[None, None, None]] | None = None

    async def start(self) -> None:
        """Start the heartbeat and the other loops. While Redis is unavailable they wait for it."""
        self.loop = asyncio.get_running_loop()
        with contextlib.suppress(StorageError, *UNAVAILABLE):
            await self.find_store()  # early, so that the log tells of a wrong folder at the start
        self.leases.start(self.loop)
        if self.metrics is not None:
            await self.metrics.start()
        with contextlib.suppress(*UNAVAILABLE):
            await announce(self.ledger, self.name, self._announcement())
        self._loops = [asyncio.create_task(body()) for body in (self._keep_announcing, self.limits.run, *self.loops)]
        for loop in self._loops:
            loop.add_done_callback(_end_with_the_process)

    async def _keep_announcing(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            with contextlib.suppress(*UNAVAILABLE):
                await announce(self.ledger, self.name, self._announcement())

    def _announcement(self) -> Announcement:
        """Return what this process can call, for whoever submits, and where its metrics are."""
        metrics = "" if self.metrics is None else self.metrics.place
        return msgspec.structs.replace(announcement_of(self.registry), role=self.role, metrics=metrics)

    def traced(self, claimed: Claimed, *, of: str, traceparent: str) -> AbstractContextManager[None]:
        """Have the block be a span where spans are sent: an attempt at a record of the job or the batch `of`."""
        if self.tracer is None:
            return contextlib.nullcontext()
        return self.tracer.attempt(claimed.record_id, claimed.kind, claimed.epoch, of=of, traceparent=traceparent)

    def serve_metrics(self, *, leads: Callable[[], bool]) -> None:
        """Have the numbers of this process served from its start on, where the settings say so. Raises `SettingsError`."""
        address = metrics_address(self.settings)
        if address is None or self.meter is None:
            return
        meter = self.meter.meter
        meter.gauge(telemetry.HELD, lambda: len(self.leases))
        meter.gauge(telemetry.LEADS, leads)
        self.metrics = MetricsServer(address, self.settings.metrics_token, meter, LedgerGauges(self.ledger))
        self.loops.append(lambda: measure_loop_lag(meter))

    def draining(self) -> None:
        """Drain at SIGTERM: shards begin no new item, calls in flight may finish, what waits for its next call is
        handed back."""
        self.stopping.set()
        self.engine.drain()
        if self.on_drain is not None:
            self.on_drain()

    async def stop(self) -> None:
        if self.on_stop is not None:
            await self.on_stop()
        for loop in self._loops:
            loop.remove_done_callback(_end_with_the_process)
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        if self.metrics is not None:
            await self.metrics.stop()
        await self.leases.stop()
        await self.registry.close()
        await self.answers.close()
        with contextlib.suppress(TimeoutError, *UNAVAILABLE):
            async with asyncio.timeout(1):
                await announce(self.ledger, self.name, None)
                await self.limits.stop()
        await self.ledger.close()
        if self.tracer is not None:
            await asyncio.to_thread(self.tracer.close)

    def stop_batch(self, batch_id: str, reason: StopReason) -> None:
        """Stop every shard of the batch in this process, sooner than the next beat does."""
        for batch, stop in list(self.running.values()):
            if batch == batch_id:
                stop(reason)

    async def find_store(self) -> FileStore:
        """Return the file store that the ledger names. Raises `StorageError`, whose text is what a refused shard says."""
        if self.store is None:
            try:
                self.store = await attach(self.ledger, files_address(self.settings))
                await asyncio.to_thread(self.store.take_away_from_others)
                self.store_problem = ""
            except UNAVAILABLE:
                raise
            except StorageError as error:
                if str(error) != self.store_problem:
                    log.warning("file store not reachable", problem=str(error))
                self.store_problem = str(error)
                raise
        return self.store

    async def template(self, sha: str) -> Template:
        """Return the template with this content hash, from memory or from the ledger."""
        if sha not in self._templates:
            body = await template_body(self.ledger, sha)
            if body is None:
                raise StorageError(f"template {sha[:12]} is no longer in the ledger")
            if len(self._templates) >= 64:
                self._templates.pop(next(iter(self._templates)))
            try:
                if sha256(body).hexdigest() != sha:
                    raise InputError("it is not what was submitted")
                self._templates[sha] = template_of(body)
            except (*UNREADABLE, InputError):
                raise StorageError(f"template {sha[:12]} in the ledger is damaged") from None
        return self._templates[sha]

    async def publish(self, hints: list[tuple[str, str]]) -> None:
        """Publish hints. A failure only delays them: the records are due again."""
        for queue, record_id in hints:
            if not is_hint(queue, record_id):  # a record from elsewhere: the others must not wait for it
                self.damage.tell_once("no hint can be made", ValueError(), readable(record_id.encode()))
        hints = [hint for hint in hints if is_hint(*hint)]
        try:
            await self.hints.publish_again(self.ledger, hints)
        except UNAVAILABLE as error:
            log.warning("hints not sent; they are due again", count=len(hints), error=type(error).__name__)


def answer_cache_of(settings: Settings, ledger: Ledger, process: str, meter: WorkerMeter | None) -> AnswerCache:
    """Return the answer cache of a worker, in the ledger's Redis or on a server of its own."""
    server = ledger if settings.cache_url is None else Ledger.at(settings.cache_url, settings.namespace)
    return AnswerCache(
        ledger,
        server,
        process=process,
        ttl_s=settings.cache_ttl_s,
        max_bytes=settings.cache_bytes,
        tenant_bytes=settings.cache_tenant_mb * MIB,
        meter=meter,
    )


def deadlines_of(settings: Settings) -> Deadlines:
    return Deadlines(
        connect_s=settings.connect_timeout_s,
        first_token_s=settings.first_token_timeout_s,
        idle_s=settings.idle_timeout_s,
        total_s=settings.total_timeout_s,
    )


def announcement_of(registry: Registry) -> Announcement:
    """Return what this process can call, for whoever submits."""
    return Announcement(configured=registry.configured(), usable=registry.usable(), lacking=registry.lacking())


def _end_with_the_process(loop: asyncio.Task[None]) -> None:
    # Half a process serves nobody: better that its supervisor sees it die.
    if not loop.cancelled() and loop.exception() is not None:
        log.critical("a loop of the process died", error=type(loop.exception()).__name__)
        os.abort()
