"""Completions of a shell, beside commands and options: ids that the service knows, models, files.

A shell asks at each press of a key and shows nothing of an error: a service that does not answer within a second has nothing to
complete.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from headrace.client.async_client import AsyncHeadrace

T = TypeVar("T")

ANSWER_S = 1.0
MAX_IDS = 50


def files(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Have the shell complete a file's name: also after the `@` of an option that takes a text or a file."""
    return [CompletionItem(incomplete, type="file")]


def models(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete aliases and known models, as `headrace models` lists them; without a service those of every provider."""
    from headrace.chat.provider_table import PROVIDERS
    from headrace.spend.known_models import known_models

    known = asked(lambda client: client.backend.known_models()) or answered(lambda: known_models(PROVIDERS))
    return matching(((model.id, ", ".join(model.models)) for model in known), incomplete)


def batch_ids(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the newest batches, each with its state and model."""

    found = asked(lambda client: client.batches(limit=MAX_IDS))
    return matching(((batch.id, f"{batch.state} {batch.model}") for batch in found), incomplete)


def job_ids(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the newest jobs, each with its state, and of a failed one the code."""
    found = asked(lambda client: client.jobs(limit=MAX_IDS))
    return matching(((job.id, f"{job.state} {job.code}".strip()) for job in found), incomplete)


def subject_ids(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete jobs and batches: once it is clear which of them is meant, those alone are asked for."""
    found: list[CompletionItem] = []
    for prefix, complete in (("batch_", batch_ids), ("job_", job_ids)):
        if incomplete.startswith(prefix) or prefix.startswith(incomplete):
            found += complete(context, parameter, incomplete)
    return found


def matching(found: Iterable[tuple[str, str]], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name, help=told or None) for name, told in found if name.startswith(incomplete)]


def asked(ask: Callable[[AsyncHeadrace], Awaitable[Sequence[T]]]) -> Sequence[T]:
    """Return what `ask(client)` returns; nothing where there is no service, or none that answers in time."""
    import asyncio

    from headrace.client.async_client import AsyncHeadrace

    async def body() -> Sequence[T]:
        async with AsyncHeadrace() as client:
            return await ask(client)

    return answered(lambda: asyncio.run(asyncio.wait_for(body(), ANSWER_S)))


def answered(ask: Callable[[], Sequence[T]]) -> Sequence[T]:
    try:
        return ask()
    except Exception:
        return []
