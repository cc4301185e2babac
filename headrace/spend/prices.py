"""The table of models: its prices, its context length, its features; and what an answer cost.

The catalogue is `genai-prices`, whose data is in the package: nothing is fetched. A local file, `HEADRACE_PROFILES`,
comes before it: JSON, `{"provider/model": {"input": 2, "output": 8, "cache_read": 0.5, …}}`, prices in USD per million
tokens, those of a service tier in `tiers`. A model that neither knows has no price, which is not the same as a price of 0.

Costs are worked out in decimals and rounded once, to a whole nano-USD (`money.py`).
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from headrace.chat.completion import Usage
from headrace.errors import SettingsError
from headrace.guards.ownership import check_not_public
from headrace.guards.small_files import read_whole
from headrace.schema.modes import Mode
from headrace.settings import variable
from headrace.spend.money import NANO, nano_of_float, usd_of
from headrace.spend.token_parts import TokenParts, token_parts
from headrace.text.quoting import quoted, shortened

MAX_SAID = 1_000_000.0
"""USD for one call; what a provider says beyond it is no cost."""
STANDARD_TIERS = frozenset({"", "auto", "default", "standard", "on_demand"})
"""Names that providers have for the service tier of the list prices (`service_tier` of an answer)."""
HALF_PRICED = frozenset({"flex", "batch"})
"""Tiers that cost half the list price where the catalogue has no prices of their own."""

Price = Annotated[float, Meta(ge=0, le=1_000_000)]
TokenCount = Annotated[int, Meta(ge=1)]


class TierPrices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The prices of one service tier, in USD per million tokens, as in a `Profile`."""

    input: Price | None = None
    output: Price | None = None
    cache_read: Price | None = None
    cache_write: Price | None = None
    input_audio: Price | None = None
    input_image: Price | None = None
    output_audio: Price | None = None
    output_image: Price | None = None
    output_reasoning: Price | None = None

    def nano(self, usage: Usage, parts: TokenParts) -> Decimal | None:
        """Return the cost in nano-USD, not rounded; None without prices. A part without a price of its own has that of
        input or output."""
        if self.input is None or self.output is None:
            return None
        text, answer = exact(self.input), exact(self.output)
        cached = parts.cached - parts.cached_audio
        if parts.is_text:
            asked = (usage.input_tokens - cached) * text + cached * exact(self.cache_read, text)
            if self.output_reasoning is None:
                return asked + usage.output_tokens * answer
            said = (usage.output_tokens - parts.reasoning) * answer
            return asked + said + parts.reasoning * exact(self.output_reasoning)
        heard = parts.input_audio - parts.cached_audio
        plain = usage.input_tokens - cached - parts.cache_write - parts.input_audio - parts.input_image
        said = usage.output_tokens - parts.output_audio - parts.output_image - parts.reasoning
        return (
            max(0, plain) * text
            + (cached + parts.cached_audio) * exact(self.cache_read, text)
            + parts.cache_write * exact(self.cache_write, text)
            + heard * exact(self.input_audio, text)
            + parts.input_image * exact(self.input_image, text)
            + max(0, said) * answer
            + parts.output_audio * exact(self.output_audio, answer)
            + parts.output_image * exact(self.output_image, answer)
            + parts.reasoning * exact(self.output_reasoning, answer)
        )

    @property
    def dearest(self) -> TierPrices:
        """The prices of a call of which no more than its numbers of tokens is known: the highest that may be asked for each."""
        if self.input is None or self.output is None:
            return self
        asked = (self.input, self.cache_read, self.cache_write, self.input_audio, self.input_image)
        answered = (self.output, self.output_audio, self.output_image, self.output_reasoning)
        return TierPrices(
            input=max(price for price in asked if price is not None),
            output=max(price for price in answered if price is not None),
        )


class Profile(TierPrices, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The profile of a model. Prices are USD per million tokens; cached tokens cost `cache_read`, or `input` where that is
    None.

    `tiers` holds the prices of service tiers that have their own (`flex`, `priority`, `batch`). `mode` is how a schema is
    sent to it (`headrace.schema.modes`). `tiered`: prices depend on more than token counts, so the catalogue is asked for
    each answer; `ceilings` are then the highest of each tier (`""`: of the list). `max_output` are the tokens of its longest
    answer.
    """

    tiers: dict[str, TierPrices] = {}
    context_length: TokenCount | None = None
    max_output: TokenCount | None = None
    features: list[str] | None = None
    tiered: tuple[str, str] | None = None
    ceilings: dict[str, TierPrices] = {}
    mode: Mode | None = None

    def cost(self, usage: Usage, tier: str | None = None, raw_usage: dict[str, Any] | None = None) -> float | None:
        """Return USD for `usage`; cached tokens are among the input tokens, reasoning tokens among the output tokens, and
        each is paid once (conformance 145). `tier` is the answer's `service_tier`; None for an unknown tier."""
        if usage.unknown:
            return None
        nano = self._nano(usage, token_parts(usage, raw_usage), (tier or "").lower())
        return None if nano is None else usd_of(whole(nano))

    def _nano(self, usage: Usage, parts: TokenParts, tier: str) -> Decimal | None:
        if tier in STANDARD_TIERS:
            return self._list_nano(usage, parts)
        if tier in self.tiers:
            if self.tiered:
                return asked_of_catalogue(*self.tiered, usage, parts, tier)
            return self.tiers[tier].nano(usage, parts)
        half = self._list_nano(usage, parts) if tier in HALF_PRICED else None
        return None if half is None else half / 2

    def _list_nano(self, usage: Usage, parts: TokenParts) -> Decimal | None:
        return asked_of_catalogue(*self.tiered, usage, parts) if self.tiered else self.nano(usage, parts)

    def worst_nano(self, input_tokens: int, output_tokens: int, tier: str | None = None) -> int | None:
        """Return the most that a call of so many tokens can cost, in nano-USD; `tier` is the one that is asked for. None
        where the price is unknown."""
        name = (tier or "").lower()
        listed = self.ceilings.get("", self.dearest)
        # A provider may answer in another tier than it was asked for; unasked, an account's own setting decides.
        others = self.tiers if name in ("", "auto") else [name]
        prices = [
            listed,
            *(self.ceilings.get(each) or self.tiers[each].dearest for each in others if each in self.tiers),
        ]
        known = [price for price in prices if price.input is not None and price.output is not None]
        if listed not in known or (name not in STANDARD_TIERS | HALF_PRICED and name not in self.tiers):
            return None
        usage, parts = Usage(input_tokens, output_tokens), TokenParts()
        return max(ceil(price.nano(usage, parts) or 0) for price in known)


def exact(price: float | None, default: Decimal = Decimal(0)) -> Decimal:
    """Return USD per million tokens as nano-USD per token, digit for digit as it is written."""
    return default if price is None else decimal_price(price)


@lru_cache(maxsize=4096)
def decimal_price(price: float) -> Decimal:
    return Decimal(repr(float(price))) * 1000


def whole(nano: Decimal) -> int:
    return int(nano.to_integral_value(ROUND_HALF_EVEN))


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
        return usd_of(nano_of_float(said)) if 0 <= said <= MAX_SAID else None
    return profile.cost(usage, tier, raw_usage) if profile else None


@lru_cache(maxsize=8)
def local_profiles(path: str) -> dict[str, Profile]:
    """Return what the file of `HEADRACE_PROFILES` says, by model; it is read once. Raises `SettingsError`."""
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
        conditions = found.model.prices if isinstance(found.model.prices, list) else []
        ceilings = {name: ceiling_of([each]) for name, each in by_tier.items()}
        ceilings[""] = ceiling_of([price, *(condition.prices for condition in conditions)])
        return Profile(
            context_length=length,
            tiered=(provider, model),
            tiers=dict.fromkeys(by_tier, TierPrices()),
            ceilings=ceilings,
        )
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


PARTS = {"input_mtok": "input", "output_mtok": "output", "cache_read_mtok": "cache_read"}
"""Prices of the catalogue that depend on nothing but numbers of tokens; a model with others is asked for."""
APART = ("cache_write", "audio", "image", "video", "reasoning", "requests")


def prices_of(price: Any) -> TierPrices | None:
    """Return the prices of the catalogue as numbers; None when they depend on more than counts."""
    given = {name: value for name, value in vars(price).items() if value is not None}
    if any(part in name for name in given for part in APART):
        return None
    parts = {field: given[name] for name, field in PARTS.items() if name in given}
    if not all(isinstance(part, int | float | Decimal) for part in parts.values()):
        return None
    return TierPrices(**{field: float(part) for field, part in parts.items()})


def ceiling_of(prices: list[Any]) -> TierPrices:
    """Return the highest price of input and of output tokens in prices of the catalogue, whatever a call is like."""
    highest: dict[str, Decimal] = {}
    for price in prices:
        for name, value in vars(price).items():
            if value is None or not name.endswith("_mtok"):
                continue
            side = "output" if name.startswith("output") else "input"
            steps = [value.base, *(tier.price for tier in value.tiers)] if hasattr(value, "tiers") else [value]
            highest[side] = max(highest.get(side, Decimal(0)), *(Decimal(str(step)) for step in steps))
    return TierPrices(**{side: float(price) for side, price in highest.items()})


def asked_of_catalogue(provider: str, model: str, usage: Usage, parts: TokenParts, tier: str = "") -> Decimal | None:
    """Return the cost in nano-USD by the catalogue, not rounded; None where it knows none."""
    from genai_prices import Usage as Counted
    from genai_prices import calc_price

    counted = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": parts.cached,
        "cache_write_tokens": parts.cache_write,
        "input_audio_tokens": parts.input_audio,
        "cache_audio_read_tokens": parts.cached_audio,
        "input_image_tokens": parts.input_image,
        "output_audio_tokens": parts.output_audio,
        "output_image_tokens": parts.output_image,
        "output_reasoning_tokens": parts.reasoning,
    }
    needed = {name: number for name, number in counted.items() if number or name in ("input_tokens", "output_tokens")}
    try:
        found = calc_price(Counted(**needed), model_ref=model, provider_id=provider, price_context=TIERS.get(tier))
    except (LookupError, ValueError):
        return None
    return Decimal(str(found.total_price)) * NANO
