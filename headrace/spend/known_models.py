"""The models that are known without a call: aliases, local profiles, and those of the price catalogue.

A model that is not among them can be asked all the same: its provider decides. What is known depends on the process: aliases
are in its `HEADRACE_MODELS`, profiles in its `HEADRACE_PROFILES`, the catalogue where `genai-prices` is installed.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from functools import lru_cache
from importlib.util import find_spec

import msgspec

from headrace.chat.model_aliases import model_aliases, models_of
from headrace.chat.provider_table import PROVIDERS
from headrace.settings import variable
from headrace.spend.prices import Profile, local_profiles, profile_of


class KnownModel(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A model, or an alias of some. `models` are those that an alias stands for, in order. Prices are USD per million tokens,
    None where they are unknown, or depend on more than token counts; an alias has those of its first model."""

    id: str
    provider: str
    models: list[str] = []
    context_length: int | None = None
    input: float | None = None
    output: float | None = None
    cache_read: float | None = None

    @classmethod
    def of(cls, model: str) -> KnownModel:
        """Return what is known of `provider/model`, or of an alias."""
        models = models_of(model_aliases().get(model, []))
        provider, _, name = (models[0] if models else model).partition("/")
        profile = known_profile(provider, name) or Profile()
        return cls(
            id=model,
            provider=provider,
            models=models,
            context_length=profile.context_length,
            input=profile.input,
            output=profile.output,
            cache_read=profile.cache_read,
        )


def known_profile(provider: str, name: str) -> Profile | None:
    row = PROVIDERS.get(provider)
    return profile_of(row.prices if row and has_catalogue() else None, provider, name)


def known_models(providers: Collection[str]) -> list[KnownModel]:
    """Return the aliases, then the other known models by name; of the price catalogue those of `providers`. Raises
    `SettingsError`. The first call may take half a second."""
    aliases = model_aliases()
    others = {model for alias in aliases.values() for model in models_of(alias)}
    others |= set(local_profiles(os.environ.get(variable("profiles")) or ""))
    for provider in providers:
        row = PROVIDERS.get(provider)
        if row is not None and row.prices:
            others |= {f"{provider}/{name}" for name in catalogued_chat_models(row.prices)}
    return [KnownModel.of(model) for model in (*sorted(aliases), *sorted(others))]


@lru_cache(maxsize=8)
def catalogued_chat_models(catalogue: str) -> tuple[str, ...]:
    """Return the names of a provider's models in the catalogue that have a context length and a price of output tokens: those
    of images, sounds and embeddings lack one of them."""
    if not has_catalogue():
        return ()
    from genai_prices.data_snapshot import get_snapshot  # 0.3 s to import

    for provider in get_snapshot().providers:
        if provider.id == catalogue:
            return tuple(
                model.id
                for model in provider.models
                if model.context_window and not model.deprecated and has_output(model.prices)
            )
    return ()


def has_output(prices: object) -> bool:
    """Return True if a model of the catalogue has a price of output tokens; several prices, by date or tier, are those of a
    chat model."""
    return isinstance(prices, list) or bool(getattr(prices, "output_mtok", None))


@lru_cache(maxsize=1)
def has_catalogue() -> bool:
    return find_spec("genai_prices") is not None
