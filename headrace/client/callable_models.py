"""The models that can be called now: those whose provider a worker has announced."""

from __future__ import annotations

import asyncio
import time

from headrace.chat.model_aliases import resolve
from headrace.chat.provider_table import split_model
from headrace.errors import ModelNotFound
from headrace.ledger.announce import Announcement, announcements
from headrace.ledger.script import Ledger
from headrace.spend.known_models import KnownModel, known_models
from headrace.text.quoting import quoted

ANNOUNCED_S = 2.0
"""Seconds that the workers' announcements are cached."""


class CallableModels:
    """The workers' announcements, as one client has read them."""

    def __init__(self, ledger: Ledger):
        self._ledger = ledger
        self._announced: list[Announcement] = []
        self._read_at: float | None = None

    async def announced(self) -> list[Announcement]:
        """Return the announcements of all live workers."""
        if self._read_at is None or time.monotonic() - self._read_at > ANNOUNCED_S:
            await self._read()
        return self._announced

    async def check(self, *models: str) -> None:
        """Raise `ModelNotFound` for a malformed name among `models`, and when no live worker can call the provider of any of
        them. While no worker is up every provider is accepted."""
        for model in models:
            provider, _, name = model.partition("/")
            if not provider or not name:
                split_model(model)
        workers = await self.announced()
        if not any(callable_by(workers, model) for model in models):
            workers = await self._read()  # a worker may have come since
        if not any(callable_by(workers, model) for model in models):
            self._refuse(models[0])

    async def known(self) -> list[KnownModel]:
        """Return the aliases and the known models, those of the price catalogue for providers that a live worker is
        configured for. Raises `SettingsError`."""
        configured = {name for each in await self.announced() for name in each.configured}
        return await asyncio.to_thread(known_models, configured)

    async def retrieve(self, model: str) -> KnownModel:
        """Return what is known of an alias or of `provider/model`. Raises `ModelNotFound` as `check` does, and
        `InputError`."""
        route = resolve(model)
        await self.check(route.model, *route.fallbacks)
        return await asyncio.to_thread(KnownModel.of, model)

    async def _read(self) -> list[Announcement]:
        self._announced, self._read_at = await announcements(self._ledger), time.monotonic()
        return self._announced

    def _refuse(self, model: str) -> None:
        provider, _ = split_model(model, {name for each in self._announced for name in (*each.usable, *each.lacking)})
        why = sorted({each.lacking[provider] for each in self._announced if provider in each.lacking})
        raise ModelNotFound(
            f"model {quoted(model)}: no worker that is up can call {provider}"
            + (f" ({'; '.join(why)} there)" if why else "")
        )


def callable_by(workers: list[Announcement], model: str) -> bool:
    """Return True if one of `workers` can call the provider of `model`, or there is none to ask."""
    provider = model.partition("/")[0]
    return not workers or any(provider in each.usable for each in workers)
