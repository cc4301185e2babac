"""What the providers' strict modes take, as data: one row each. `docs/schemas.md` shows it."""

from __future__ import annotations

import msgspec

from headrace.errors import InputError

FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
NUMBERS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf")
TEXTS = ("pattern", "minLength", "maxLength")
LISTS = ("minItems", "maxItems")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """The strict subset of one provider. Objects are closed and require all they have, the root is an object, and the
    composition of schemas is `anyOf` and `$ref`: that is the same everywhere (providers 3.3, 3.4).

    `keywords` are the limits that it keeps, `formats` the values of `format`. `depth` counts objects in objects;
    `long_enum` values of one enum may have `long_enum_chars` characters together at most; `chars` are those of all names,
    enum values and definitions. `source` says where that stands and since when we rely on it.
    """

    name: str
    source: str
    keywords: frozenset[str] = frozenset((*NUMBERS, *TEXTS, *LISTS))
    formats: frozenset[str] = FORMATS
    properties: int = 5000
    depth: int = 10
    enum_values: int = 1000
    long_enum: int = 250
    long_enum_chars: int = 15_000
    chars: int = 120_000


TARGETS: dict[str, Target] = {
    row.name: row
    for row in (
        Target(
            name="openai",
            source="OpenAI, Structured Outputs, supported schemas (2026-02): types, limits, sizes; current models take "
            "`minLength` and `maxLength` too, fine-tuned ones none of the limits",
        ),
        Target(
            name="vllm",
            source="vLLM 0.12 to 0.16 with xgrammar: `multipleOf` is not in its grammars; the sizes are this project's own",
            keywords=frozenset((*NUMBERS, *TEXTS, *LISTS)) - {"multipleOf"},
            depth=40,
            enum_values=5000,
            chars=500_000,
        ),
        Target(
            name="openrouter",
            source="OpenRouter, Structured Outputs (2026-08-22): `strict` as at OpenAI; what an upstream does not know "
            "of the limits it ignores",
        ),
    )
}


def target_of(name: str) -> Target:
    """The row called `name`. Raises `InputError`."""
    if name not in TARGETS:
        raise InputError(f"target={name!r}: must be one of {', '.join(TARGETS)}")
    return TARGETS[name]
