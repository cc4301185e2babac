"""The schema of a Python function's parameters, and the arguments of a call as the function takes them."""

from __future__ import annotations

import enum
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Annotated, Any, Literal, Union
from uuid import UUID

import msgspec

from headrace.errors import InputError
from headrace.text.quoting import quoted

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""Valid names of a tool, with every provider."""
ARGS = re.compile(r"(Args|Arguments|Parameters):\s*")

ARG = re.compile(r"\*{0,2}(\w+)\s*(?:\(.*?\))?:\s*(.*)")

NULL = {"type": "null"}

LEAVES: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): NULL,
    UUID: {"type": "string", "format": "uuid"},
    **{plain: {"type": "string"} for plain in (datetime, date, time, Decimal)},
}

RANGES = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}

LIMITS = {"multiple_of": "multipleOf", "pattern": "pattern", "min_length": "minLength", "max_length": "maxLength"}

LIST_LIMITS = {"min_length": "minItems", "max_length": "maxItems"}


def function_schema(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the strict schema of a Python function, from its type hints and its docstring (providers 4.3).

    The description is the docstring up to its `Args:`, whose entries describe the parameters. Every parameter is required;
    one with a default is nullable, and null means the default. Maps become lists of entries (providers 3.5). Raises
    `InputError` naming the function, the parameter and what to do for a type that strict mode cannot carry.
    """
    name = called(function)
    description, texts = documented(inspect.getdoc(function) or "")
    properties: dict[str, Any] = {}
    for parameter, hint in hints(function).items():
        where = f"tool {name}, parameter {parameter}"
        fragment = lowered(hint, (camel(name), camel(parameter)), where, ())
        try:
            msgspec.convert(None, hint)
        except msgspec.ValidationError:
            pass
        except TypeError as error:
            raise InputError(f"{where}: {error}") from None
        if has_default(function, parameter):
            fragment = any_of([fragment, NULL])
        properties[parameter] = fragment | ({"description": texts[parameter]} if parameter in texts else {})
    body = {"name": name, "description": description or f"Function for {name}", "parameters": closed(properties)}
    return {"type": "function", "function": body | {"strict": True}}


def called(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", type(function).__name__)
    if not NAME.fullmatch(name):
        raise InputError(f"tool {quoted(name)}: a tool's name is 1 to 64 letters, digits, _ or -; define it with `def`")
    return name


def hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of a function's parameters, in their order."""
    name = called(function)
    try:
        found = typing.get_type_hints(
            function if inspect.isroutine(function) else type(function).__call__, include_extras=True
        )
    except (NameError, TypeError) as error:
        raise InputError(f"tool {name}: its type hints cannot be read: {error}") from None
    for parameter in inspect.signature(function).parameters.values():
        where = f"tool {name}, parameter {parameter.name}"
        if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
            raise InputError(f"{where}: arguments are given by name; make it an ordinary parameter, or a list or map")
        if parameter.name not in found:
            raise InputError(f"{where}: has no type hint; add one, for example `{parameter.name}: str`")
    return {parameter: found[parameter] for parameter in inspect.signature(function).parameters}


def has_default(function: Callable[..., Any], parameter: str) -> bool:
    return inspect.signature(function).parameters[parameter].default is not inspect.Parameter.empty


def documented(docstring: str) -> tuple[str, dict[str, str]]:
    """Split a Google-style docstring: the text before `Args:`, and the text of each argument."""
    lines = docstring.splitlines()
    start = next((place for place, line in enumerate(lines) if ARGS.fullmatch(line)), len(lines))
    texts: dict[str, str] = {}
    current, margin = "", 0
    for line in filter(str.strip, lines[start + 1 :]):
        indent = len(line) - len(line.lstrip())
        if not indent:
            break
        margin = margin or indent
        found = ARG.fullmatch(line.strip()) if indent <= margin else None
        if found:
            current, texts[found[1]] = found[1], found[2]
        elif current:
            texts[current] = f"{texts[current]} {line.strip()}".strip()
    return "\n".join(lines[:start]).strip(), {name: said for name, said in texts.items() if said}


def lowered(hint: Any, path: tuple[str, ...], where: str, inside: tuple[Any, ...]) -> dict[str, Any]:
    """Return the strict fragment of a type. `path` names maps (providers 3.5), `where` complaints; `inside` are the Structs
    around."""
    sort, parts = shape(hint)

    def part(hint: Any, *step: str) -> dict[str, Any]:
        return lowered(hint, (*path, *step), where, inside)

    if sort == "annotated":
        return limited(part(parts[0]), [meta for meta in parts[1:] if isinstance(meta, msgspec.Meta)])
    if sort == "leaf":
        return dict(LEAVES[hint])
    if sort == "literal":
        return {"enum": list(parts)}
    if sort == "enum":
        return {
            "title": hint.__name__,
            "enum": sorted((member.value for member in hint), key=lambda v: (str(type(v)), v)),
        }
    if sort == "array":
        return {"type": "array", "items": part(parts[0], "Item")}
    if sort == "union":
        return any_of([part(variant) for variant in parts])
    if sort == "map":
        if not hashable(parts[0]):
            raise InputError(
                f"{where}: {quoted(hint)}: the keys of a map must be texts, numbers, or other plain values"
            )
        entry = {"title": "".join(path) + "Entry"} | closed(
            {"key": part(parts[0], "Key"), "value": part(parts[1], "Value")}
        )
        return {"title": "".join(path) + "Map"} | closed({"entries": {"type": "array", "items": entry}})
    if sort == "struct":
        if hint in inside:
            raise InputError(
                f"{where}: {hint} contains itself; give a list of flat records that name their parent instead"
            )
        config = (typing.get_origin(hint) or hint).__struct_config__
        inner: dict[str, Any] = {config.tag_field: {"enum": [config.tag]}} if config.tag is not None else {}
        for field in msgspec.structs.fields(hint):
            place = f"{where}, field {field.name}"
            inner[field.encode_name] = lowered(field.type, (*path, camel(field.name)), place, (*inside, hint))
        title = getattr(hint, "__name__", str(hint))
        about = {"description": inspect.cleandoc(hint.__doc__)} if hint.__doc__ else {}
        return {"title": title} | about | closed(inner)
    raise InputError(f"{where}: {quoted(hint)} cannot be carried by strict mode; {remedy(hint)}")


def shape(hint: Any) -> tuple[str, tuple[Any, ...]]:
    """Return what sort of type `hint` is, and its parts; the sort is empty for what cannot be carried."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return "annotated", (parts[0], *hint.__metadata__)
    if hint is None or hasattr(hint, "__supertype__"):
        return "annotated", (getattr(hint, "__supertype__", type(None)),)
    if origin is Literal:
        return "literal", parts
    if origin in (Union, types.UnionType):
        return "union", parts
    if (origin is list and parts) or (origin is tuple and parts[1:] == (...,)):
        return "array", parts[:1]
    if origin is dict and parts:
        return "map", parts
    base: Any = origin or hint
    if isinstance(base, type) and issubclass(base, msgspec.Struct):
        return "" if base.__struct_config__.array_like else "struct", ()
    if isinstance(base, type) and issubclass(base, enum.Enum):
        return "enum", ()
    return "leaf" if isinstance(base, type) and base in LEAVES else "", ()


def hashable(hint: Any) -> bool:
    """Return True if a map may have keys of this type."""
    sort, parts = shape(hint)
    if sort in {"annotated", "array"}:
        return typing.get_origin(hint) is not list and hashable(parts[0])
    return sort in {"leaf", "literal", "enum"} or (sort == "union" and all(map(hashable, parts)))


def remedy(hint: Any) -> str:
    origin = typing.get_origin(hint) or hint
    if origin in (dict, Mapping, typing.Mapping):
        return "write `dict[str, int]`, with the types of keys and values"
    if origin in (list, set, frozenset):
        return "write `list[str]`, with the items' type"
    if origin is tuple:
        return "write `tuple[str, ...]`, or a msgspec Struct with a field for each item"
    if origin is bytes:
        return "write `str`, and give base64"
    return "write a plain type (str, int, float, bool), a Literal, an Enum, a list, a map or a msgspec Struct of them"


def limited(fragment: dict[str, Any], metas: list[msgspec.Meta]) -> dict[str, Any]:
    """Return `fragment` with what `msgspec.Meta` says of it; limits of an optional value go to the value, not to the null."""
    target = fragment["anyOf"][0] if "anyOf" in fragment else fragment
    keywords = LIST_LIMITS if target.get("type") == "array" else RANGES | LIMITS
    for meta in metas:
        if meta.description is not None:
            fragment["description"] = meta.description
        target |= {word: getattr(meta, name) for name, word in keywords.items() if getattr(meta, name) is not None}
    return fragment


def any_of(variants: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return one `anyOf` of all, the null once and last."""
    flat = [inner for variant in variants for inner in variant.get("anyOf", [variant])]
    said = {name: value for variant in variants if "anyOf" in variant for name, value in variant.items()}
    return said | {"anyOf": [variant for variant in flat if variant != NULL] + ([NULL] if NULL in flat else [])}


def closed(properties: dict[str, Any]) -> dict[str, Any]:
    """Return a closed object with every property required."""
    required = {"required": list(properties)} if properties else {}
    return {"type": "object", "properties": properties, **required, "additionalProperties": False}


def camel(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[_-]+", name))


def call_arguments(function: Callable[..., Any], arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the arguments of a call as `function` takes them, by keyword: entries become maps, objects Structs, and a
    parameter that is null or missing and has a default is left out (providers 4.3).

    Raises `InputError` that names tool and parameter for an argument that is unknown, missing, or does not fit its type.
    """
    name, given = called(function), dict(arguments or {})
    taken: dict[str, Any] = {}
    for parameter, hint in hints(function).items():
        where = f"tool {name}, argument {parameter}"
        missing = parameter not in given
        value = given.pop(parameter, None)
        if value is None and has_default(function, parameter):
            continue
        try:
            taken[parameter] = msgspec.convert(raised(value, hint, where), hint)
        except (msgspec.ValidationError, TypeError) as error:
            raise InputError(f"{where}: {'is missing' if missing else error}") from None
    if given:
        raise InputError(
            f"tool {name}: has no parameter {', '.join(map(repr, given))}; it takes {', '.join(hints(function))}"
        )
    return taken


def raised(value: Any, hint: Any, where: str) -> Any:
    """Return `value` with the entries of its maps as dicts: the inverse of `lowered`. All else stays, right or wrong."""
    sort, parts = shape(hint)
    if sort == "annotated":
        return raised(value, parts[0], where)
    if sort == "array" and isinstance(value, list):
        return [raised(item, parts[0], where) for item in value]
    if sort == "struct" and isinstance(value, dict):
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(hint)}
        return {name: raised(item, fields[name], where) if name in fields else item for name, item in value.items()}
    if sort == "union":
        for variant in parts:
            try:
                candidate = raised(value, variant, where)
                msgspec.convert(candidate, variant)
            except (InputError, msgspec.ValidationError):
                continue
            return candidate
        some = [variant for variant in parts if variant is not type(None)]
        return value if len(some) > 1 or value is None else raised(value, some[0], where)
    if sort == "map":
        entries = value.get("entries") if isinstance(value, dict) and len(value) == 1 else None
        if not isinstance(entries, list) or any(not isinstance(e, dict) or {*e} != {"key", "value"} for e in entries):
            raise InputError(f'{where}: a map must come as {{"entries": [{{"key": …, "value": …}}]}}')
        pairs = [(as_key(entry["key"]), raised(entry["value"], parts[1], where)) for entry in entries]
        if len(dict(pairs)) < len(pairs):
            raise InputError(f"{where}: a key is there twice")
        return dict(pairs)
    return value


def as_key(key: Any) -> Any:
    return tuple(map(as_key, key)) if isinstance(key, list) else key
