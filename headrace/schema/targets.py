"""The providers' strict modes as data: one row each. `docs/schemas.md` shows it."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from headrace.errors import InputError
from headrace.text.quoting import quoted

FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
NUMBERS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf")
TEXTS = ("pattern", "minLength", "maxLength")
LISTS = ("minItems", "maxItems")
OF_TEXTS = (("format",), ("pattern",), ("minLength", "maxLength"))
"""Limits of texts by priority, for grammars that take only one of them."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """The strict subset of one provider. Everywhere objects are closed and require all properties, the root is an object,
    and schemas are composed by `anyOf` and `$ref`.

    `keywords` are the limits that it supports, `formats` the values of `format`; with `one_of_texts` a text has only its
    format, or its pattern, or its lengths. `depth` counts levels of objects; the values of an enum of more than `long_enum`
    have `long_enum_chars` characters together at most; `chars` are those of all names, enum values and definitions.
    `typed_enums`: an enum names the type of its values. `source` is the provider's documentation, and the date it was read.
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
    one_of_texts: bool = False
    typed_enums: bool = True

    def kept(self, limits: dict[str, Any]) -> dict[str, Any]:
        """Return the limits of a text or a number that are sent."""
        kept = {word: value for word, value in limits.items() if word in self.keywords}
        if limits.get("format") in self.formats:
            kept["format"] = limits["format"]
        if "pattern" in kept and not is_simple(str(kept["pattern"])):
            del kept["pattern"]
        said = [group for group in OF_TEXTS if not kept.keys().isdisjoint(group)]
        for group in said[1:] if self.one_of_texts else ():
            for word in group:
                kept.pop(word, None)
        return kept

    def dropped(self, limits: dict[str, Any]) -> list[str]:
        """Return the limits of a text that could only be sent alone."""
        alone = (self.kept({word: limits[word]}) for word in limits)
        return [word for each in alone for word in each if word not in self.kept(limits)]


def is_simple(pattern: str) -> bool:
    """Return True if constrained decoding supports a pattern: no look-around, no back reference, no Unicode classes."""
    return not re.search(r"\(\?(?!:)|\\[1-9kpPbBuc]", pattern)


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
            source="vLLM 0.12 to 0.16 with xgrammar: `multipleOf` is not in its grammars; of a text these have its format, else "
            "its pattern, else its lengths, and later versions refuse lengths beside the others (vllm#49996); the sizes are "
            "this project's own",
            keywords=frozenset((*NUMBERS, *TEXTS, *LISTS)) - {"multipleOf"},
            one_of_texts=True,
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


PARAMETERS = Target(
    name="parameters of a function",
    source="this project's specification: an enum is its values alone, a moment is a text without `format`; sizes are those of "
    "the largest provider, for a function's schema is the same for all",
    formats=frozenset({"uuid"}),
    typed_enums=False,
    depth=40,
    enum_values=5000,
    chars=500_000,
)
"""The schemas that functions become. Beyond what stands here, they differ from those of answers in `type_nodes.record` (a
Struct's field with a default is not nullable) and in `type_nodes.TypedMap` (keys have their own types)."""


def target_of(name: str) -> Target:
    """Return the row called `name`. Raises `InputError`."""
    if name not in TARGETS:
        raise InputError(f"target={quoted(name)}: must be one of {', '.join(TARGETS)}")
    return TARGETS[name]
