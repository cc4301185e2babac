"""The answers of the stand-in: the prompt's own words, the same for the same request, valid under the schema asked for.

`AnswerWriter(prompt, seed, schema).document()` returns an instance of a JSON Schema (2020-12, and draft 7's tuples and
`definitions`). Local `$ref`s are followed at most twice on one path, which is enough: a smallest instance never needs a
definition inside itself. `holds` is the check behind it, for the keywords a chat-completion schema can carry; `format`
is written but, as in the standard, not checked. A schema that nothing satisfies gets a best effort, never an error.
"""

from __future__ import annotations

import itertools
import math
import random
import re
import uuid
from collections.abc import Iterable, Iterator
from re import _parser  # pyright: ignore[reportAttributeAccessIssue]  # private, but Python has no other
from typing import Any

from headrace_rehearsal.faults import APPLICATORS, Schema, identity, listed, spell
from headrace_rehearsal.prompt import NUMBER, SHORT_NAMES, URL, WORD, Prompt, name_words

MAX_CHARS = 1 << 20  # of one string
STEPS = 20_000  # parts of one answer: a schema can branch without end
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


class Unwritable(Exception):
    """No value for this schema, or none without following a reference a third time."""


def plain_text(prompt: Prompt, seed: int) -> str:
    """Return an answer without a schema: up to three of the prompt's own sentences, announced as quotations."""
    count = min(len(prompt.sentences), 3)
    chosen = sorted(random.Random(seed).sample(range(len(prompt.sentences)), count))
    return "Rehearsal answer, quoting the prompt: " + " ".join(prompt.sentences[at] for at in chosen)


class AnswerWriter:
    """Writes one instance of `schema` in the words of `prompt`; `seed` settles every free choice."""

    def __init__(self, prompt: Prompt, seed: int, schema: Any):
        self.prompt, self.seed, self.root = prompt, seed, schema
        self.schema = Schema(schema)
        self.steps = self.twist = 0  # `twist`: which candidate to take; it grows along an array, so that items differ
        self.near = ""  # the line of the prompt that the object being written is about
        self.active: list[str] = []  # references followed on the way here
        self.last: Any = None

    def document(self) -> Any:
        """Return the instance; the last try, which may be wrong, when there seems to be none."""
        try:
            return self.write(self.root)
        except (Unwritable, RecursionError):
            return self.last

    def write(self, schema: Any, name: str = "") -> Any:
        """Return a value for `schema` in a field called `name`. Raises `Unwritable`."""
        delicate, twist = isinstance(schema, dict) and not DELICATE.isdisjoint(schema), self.twist
        for flat, refs in itertools.islice(self.schema.flat(schema, tuple(self.active)), 64):
            kept, self.active = self.active, [*self.active, *refs]
            try:
                for _ in range(8 if delicate else 1):
                    self.steps += 1
                    if self.steps > STEPS:
                        raise RecursionError("the answer has too many parts")
                    value = self.last = self.plain(flat, name)
                    if not delicate or self.schema.holds(value, schema):
                        return value
                    self.twist += 1
            except Unwritable:
                continue
            finally:
                self.active, self.twist = kept, twist
        raise Unwritable(name)

    def plain(self, schema: dict[str, Any], name: str) -> Any:
        """Return a value for a schema without applicators."""
        if "const" in schema:
            return self.first_valid([schema["const"]], schema)
        if "enum" in schema:
            ranked = self.prompt.rank(schema["enum"], self.near)
            return self.first_valid([*ranked[:1] * (9 if self.near else 1), *ranked[1:]], schema)
        kinds = schema.get("type") or [kind for kind, words in KEYWORDS_OF.items() if not words.isdisjoint(schema)]
        for kind in sorted(listed(kinds) or ["string"], key="null".__eq__):
            try:
                match kind:
                    case "object":
                        return self.object(schema)
                    case "array":
                        return self.array(schema, name)
                    case "string":
                        return self.first_valid(self.strings(schema, name), schema)
                    case "boolean":
                        mentioned = not self.prompt.vocabulary.isdisjoint(name_words(name))
                        return self.first_valid([mentioned, not mentioned], schema)
                    case "null":
                        return None
                    case _:
                        return self.first_valid(self.numbers(schema, name, kind == "integer"), schema)
            except Unwritable:
                continue
        raise Unwritable(name)

    def first_valid(self, candidates: Iterable[Any], schema: dict[str, Any]) -> Any:
        """Return the first of `candidates` that fits, or the one `twist` places after it."""
        valid = []
        for candidate in candidates:
            if self.schema.holds(candidate, schema):
                valid.append(candidate)
                if len(valid) > self.twist:
                    return candidate
        if valid:
            return valid[self.twist % len(valid)]
        raise Unwritable

    def object(self, schema: dict[str, Any]) -> dict[str, Any]:
        properties: dict[str, Any] = schema.get("properties", {})
        required = list(schema.get("required", []))
        for key, then in (schema.get("dependencies", {}) | schema.get("dependentRequired", {})).items():
            if isinstance(then, list) and (key in properties or key in required):
                required += then
        most = schema.get("maxProperties", math.inf)
        value: dict[str, Any] = {}
        kept = self.near
        # An address first: the words on its line then choose the kind of link, the title and so on.
        for key in sorted(properties, key=lambda key: key not in ("url", "uri", "href", "link")):
            if key not in required and len(value) + len(set(required) - value.keys()) >= most:
                continue
            try:
                value[key] = written = self.write(self.schema.of_property(schema, key), key)
            except Unwritable:
                if key in required:
                    raise
                continue
            if isinstance(written, str) and written.startswith("http") and (at := self.prompt.text.find(written)) >= 0:
                self.near = self.prompt.text[self.prompt.text.rfind("\n", 0, at) + 1 : at + len(written)]
        self.near = kept
        value = {key: value[key] for key in properties if key in value}
        extra = itertools.chain(required, self.extra_names(schema))
        while len(value) < schema.get("minProperties", 0) or not value.keys() >= set(required):
            if (key := next((key for key in extra if key not in value), None)) is None:
                raise Unwritable
            value[key] = self.write(self.schema.of_property(schema, key), key)
        return value

    def extra_names(self, schema: dict[str, Any]) -> Iterator[str]:
        """Yield names for properties that the schema asks for without naming them."""
        named = schema.get("propertyNames", True)
        own = [text for pattern in schema.get("patternProperties", {}) for text in self.spellings(pattern, 0)]
        own += self.strings(named, "") if isinstance(named, dict) else []
        longer = (text + word for text in own for word in self.prompt.words)
        own += named.get("enum", []) if isinstance(named, dict) else []
        counted = (f"extra{number}" for number in range(200))
        for key in itertools.chain(own, longer, self.prompt.words, counted):
            if self.schema.of_property(schema, key) is not False and self.schema.holds(key, named):
                yield key

    def array(self, schema: dict[str, Any], name: str) -> list[Any]:
        first, rest = self.schema.items(schema)
        rest = False if schema.get("unevaluatedItems") is False and "items" not in schema else rest
        least, most = schema.get("minItems", 0), schema.get("maxItems", math.inf)
        kept, value, seen = self.twist, [], set()
        wanted = schema.get("minContains", 1) if "contains" in schema else 0
        found, sure = self.prompt.quotes(name) if name else ([], False)
        size = len(found) if sure else 1 if self.active else 2
        if isinstance(rest, dict) and "enum" in rest:
            size = sum(not self.prompt.vocabulary.isdisjoint(name_words(str(option))) for option in rest["enum"]) or 1
        size = max(least, min(most, max(len(first) + (0 if rest is False else size), wanted), max(8, least)))
        try:
            for tries in range(int(size) + 60):
                if (at := len(value)) >= size:
                    break
                self.twist = kept + tries
                item_schema = first[at] if at < len(first) else rest
                if at < wanted:
                    item_schema = {"allOf": [item_schema, schema["contains"]]}
                try:
                    item = self.write(item_schema, name.removesuffix("s"))
                except Unwritable:
                    if at < least or at < wanted:
                        raise
                    break
                again = not schema.get("uniqueItems") and (not sure or at < least)  # the same once more may be right
                if again or identity(item) not in seen:
                    value.append(item)
                    seen.add(identity(item))
        finally:
            self.twist = kept
        if len(value) < least:
            raise Unwritable
        return value

    def strings(self, schema: dict[str, Any], name: str) -> Iterator[str]:
        """Yield candidates for a string, in order of sense; each has a length the schema allows if one can."""
        least, most = schema.get("minLength", 0), schema.get("maxLength", math.inf)
        formatted = self.formatted(schema["format"], name) if "format" in schema else []
        found = formatted
        if not found and self.near and not SHORT_NAMES.isdisjoint(name_words(name)):
            found = WORD.findall(URL.sub("", self.near))
        found = found or self.prompt.quotes(name)[0]
        for text in found:
            if len(text) > most:
                text = text[: int(most)].rsplit(" ", 1)[0].rstrip(" ,;:") if most > 12 else text[: int(most)]
            if len(text) < least:
                text = f"{text} {' '.join(self.prompt.words)} " * (1 + min(least, MAX_CHARS) // (len(text) + 1))
                text = text[: int(least)]
            yield text
        if "pattern" in schema:
            yield from (word for word in self.prompt.words if least <= len(word) <= most)
            yield from self.spellings(schema["pattern"], least)
        if formatted and "pattern" not in schema:
            return  # a number behind it would leave the format
        for number in range(1, 60):  # when more different texts are asked for than the prompt has
            text = found[number % len(found)]
            yield f"{text[: int(min(most, max(len(text), least))) - len(str(number)) - 1]} {number}"
        yield from ("", " " * least)

    def formatted(self, form: str, name: str) -> list[str]:
        """Return texts in a `format`, the prompt's own where it has some; none for a format not known here."""
        day = (self.seed + self.twist) % 27 + 1
        match form.removeprefix("idn-"):
            case "uri" | "uri-reference" | "iri" | "iri-reference" | "uri-template":
                return self.prompt.quotes("url")[0]
            case "email":
                return self.prompt.quotes("email")[0]
            case "date":
                said = re.findall(r"\b\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])\b", self.prompt.text)
                return [*said, *(f"2024-01-{(day + at) % 27 + 1:02}" for at in range(27))]
            case "date-time":
                return [f"2024-01-{day:02}T12:00:00Z"]
            case "uuid":
                return [str(uuid.UUID(int=random.Random(self.seed + self.twist).getrandbits(128), version=4))]
        fixed = {"time": "12:00:00Z", "duration": f"P{day}D", "hostname": f"host{day}.example.com", "regex": "^a+$"}
        fixed |= {"ipv4": f"192.0.2.{day}", "ipv6": f"2001:db8::{day:x}", "json-pointer": "/" + name}
        return [fixed[form]] if form in fixed else []

    def spellings(self, pattern: str, least: int) -> Iterator[str]:
        """Yield texts generated from a regular expression, short ones first."""
        try:
            tree = _parser.parse(pattern)
        except (re.error, OverflowError, RecursionError):
            return
        for extra in (*range(8), least):
            for turn in range(4):
                yield spell(tree, extra, random.Random(self.seed + 31 * turn + self.twist), {})

    def numbers(self, schema: dict[str, Any], name: str, whole: bool) -> Iterator[float | int]:
        """Yield candidates for a number: the prompt's own, then those between the bounds."""
        step = schema.get("multipleOf") or (1 if whole else 0)
        labelled = [number for text in self.prompt.labelled(name) for number in NUMBER.findall(text)]
        yield from [float(text) if "." in text else int(text) for text in labelled] or self.prompt.numbers
        yield from (0, -1) if self.twist else ()
        low = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf))
        high = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf))
        start = low if low > -math.inf else high if high < math.inf else self.seed % 10
        sign = -1 if low == -math.inf and high < math.inf else 1
        for k in range(200):
            if step:
                first = math.ceil(start / step) if sign > 0 else math.floor(start / step)
                number = round((first + sign * k) * step, 10)
                yield int(number) if number == int(number) else number
            elif math.inf in (high, -low):
                yield start + sign * k
            else:
                yield low + (high - low) * ((k + 4) % 9) / 8
