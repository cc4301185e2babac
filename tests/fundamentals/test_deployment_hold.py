"""A rate limit is met once for all who call the same *deployment*: a provider, its address and its credential.

After a 429 the worker *holds* the deployment. When the time is over one call goes first, the probe, and the others follow only
if it is answered. Whoever would have to wait long is deferred: its job is parked. Other deployments are not held.
"""

from __future__ import annotations

import asyncio

import pytest
from headrace_worker.engine.deployment_hold import Deferred, DeploymentHold

from headrace.errors import CallError


async def test_a_limit_holds_its_deployment_and_a_probe_opens_it_again() -> None:
    now = 1000.0
    limited, other = (DeploymentHold(name, clock=lambda: now) for name in ("openai", "vllm"))

    # The calls in flight when the limit comes are its price.
    in_flight = [await limited.enter() for _ in range(3)]
    for call in in_flight:
        call.failed(CallError("rate_limited", "too many", status=429, retry_after_s=30))
        call.leave()

    # Nobody calls until the time is over, at this deployment.
    with pytest.raises(Deferred) as deferred:
        await limited.enter()
    assert str(deferred.value) == "rate_limited: openai says wait 30 s"
    (await other.enter()).leave()

    # Then one goes first, and the rest wait for its answer.
    now += 35
    probe = await limited.enter()
    waiting = [asyncio.create_task(limited.enter()) for _ in range(3)]
    await asyncio.sleep(0)  # they have all begun
    assert not any(task.done() for task in waiting)
    probe.answered()
    probe.leave()
    for call in await asyncio.gather(*waiting):
        call.leave()
