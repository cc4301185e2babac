"""What is known of a model: its prices, its context length, its features; and what an answer cost.

The catalogue is `genai-prices`, whose data is in the package: nothing is fetched. A local file, `HEADRACE_PROFILES`,
comes before it: JSON, `{"provider/model": {"input": 2, "output": 8, "cache_read": 0.5, …}}`, prices in USD per million
tokens. A model that neither knows has no price, which is not the same as a price of 0.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from headrace.errors import SettingsError
from headrace.job import Usage
from headrace.schema.modes import Mode
from headrace.settings import variable

MILLION = 1_000_000


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model. Prices are USD per million tokens; cached tokens cost `cache_read`, where that is None as much as others.

    `mode` is how a schema is put to it (`headrace.schema.modes`). `tiered` says that prices depend on more than
    counts of tokens: then the catalogue itself is asked for each answer.
    """

    input: float | None = None
    output: float | None = None
    cache_read: float | None = None
    context_length: int | None = None
    features: list[str] | None = None
    tiered: tuple[str, str] | None = None
    mode: Mode | None = None

    def cost(self, usage: Usage) -> float | None:
        """USD for `usage`; cached tokens are among the input tokens, reasoning tokens among the output tokens, and each
        is paid once (statement 145)."""
        if self.tiered:
            return asked_of_catalogue(*self.tiered, usage)
        if self.input is None or self.output is None:
            return None
        cached = min(usage.cached_tokens, usage.input_tokens)
        cache_read = self.input if self.cache_read is None else self.cache_read
        paid = (usage.input_tokens - cached) * self.input + cached * cache_read + usage.output_tokens * self.output
        return paid / MILLION


def profile_of(catalogue: str | None, provider: str, model: str) -> Profile | None:
    """The profile of `provider/model`; `catalogue` is the provider's name in the catalogue (None: it is not in it).

    Raises `SettingsError` for a local file that cannot be used.
    """
    local = local_profiles(os.environ.get(variable("profiles")) or "").get(f"{provider}/{model}")
    return local or (catalogued(catalogue, model) if catalogue else None)


def cost_of(profile: Profile | None, usage: Usage, raw_usage: dict[str, Any] | None) -> float | None:
    """USD: what the provider itself says (OpenRouter's `usage.cost`), else by the profile, else None."""
    said = (raw_usage or {}).get("cost")
    if isinstance(said, int | float) and not isinstance(said, bool):
        return float(said)
    return profile.cost(usage) if profile else None


@lru_cache(maxsize=8)
def local_profiles(path: str) -> dict[str, Profile]:
    if not path:
        return {}
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=dict[str, Profile])
    except (OSError, msgspec.DecodeError, RecursionError) as error:
        raise SettingsError(f"{variable('profiles')}={path!r}: {error}") from None


@lru_cache(maxsize=1024)
def catalogued(provider: str, model: str) -> Profile | None:
    from genai_prices import Usage as Counted  # 0.3 s to import
    from genai_prices import calc_price

    try:
        found = calc_price(Counted(input_tokens=1, output_tokens=1), model_ref=model, provider_id=provider)
    except LookupError:
        return None
    price, length = found.model_price, found.model.context_window
    parts = (price.input_mtok, price.output_mtok, price.cache_read_mtok)
    if isinstance(found.model.prices, list) or not all(
        part is None or isinstance(part, int | float) or hasattr(part, "as_tuple") for part in parts
    ):
        return Profile(context_length=length, tiered=(provider, model))
    numbers = [None if part is None else float(part) for part in parts]  # pyright: ignore[reportArgumentType]
    return Profile(input=numbers[0], output=numbers[1], cache_read=numbers[2], context_length=length)


def asked_of_catalogue(provider: str, model: str, usage: Usage) -> float | None:
    from genai_prices import Usage as Counted
    from genai_prices import calc_price

    cached = min(usage.cached_tokens, usage.input_tokens)
    counted = Counted(input_tokens=usage.input_tokens, cache_read_tokens=cached, output_tokens=usage.output_tokens)
    try:
        return float(calc_price(counted, model_ref=model, provider_id=provider).total_price)
    except LookupError:
        return None
