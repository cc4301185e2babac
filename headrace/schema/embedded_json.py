"""Find complete JSON within a text: in a code fence, or between words. Every character is scanned a bounded number of times."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

FENCE = "```"
OPENING_FENCE = re.compile(r"```(?:json|JSON)?[^\S\n]*\n")
BRACKET = re.compile(r"[{\[}\]]")
MAX_TRIES = 50
MAX_READINGS = 4
"""Maximal number of passes over the text in all failed tries."""


def fenced(text: str) -> Iterator[str]:
    """Yield the content of the first code fence: up to the last fence of the text, then up to the next."""
    opening = OPENING_FENCE.search(text)
    if opening is None:
        return
    for end in (text.rfind(FENCE), text.find(FENCE, opening.end())):
        if end >= opening.end():
            yield text[opening.end() : end]


def find_json(text: str) -> list[Any]:
    """Return the outermost JSON objects in a text, the longest first, else its lists; none within `MAX_TRIES` is none."""
    found: list[tuple[bool, int, Any]] = []
    end = tries = depth = work = 0
    lowest: int | None = None  # brackets open where tries failed: what lies deeper is part of that
    for bracket in BRACKET.finditer(text):
        at = bracket.start()
        if bracket[0] in "}]":
            depth -= 1
            continue
        if at >= end and (lowest is None or depth <= lowest):
            tries += 1
            try:
                value, end = WHOLE.raw_decode(text, at)
                found.append((isinstance(value, dict), end - at, value))
            except (ValueError, RecursionError) as error:
                lowest = depth if lowest is None else min(lowest, depth)
                work += (error.pos if isinstance(error, json.JSONDecodeError) else len(text)) - at
            if tries >= MAX_TRIES or work > MAX_READINGS * len(text):
                break
        depth += 1
    objects = [each for each in found if each[0]] or found
    return [value for _, _, value in sorted(objects, key=lambda each: each[1], reverse=True)]


def no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


WHOLE = json.JSONDecoder(parse_constant=no_constant)
