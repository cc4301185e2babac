"""Validate and lower the parameters of tools: a JSON Schema of an object, in strict mode's subset where that is requested.

Many tools in the wild name types as a programming language does (`dict`, `float`, `any`). No provider takes them, and some
refuse the whole list then. They are refused here, with their place.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import jsonschema_rs
import msgspec

from headrace.chat.messages import kind
from headrace.errors import SHOWN, InputError, SchemaError
from headrace.schema.function_schema import NAME
from headrace.schema.lower import Lowered, lower_schema
from headrace.schema.merge import TYPES
from headrace.schema.size import check_size
from headrace.schema.subschemas import escaped, subschemas
from headrace.schema.validate import compiled, encoded
from headrace.text.quoting import quoted

TYPE_ALIASES = {
    "object": ("dict", "map", "mapping", "record", "struct", "json", "hashmap"),
    "array": ("list", "tuple", "set", "sequence", "arraylist"),
    "number": ("float", "double", "decimal", "long double"),
    "integer": ("int", "long", "short", "int32", "int64"),
    "string": ("str", "text", "char", "date", "datetime", "uuid", "url", "enum"),
    "boolean": ("bool",),
    "null": ("none", "nonetype", "nil", "undefined"),
}
"""Names of other languages for the types of JSON, by the JSON type that a remedy proposes."""
REFERENCE_KEYWORDS = (b'"$schema"', b'"$ref"', b'"$dynamicRef"', b'"$id"', b"attern")
"""Keywords of a schema that has to be resolved and compiled to be validated; any other is checked word by word."""
MAX_PATTERNS = 1_000
"""Maximal number of patterns in all tools of a call: each is compiled."""
MAX_REFERENCING_BYTES = 512 << 10
"""Maximal bytes of all schemas of a call that have references or patterns (`REFERENCE_KEYWORDS`)."""


def check_total_size(schemas: Iterable[Any]) -> None:
    """Raise `InputError` for tools whose schemas together take too long to validate."""
    patterns = size = 0
    for place, schema in enumerate(schemas):
        function = schema.get("function") if isinstance(schema, dict) else None
        parameters = function.get("parameters") if isinstance(function, dict) else None
        if not isinstance(parameters, dict):
            continue
        check_tool_size(parameters, f"/schemas/{place}/function/parameters")
        text = encoded(parameters)
        if any(word in text for word in REFERENCE_KEYWORDS):
            size += len(text)
            patterns += count_patterns(parameters)
        if patterns > MAX_PATTERNS or size > MAX_REFERENCING_BYTES:
            what = (
                f"{MAX_PATTERNS} patterns"
                if patterns > MAX_PATTERNS
                else f"{MAX_REFERENCING_BYTES >> 10} KiB of schemas"
            )
            raise InputError(
                f"/schemas/{place}: the tools up to here have more than {what}; offer fewer, or describe less"
            )


def check_tool_size(parameters: dict[str, Any], where: str) -> None:
    try:
        check_size(parameters)
    except SchemaError as error:
        raise located(error, where) from None


def located(error: SchemaError, where: str, subject: str = "") -> SchemaError:
    """Return the refusal of a schema that stands at `where`: its pointer begins there, its remedy is said once."""
    at = f"{where}{error.pointer}"
    return SchemaError(
        f"{at[:SHOWN]}: {subject}{error.complaint}", pointer=at, keyword=error.keyword, remedy=error.remedy
    )


def count_patterns(schema: Any) -> int:
    total, waiting = 0, [schema]
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict):
            named = here.get("patternProperties")
            total += isinstance(here.get("pattern"), str) + (len(named) if isinstance(named, dict) else 0)
            waiting += here.values()
        elif isinstance(here, list):
            waiting += here
    return total


def schema_name(schema: Any, place: str) -> str:
    """Return the name in a tool's schema. Raises `InputError` naming the place where the schema has no tool's shape."""
    sort = schema.get("type") if isinstance(schema, dict) else None
    body = schema.get(sort) if isinstance(sort, str) else None
    if not isinstance(body, dict):
        raise InputError(f'{place}: must be like {{"type": "function", "function": {{"name": …, "parameters": …}}}}')
    for name, wanted in (("parameters", dict), ("description", str), ("strict", bool)):
        if not isinstance(body.get(name), wanted | None):
            raise InputError(f"{place}/{sort}/{name}: must be of type {wanted.__name__}, not {kind(body[name])}")
    name = body.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        remedy = re.sub(r"[^a-zA-Z0-9_-]+", "_", name)[:64] if isinstance(name, str) and name else ""
        raise InputError(
            f"{place}/{sort}/name: must be 1 to 64 letters, digits, _ or -, not {quoted(name)}"
            + (f"; write {remedy}" if remedy else "")
        )
    if body.get("parameters"):
        check_parameters(body["parameters"], f"{place}/{sort}/parameters", name)
    return name


def check_parameters(parameters: dict[str, Any], where: str, tool: str) -> None:
    """Raise `SchemaError` for parameters that are no JSON Schema of an object; its pointer begins with `where`."""
    problem = problem_of(encoded(parameters))
    if problem is not None:
        pointer, keyword, what, remedy = problem
        raise SchemaError(
            f"{where}{pointer}: tool {quoted(tool)}: {what}",
            pointer=f"{where}{pointer}",
            keyword=keyword,
            remedy=remedy,
        )


@lru_cache(maxsize=1024)
def problem_of(schema_json: bytes) -> tuple[str, str, str, str] | None:
    """Return pointer, keyword, what is wrong, and what to do; None where nothing is."""
    schema = msgspec.json.decode(schema_json)
    kinds = schema.get("type", "object")
    problem = None
    try:
        check_size(schema)
        if any(word in schema_json for word in REFERENCE_KEYWORDS) or not jsonschema_rs.meta.is_valid(schema):
            compiled(schema_json)
    except SchemaError as error:
        problem = type_problem(schema) or (error.pointer, error.keyword, error.complaint, error.remedy)
    if problem is None and "object" not in (kinds if isinstance(kinds, list) else [kinds]):
        return (
            "/type",
            "type",
            f"parameters of type {quoted(kinds)}",
            "describe an object, and put the value under a property of it",
        )
    return problem


def type_problem(schema: dict[str, Any]) -> tuple[str, str, str, str] | None:
    """Return the first place with a type that JSON does not have, or with `required` in another form than a list."""
    waiting: list[tuple[Any, str]] = [(schema, "")]
    while waiting:
        here, at = waiting.pop(0)
        if not isinstance(here, dict):
            continue
        kinds = here.get("type", [])
        for each in kinds if isinstance(kinds, list) else [kinds]:
            if each not in TYPES:
                return f"{at}/type", "type", f"there is no type {quoted(each)}", f"write {json_type_meant_by(each)}"
        required = here.get("required", [])
        if isinstance(required, bool):
            return (
                f"{at}/required",
                "required",
                "it must be a list of names",
                "list the name in `required` of the object around",
            )
        if isinstance(required, str):
            return f"{at}/required", "required", "it must be a list of names", f'write ["{required}"]'
        waiting += [(inner, f"{at}/{step}") for step, inner in subschemas(here)]
        named = here.get("properties")
        for name, inner in named.items() if isinstance(named, dict) else ():
            if not isinstance(inner, dict | bool):
                return f"{at}/properties/{escaped(name)}", "properties", "it must be a schema", 'write {"type": …}'
    return None


def json_type_meant_by(word: Any) -> str:
    said = str(word).strip().lower()
    if said in ("any", "all", "mixed", "variant"):
        return "nothing: without `type` any value is allowed"
    found = next((known for known, others in TYPE_ALIASES.items() if said == known or said in others), None)
    return f"`{found}`" if found else f"one of {', '.join(TYPES)}"


def check_strict(schemas: Iterable[dict[str, Any]], dialect: str = "openai") -> None:
    """Raise `SchemaError` for a strict tool that cannot be carried by strict mode in any shape."""
    for place, schema in enumerate(schemas):
        try:
            lowered_tool(schema, dialect)
        except SchemaError as error:
            where, name = f"/schemas/{place}/function/parameters", function_of(schema)["name"]
            raise located(error, where, f"tool {quoted(name)}: ") from None


def function_of(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a tool's `function`; empty for a tool of another sort, which may call anything so."""
    function = schema.get("function") if schema.get("type") == "function" else None
    return function if isinstance(function, dict) else {}


def wire_tool(schema: dict[str, Any], dialect: str) -> dict[str, Any]:
    """Return a tool in wire form: the parameters of a strict one in strict mode's subset, closed objects that require all
    their properties."""
    try:
        lowered = lowered_tool(schema, dialect)
    except SchemaError:  # of a job that was submitted elsewhere: the provider says what is wrong
        return schema
    return schema if lowered is None else schema | {"function": schema["function"] | {"parameters": lowered.wire}}


def lowered_tool(schema: dict[str, Any], dialect: str) -> Lowered | None:
    """Lower the parameters of a strict tool; None for a tool that is sent unchanged. vLLM's engine does not know `strict`
    of tools: for it objects are closed, and nothing else is changed. Raises `SchemaError`."""
    function = function_of(schema)
    parameters = function.get("parameters") if function.get("strict") else None
    if not parameters or is_strict(parameters):
        return None
    if dialect != "vllm":
        return lower_schema(parameters, dialect)
    with contextlib.suppress(SchemaError):
        lowered = lower_schema(parameters)
        return lowered if lowered.transparent else None
    return None


def reshaped_tools(schemas: Iterable[dict[str, Any]], dialect: str) -> dict[str, Lowered]:
    """Return the tools, by name, whose arguments on the wire have another shape than the caller's parameters."""
    found: dict[str, Lowered] = {}
    for schema in schemas:
        with contextlib.suppress(SchemaError):
            lowered = lowered_tool(schema, dialect)
            if lowered is not None and not lowered.transparent:
                found[function_of(schema)["name"]] = lowered
    return found


def is_strict(schema: Any) -> bool:
    """Return True if every object is closed and requires all that it has."""
    waiting = [schema]
    while waiting:
        here = waiting.pop()
        if not isinstance(here, dict):
            continue
        if "properties" in here or here.get("type") == "object":
            named = here.get("properties") or {}
            if here.get("additionalProperties") is not False or not set(named) <= set(here.get("required") or ()):
                return False
        waiting += [inner for _, inner in subschemas(here)]
    return True
