"""`/v1/models`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Price = Annotated[str, Meta(description="USD per token, a decimal.")]


class Pricing(msgspec.Struct, frozen=True, kw_only=True):
    """The prices of a model, as far as they are known."""

    prompt: Price | None = None
    completion: Price | None = None
    input_cache_read: Price | None = None


class ModelObject(msgspec.Struct, frozen=True, kw_only=True):
    """An alias, or `provider/model`."""

    id: str
    object: Literal["model"]
    created: Annotated[int, Meta(description="0: it is not known.")]
    owned_by: Annotated[str, Meta(description="Its provider.")]
    context_length: Annotated[int, Meta(description="Tokens of prompt and answer together.")] | None = None
    pricing: Pricing | None = None


class ModelPage(msgspec.Struct, frozen=True, kw_only=True):
    """Aliases first, then the known models."""

    object: Literal["list"]
    data: list[ModelObject]
