"""`headrace models`: aliases and known models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from headrace.cli.service import with_client

if TYPE_CHECKING:
    from headrace.spend.known_models import KnownModel


@click.command(epilog="Example: headrace models --json")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def models(as_json: bool) -> None:
    """List the aliases of HEADRACE_MODELS and the models that are known, with context length and prices (USD per million tokens).

    Known are those of HEADRACE_PROFILES, and of the price catalogue for providers that a worker is configured for. Any other
    model of a provider can be asked as well; no provider is called for this list.
    """
    from headrace.cli.table import show

    known = with_client(lambda client: client.backend.known_models())
    show(known, ("model", "stands for", "context", "input", "output", "cached"), row_of, as_json=as_json)


def row_of(model: KnownModel) -> tuple[str, ...]:
    numbers = (model.context_length, model.input, model.output, model.cache_read)
    return model.id, ", ".join(model.models), *("" if number is None else f"{number:.15g}" for number in numbers)
