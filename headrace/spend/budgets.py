"""Budgets: what may be promised of the cost of a batch before anything of it has run."""

from __future__ import annotations

from collections.abc import Iterable

from headrace.chat.provider_table import PROVIDERS
from headrace.errors import InputError
from headrace.spend.known_models import has_catalogue, known_profile


def check_priced(models: Iterable[str], max_output: int | None) -> None:
    """Raise `InputError` for a model within a budget whose price is unknown, or of which nothing bounds an answer's length.
    Where this process has no catalogue of prices, the workers decide."""
    for model in models:
        provider, _, name = model.partition("/")
        row = PROVIDERS.get(provider)
        profile = known_profile(provider, name)
        if profile is None and row is not None and row.prices and not has_catalogue():
            continue
        if profile is None or profile.worst_nano(0, 0) is None:
            raise InputError(
                f"model={model}: its price is unknown, so no budget can hold: write it into the file that HEADRACE_PROFILES "
                "names, or let calls without a known price pass (--allow-unpriced, allow_unpriced=True)"
            )
        if max_output is None and profile.max_output is None and profile.context_length is None:
            raise InputError(
                f"model={model}: how long an answer can be is unknown, so no budget can hold: set max_tokens "
                "(--option max_tokens=1000), or `max_output` in the file that HEADRACE_PROFILES names"
            )
