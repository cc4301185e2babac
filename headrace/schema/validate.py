"""Validate a value against the caller's own schema, with patterns in linear time and without remote references."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import jiter
import jsonschema_rs
import msgspec

from headrace.errors import InvalidOutput, InvalidSchemaError, SchemaError, Violation
from headrace.schema.document import Source
from headrace.schema.formats import formats_of
from headrace.schema.patterns import options, refusal, refusal_reason
from headrace.schema.resources import compilable
from headrace.schema.subschemas import escaped
from headrace.schema.validation_cost import MAX_LISTED, MAX_WORK, ValidationCost, levels_of
from headrace.schema.validation_process import VALIDATION_PROCESS
from headrace.text.quoting import quoted, shortened

MAX_ERRORS = 100
MAX_DEPTH = 200
MAX_BRANCHED = 8
MAX_COMPARED = 32
"""Maximal number of candidates for the place of an error whose path lacks empty keys."""
TWICE = "duplicate"
SHOWN = 200
"""Maximal characters of a value that a message quotes."""


class WouldBlock(Exception):
    """The work might block an event loop for too long: do it in a thread."""


class Validator:
    """A compiled schema. Raises `SchemaError` for what is no schema, and for a pattern that cannot be compiled."""

    def __init__(self, source: Source, encoded: bytes, *, literal: bool):
        self.source = source
        self._encoded, self._literal = encoded, literal
        self._effort = ValidationCost(source)
        root = compilable(source)
        try:
            self._compiled = source.draft.validator(
                root,
                validate_formats=not literal or source.draft.asserts_formats,
                formats=formats_of(source.draft.name, meant=not literal),
                offline=True,
                pattern_options=options(source.programs.size),
            )
        except jsonschema_rs.ValidationError as error:
            raise compilation_error(error, source) from None
        except (jsonschema_rs.ReferencingError, ValueError) as error:
            raise SchemaError(
                f"the schema cannot be compiled: {str(error)[:SHOWN]}", keyword="$ref", remedy="mend its references"
            ) from None
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # of the validator's own code, and no Exception
                raise
            raise SchemaError(
                "the schema cannot be compiled: the validator fails over its names and references",
                keyword="$id",
                remedy="give each `$id` and each anchor once, and refer by `#/$defs/…`",
            ) from None

    def validate(self, value: Any, *, at_once: bool = False) -> None:
        """Raise `InvalidOutput` with the first `MAX_ERRORS` violations. Long validations run in another process; with
        `at_once`, raises `WouldBlock` instead."""
        levels = levels_of(value, MAX_DEPTH)
        if levels is None:
            raise InvalidOutput([Violation("", "depth", f"it is nested more than {MAX_DEPTH} deep")])
        work = self._effort.of(levels) + self._effort.of_texts(value)
        if work <= MAX_WORK and self.fits(value):
            return
        if work <= MAX_LISTED:
            self.check(value)
        elif at_once:
            raise WouldBlock
        else:
            VALIDATION_PROCESS.check(self._encoded, value, literal=self._literal)

    def fits(self, value: Any) -> bool:
        """Return True if the value is valid, without a limit to the work. Raises `InvalidOutput` for what is no JSON value."""
        try:
            return self._compiled.is_valid(value)
        except ValueError as error:  # a number that JSON does not have, a key that is no text
            raise InvalidOutput([Violation("", "type", str(error)[:SHOWN])]) from None

    def check(self, value: Any, *, first: bool = False) -> None:
        """Raise `InvalidOutput` for an invalid value, without a limit to the work; with `first`, naming one violation alone."""
        if self.fits(value):
            return
        if self.source.branches_into_itself and too_deep(value, MAX_BRANCHED):
            # Listed, the errors of alternatives in alternatives double with every level.
            raise InvalidOutput([Violation("", "anyOf", "it does not fit, and is nested too deep to say where")])
        errors: Iterable[jsonschema_rs.ValidationError] = ()
        if first:
            try:
                self._compiled.validate(value)
            except jsonschema_rs.ValidationError as error:
                errors = [error]
        else:
            errors = self._compiled.iter_errors(value)
        whole = value if has_empty_key(value) else None
        found = (each for error in errors for each in violations(error, whole))
        listed = list(dict.fromkeys(itertools.islice(found, MAX_ERRORS)))
        if listed:
            raise InvalidOutput(listed)


def compilation_error(error: jsonschema_rs.ValidationError, source: Source) -> SchemaError:
    """Return the error of a schema that cannot be compiled, with its place."""
    path = list(error.instance_path)
    where, keyword = pointer(path), str(path[-1]) if path else ""
    is_pattern = keyword == "pattern" or "patternProperties" in path[-2:-1]
    if is_pattern and '"regex"' in error.message:
        value = error.instance if isinstance(error.instance, str) else keyword
        return refusal(where, *refusal_reason(value))
    if not path:  # of a reference it says only how it reads
        named = (
            (here, word) for here in source.all_of_it() for word in ("$id", "id", "$ref", "$dynamicRef", "$schema")
        )
        for here, word in named:
            if isinstance(here.get(word), str) and f"'{here[word]}'" in error.message:
                where, keyword = f"{source.pointer(here)}/{word}", word
                break
    remedy = "write a URI: percent-encode other characters, or leave it out" if keyword in ("$id", "id") else ""
    return InvalidSchemaError(
        f"schema at {where or '/'}: {error.message[:SHOWN]}",
        pointer=where,
        keyword=keyword,
        remedy=remedy or "see JSON Schema for what may stand there",
    )


@lru_cache(maxsize=256)
def compiled(encoded: bytes, *, literal: bool = False) -> Validator:
    """Compile a schema (its JSON). In the `literal` reading formats are asserted where the draft does; else always, and a
    time may lack its offset (as Python writes one without zone), a duration may have a fraction.

    Raises `SchemaError`.
    """
    try:
        schema = msgspec.json.decode(encoded)
        if not isinstance(schema, dict):
            raise SchemaError(f"the schema must be a JSON object, not {type(schema).__name__}", keyword="type")
        source = Source(schema)
        return Validator(source, encoded, literal=literal)
    except RecursionError:
        raise SchemaError("the schema is nested too deep", keyword="$ref", remedy="give it a flatter shape") from None


def encoded(schema: dict[str, Any]) -> bytes:
    """Encode a schema as JSON. Raises `SchemaError`."""
    try:
        return msgspec.json.encode(schema)
    except (TypeError, ValueError, RecursionError) as error:
        raise SchemaError(
            f"the schema cannot be written as JSON: {error}", keyword="json", remedy="use values that JSON has"
        ) from None


def violations(error: jsonschema_rs.ValidationError, whole: Any = None, depth: int = 0) -> Iterator[Violation]:
    """Yield the violations behind one error: where no alternative is valid, those of the one that was meant. `whole` is the
    validated value, if it has an empty key."""
    branches = getattr(error.kind, "context", None)
    if branches and depth < MAX_DEPTH:
        mistaken = [branch for branch in branches if not any(is_other_type(inner, error) for inner in branch)]
        meant = min(mistaken or [[]], key=len)
        if meant:
            for inner in meant:
                yield from violations(inner, whole, depth + 1)
            return
    message = error.message
    message = message if len(message) <= 2 * SHOWN else f"{message[:SHOWN]} … {message[-SHOWN:]}"
    path = list(error.instance_path)
    if whole is not None:
        path = with_empty_keys(path, whole, error.instance)
    yield Violation(pointer(path), str(error.kind.name), message)


def has_empty_key(value: Any) -> bool:
    """Return True if an object in `value` has the empty text as a key."""
    waiting = [value]
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict):
            if "" in here:
                return True
            waiting += here.values()
        elif isinstance(here, list | tuple):
            waiting += here
    return False


def with_empty_keys(path: list[str | int], whole: Any, instance: Any) -> list[str | int]:
    """Return the path to `instance` in `whole`, completed by the empty keys that jsonschema-rs (0.60) leaves out."""
    waiting: list[tuple[Any, int, tuple[str | int, ...]]] = [(whole, 0, ())]
    seen: set[tuple[int, int]] = set()
    compared = 0
    while waiting and compared < MAX_COMPARED:
        here, taken, steps = waiting.pop()
        if (id(here), taken) in seen:
            continue
        seen.add((id(here), taken))
        if taken == len(path):
            compared += 1
            if type(here) is type(instance) and here == instance:
                return list(steps)
        if isinstance(here, dict) and "" in here:
            waiting.append((here[""], taken, (*steps, "")))
        if taken < len(path):
            step = path[taken]
            steps_here = here if isinstance(here, dict) else range(len(here)) if isinstance(here, list | tuple) else ()
            parts: Any = here
            if step in steps_here:
                waiting.append((parts[step], taken + 1, (*steps, step)))
    return path


def is_other_type(inner: jsonschema_rs.ValidationError, outer: jsonschema_rs.ValidationError) -> bool:
    """Return True if an alternative is clearly not the one meant: its type, or its tag, is another one."""
    at = len(list(inner.instance_path)) - len(list(outer.instance_path))
    return (inner.kind.name == "type" and at == 0) or (inner.kind.name in ("const", "enum") and at <= 1)


def json_value(text: str | bytes) -> Any:
    """Decode a JSON text. Raises `InvalidOutput`, also for a duplicate name in an object: one of the values would be lost."""
    try:
        data = text.encode() if isinstance(text, str) else text
        return jiter.from_json(data, allow_inf_nan=False, catch_duplicate_keys=True)
    except (ValueError, UnicodeError) as error:
        twice = str(error).startswith("Detected duplicate key")
        said = shortened(str(error) if twice else f"the answer is not JSON: {error}")
        raise InvalidOutput([Violation("", TWICE if twice else "json", said)]) from None


def check_json(value: Any) -> None:
    """Raise `InvalidOutput` for what no JSON text can hold: NaN, a key that is no text, a Python object."""
    waiting: list[tuple[Any, str]] = [(value, "")]
    while waiting:
        here, at = waiting.pop()
        inner = here.items() if isinstance(here, dict) else enumerate(here) if isinstance(here, list | tuple) else ()
        for step, each in inner:
            if isinstance(here, dict) and not isinstance(step, str):
                raise InvalidOutput([Violation(at, "json", f"{quoted(step)} is no name in JSON")])
            waiting.append((each, f"{at}/{escaped(step)}"))
        plain = isinstance(here, str | int | float | bool | None | dict | list | tuple)
        if not plain or (isinstance(here, float) and not math.isfinite(here)):
            raise InvalidOutput([Violation(at, "json", f"{here!r:.80} is no value of JSON")])


def pointer(path: list[str | int]) -> str:
    """Return a JSON Pointer (RFC 6901); empty for the root."""
    return "".join(f"/{escaped(part)}" for part in path)


def too_deep(value: Any, most: int = MAX_DEPTH) -> bool:
    level = [value]
    for _ in range(most):
        level = [
            inner
            for here in level
            if isinstance(here, dict | list)
            for inner in (here.values() if isinstance(here, dict) else here)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
