"""What every provider class does: a job goes in, a completion comes out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from headrace.errors import CallError
from headrace.facts import Provider
from headrace.job import Completion, Job
from headrace_worker.reduce import Reducer
from headrace_worker.request import build_body
from headrace_worker.retry import ATTEMPTS, backoff_s
from headrace_worker.transport import Deadlines, SdkTransport, Transport


class ChatCompletion:
    """A model at a provider. Called directly it makes up to five attempts; the engine builds it with `retry=False`.

    `base_url` and `api_key` must be those of the provider's own origin; they are never part of a job.
    """

    facts: Provider

    def __init__(
        self,
        model_id: str,
        *,
        base_url: str,
        api_key: str,
        retry: bool = True,
        deadlines: Deadlines | None = None,
        transport: Transport | None = None,
    ):
        self.model_id = model_id
        self.attempts = ATTEMPTS if retry else 1
        self.transport = transport or SdkTransport(base_url=base_url, api_key=api_key, deadlines=deadlines)

    def adapt(self, body: dict[str, Any]) -> dict[str, Any]:
        """The provider's own changes to the body; most have none beyond their table."""
        return body

    async def complete(
        self, job: Job, *, request_id: str = "", on_chunk: Callable[[str], None] | None = None
    ) -> Completion:
        """One completion. Raises `CallError`. `on_chunk` gets the text of each chunk as it comes.

        After a chunk was delivered nothing is retried: the caller has shown it.
        """
        delivered = False

        def deliver(text: str) -> None:
            nonlocal delivered
            delivered = True
            if on_chunk is not None:
                on_chunk(text)

        for attempt in range(1, self.attempts + 1):
            try:
                return await self._attempt(job, request_id, deliver if on_chunk else None)
            except CallError as error:
                if not error.retryable or delivered or attempt == self.attempts:
                    raise
                await asyncio.sleep(error.retry_after_s or backoff_s(attempt))
        raise AssertionError("the last attempt returns or raises")

    async def close(self) -> None:
        await self.transport.close()

    async def _attempt(self, job: Job, request_id: str, deliver: Callable[[str], None] | None) -> Completion:
        reducer = Reducer()
        body = self.adapt(build_body(job, self.model_id, self.facts))
        try:
            async for chunk in self.transport.chunks(body, request_id=request_id):
                added = reducer.add(chunk)
                if added and deliver is not None:
                    deliver(added)
            return reducer.completion(job, deployment=self.facts.name)
        except CallError as error:
            error.details["counters"] = reducer.usage.counters()  # an answer of no use was paid for all the same
            raise
