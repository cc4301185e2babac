"""Construct the values of a type: by Pydantic where any part of the type is Pydantic's, and by the class's own constructor
where a decoder would set the fields past it. Otherwise the author's own validation would never run."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any, NewType, get_args, get_origin

import msgspec

from headrace.errors import SchemaError
from headrace.text.quoting import quoted


def parts_of(given: Any) -> Iterator[Any]:
    """Yield every type inside a type, with its annotations: those of lists, maps and unions, and of the fields of records."""
    waiting, seen = [given], set[int]()
    kept: list[Any] = []  # an id is of one object as long as that lives
    while waiting:
        here = waiting.pop()
        if id(here) in seen or isinstance(here, str | int | float | bytes | None):
            continue
        seen.add(id(here))
        kept.append(here)
        yield here
        waiting += get_args(here)
        waiting += getattr(here, "__metadata__", ())
        if isinstance(here, NewType):
            waiting.append(here.__supertype__)
        elif type(here).__name__ == "TypeAliasType":
            waiting.append(here.__value__)
        elif has_fields(get_origin(here) or here):
            waiting += hints_of(get_origin(here) or here)


def has_fields(given: Any) -> bool:
    return isinstance(given, type) and (
        hasattr(given, "__required_keys__")  # a TypedDict, also that of typing_extensions
        or is_model(given)
        or dataclasses.is_dataclass(given)
        or issubclass(given, msgspec.Struct)
        or hasattr(given, "_fields")
    )


def hints_of(given: Any) -> list[Any]:
    if is_model(given):
        return [field.annotation for field in given.model_fields.values()]
    try:
        return [*typing.get_type_hints(given, include_extras=True).values()]
    except (NameError, TypeError):  # who makes the schema says it
        return []


def is_model(given: Any) -> bool:
    return isinstance(given, type) and hasattr(given, "model_json_schema")


def of_pydantic(part: Any) -> bool:
    """Return True if a type, or an annotation of it, is interpreted by Pydantic alone."""
    kind = part if isinstance(part, type) else type(part)
    return (
        hasattr(part, "__get_pydantic_core_schema__")
        or hasattr(part, "__pydantic_core_schema__")
        or (not isinstance(part, type) and kind.__module__.partition(".")[0] in ("pydantic", "annotated_types"))
    )


def read_by_pydantic(given: Any) -> bool:
    """Return True if any part of a type is Pydantic's: then Pydantic makes its schema and decodes its values.

    Raises `SchemaError` for a Struct with such a part: neither library decodes both.
    """
    parts = [*parts_of(given)]
    if not any(map(of_pydantic, parts)):
        return False
    for part in parts:
        if isinstance(part, type) and issubclass(part, msgspec.Struct):
            raise SchemaError(
                f"schema={quoted(given)}: the Struct {part.__name__} stands beside something of Pydantic, which does not read it",
                remedy="make all of it Pydantic models and dataclasses, or all of it Structs, with msgspec.Meta for limits",
            )
    return True


def has_constructor(part: Any) -> bool:
    """Return True if a class has a constructor of its own that decoders leave out: they set the fields of dataclasses and named
    tuples themselves."""
    if not isinstance(part, type) or is_model(part) or of_pydantic(part):
        return False
    if dataclasses.is_dataclass(part):
        return part.__new__ is not object.__new__ or not generated(part.__init__)
    return issubclass(part, tuple) and hasattr(part, "_fields") and not generated(part.__new__)


def generated(constructor: Any) -> bool:
    """Return True if `@dataclass` or `NamedTuple` generated the function: its source is in no file."""
    code = getattr(constructor, "__code__", None)
    return code is not None and code.co_filename.startswith("<")


def constructs(given: Any) -> bool:
    return any(map(has_constructor, parts_of(given)))


def constructed(value: Any) -> Any:
    """Return a decoded value with every part constructed anew by its class. Raises what the constructors raise."""
    if isinstance(value, list | set | frozenset) or type(value) is tuple:
        return type(value)(map(constructed, value))
    if isinstance(value, dict):
        return {key: constructed(inner) for key, inner in value.items()}
    if isinstance(value, tuple) and has_constructor(type(value)):
        return type(value)(*map(constructed, value))
    if isinstance(value, tuple):
        return value._replace(**{name: constructed(getattr(value, name)) for name in value._fields})  # type: ignore[attr-defined]
    if dataclasses.is_dataclass(value) and has_constructor(type(value)):
        fields = (field for field in dataclasses.fields(value) if field.init)
        return type(value)(**{field.name: constructed(getattr(value, field.name)) for field in fields})
    for name in names_of(value):
        inner = getattr(value, name)
        if (made := constructed(inner)) is not inner:
            set_field(value, name, made)
    return value


def names_of(value: Any) -> tuple[str, ...]:
    if dataclasses.is_dataclass(value):
        return tuple(field.name for field in dataclasses.fields(value))
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    return tuple(type(value).model_fields) if is_model(type(value)) else ()


def set_field(value: Any, name: str, inner: Any) -> None:
    if isinstance(value, msgspec.Struct):
        msgspec.structs.force_setattr(value, name, inner)
    else:
        object.__setattr__(value, name, inner)
