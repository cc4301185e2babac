"""What the stand-in says: made of the prompt's own words, the same for the same request, valid under the schema asked for.

`Writer(prompt, seed, schema).document()` returns an instance of a JSON Schema (2020-12, and draft 7's tuples and
`definitions`). Local `$ref`s are followed at most twice on one path, which is enough: a smallest instance never needs a
definition inside itself. `holds` is the check behind it, for the keywords a chat-completion schema can carry; `format`
is written but, as in the standard, not checked. A schema that nothing satisfies gets a best effort, never an error.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from re import _parser  # the tree of a pattern: private, but the only one in the standard library
from typing import Any
from urllib.parse import unquote

READ_CHARS = 20_000  # of a prompt: what is longer is counted, not quoted
STEPS = 4_000  # parts of one answer: a schema can branch without end
APPLICATORS = frozenset({"$ref", "allOf", "anyOf", "oneOf", "if", "then", "else", "dependentSchemas"})
# Written by construction, but not in every combination: an answer under one of these is checked before it is used.
DELICATE = APPLICATORS | {
    "not", "contains", "propertyNames", "patternProperties", "dependentRequired", "dependencies", "uniqueItems",
    "minProperties", "maxProperties",
}  # fmt: skip
KEYWORDS_OF = {
    "object": frozenset({"properties", "required", "additionalProperties", "patternProperties", "minProperties"}),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems", "contains", "uniqueItems"}),
    "string": frozenset({"minLength", "maxLength", "pattern", "format"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
}
URL = re.compile(r"https?://[^\s<>\"'`)\]}|]+")
WORD = re.compile(r"[^\W_](?:[\w+-]*[^\W_])?")
VERSION = re.compile(r"\b\d+\.\d+(?:\.\d+)?\b")
NUMBER = re.compile(r"(?<![\w.])-?\d{1,12}(?:\.\d{1,6})?(?![\w.]*\w)")
EMAIL = re.compile(r"\b[\w.+-]+@[\w-]+\.[\w.-]*\w")
LICENCE = re.compile(
    r"\b(?:MIT|ISC|Unlicense|Zlib|Apache(?:-| License,? (?:Version )?)?2\.0|BSD(?:-[23]-Clause)?|[AL]?GPL(?:-?v?\d(?:\.\d)?)?"
    r"(?:\+|-only|-or-later)?|MPL(?:-| )2\.0|PSF(?:-2\.0)?|CC0(?:-1\.0)?)(?![\w-])"
)
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
LABELLED = re.compile(r"\w{0,2}[\"'*`]*[ \t]*(?:::|[:=])[ \t]*([^\n]{1,200})")
DEFINES = re.compile(r"\b(?:is|are) (?:an?|the)\b|\b(?:provides|helps|lets|library|framework|tool|package)\b", re.IGNORECASE)
SUMMARY_NAMES = ("purpose", "summary", "description", "abstract", "overview")
SHORT_NAMES = frozenset("name title kind type tag keyword category topic label author language id key code slug".split())
PIECE = re.compile(r"\s*\S{1,24}|\s+")
ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_ .:/@#+,;!?=()[]{}<>*&%$'\"|~^`\\\t\n"
CATEGORY: dict[str, Callable[[str], bool]] = {
    "CATEGORY_DIGIT": str.isdigit,
    "CATEGORY_NOT_DIGIT": lambda c: not c.isdigit(),
    "CATEGORY_WORD": lambda c: c.isalnum() or c == "_",
    "CATEGORY_NOT_WORD": lambda c: not (c.isalnum() or c == "_"),
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_NOT_SPACE": lambda c: not c.isspace(),
}


class Unwritable(Exception):
    """No value for this schema, or none without following a reference a third time."""


class Exhausted(Exception):
    """The answer has more parts than `STEPS`."""


def pieces(text: str) -> list[str]:
    """`text` in the portions a stream sends, word by word; joined they are `text` again."""
    return PIECE.findall(text)


def tokens(text: str) -> int:
    """An estimate that never changes: one token for each 3.5 bytes of UTF-8."""
    return math.ceil(len(text.encode()) / 3.5)


def name_words(name: str) -> list[str]:
    """`python_versions`, `pythonVersions` -> `["python", "versions"]`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^0-9A-Za-z]+", " ", name).lower().split()


class Prompt:
    """The last user message, and what can be quoted from it."""

    def __init__(self, text: str):
        self.text = text[:READ_CHARS]

    @cached_property
    def lower(self) -> str:
        lower = self.text.lower()
        return lower if len(lower) == len(self.text) else self.text  # a few letters grow; offsets must fit

    @cached_property
    def sentences(self) -> list[str]:
        parts = (part.strip(" \t\r*#>-`|") for part in SENTENCE_END.split(self.text))
        found = list(dict.fromkeys(part for part in parts if part))
        return [part for part in found if len(part.split()) > 3 and not part.endswith(":")] or found or ["Nothing to quote."]

    @cached_property
    def words(self) -> list[str]:
        found = dict.fromkeys(WORD.findall(URL.sub(" ", self.text)))
        return [word for word in found if len(word) > 3 and not word[0].isdigit()] or list(found) or ["nothing"]

    @cached_property
    def vocabulary(self) -> set[str]:
        return {word.lower() for whole in WORD.findall(self.text) for word in (whole, *re.split(r"[-+_]", whole))}

    @cached_property
    def urls(self) -> list[str]:
        return list(dict.fromkeys(url.rstrip(".,;:!?*_") for url in URL.findall(self.text)))

    @cached_property
    def numbers(self) -> list[float | int]:
        return [float(text) if "." in text else int(text) for text in NUMBER.findall(self.text)]

    def labelled(self, name: str) -> list[str]:
        """What stands after the name of the field: `Licence: MIT`, `Development Status :: 4 - Beta`."""
        words = name_words(name)
        stem = [*words[:-1], words[-1].removesuffix("s")] if words else []
        labels = [" ".join(stem), *([stem[0]] if len(stem) > 1 else [])]
        labels += [label.replace("licence", "license") for label in labels if "licence" in label]
        found: dict[str, None] = {}
        for label in filter(None, labels):
            at = self.lower.find(label)
            for _ in range(20):
                if at < 0:
                    break
                if value := LABELLED.match(self.text, at + len(label)):
                    last = re.split(r"[.!?]\s|;", value[1].split(" :: ")[-1])[0].strip(" \t\r\"'*`,.")
                    found.update({last: None} if last else {})
                at = self.lower.find(label, at + 1)
            if found:
                break
        return list(found)

    def quotes(self, name: str) -> tuple[list[str], bool]:
        """Texts fit for a field called `name`, best first, and whether they were found for it rather than just taken."""
        words, found = name_words(name), []
        if any(word in ("url", "urls", "uri", "href", "link", "links", "homepage") for word in words):
            found = self.urls or ["https://example.com/" + self.words[0].lower()]
        elif any(word.startswith("version") for word in words):
            found = [text for text in self.labelled(name) if text[:1] in "<>=~!^0123456789"] or VERSION.findall(self.text)
        elif "email" in words:
            found = EMAIL.findall(self.text) or [self.words[0].lower() + "@example.com"]
        elif any(word.startswith("licen") for word in words):
            found = LICENCE.findall(self.text) or self.labelled(name)
        elif words:
            found = self.labelled(name)
        if found:
            return list(dict.fromkeys(found)), True
        if not words or not SHORT_NAMES.isdisjoint(word.removesuffix("s") for word in words):
            return self.words, False
        if not set(SUMMARY_NAMES).isdisjoint(words):
            return sorted(self.sentences, key=lambda text: not DEFINES.search(text)), False
        return sorted(self.sentences, key=lambda text: not any(word in text.lower() for word in words)), False

    def rank(self, options: list[Any], near: str = "") -> list[Any]:
        """`options`, those whose words occur in the prompt first; words of the text `near` by count most."""
        close = {word.lower() for word in WORD.findall(near)}

        def score(option: Any) -> float:
            words = name_words(option) if isinstance(option, str) else []
            return -sum((word in self.vocabulary) + 9 * (word in close) for word in words) / max(len(words), 1)

        return sorted(options, key=score)


def plain_text(prompt: Prompt, seed: int) -> str:
    """An answer without a schema: up to three of the prompt's own sentences, announced as quotations."""
    count = min(len(prompt.sentences), 3)
    chosen = sorted(random.Random(seed).sample(range(len(prompt.sentences)), count))
    return "Rehearsal answer, quoting the prompt: " + " ".join(prompt.sentences[at] for at in chosen)


def identity(value: Any) -> Any:
    """Equal for values that JSON Schema calls equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, dict):
        return "object", frozenset((key, identity(item)) for key, item in value.items())
    if isinstance(value, list):
        return "array", tuple(identity(item) for item in value)
    return ("boolean", value) if isinstance(value, bool) else value


def is_type(value: Any, name: str) -> bool:
    """Whether `value` is of the JSON Schema type `name`."""
    if isinstance(value, bool):
        return name == "boolean"
    if isinstance(value, (int, float)):
        return name == "number" or (name == "integer" and value == int(value))
    return name == {str: "string", list: "array", dict: "object", type(None): "null"}[type(value)]


def searches(pattern: str, text: str) -> bool:
    """Whether `pattern` is found in `text`; one that Python cannot read is taken as found."""
    try:
        return re.search(pattern, text) is not None
    except (re.error, OverflowError, RecursionError):
        return True
