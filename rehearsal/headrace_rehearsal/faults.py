"""Faults of calls, and what makes an answer wrong.

A call's `Orders` come from the command line, the header `x-rehearsal: fault=429; retry_after=2`, and markers in the
system or user messages, `[[rehearsal fault=hang]]`; the later of these wins, key by key. Keys (separated by `;`, `,` or
spaces): `latency`, `jitter` (ms), `tps` (tokens a second), `fault`, `retry_after` (s), `after` (pieces of
content before `cut`, `stall`, `stream_error`), `times` (only the first so many calls of the same job or item), `cached`
(prompt tokens that are said to come from the provider's cache), `tier` (the service tier that answers). Faults:

* a number from 400 to 599: an error with that status; 429 carries `Retry-After`, others when `retry_after` is given;
* `hang`: nothing at all, until the client leaves; `stall`: silence after `after` pieces, or half a plain body;
* `cut`: the connection is closed after `after` pieces, or half-way through a plain body;
* `stream_error`: an error event in the stream after `after` pieces; a plain call gets a 500;
* `malformed`: content that is not JSON; `miss`: JSON that violates the schema;
* `refusal`; `length` and `content_filter`: half the content, with that finish reason; `slow`: five tokens a second;
* `none`: no fault, against a random one.

`Schema` reads the schema of an answer: the writer keeps to it, `miss` breaks it.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import unquote

import msgspec

NAMED = frozenset(
    {"none", "hang", "stall", "cut", "stream_error", "malformed", "miss", "refusal", "length", "content_filter", "slow"}
)
MARKER = re.compile(r"\[\[rehearsal\s+([^\[\]]*)\]\]")
ORDER = re.compile(r"[;,\s]+")
SLOW_TPS = 5.0
APPLICATORS = frozenset({"$ref", "allOf", "anyOf", "oneOf", "if", "then", "else", "dependentSchemas"})
ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_ .:/@#+,;!?=()[]{}<>*&%$'\"|~^`\\\t\n"
CATEGORY: dict[str, Callable[[str], bool]] = {
    "CATEGORY_DIGIT": str.isdigit,
    "CATEGORY_NOT_DIGIT": lambda c: not c.isdigit(),
    "CATEGORY_WORD": lambda c: c.isalnum() or c == "_",
    "CATEGORY_NOT_WORD": lambda c: not (c.isalnum() or c == "_"),
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_NOT_SPACE": lambda c: not c.isspace(),
}


class BadOrder(ValueError):
    """An order nobody can follow: the message names it and lists what can be asked for."""


class Orders(msgspec.Struct, frozen=True):
    """The fault of one call; `tps` 0 is at once, `times` 0 is always."""

    latency_ms: float = 0.0
    jitter_ms: float = 0.0
    tps: float = 0.0
    fault: str | None = None
    retry_after_s: float | None = None
    after: int = 1
    times: int = 0
    cached: int = 0
    tier: str | None = None


KEYS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "latency": ("latency_ms", float),
    "jitter": ("jitter_ms", float),
    "tps": ("tps", float),
    "fault": ("fault", str),
    "retry_after": ("retry_after_s", float),
    "after": ("after", int),
    "times": ("times", int),
    "cached": ("cached", int),
    "tier": ("tier", str),
}


def parse_orders(text: str) -> dict[str, Any]:
    """Parse `latency=200; fault=429` to fields of `Orders`. Raises `BadOrder`."""
    fields: dict[str, Any] = {}
    for part in filter(None, ORDER.split(text.strip())):
        key, _, value = part.partition("=")
        if key not in KEYS:
            raise BadOrder(f"rehearsal has no order {part!r}; write key=value with one of {', '.join(KEYS)}")
        field, read = KEYS[key]
        try:
            fields[field] = amount = read(value)
        except ValueError:
            raise BadOrder(f"rehearsal cannot read {part!r}: {key} takes a number") from None
        if key == "fault":
            check_fault(value)
        elif key != "tier" and not 0 <= amount < math.inf:
            raise BadOrder(f"rehearsal cannot follow {part!r}: {key} is 0 or more")
    return fields


def check_fault(name: str) -> None:
    """Raise `BadOrder` unless `name` is a fault."""
    if name not in NAMED and not (name.isdecimal() and 400 <= int(name) <= 599):
        raise BadOrder(f"rehearsal has no fault {name!r}; take a status from 400 to 599, or {', '.join(sorted(NAMED))}")


class Book:
    """Settles what each call does: keeps the count of `times`, and draws the random faults in order of arrival."""

    def __init__(self, defaults: Orders, rates: dict[str, float], seed: int):
        self.defaults = defaults
        self._rates = rates
        self._random = random.Random(seed)
        self._served: dict[tuple[str, str], int] = {}

    def orders(self, header: str | None, marked: Iterable[str], key: str) -> Orders:
        """Return the orders of a call of the job or item `key`. Raises `BadOrder`."""
        fields = parse_orders(header) if header else {}
        for text in marked:
            fields |= parse_orders(text)
        if not fields and not self._rates:
            return self.defaults
        orders = msgspec.structs.replace(self.defaults, **fields)
        if orders.fault is None:
            return msgspec.structs.replace(orders, fault=self._draw()) if self._rates else orders
        if orders.times:
            served = self._served[key, orders.fault] = self._served.get((key, orders.fault), 0) + 1
            if served > orders.times:
                return msgspec.structs.replace(orders, fault=None)
        return orders

    def _draw(self) -> str | None:
        drawn = self._random.random()
        for fault, rate in self._rates.items():
            drawn -= rate
            if drawn < 0:
                return fault
        return None


def missed(value: Any, schema: Any) -> Any:
    """Return `value` changed so that it violates `schema`; None when nothing does.

    A required property goes first, then the type of one property, then the whole value.
    """
    wrong: list[Any] = [0, "", None, [], {}, True]
    tries: list[Any] = []
    if isinstance(value, dict):
        tries += [{key: item for key, item in value.items() if key != gone} for gone in value]
        tries += [value | {key: item} for key in value for item in wrong]
    checker = Schema(schema)
    return next(([item] for item in (*tries, *wrong) if not checker.holds(item, schema)), [None])[0]


def identity(value: Any) -> Any:
    """Return a key that is equal for values that JSON Schema calls equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, dict):
        return "object", frozenset((key, identity(item)) for key, item in value.items())
    if isinstance(value, list):
        return "array", tuple(identity(item) for item in value)
    return ("boolean", value) if isinstance(value, bool) else value


def listed(kinds: str | list[str]) -> list[str]:
    """Return the value of `type`, always as a list."""
    return [kinds] if isinstance(kinds, str) else kinds


def is_type(value: Any, name: str) -> bool:
    """Return True if `value` is of the JSON Schema type `name`."""
    if isinstance(value, bool):
        return name == "boolean"
    if isinstance(value, (int, float)):
        return name == "number" or (name == "integer" and value == value // 1)
    return name == {str: "string", list: "array", dict: "object", type(None): "null"}[type(value)]


def searches(pattern: str, text: str) -> bool:
    """Return True if `pattern` is found in `text`; one that Python cannot read is taken as found."""
    try:
        return re.search(pattern, text) is not None
    except (re.error, OverflowError, RecursionError):
        return True


class Schema:
    """One schema document: finds its parts, lays its applicators flat, and checks values against it."""

    def __init__(self, root: Any):
        self.root = root

    def resolve(self, ref: str) -> Any:
        """Return the part that a local `$ref` names; an unknown one allows everything."""
        at = self.root
        for part in unquote(ref).split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            try:
                at = at[int(part)] if isinstance(at, list) else at[part]
            except (KeyError, IndexError, ValueError, TypeError):
                return True
        return at if ref.startswith("#") and (ref == "#" or ref.startswith("#/")) else True

    def items(self, schema: dict[str, Any]) -> tuple[list[Any], Any]:
        """Return the schemas of the first items and of the rest: 2020-12's `prefixItems`, or draft 7's list in `items`."""
        items = schema.get("items", True)
        if isinstance(items, list):
            return items, schema.get("additionalItems", True)
        return schema.get("prefixItems", []), items

    def of_property(self, schema: dict[str, Any], key: str) -> Any:
        """Return the schema for the property `key`, whether or not it is named."""
        parts = [schema["properties"][key]] if key in schema.get("properties", {}) else []
        parts += [part for pattern, part in schema.get("patternProperties", {}).items() if searches(pattern, key)]
        return {"allOf": parts} if len(parts) > 1 else parts[0] if parts else schema.get("additionalProperties", True)

    def flat(self, schema: Any, active: tuple[str, ...]) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
        """Yield each way to satisfy `schema` as one schema without applicators, and the references followed to get there."""
        if not isinstance(schema, dict):
            if schema is not False:
                yield {}, ()
            return
        if APPLICATORS.isdisjoint(schema):
            yield schema, ()
            return
        own = {key: value for key, value in schema.items() if key not in APPLICATORS}
        choices: list[list[Any]] = [[part] for part in schema.get("allOf", [])]
        for word in ("anyOf", "oneOf"):
            if word in schema:
                choices.append(
                    sorted(schema[word], key=lambda part: isinstance(part, dict) and part.get("type") == "null")
                )
        if "if" in schema:
            yes, no = schema.get("then", True), schema.get("else", True)
            choices.append([{"allOf": [schema["if"], yes]}, no])
        refs: tuple[str, ...] = ()
        if "$ref" in schema:
            refs = (schema["$ref"],)
            if active.count(refs[0]) >= 2:
                return
            choices.insert(0, [self.resolve(refs[0])])
        for key, part in schema.get("dependentSchemas", {}).items():
            if key in schema.get("properties", {}) or key in schema.get("required", []):
                choices.append([part])
        yield from self.combine(own, choices, refs, active + refs)

    def combine(
        self, so_far: dict[str, Any], choices: list[list[Any]], refs: tuple[str, ...], active: tuple[str, ...]
    ) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
        if not choices:
            yield so_far, refs
            return
        for part in choices[0]:
            for flat, more in self.flat(part, active):
                if (merged := merge(so_far, flat)) is not None:
                    yield from self.combine(merged, choices[1:], refs + more, active + more)

    def holds(self, value: Any, schema: Any) -> bool:
        """Return True if `value` is valid under `schema`."""
        if not isinstance(schema, dict):
            return schema is not False
        holds = self.holds
        if "$ref" in schema and not holds(value, self.resolve(schema["$ref"])):
            return False
        if "type" in schema and not any(is_type(value, kind) for kind in listed(schema["type"])):
            return False
        if "const" in schema and identity(value) != identity(schema["const"]):
            return False
        if "enum" in schema and identity(value) not in map(identity, schema["enum"]):
            return False
        if not all(holds(value, part) for part in schema.get("allOf", [])):
            return False
        if "anyOf" in schema and not any(holds(value, part) for part in schema["anyOf"]):
            return False
        if "oneOf" in schema and sum(holds(value, part) for part in schema["oneOf"]) != 1:
            return False
        if "if" in schema and not holds(value, schema.get("then" if holds(value, schema["if"]) else "else", True)):
            return False
        if "not" in schema and holds(value, schema["not"]):
            return False
        if isinstance(value, dict):
            return self.object_holds(value, schema)
        if isinstance(value, list):
            return self.array_holds(value, schema)
        if isinstance(value, str):
            least, most = schema.get("minLength", 0), schema.get("maxLength", math.inf)
            return least <= len(value) <= most and ("pattern" not in schema or searches(schema["pattern"], value))
        return value is None or isinstance(value, bool) or number_holds(value, schema)

    def object_holds(self, value: dict[str, Any], schema: dict[str, Any]) -> bool:
        sized = schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", math.inf)
        if not sized or not value.keys() >= set(schema.get("required", [])):
            return False
        if not all(self.holds(key, schema.get("propertyNames", True)) for key in value):
            return False
        for word in ("dependentRequired", "dependentSchemas", "dependencies"):
            for key, then in schema.get(word, {}).items():
                if key in value and not self.holds(value, {"required": then} if isinstance(then, list) else then):
                    return False
        return all(self.holds(item, self.of_property(schema, key)) for key, item in value.items())

    def array_holds(self, value: list[Any], schema: dict[str, Any]) -> bool:
        sized = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf)
        if not sized or (schema.get("uniqueItems") and len({identity(item) for item in value}) < len(value)):
            return False
        if "contains" in schema:
            count = sum(self.holds(item, schema["contains"]) for item in value)
            if not schema.get("minContains", 1) <= count <= schema.get("maxContains", math.inf):
                return False
        first, rest = self.items(schema)
        return all(self.holds(item, first[at] if at < len(first) else rest) for at, item in enumerate(value))


def number_holds(value: float, schema: dict[str, Any]) -> bool:
    times = value / schema.get("multipleOf", 1) if "multipleOf" in schema else 0
    within = schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf)
    inside = schema.get("exclusiveMinimum", -math.inf) < value < schema.get("exclusiveMaximum", math.inf)
    return within and inside and abs(times - round(times)) < 1e-9


def merge(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any] | None:
    """Return a schema that asks for both, or None when their types exclude each other."""
    if not one or not two:
        return one or two
    merged = one | two
    for word in one.keys() & two.keys():
        a, b = one[word], two[word]
        if word == "type":
            shared = [kind for kind in listed(a) if kind in listed(b)]
            merged[word] = shared or (["integer"] if {"integer", "number"} <= {*listed(a), *listed(b)} else [])
            if not merged[word]:
                return None
        elif word in ("properties", "patternProperties"):
            merged[word] = b | {key: {"allOf": [part, b[key]]} if key in b else part for key, part in a.items()}
        elif word == "required":
            merged[word] = list(dict.fromkeys([*a, *b]))
        elif word == "enum":
            merged[word] = [option for option in a if identity(option) in map(identity, b)]
        elif word.startswith(("min", "exclusiveMin")):
            merged[word] = max(a, b)
        elif word.startswith(("max", "exclusiveMax")):
            merged[word] = min(a, b)
        elif word in ("items", "additionalProperties", "propertyNames", "contains") and not isinstance(a, list):
            merged[word] = {"allOf": [a, b]}
        elif word == "not":
            merged[word] = {"anyOf": [a, b]}
    return merged


def spell(tree: Any, extra: int, pick: random.Random, groups: dict[int, str]) -> str:
    """Return a text that the parsed pattern `tree` matches, with `extra` turns more than the least of each repetition."""
    out = ""
    for op, arg in tree:
        match str(op):
            case "LITERAL":
                out += chr(arg)
            case "ANY":
                out += pick.choice("abcdefgh")
            case "NOT_LITERAL":
                out += next(c for c in ALPHABET if c != chr(arg))
            case "CATEGORY":
                out += pick.choice([c for c in ALPHABET if CATEGORY[str(arg)](c)])
            case "IN":
                out += pick.choice(charset(arg))
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                low, high, part = arg
                out += "".join(spell(part, extra, pick, groups) for _ in range(min(low + extra, int(high), low + 200)))
            case "SUBPATTERN":
                groups[arg[0] or 0] = text = spell(arg[-1], extra, pick, groups)
                out += text
            case "BRANCH":
                out += spell(pick.choice(arg[1]), extra, pick, groups)
            case "GROUPREF":
                out += groups.get(arg, "")
            case "ATOMIC_GROUP":
                out += spell(arg, extra, pick, groups)
    return out


def charset(parts: list[Any]) -> list[str]:
    """Return the characters of `ALPHABET` in a class such as `[a-z\\d]`; those it names itself when there are none."""

    def fits(c: str) -> bool:
        return any(
            (str(op) == "LITERAL" and ord(c) == arg)
            or (str(op) == "RANGE" and arg[0] <= ord(c) <= arg[1])
            or (str(op) == "CATEGORY" and CATEGORY[str(arg)](c))
            for op, arg in parts
        )

    negated = str(parts[0][0]) == "NEGATE"
    own = [chr(arg if str(op) == "LITERAL" else arg[0]) for op, arg in parts if str(op) in ("LITERAL", "RANGE")]
    return [c for c in ALPHABET if fits(c) != negated] or own or ["a"]
