"""Lower a caller's JSON Schema, or a type's, to a provider's strict subset, with a codec for its values.

Strict mode has closed objects whose properties are all required, `anyOf`, and few limits. What it cannot express is sent in
another shape (`Lowered.notes` says what and how), or, where there is no shape, as JSON text; prohibitions are left to
validation against the caller's own schema.
"""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

from headrace.errors import InputError, InvalidOutput, SchemaError, Violation
from headrace.schema.depth_limit import DepthLimiter
from headrace.schema.lowering import Lowering, Note, Reading
from headrace.schema.merge import canonical
from headrace.schema.nodes import VALUE, Map, Node, Record, ShapeMismatch, Tuple
from headrace.schema.size import check_size
from headrace.schema.targets import Target, target_of
from headrace.schema.unions import Reference
from headrace.schema.validate import Validator, check_json, compiled, encoded, json_value, pointer
from headrace.schema.wire_schema import MIN_SHARED, InlineLimitExceeded, WirePlace, Writer, check_limits, places
from headrace.text.quoting import quoted


class Lowered:
    """One schema, lowered for one target.

    `wire` is the schema that is sent, `notes` its differences from the caller's. `lift` encodes a value to wire form,
    `restore` decodes it, `validate` checks a value against the caller's own schema.
    """

    def __init__(self, validator: Validator, target: Target, reading: Reading):
        title = str(validator.source.root.get("title", ""))
        self.target = target
        self.validator = validator
        lowering, found = self._lowered(title, reading, [])
        described = largest_enums(found, target)
        if described:  # only once all values are counted, it is known which enums are too large beside the others
            lowering, found = self._lowered(title, reading, described)
        if max(place.depth for place in found) > target.depth:
            shallow = DepthLimiter(target.depth, lowering.describing.text)
            self._node = shallow.cut(self._node, int(self.wrapped))
            for where in shallow.cut_at:
                lowering.note(
                    where, "type", "moved", f"it lies deeper than {target.name} takes: it travels as JSON text"
                )
            self.wire, found = write_wire(self._node, target, title, wrapped=self.wrapped)
        check_limits(found, target)
        moved = (
            [Note("", "type", "moved", "not an object: it travels as the property `value` of one")]
            if self.wrapped
            else []
        )
        self.notes: tuple[Note, ...] = (*moved, *lowering.said())
        self._read: Any = None

    def _lowered(
        self, title: str, reading: Reading, described: list[frozenset[Any]]
    ) -> tuple[Lowering, list[WirePlace]]:
        lowering = Lowering(self.validator.source, self.target, reading, described=described)
        self._node = lowering.root()
        self.wrapped = not isinstance(target_node(self._node), Record | Map | Tuple)
        self.wire, found = write_wire(self._node, self.target, title, wrapped=self.wrapped)
        return lowering, found

    @property
    def transparent(self) -> bool:
        """Return True if a wire answer is the caller's value as it is."""
        return not self.wrapped and self._node.transparent

    def restore(self, answer: str | bytes | Any, *, plain: bool = False) -> Any:
        """Decode a wire answer (JSON text, or its decoded value) to the caller's value: of the caller's type if a type was
        lowered, unless `plain`. Raises `InvalidOutput` for an answer that does not have the wire schema's shape."""
        wire = json_value(answer) if isinstance(answer, str | bytes) else answer
        try:
            if self.wrapped:
                if not isinstance(wire, dict) or VALUE not in wire:
                    raise ShapeMismatch('it must be {"value": …}')
                wire = wire[VALUE]
            elif not isinstance(wire, dict):
                raise ShapeMismatch("it must be an object")
            value = self._node.restore(wire)
        except ShapeMismatch as error:
            raise InvalidOutput([Violation(pointer(list(error.path)), "shape", error.message)]) from None
        except RecursionError:
            raise InvalidOutput([Violation("", "shape", "it is nested too deep")]) from None
        if self._read is None or plain:
            return value
        self.validator.validate(value)
        try:
            return self._read(value)
        except (ValueError, TypeError) as error:
            raise InvalidOutput([Violation("", "type", str(error))]) from None

    def lift(self, value: Any) -> Any:
        """Encode a value to wire form: an answer that means it. Raises `InvalidOutput` for a value that does not have the
        schema's shape."""
        if self._read is not None:
            from headrace.schema.python_types import plain_json

            value = plain_json(value)
        check_json(value)
        try:
            wire = self._node.lift(value)
        except ShapeMismatch as error:
            raise InvalidOutput([Violation(pointer(list(error.path)), "shape", error.message)]) from None
        except RecursionError:
            raise InvalidOutput([Violation("", "shape", "it is nested too deep")]) from None
        return {VALUE: wire} if self.wrapped else wire

    def validate(self, value: Any) -> None:
        """Raise `InvalidOutput` listing every place of `value` that is invalid under the caller's own schema."""
        if self._read is not None:
            from headrace.schema.python_types import plain_json

            value = plain_json(value)
        check_json(value)
        self.validator.validate(value)


def lower(schema_or_type: Any, target: str = "openai", *, reading: Reading | None = None) -> Lowered:
    """Lower a JSON Schema (a dict) or a type for `target` (openai, vllm, openrouter).

    In the `literal` reading of a dict every value that it allows has a wire form, also properties that it does not mention
    and values of types that it does not name. In the `intended` reading unmentioned properties are not asked for, and
    `properties` without a type mean an object. Types, and the schemas of jobs, are read as intended. Raises `SchemaError`
    (`pointer`, `keyword`, `remedy`) for a schema that cannot be lowered.

    Cached by schema, target and reading; the cache is bounded.
    """
    if isinstance(schema_or_type, bool):
        schema_or_type = {} if schema_or_type else {"not": {}}
    if isinstance(schema_or_type, dict):
        check_size(schema_or_type)
        return lower_schema(schema_or_type, target, reading or "literal")
    from headrace.schema.python_types import answer_type

    expected = answer_type(schema_or_type)
    if expected.schema is None:
        raise SchemaError("None is no schema: give a JSON Schema (dict) or a type")
    lowered = copy.copy(lower_schema(expected.schema, target, reading or "intended"))
    lowered._read = expected.read
    return lowered


def lower_schema(schema: dict[str, Any], target: str = "openai", reading: Reading = "intended") -> Lowered:
    """Lower a dict with the reading of jobs, `intended`."""
    return _lower(encoded(schema), target_of(target).name, checked_reading(reading))


def checked_reading(reading: str) -> Reading:
    if reading not in ("literal", "intended"):
        raise InputError(f"reading={quoted(reading)}: must be literal or intended")
    return reading


@lru_cache(maxsize=256)
def _lower(encoded: bytes, target: str, reading: Reading) -> Lowered:
    validator = compiled(encoded, literal=reading == "literal")
    try:
        return Lowered(validator, target_of(target), reading)
    except RecursionError:
        raise SchemaError("the schema is nested too deep", keyword="$ref", remedy="give it a flatter shape") from None


def write_wire(node: Node, target: Target, title: str, *, wrapped: bool) -> tuple[dict[str, Any], list[WirePlace]]:
    """Return the wire schema and its places, references inlined; where that is too large, shared parts become definitions."""
    for shared in (False, True):
        writer = Writer(target, shared=shared)
        try:
            wire = writer.document(node, title, wrapped=wrapped)
            found = list(places(wire, writer.origins))
            if not shared and max(place.depth for place in found) <= target.depth:
                check_limits(found, target)
        except (InlineLimitExceeded, SchemaError):
            continue
        return wire, found
    raise SchemaError(
        f"the schema is too large on the wire for {target.name}",
        keyword="properties",
        remedy="describe less, or make parts of it `true`: they travel as JSON text",
    )


def largest_enums(found: list[WirePlace], target: Target) -> list[frozenset[Any]]:
    """Return the value sets of the largest enums: without them the rest is within the target's limit."""
    once: dict[frozenset[Any], int] = {}
    for place in found:
        values = frozenset(map(canonical, place.schema.get("enum", ())))
        once[values] = once.get(values, 0) + len(values) if len(values) < MIN_SHARED else len(values)
    enums = sorted(once, key=len)
    total = sum(once.values())
    described: list[frozenset[Any]] = []
    while total > target.enum_values:
        values = enums.pop()
        total -= once[values]
        described.append(values)
    return described


def target_node(node: Node) -> Node:
    while isinstance(node, Reference):
        node = node.target
    return node
