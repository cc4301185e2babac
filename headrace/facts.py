"""What headrace knows of providers: one row each, no branch elsewhere."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from headrace.errors import InputError


class Provider(NamedTuple):
    """Where a provider is, which variables say otherwise, and how it names what we name differently."""

    name: str
    base_url: str | None
    base_url_variable: str
    key_variable: str | None
    default_key: str | None = None
    renamed: tuple[tuple[str, str], ...] = ()


PROVIDERS: dict[str, Provider] = {
    "openai": Provider(
        "openai",
        "https://api.openai.com/v1",
        "OPENAI_BASE_URL",
        "OPENAI_API_KEY",
        # `max_tokens` is deprecated there (openai 3.54 type stubs).
        renamed=(("max_tokens", "max_completion_tokens"),),
    ),
    "rehearsal": Provider("rehearsal", None, "REHEARSAL_BASE_URL", None, default_key="rehearsal"),
}


def split_model(model: str, registered: Collection[str] = ()) -> tuple[str, str]:
    """`provider/model` at its first slash. Raises `InputError` naming the providers there are.

    `registered`: providers that workers have published beside the built-in ones.
    """
    provider, slash, name = model.partition("/")
    known = sorted({*PROVIDERS, *registered})
    if not slash or not name or provider not in known:
        raise InputError(
            f"model {model!r}: write `provider/model`, where the provider is one of {', '.join(known)}"
            + ("" if slash else f"; for example `openai/{model}`")
        )
    return provider, name
