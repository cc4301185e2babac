"""Regular expressions: the cost of running them, and which are refused.

Patterns run in linear time; those with a look-around, which cannot, have a backtracking limit and then do not match. Each
is compiled once, to a program whose size grows with its counts. A count of single characters (`^.{1,255}$`) costs nothing:
it is checked as a length.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import jsonschema_rs

from headrace.errors import SchemaError
from headrace.schema.subschemas import escaped

if TYPE_CHECKING:
    from headrace.schema.document import Source

MAX_PATTERNS = 200
SMALL = 1 << 18
"""Size limit (bytes) of a normal compiled pattern."""
LARGE = (1 << 19, 1 << 20, 1 << 21, 1 << 22, 1 << 23)
"""Size limits that are tried in turn for a larger one."""
MAX_BYTES = 1 << 24
"""Maximal bytes of all larger programs of one schema."""
MAX_UNMEASURED = 60
"""Characters up to which a pattern without counts is known to be small."""
BACKTRACKS = re.compile(r"\(\?<?[=!]|\\[1-9]|\\k<")
"""Constructs that only a backtracking engine can run; anchored, its steps are bounded, unanchored they are not."""
COUNT = re.compile(r"\{\d")
ATOM = re.compile(
    r"\[(?:\\.|[^\]\\])+\]|\\[pP]\{[^}]*\}|\\[dDsSwWtnrfv]|\\x[0-9A-Fa-f]{2}|\\u(?![dD][89a-fA-F])[0-9A-Fa-f]{4}"
    r"|\\[^A-Za-z0-9]|[^\\^$.|?*+()\[\]{}]|\.",
    re.DOTALL,
)
"""A construct that matches one character."""
REPEAT = re.compile(r"\{(\d+)(,?)(\d*)\}|([?*+])")
SHOWN = 200


class Lengths(NamedTuple):
    """A pattern that, together with length limits, is equivalent to another one."""

    pattern: str
    least: int
    most: int


def options(size: int) -> jsonschema_rs.FancyRegexOptions:
    return jsonschema_rs.FancyRegexOptions(backtrack_limit=10_000, size_limit=size, dfa_size_limit=SMALL)


def compiled_within(pattern: str, size: int) -> jsonschema_rs.Validator | None:
    """Return the compiled validator of a pattern within that size; None where it does not fit."""
    try:
        return jsonschema_rs.Draft202012Validator({"pattern": pattern}, pattern_options=options(size))
    except (jsonschema_rs.ValidationError, ValueError):
        return None


@lru_cache(maxsize=4096)
def small_validator(pattern: str) -> jsonschema_rs.Validator | None:
    return compiled_within(pattern, SMALL)


@lru_cache(maxsize=16)
def large_validator(pattern: str) -> jsonschema_rs.Validator | None:
    return compiled_within(pattern, size_of(pattern) or SMALL)


def matches(pattern: str, name: str) -> bool:
    validator = small_validator(pattern) or large_validator(pattern)
    return validator is not None and validator.is_valid(name)


@lru_cache(maxsize=4096)
def is_small(pattern: str) -> bool:
    """Return True if a program of size `SMALL` suffices; errors show when it is compiled."""
    return (len(pattern) <= MAX_UNMEASURED and not COUNT.search(pattern)) or compiled_within(pattern, SMALL) is not None


def size_of(pattern: str) -> int:
    """Return the size limit (bytes) that compiles a pattern: `SMALL` or one of `LARGE`; 0 where none does."""
    if is_small(pattern):
        return SMALL
    return next((size for size in LARGE if compiled_within(pattern, size) is not None), 0)


@lru_cache(maxsize=4096)
def as_lengths(pattern: str) -> Lengths | None:
    """Return a pattern of single characters, one of them counted (`^[A-Z].{1,255}$`), as length limits; None for any other."""
    if not pattern.startswith("^") or not pattern.endswith("$"):
        return None
    at, end = 1, len(pattern) - 1
    parts: list[str] = []
    least, most, counted = 0, 0, 0
    while at < end:
        atom = ATOM.match(pattern, at, end)
        if atom is None:
            return None
        at = atom.end()
        repeat = REPEAT.match(pattern, at, end)
        if repeat is None:
            parts.append(atom[0])
            least, most = least + 1, most + 1
            continue
        at = repeat.end()
        if at < end and pattern[at] in "?*+{":  # lazy, possessive, or no pattern
            return None
        low, comma, high, sign = repeat.groups()
        if sign:
            return None
        if high and int(high) < int(low):
            return None
        if not comma or low == high:
            parts.append(atom[0] + repeat[0])
            least, most = least + int(low), most + int(low)
            continue
        if not high:
            return None
        counted += 1
        parts.append(atom[0] + "*")
        least, most = least + int(low), most + int(high)
    return Lengths(f"^{''.join(parts)}$", least, most) if counted == 1 else None


class Programs(NamedTuple):
    """The compiled size of one schema's patterns: the size limit of the largest, the bytes of all large ones, and `lengths`
    of those that are checked as length limits, by the `id` of the subschema."""

    size: int
    large: int
    lengths: dict[int, Lengths]


def programs_of(source: Source) -> Programs:
    """Return the compiled size of a schema's patterns. Raises `SchemaError` for patterns that cannot be compiled, for
    unanchored ones with a look-around, and for too many or too large ones."""
    count, total, largest = 0, 0, SMALL
    lengths: dict[int, Lengths] = {}
    seen: set[str] = set()
    for schema in source.all_of_it():
        pattern, named = schema.get("pattern"), schema.get("patternProperties")
        texts = [(pattern, "pattern")] if isinstance(pattern, str) else []
        texts += [(text, f"patternProperties/{escaped(text)}") for text in named] if isinstance(named, dict) else []
        for text, step in texts:
            where = f"{source.pointer(schema)}/{step}"
            count += 1
            if count > MAX_PATTERNS:
                raise refusal(where, f"more than {MAX_PATTERNS} patterns", "write fewer, or join them with `|`")
            if BACKTRACKS.search(text) and not is_anchored(text):
                raise refusal(
                    where,
                    f"{text!r:.{SHOWN}} looks around at every place of a text",
                    "begin it with `^`, with no `|` outside of parentheses",
                )
            counted = as_lengths(text) if step == "pattern" and not is_small(text) else None
            if counted is not None:
                lengths[id(schema)] = counted
                text = counted.pattern
            if text in seen:
                continue
            seen.add(text)
            size = size_of(text)
            total += size if size > SMALL else 0
            largest = max(largest, size)
            if not size:
                raise refusal(where, *refusal_reason(text))
            if total > MAX_BYTES:
                raise refusal(
                    where,
                    "the patterns of the schema are too large together",
                    "bound the length by `maxLength`, and leave large counts out of the patterns",
                )
    return Programs(largest, total, lengths)


def refusal_reason(pattern: str) -> tuple[str, str]:
    """Return the reason, and the remedy."""
    if EXPRESSION.is_valid(pattern) and (COUNT.search(pattern) or len(pattern) > SHOWN):
        return (
            f"the pattern is too large to be run: {pattern!r:.{SHOWN}}",
            "bound the length by `maxLength`, and leave large counts out of the pattern",
        )
    return (
        f"the pattern cannot be run: {pattern!r:.{SHOWN}} is no regular expression",
        "see ECMA-262 for what may stand there",
    )


def refusal(where: str, what: str, remedy: str) -> SchemaError:
    return SchemaError(f"schema at {where}: {what}", pointer=where, keyword="pattern", remedy=remedy)


def is_anchored(pattern: str) -> bool:
    """Return True if a pattern matches only at the start: it begins with `^`, and has no alternative beside it."""
    plain = re.sub(r"\\.|\[(?:\\.|[^\]\\])*\]", "", pattern)
    depth, outside = 0, ""
    for char in plain:
        depth += (char == "(") - (char == ")")
        outside += char if depth == 0 else ""
    return pattern.startswith("^") and "|" not in outside


def with_lengths(schema: dict[str, Any], lengths: Lengths) -> dict[str, Any]:
    """Return `schema` with its pattern replaced by length limits."""
    least, most = schema.get("minLength", 0), schema.get("maxLength", lengths.most)
    if not isinstance(least, int | float) or not isinstance(most, int | float):
        return schema  # which is no schema
    bounds = {"minLength": max(least, lengths.least), "maxLength": min(most, lengths.most)}
    return {**schema, "pattern": lengths.pattern, **bounds}


EXPRESSION = jsonschema_rs.Draft202012Validator({"format": "regex"}, validate_formats=True)
