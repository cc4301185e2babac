"""The table of models: its prices, its context length, its features; and what an answer cost.

The catalogue is `genai-prices`, whose data is in the package: nothing is fetched. A local file, `HEADRACE_PROFILES`,
comes before it: JSON, `{"provider/model": {"input": 2, "output": 8, "cache_read": 0.5, …}}`, prices in USD per million
tokens, those of a service tier in `tiers`. A model that neither knows has no price, which is not the same as a price of 0.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from headrace.chat.completion import Usage
from headrace.errors import SettingsError
from headrace.guards.ownership import check_not_public
from headrace.guards.small_files import read_whole
from headrace.schema.modes import Mode
from headrace.settings import variable
from headrace.text.quoting import quoted, shortened

MILLION = 1_000_000
STANDARD_TIERS = frozenset({"", "auto", "default", "standard", "on_demand"})
"""Names that providers have for the service tier of the list prices (`service_tier` of an answer)."""
HALF_PRICED = frozenset({"flex", "batch"})
"""Tiers that cost half the list price where the catalogue has no prices of their own."""


class TierPrices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The prices of one service tier, in USD per million tokens, as in a `Profile`."""

    input: float | None = None
    output: float | None = None
    cache_read: float | None = None

    def cost(self, usage: Usage) -> float | None:
        if self.input is None or self.output is None:
            return None
        cached = min(usage.cached_tokens, usage.input_tokens)
        cache_read = self.input if self.cache_read is None else self.cache_read
        paid = (usage.input_tokens - cached) * self.input + cached * cache_read + usage.output_tokens * self.output
        return paid / MILLION


class Profile(TierPrices, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The profile of a model. Prices are USD per million tokens; cached tokens cost `cache_read`, or `input` where that is
    None.

    `tiers` holds the prices of service tiers that have their own (`flex`, `priority`, `batch`). `mode` is how a schema is
    sent to it (`headrace.schema.modes`). `tiered`: prices depend on more than token counts, so the catalogue is asked for
    each answer.
    """

    tiers: dict[str, TierPrices] = {}
    context_length: int | None = None
    features: list[str] | None = None
    tiered: tuple[str, str] | None = None
    mode: Mode | None = None

    def cost(self, usage: Usage, tier: str | None = None) -> float | None:
        """Return USD for `usage`; cached tokens are among the input tokens, reasoning tokens among the output tokens, and
        each is paid once (conformance 145). `tier` is the answer's `service_tier`; None for an unknown tier."""
        if usage.unknown:
            return None
        name = (tier or "").lower()
        if name in STANDARD_TIERS:
            return self._list_cost(usage)
        if name in self.tiers:
            return asked_of_catalogue(*self.tiered, usage, name) if self.tiered else self.tiers[name].cost(usage)
        half = self._list_cost(usage) if name in HALF_PRICED else None
        return None if half is None else half / 2

    def _list_cost(self, usage: Usage) -> float | None:
        return asked_of_catalogue(*self.tiered, usage) if self.tiered else TierPrices.cost(self, usage)


def profile_of(catalogue: str | None, provider: str, model: str) -> Profile | None:
    """Return the profile of `provider/model`; `catalogue` is the provider's name in the catalogue (None: it is not in
    it).

    Raises `SettingsError` for a local file that cannot be used.
    """
    local = local_profiles(os.environ.get(variable("profiles")) or "").get(f"{provider}/{model}")
    return local or (catalogued(catalogue, model) if catalogue else None)


def cost_of(
    profile: Profile | None, usage: Usage, raw_usage: dict[str, Any] | None, tier: str | None = None
) -> float | None:
    """Return USD: what the provider itself says (OpenRouter's `usage.cost`), else by the profile and the answer's
    service tier, else None. A negative number is a provider's way to say that it does not know either."""
    said = (raw_usage or {}).get("cost")
    if isinstance(said, int | float) and not isinstance(said, bool):
        return float(said) if 0 <= said < float("inf") else None
    return profile.cost(usage, tier) if profile else None


@lru_cache(maxsize=8)
def local_profiles(path: str) -> dict[str, Profile]:
    if not path:
        return {}
    try:
        check_not_public(Path(path), variable("profiles"))
        return msgspec.json.decode(read_whole(Path(path)), type=dict[str, Profile])
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"{variable('profiles')}={quoted(path)}: {shortened(str(error))}") from None


@lru_cache(maxsize=1024)
def catalogued(provider: str, model: str) -> Profile | None:
    from genai_prices import Usage as Counted  # 0.3 s to import
    from genai_prices import calc_price

    try:
        found = calc_price(Counted(input_tokens=1, output_tokens=1), model_ref=model, provider_id=provider)
    except LookupError:
        return None
    price, length = found.model_price, found.model.context_window
    known = [dict(variant.when) for variant in found.model.price_variants or ()]
    now = datetime.now(UTC)
    by_tier = {name: found.model.get_prices(now, when) for name, when in TIERS.items() if when in known}
    every = {name: prices_of(each) for name, each in by_tier.items()} | {"": prices_of(price)}
    if isinstance(found.model.prices, list) or None in every.values():
        return Profile(context_length=length, tiered=(provider, model), tiers=dict.fromkeys(by_tier, TierPrices()))
    prices = every.pop("") or TierPrices()
    tiers = {name: each for name, each in every.items() if each is not None}
    return Profile(**msgspec.structs.asdict(prices), tiers=tiers, context_length=length)


TIERS = {
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast"},
    "batch": {"processing": "batch"},
}
"""Service tiers, and what they are in the catalogue."""


def prices_of(price: Any) -> TierPrices | None:
    """Return the prices of the catalogue as numbers; None when they depend on more than counts."""
    parts = (price.input_mtok, price.output_mtok, price.cache_read_mtok)
    if not all(part is None or isinstance(part, int | float | Decimal) for part in parts):
        return None
    return TierPrices(**{name: None if part is None else float(part) for name, part in zip(PARTS, parts, strict=True)})


PARTS = ("input", "output", "cache_read")


def asked_of_catalogue(provider: str, model: str, usage: Usage, tier: str = "") -> float | None:
    from genai_prices import Usage as Counted
    from genai_prices import calc_price

    cached = min(usage.cached_tokens, usage.input_tokens)
    counted = Counted(input_tokens=usage.input_tokens, cache_read_tokens=cached, output_tokens=usage.output_tokens)
    try:
        found = calc_price(counted, model_ref=model, provider_id=provider, price_context=TIERS.get(tier))
        return float(found.total_price)
    except LookupError:
        return None
