"""Shared limits: what this process knows of the limits that all workers keep, and the gates and holds that follow from it.

Where nothing limits a deployment no call asks for anything. What was configured elsewhere or learnt is heard of on one channel,
and by asking every `EVERY_S`; a hold is heard of there at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Mapping
from hashlib import sha256
from typing import Any

from headrace_providers.chat_completion import ChatCompletion
from headrace_providers.registry import Registry
from headrace_providers.wire.limit_headers import told_limits

from headrace.chat.call_limits import CallLimits, call_limits
from headrace.errors import CallError, Refused
from headrace.events.subscription import Subscriber
from headrace.ledger.limit_configure import LimitScope, limit_configure
from headrace.ledger.limit_hold import limit_hold, parse_hold
from headrace.ledger.limit_learn import limit_learn
from headrace.ledger.limit_take import CallClass, Granted, Settled, limit_take
from headrace.ledger.queues import INTERACTIVE
from headrace.ledger.script import UNAVAILABLE, Ledger
from headrace.logs import get_logger
from headrace_worker.engine.deployment_hold import DeploymentHold
from headrace_worker.limits.circuit_breakers import CircuitBreakers
from headrace_worker.limits.learnt_limits import LearntLimits
from headrace_worker.limits.permit_gate import PermitGate
from headrace_worker.limits.token_estimate import TokenEstimate

log = get_logger("headrace.worker.limits.shared_limits")

EVERY_S = 5.0
MAX_MODELS = 1000


def scope_of(provider: str, base_url: str, credential: str, model: str = "") -> str:
    """Return the name under which the ledger keeps the limits of a deployment, or of one model there."""
    text = "\0".join((base_url, credential, model))
    return f"{provider}.{sha256(text.encode(errors='replace')).hexdigest()[:16]}"


def configured_limits(registry: Registry, environ: Mapping[str, str]) -> dict[str, LimitScope]:
    """Return the limits that this process was configured with, by scope; those of providers that it cannot call are no concern
    of it. Raises `SettingsError`."""
    named: dict[str, CallLimits] = {row.name: row.limits for row in registry.rows.values() if row.limits is not None}
    named |= call_limits(environ, registry.rows)
    configured: dict[str, LimitScope] = {}
    for name, limits in named.items():
        provider, _, model = name.partition("/")
        try:
            called = registry.chat_completion(name if model else f"{provider}/-", retry=False)
        except CallError:
            continue
        scope = scope_of(provider, called.base_url, called.facts.key_variable or "", model)
        configured[scope] = LimitScope(
            scope,
            name,
            requests=limits.requests_per_min or 0,
            tokens=limits.tokens_per_min or 0,
            in_flight=limits.in_flight or 0,
        )
    return configured


class ModelScopes:
    """The two scopes of the calls to one model, and what its calls take."""

    def __init__(self, provider: ChatCompletion):
        name, credential = provider.facts.name, provider.facts.key_variable or ""
        self.name = name
        self.deployment = scope_of(name, provider.base_url, credential)
        self.model = scope_of(name, provider.base_url, credential, provider.model_id)
        self.model_name = f"{name}/{provider.model_id}"
        self.estimate = TokenEstimate()
        self.learnt = LearntLimits()
        self.gate: PermitGate | None = None


class SharedLimits:
    """The limits as one process knows them. `configured` are its own, by scope."""

    def __init__(
        self,
        ledger: Ledger,
        process: str,
        *,
        role: str,
        configured: Mapping[str, LimitScope],
        clock: Callable[[], float] = time.monotonic,
    ):
        self._ledger = ledger
        self._process = process
        self._class: CallClass = "interactive" if role == INTERACTIVE else "bulk"
        self._configured = dict(configured)
        self._clock = clock
        self._limited: dict[str, LimitScope] = {
            scope: limits
            for scope, limits in configured.items()
            if limits.requests or limits.tokens or limits.in_flight
        }
        self._scopes: dict[tuple[str, str], ModelScopes] = {}
        self._held: dict[str, int] = {}  # calls in flight by scope
        self._holds: dict[str, DeploymentHold] = {}
        self._told_differ: set[str] = set()
        self._subscriber = Subscriber(ledger)
        self.breakers = CircuitBreakers(ledger, process, clock=clock)
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False

    async def run(self) -> None:
        """Tell and hear of limits until it is cancelled."""
        self._subscriber.listen(self._ledger.keys.limits_channel, self)
        self._subscriber.listen(self._ledger.keys.breakers_channel, self.breakers)
        try:
            while True:
                self._changed.clear()
                with contextlib.suppress(Refused, *UNAVAILABLE):
                    await self._agree()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(EVERY_S):
                        await self._changed.wait()
        finally:
            await self._subscriber.close()

    async def stop(self) -> None:
        """Withdraw what this process said."""
        with contextlib.suppress(Refused, *UNAVAILABLE):
            await limit_configure(self._ledger, self._process, list(self._configured.values()), life_ms=0)

    def drain(self) -> None:
        self._draining = True
        for scopes in self._scopes.values():
            if scopes.gate is not None:
                scopes.gate.drain()

    async def _agree(self) -> None:
        scopes = await limit_configure(self._ledger, self._process, list(self._configured.values()))
        self._limited = {each.scope: each for each in scopes if each.requests or each.tokens or each.in_flight}
        for each in scopes:
            if each.held_ms:
                self._on_hold(each.scope, each.held_ms, each.reason)
            if each.differ and each.scope not in self._told_differ:
                self._told_differ.add(each.scope)
                log.warning("workers have different limits; the strictest holds", limit_of=each.name)
            elif not each.differ:
                self._told_differ.discard(each.scope)
        for known in self._scopes.values():
            if known.gate is not None:
                known.gate.waits_for_calls = any(
                    self._limited[scope].in_flight
                    for scope in (known.deployment, known.model)
                    if scope in self._limited
                )

    # Calls

    def of(self, provider: ChatCompletion) -> ModelScopes | None:
        """Return the scopes of a model that is limited, with their gate; None when nothing limits it."""
        if not self._limited:
            return None
        scopes = self._scopes_of(provider)
        if scopes.deployment not in self._limited and scopes.model not in self._limited:
            return None
        if scopes.gate is None:
            scopes.gate = self._gate(scopes)
        return scopes

    def counts_tokens(self, scopes: ModelScopes) -> bool:
        """Return True if tokens are limited there: else nobody estimates them."""
        return any(self._limited[scope].tokens for scope in (scopes.deployment, scopes.model) if scope in self._limited)

    def _scopes_of(self, provider: ChatCompletion) -> ModelScopes:
        key = provider.facts.name, provider.model_id
        scopes = self._scopes.get(key)
        if scopes is None:
            if len(self._scopes) >= MAX_MODELS:
                self._scopes = {key: each for key, each in self._scopes.items() if each.gate and not each.gate.is_idle}
            scopes = self._scopes[key] = ModelScopes(provider)
        return scopes

    def _gate(self, scopes: ModelScopes) -> PermitGate:
        def on_held(delta: int) -> None:
            for scope in {scopes.deployment, scopes.model}:
                self._held[scope] = self._held.get(scope, 0) + delta

        async def ask(tokens: list[int], token: str, settled: list[Settled]) -> Granted:
            is_own = scopes.model in self._limited
            model = scopes.model if is_own else scopes.deployment
            return await limit_take(
                self._ledger,
                scopes.deployment,
                model,
                tokens,
                process=self._process,
                token=token,
                call_class=self._class,
                held=self._held.get(scopes.deployment, 0),
                held_of_model=self._held.get(scopes.model, 0),
                settled=settled,
            )

        async def take(tokens: list[int], token: str, settled: list[Settled]) -> Granted:
            granted = await ask(tokens, token, settled)
            if granted.reason == "none":  # a server that was emptied, or limits that are no more
                await self._agree()
                if scopes.deployment in self._limited or scopes.model in self._limited:
                    return await ask(tokens, f"{token}-again", settled)
            return granted

        gate = PermitGate(scopes.name, self._class, take, on_held, clock=self._clock)
        known = [self._limited[scope] for scope in (scopes.deployment, scopes.model) if scope in self._limited]
        gate.waits_for_calls = any(each.in_flight for each in known)
        if self._draining:
            gate.drain()
        return gate

    def heard(self, provider: ChatCompletion, headers: Mapping[str, Any]) -> None:
        """Learn from the headers of an answer."""
        told = told_limits(headers)
        if told is None:
            return
        scopes = self._scopes_of(provider)
        learnt = scopes.learnt.hear(told, self._clock())
        if learnt is not None:
            self._tell(
                limit_learn(
                    self._ledger,
                    scopes.model,
                    scopes.model_name,
                    requests=learnt.requests,
                    tokens=learnt.tokens,
                    empty_requests_ms=int(learnt.empty_requests_s * 1000),
                    empty_tokens_ms=int(learnt.empty_tokens_s * 1000),
                )
            )

    def _tell(self, move: Coroutine[Any, Any, object]) -> None:
        async def tell() -> None:
            with contextlib.suppress(Refused, *UNAVAILABLE):  # the others will be told by the provider
                await move

        task = asyncio.create_task(tell())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Holds

    def watch(self, hold: DeploymentHold, provider: str, base_url: str, credential: str) -> None:
        """Hold `hold` when any worker is told to wait there, and tell the others when this one is."""
        scope = scope_of(provider, base_url, credential)
        self._holds[scope] = hold
        hold.on_hinted = lambda wait_s, detail: self._spread(scope, provider, wait_s, detail)
        self._changed.set()  # it may be held already

    def _spread(self, scope: str, name: str, wait_s: float, detail: str) -> None:
        self._tell(
            limit_hold(self._ledger, scope, name, wait_ms=int(wait_s * 1000), reason=detail, process=self._process)
        )

    def _on_hold(self, scope: str, wait_ms: int, reason: str) -> None:
        hold = self._holds.get(scope)
        if hold is not None:
            hold.extend(wait_ms / 1000, reason)

    # Of the channel

    def on_confirmed(self) -> None:
        self._changed.set()

    def on_message(self, payload: bytes) -> None:
        told = parse_hold(payload)
        if told is None:
            self._changed.set()
            return
        scope, wait_ms, process, reason = told
        if process != self._process:
            self._on_hold(scope, wait_ms, reason)

    def on_failure(self, error: BaseException) -> None:
        log.error("limits of other workers are heard of late", error=type(error).__name__)
