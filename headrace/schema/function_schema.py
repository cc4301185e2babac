"""The schema of a Python function's parameters, and the arguments of a call as the function takes them."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from headrace.errors import InputError
from headrace.schema.lower import write_wire
from headrace.schema.nodes import Node, ShapeMismatch
from headrace.schema.targets import PARAMETERS
from headrace.schema.type_nodes import leaf, node_of, record, union, with_about
from headrace.text.quoting import quoted

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""Valid names of a tool, with every provider."""
ARGS = re.compile(r"(Args|Arguments|Parameters):\s*")

ARG = re.compile(r"\*{0,2}(\w+)\s*(?:\(.*?\))?:\s*(.*)")


def function_schema(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the strict schema of a Python function, from its type hints and its docstring.

    The description is the docstring up to its `Args:`, whose entries describe the parameters. Every parameter is required;
    one with a default is nullable, and null means the default. Maps become lists of entries. Raises
    `InputError` naming the function, the parameter and what to do for a type that strict mode cannot carry.
    """
    name = called(function)
    description, texts = documented(inspect.getdoc(function) or "")
    nodes: dict[str, Node] = {}
    for parameter, hint in hints(function).items():
        where = f"tool {name}, parameter {parameter}"
        node = node_of(hint, where)
        try:
            msgspec.convert(None, hint)
        except msgspec.ValidationError:
            pass
        except TypeError as error:
            raise InputError(f"{where}: {error}") from None
        if has_default(function, parameter):
            node = union([node, leaf("null")])
        nodes[parameter] = with_about(node, description=texts.get(parameter, ""))
    parameters, _ = write_wire(record(nodes), PARAMETERS, name, wrapped=False)
    if not nodes:
        del parameters["required"]
    body = {"name": name, "description": description or f"Function for {name}", "parameters": parameters}
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


def call_arguments(function: Callable[..., Any], arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the arguments of a call as `function` takes them, by keyword: entries become maps, objects Structs, and a
    parameter that is null or missing and has a default is left out.

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
            taken[parameter] = msgspec.convert(node_of(hint, where).restore(value), hint)
        except ShapeMismatch as error:
            raise InputError(f"{where}: {error.message}") from None
        except (msgspec.ValidationError, TypeError) as error:
            raise InputError(f"{where}: {'is missing' if missing else error}") from None
    if given:
        raise InputError(
            f"tool {name}: has no parameter {', '.join(map(repr, given))}; it takes {', '.join(hints(function))}"
        )
    return taken
