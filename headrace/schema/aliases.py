"""The JSON names of a Pydantic model's fields: one per field, for the schema, decoding and encoding.

Pydantic has up to three: validation aliases may be several, or paths into the input, and the serialization alias may
differ. The schema has one of them, and so must every value that is decoded or encoded by the schema.
"""

from __future__ import annotations

import dataclasses
from typing import Any


def plain_model(value: Any) -> Any:
    """Return the JSON value of a model, under the names that its schema has."""
    return renamed(value, value.model_dump(mode="json", by_alias=False, round_trip=True))


def json_name(field: Any, name: str) -> str:
    """Return a field's name in the schema: its first alias that is no path, else its own."""
    alias = getattr(field, "validation_alias", None)
    for choice in getattr(alias, "choices", [alias]):
        path = getattr(choice, "path", [choice])
        if len(path) == 1 and isinstance(path[0], str):
            return path[0]
    return name


def renamed(value: Any, dumped: Any) -> Any:
    """Return `dumped` with the schema's names in place of the field names of `value`."""
    fields = getattr(type(value), "model_fields", None) or getattr(type(value), "__pydantic_fields__", None)
    if fields and not isinstance(dumped, dict):
        return renamed(value.root, dumped) if "root" in fields else dumped
    if isinstance(dumped, dict):
        if isinstance(value, dict):
            pairs = zip(value.values(), dumped.items(), strict=False)
            return {name: renamed(inner, each) for inner, (name, each) in pairs}
        if fields and "root" in fields:
            return renamed(value.root, dumped)
        if fields is None and dataclasses.is_dataclass(value):
            fields = dict.fromkeys(field.name for field in dataclasses.fields(value))
        config = getattr(value, "model_config", {})
        aliased = config.get("validate_by_alias", True)
        names = {name: json_name(field, name) if aliased else name for name, field in (fields or {}).items()}
        return {names.get(name, name): renamed(getattr(value, name, None), each) for name, each in dumped.items()}
    if isinstance(dumped, list) and isinstance(value, list | tuple | set | frozenset):
        return [renamed(inner, each) for inner, each in zip(value, dumped, strict=False)]
    return dumped
