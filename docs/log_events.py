"""Reads the events of the log from the syntax trees of the product: the rows of `docs/logs.md`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PACKAGES = ("headrace", "providers/headrace_providers", "worker/headrace_worker", "api/headrace_api")
LEVELS = ("debug", "info", "warning", "error", "critical")
HEAD = "| event | level | logger `headrace.…` | fields | what it means, and what to do |\n|---|---|---|---|---|"


class Line(NamedTuple):
    """One place that logs an event."""

    event: str
    level: str
    logger: str
    fields: tuple[str, ...]


def logger_of(path: Path) -> str:
    """Return the only name that a module's logger may have: of `headrace_worker.pool` it is `headrace.worker.pool`."""
    steps = path.relative_to(ROOT).with_suffix("").parts
    inside = steps if steps[0] == "headrace" else steps[1:]
    return ".".join(inside).replace("headrace_", "headrace.", 1).removesuffix(".__main__")


def lines() -> list[Line]:
    """Return every place that logs. Raises `ValueError` for one whose event is no text in the code, or whose logger has another
    name than its module."""
    found: list[Line] = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            found += lines_of(path)
    return found


def lines_of(path: Path) -> Iterator[Line]:
    tree = ast.parse(path.read_text())
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if ast.unparse(call.func) == "get_logger":
            name = ast.literal_eval(call.args[0])
            if name != logger_of(path):
                raise ValueError(f"{path}:{call.lineno}: the logger is called {name}, and not {logger_of(path)}")
        if not isinstance(call.func, ast.Attribute) or not call.args:
            continue
        given = tuple(word.arg for word in call.keywords if word.arg)
        if call.func.attr == "tell_once":  # `DamageHandler`: logs an error once of its kind
            level, fields = "error", ("kind", "where", "names", *given)
        elif call.func.attr in LEVELS and re.match(r"log$|get_logger\(", ast.unparse(call.func.value)):
            level, fields = call.func.attr, given
        else:
            continue
        for event in texts(call.args[0]):
            if event is not None:
                yield Line(event, level, logger_of(path), fields)
            elif call.func.attr == "tell_once" or not is_parameter(tree, call):
                raise ValueError(f"{path}:{call.lineno}: the event is put together, and cannot be searched for")


def texts(node: ast.expr) -> list[str | None]:
    if isinstance(node, ast.IfExp):
        return texts(node.body) + texts(node.orelse)
    return [node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None]


def is_parameter(tree: ast.AST, call: ast.Call) -> bool:
    """Return whether the event is the parameter of `tell_once`, whose callers are read instead."""
    return any(
        isinstance(node, ast.FunctionDef) and node.name == "tell_once" and call in ast.walk(node)
        for node in ast.walk(tree)
    )


def table(page: str) -> str:
    """Return the rows, one for each event, with the meanings that stand in the `page` so far."""
    meanings = dict(re.findall(r"^\| `([^`]+)` \|.*\| ([^|]*) \|$", page, re.MULTILINE))
    events: dict[str, list[Line]] = {}
    for line in lines():
        events.setdefault(line.event, []).append(line)
    rows = []
    for event, places in sorted(events.items(), key=lambda row: row[0].lower()):
        levels = ", ".join(level for level in LEVELS if any(place.level == level for place in places))
        loggers = ", ".join(dict.fromkeys(f"`{place.logger.removeprefix('headrace.')}`" for place in places))
        fields = ", ".join(dict.fromkeys(f"`{name}`" for place in places for name in place.fields))
        rows.append(f"| `{event}` | {levels} | {loggers} | {fields} | {meanings.get(event, '')} |")
    return "\n".join([HEAD, *rows])


def undocumented(page: str) -> list[str]:
    """Return the events of a `page` without a meaning."""
    return re.findall(r"^\| `([^`]+)` \|.*\|  \|$", page, re.MULTILINE)
