"""A strict judge of bodies and events: the official package's own types, with unknown fields forbidden everywhere.

The package itself reads answers leniently: a field that is missing, unknown or of another type passes unseen.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

SCALARS: dict[Any, tuple[type, ...]] = {str: (str,), int: (int,), float: (int, float), bool: (bool,)}


def check(type: Any, obj: Any, allowed: frozenset[str] = frozenset()) -> Any:
    """Return `obj` read as `type`, a model of the official package or a union of some. Raises `AssertionError` that lists
    the places where it has a field that the type does not know and `allowed` does not name, lacks one, or has another
    type; of a union, those of the member that fits best."""
    wrong = violations(type, obj, allowed)
    assert not wrong, f"no {getattr(type, '__name__', type)}:\n  " + "\n  ".join(wrong)
    return adapter(type).validate_python(obj)


def violations(expected: Any, value: Any, allowed: frozenset[str], place: str = "") -> list[str]:
    """Return the places where `value` is no `expected`, each with what is wrong there."""
    expected = getattr(expected, "__value__", expected)  # of `type X = …`
    origin, arguments = get_origin(expected), get_args(expected)
    if origin is Annotated:
        return violations(arguments[0], value, allowed, place)
    if origin in (Union, types.UnionType):
        members = sorted(named_alike(arguments, value), key=is_null)
        return fewest([violations(member, value, allowed, place) for member in members])
    if expected in (Any, object):
        return []
    if origin is Literal:
        fits = any(value == each and type(value) is type(each) for each in arguments)
        return [] if fits else [f"{place or '/'}: {value!r} is none of {arguments}"]
    if origin in (list, tuple, set) or expected is list:
        return violations_in_list(arguments[0] if arguments else Any, value, allowed, place)
    if origin in (dict, Mapping) or expected is dict:
        return violations_in_dict(arguments, value, allowed, place)
    if isinstance(expected, type) and issubclass(expected, BaseModel):
        return violations_in_model(expected, value, allowed, place)
    if expected in SCALARS:
        fits = isinstance(value, SCALARS[expected]) and (expected is bool or not isinstance(value, bool))
        return [] if fits else [f"{place or '/'}: {value!r:.80} is no {expected.__name__}"]
    try:
        adapter(expected).validate_python(value, strict=True)
    except ValidationError as error:
        return [f"{place or '/'}: {error.errors()[0]['msg']}"]
    return []


@cache
def adapter(type: Any) -> TypeAdapter[Any]:
    """Return what reads values as `type`; making one takes as long as many checks."""
    return TypeAdapter(type)


def is_null(expected: Any) -> bool:
    return expected is type(None)


def named_alike(members: Sequence[Any], value: Any) -> Sequence[Any]:
    """Return the models among `members` that have the `type` that `value` has; all of `members` if there are none."""
    kind = value.get("type") if isinstance(value, dict) else None
    return [member for member in members if isinstance(kind, str) and kind in kinds_of(member)] or members


@cache
def kinds_of(member: Any) -> tuple[Any, ...]:
    """Return the values that the field `type` of a model may have."""
    field = member.model_fields.get("type") if isinstance(member, type) and issubclass(member, BaseModel) else None
    return get_args(field.annotation) if field is not None else ()


def fewest(wrong: list[list[str]]) -> list[str]:
    """Return the shortest list; of equals the first."""
    return min(wrong, key=len)


def violations_in_list(element: Any, value: Any, allowed: frozenset[str], place: str) -> list[str]:
    if not isinstance(value, list):
        return [f"{place or '/'}: {value!r:.80} is no list"]
    return [wrong for at, each in enumerate(value) for wrong in violations(element, each, allowed, f"{place}/{at}")]


def violations_in_dict(arguments: tuple[Any, ...], value: Any, allowed: frozenset[str], place: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{place or '/'}: {value!r:.80} is no object"]
    key, element = arguments or (str, Any)
    return [
        wrong
        for name, each in value.items()
        for wrong in (*violations(key, name, allowed, place), *violations(element, each, allowed, f"{place}/{name}"))
    ]


def violations_in_model(model: type[BaseModel], value: Any, allowed: frozenset[str], place: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{place or '/'}: {value!r:.80} is no object ({model.__name__})"]
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    wrong = [
        f"{place}/{name}: is no field of {model.__name__}"
        for name in value
        if name not in fields and name not in allowed
    ]
    for name, field in fields.items():
        if name in value:
            wrong += violations(field.annotation, value[name], allowed, f"{place}/{name}")
        elif field.is_required():
            wrong.append(f"{place}/{name}: is missing in {model.__name__}")
    return wrong
