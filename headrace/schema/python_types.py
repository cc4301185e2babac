"""The types that answers come back as: a JSON Schema, or a Python type that has one. Only the schema travels; the type stays
here."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from types import UnionType
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin, is_typeddict

import msgspec
import msgspec.inspect

from headrace.errors import SchemaError
from headrace.schema.aliases import plain_model
from headrace.schema.construction import constructed, constructs, read_by_pydantic
from headrace.schema.size import check_size
from headrace.schema.type_constraints import constrain, pydantic_generator
from headrace.schema.type_nodes import hashable, remedy
from headrace.schema.validate import compiled, encoded
from headrace.text.quoting import quoted

NAMES = (
    msgspec.inspect.StrType,
    msgspec.inspect.IntType,
    msgspec.inspect.FloatType,
    msgspec.inspect.EnumType,
    msgspec.inspect.LiteralType,
    msgspec.inspect.DateTimeType,
    msgspec.inspect.DateType,
    msgspec.inspect.TimeType,
    msgspec.inspect.UUIDType,
    msgspec.inspect.DecimalType,
    msgspec.inspect.AnyType,
)
"""Types of map keys that msgspec decodes from the name of a property."""

MAX_PLACES = 10
"""Of a value that a type refuses, in one message."""

MAX_REFUSAL_CHARS = 2_000
"""Of what a type says against a value: it may quote all of it, goes back to the provider and is paid there."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class AnswerType(Generic[T_co]):
    """The answers of a job or a batch: the schema they were asked for with (None: plain text), its name on the wire, and
    `read`, which makes the validated JSON value one of the caller's type."""

    def __init__(self, schema: dict[str, Any] | None, name: str, read: Callable[[Any], T_co]):
        self.schema = schema
        self.name = name
        self.read = read


def answer_type(given: Any, *, name: str | None = None) -> AnswerType[Any]:
    """Return the decoder of answers for `given`: a JSON Schema as a dict, a type, or None for text. A type is a msgspec
    Struct, a Pydantic model, a dataclass, a TypedDict, or made of them (`list[Review]`, `Cat | Dog`, `dict[str, int]`,
    `Literal["a", "b"]`).

    Raises `SchemaError` for anything else, and for a type or schema that cannot be carried.
    """
    if given is None:
        return AnswerType(None, name or "answer", as_it_is)
    if isinstance(given, dict):
        return AnswerType(check_schema(given), name or wire_name(str(given.get("title", "answer"))), as_it_is)
    if not is_type(given):
        raise SchemaError(
            f"schema={quoted(given)}: give a JSON Schema (dict) or a type: a msgspec Struct, a Pydantic model, a dataclass, a "
            "TypedDict, or a list, a map or a union of them"
        )
    if read_by_pydantic(given):
        schema, read = by_pydantic(given)
    else:
        schema, read = by_msgspec(given)
    return AnswerType(
        schema,
        name or wire_name(getattr(given, "__name__", "answer")),
        (lambda value: constructed(read(value))) if constructs(given) else read,
    )


def by_msgspec(given: Any) -> tuple[dict[str, Any], Callable[[Any], Any]]:
    schema = check_schema(schema_of(given))
    check_keys(given)
    return schema, lambda value: msgspec.convert(value, given, str_keys=True)


def check_keys(given: Any) -> None:
    """Raise `SchemaError` for a type with a map whose keys no name in JSON could be read as: it would fail after the answer
    is paid (conformance D31)."""
    waiting: list[tuple[Any, str]] = [(msgspec.inspect.type_info(given), "")]
    seen = set[int]()
    while waiting:
        here, field = waiting.pop()
        if id(here) in seen:
            continue
        seen.add(id(here))
        if isinstance(here, msgspec.inspect.DictType) and not isinstance(here.key_type, NAMES):
            where = f"field {field}" if field else f"{quoted(given)}"
            raise SchemaError(
                f"schema, {where}: JSON has no keys of type {type(here.key_type).__name__.removesuffix('Type').lower()}",
                keyword="propertyNames",
                remedy="use texts or numbers as keys",
            )
        for name in here.__struct_fields__:
            inner = getattr(here, name)
            for each in inner if isinstance(inner, tuple) else (inner,):
                if isinstance(each, msgspec.inspect.Field):
                    waiting.append((each.type, f"{field}.{each.name}" if field else each.name))
                elif isinstance(each, msgspec.inspect.Type):
                    waiting.append((each, field))


def check_schema(schema: Any) -> dict[str, Any]:
    """Return the schema if it is one. Raises `SchemaError` with the JSON Pointer of the offending place.

    `$ref` may only point inside; patterns may not need endless backtracking; its size is bounded.
    """
    if not isinstance(schema, dict):
        raise SchemaError(f"the schema must be a JSON object, not {type(schema).__name__}", keyword="type")
    check_size(schema)
    compiled(encoded(schema))
    return schema


def by_pydantic(given: Any) -> tuple[dict[str, Any], Callable[[Any], Any]]:
    try:
        from pydantic import TypeAdapter
        from pydantic.errors import PydanticUserError
    except ImportError:  # limits may come from annotated_types alone
        raise SchemaError(
            f"schema={quoted(given)}: what it is annotated with is read by Pydantic, which is not installed",
            remedy="install pydantic, or use msgspec.Meta",
        ) from None

    try:
        adapter = TypeAdapter(given)
        schema = with_root(adapter.json_schema(schema_generator=pydantic_generator()))
    except SchemaError:
        raise
    except (PydanticUserError, RuntimeError, TypeError, ValueError) as error:
        raise SchemaError(f"schema={quoted(given)}: {error}") from None
    return check_schema(schema), lambda value: adapter.validate_json(
        msgspec.json.encode(value), by_alias=True, by_name=True
    )


def is_type(given: Any) -> bool:
    """Return True if `given` may be a type; whether JSON has values of it, msgspec knows."""
    return given is Any or isinstance(given, type | UnionType) or get_origin(given) is not None or is_typeddict(given)


def is_record(given: Any) -> bool:
    """Return True if `given` is a type with named fields that msgspec knows."""
    if not isinstance(given, type) and get_origin(given) is None and not is_typeddict(given):
        return False
    origin = get_origin(given) or given
    return is_typeddict(origin) or (
        isinstance(origin, type) and (issubclass(origin, msgspec.Struct) or dataclasses.is_dataclass(origin))
    )


def schema_of(given: Any) -> dict[str, Any]:
    """Return the JSON Schema of a msgspec type, its root written out (providers refuse a `$ref` there)."""
    try:
        (root,), definitions = msgspec.json.schema_components([given], ref_template="#/$defs/{name}")
    except KeyError as error:
        raise SchemaError(f"schema={quoted(given)}: two of its types have the same name: {error}") from None
    except (TypeError, NameError, RecursionError) as error:
        raise SchemaError(f"schema={quoted(given)}: {error}") from None
    constrain(given, root, definitions)
    whole = with_root({**root, "$defs": definitions} if definitions else dict(root))
    return msgspec.json.decode(encoded(whole))  # a default may be a tuple


def with_root(schema: dict[str, Any]) -> dict[str, Any]:
    """Return `schema` with its root written out, where that is a reference to one of its own definitions."""
    definitions, reference = schema.get("$defs", {}), str(schema.get("$ref", ""))
    name = reference.removeprefix("#/$defs/")
    if not reference or name not in definitions:
        return schema
    if not refers(definitions, reference):
        definitions = {other: body for other, body in definitions.items() if other != name}
    root = dict(schema.get("$defs", {})[name])
    return {**root, "$defs": definitions} if definitions else root


def refers(schema: Any, reference: str) -> bool:
    """Return True if a `$ref` to `reference` stands anywhere in `schema`."""
    if isinstance(schema, dict):
        return schema.get("$ref") == reference or any(refers(value, reference) for value in schema.values())
    return isinstance(schema, list) and any(refers(value, reference) for value in schema)


def wire_name(name: str) -> str:
    """Return `name` as providers take it: lower case, `[a-z0-9_-]`, 1 to 64 characters."""
    kept = "".join(char if char.isascii() and (char.isalnum() or char in "_-") else "_" for char in name.lower())
    return kept[:64] or "answer"


def places_of(error: BaseException) -> list[str]:
    """Return what a type has against a value, in `MAX_REFUSAL_CHARS` at most: of Pydantic each place with its complaint, without
    what was in it. Whatever the author of a validator raises has something here: it never raises."""
    try:
        places = pydantic_places(error) or [
            f"{error}" if isinstance(error, ValueError | TypeError) else f"{type(error).__name__}: {error}"
        ]
    except BaseException:  # its methods are the author's too
        places = [type(error).__name__]
    kept, room = list[str](), MAX_REFUSAL_CHARS
    for place in places:
        kept.append(place[:room].encode("utf-8", "backslashreplace").decode())
        room -= len(place)
        if room <= 0:
            break
    return kept


def pydantic_places(error: Any) -> list[str]:
    """Return the places that a validation error of Pydantic lists; none of another error."""
    if not hasattr(error, "error_count") or not callable(getattr(error, "errors", None)):
        return []
    places = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [f"{''.join(f'/{part}' for part in place['loc'])}: {place['msg']}" for place in places[:MAX_PLACES]]
    return [place.removeprefix(": ") for place in shown]


def as_it_is(value: Any) -> Any:
    return value


def check_type(given: Any) -> None:
    """Raise `SchemaError` for a Struct with a place of no type, naming the field: whoever writes a type can name it."""
    if is_record(given) and isinstance(given, type) and issubclass(given, msgspec.Struct):
        check_fields(given, (), set())


def check_fields(record: Any, path: tuple[str, ...], seen: set[Any]) -> None:
    if record in seen:
        return
    seen.add(record)
    for field in msgspec.structs.fields(record):
        check_hint(field.type, (*path, field.name), seen)


def check_hint(hint: Any, path: tuple[str, ...], seen: set[Any]) -> None:
    origin, parts = get_origin(hint), get_args(hint)
    where = ".".join(path)
    if origin is Literal:
        return
    if hint is Any or (origin or hint) in (set, frozenset) or (hint in (dict, list, tuple)):
        raise SchemaError(f"generation_schema, field {where}: {quoted(hint)} cannot be carried; {remedy(hint)}")
    if origin is dict and not hashable(parts[0]):
        raise SchemaError(f"generation_schema, field {where}: the keys of a map must be texts or other plain values")
    if origin is dict and (tuple in (get_origin(parts[0]), parts[0]) or parts[0] in (bool, None, type(None))):
        raise SchemaError(f"generation_schema, field {where}: JSON has no keys of type {quoted(parts[0])}; use texts")
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        check_fields(hint, path, seen)
    for part in parts:
        if part is not ...:
            check_hint(part, path, seen)


def plain_json(value: Any) -> Any:
    """Return a typed value as its JSON has it: names as they are encoded, dates as texts."""
    if hasattr(value, "model_dump"):
        return plain_model(value)
    return msgspec.to_builtins(value, str_keys=True, enc_hook=plain_json)


def plain(value: Any) -> Any:
    """Return a typed value as plain JSON values, under the names of its fields: what a result carries (conformance D36)."""
    if isinstance(value, msgspec.Struct):
        fields = ((name, getattr(value, name)) for name in value.__struct_fields__)
        return {name: plain(inner) for name, inner in fields if inner is not msgspec.UNSET}
    if isinstance(value, dict):
        return {plain(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    if isinstance(value, str | int | float | bool | None):
        return value.value if isinstance(value, enum.Enum) else value
    return msgspec.to_builtins(value) if not hasattr(value, "model_dump") else value.model_dump(mode="json")
