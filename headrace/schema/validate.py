"""Whether a schema can be carried, and whether an answer fits it.

Validation is against the caller's own schema, with a linear-time regex engine and without any remote reference.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jsonschema_rs
import msgspec

from headrace.errors import CallError, SchemaError
from headrace.schema.lower import lower
from headrace.schema.restore import Misshapen

MAX_SCHEMA_BYTES = 256 * 1024
MAX_ANSWER_DEPTH = 200
MOST_ERRORS = 20


def check_schema(schema: Any) -> dict[str, Any]:
    """The schema, if it is one that headrace carries. Raises `SchemaError` with the JSON Pointer of the offending place.

    The root must be an object type; `$ref` may only point inside; patterns may not need backtracking.
    """
    if not isinstance(schema, dict):
        raise SchemaError(f"the schema must be a JSON object, not {type(schema).__name__}")
    encoded = msgspec.json.encode(schema)
    if len(encoded) > MAX_SCHEMA_BYTES:
        raise SchemaError(f"the schema is {len(encoded)} bytes; {MAX_SCHEMA_BYTES} is the most")
    place = _remote_reference(schema, "")
    if place is not None:
        raise SchemaError(
            f"schema at {place}: a `$ref` may only point inside the schema (`#/…`); copy the definition under `$defs`"
        )
    try:
        _validator(encoded)
    except jsonschema_rs.ValidationError as error:
        raise SchemaError(f"schema at {pointer(error.instance_path)}: {error.message}") from None
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"the schema cannot be compiled: {error}") from None
    if schema.get("type") != "object":
        raise SchemaError(
            'schema at /type: the root must be an object (`"type": "object"`). Wrap the value into a property of one.'
        )
    return schema


def parse_answer(text: str, schema: dict[str, Any]) -> Any:
    """The value in a wire answer, valid under the caller's `schema`. Raises `CallError("invalid_output")` listing what
    does not fit and where."""
    value = parse_json(text)
    plan = lower(schema).plan
    try:
        value = plan.restore(value) if plan else value
    except Misshapen as error:
        raise misfit(text, [f"{pointer(list(error.path))}: {error.message}"]) from None
    except RecursionError:
        raise CallError("invalid_output", "the answer is nested too deep", partial=text) from None
    errors = [
        f"{pointer(error.instance_path)}: {error.message}"
        for error, _ in zip(
            _validator(msgspec.json.encode(schema)).iter_errors(value), range(MOST_ERRORS), strict=False
        )
    ]
    if errors:
        raise misfit(text, errors)
    return value


def parse_json(text: str) -> Any:
    """The value in `text`. Raises `CallError("invalid_output")`."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CallError("invalid_output", f"the answer is not JSON: {error}", partial=text) from None


def misfit(text: str, errors: list[str]) -> CallError:
    where = errors[0].partition(":")[0]
    return CallError(
        "invalid_output", f"the answer does not fit the schema at {where}", partial=text, details={"errors": errors}
    )


def pointer(path: list[str | int]) -> str:
    """A JSON Pointer (RFC 6901); `/` alone stands for the root, so that a message never ends in nothing."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path) or "/"


@lru_cache(maxsize=256)
def _validator(encoded: bytes) -> jsonschema_rs.Validator:
    schema = msgspec.json.decode(encoded)
    return jsonschema_rs.validator_for(
        schema, validate_formats=True, offline=True, pattern_options=jsonschema_rs.RegexOptions()
    )


def _remote_reference(schema: Any, place: str) -> str | None:
    if isinstance(schema, dict):
        for name, value in schema.items():
            here = f"{place}/{str(name).replace('~', '~0').replace('/', '~1')}"
            if name in {"$ref", "$dynamicRef"} and isinstance(value, str) and not value.startswith("#"):
                return here
            found = _remote_reference(value, here)
            if found:
                return found
    elif isinstance(schema, list):
        for index, value in enumerate(schema):
            found = _remote_reference(value, f"{place}/{index}")
            if found:
                return found
    return None
