"""The way back from a wire answer to the caller's value: maps out of their entries, optional properties absent again.

A plan is a tree of small steps, made beside the wire schema by `headrace.schema.lower`. What no step stands for stays
as it is. A step raises `Misshapen` where the answer has not the shape that the wire schema asked for.
"""

from __future__ import annotations

from typing import Any, Protocol


class Misshapen(Exception):
    """The answer does not fit the wire schema; `path` leads there."""

    def __init__(self, message: str, path: tuple[str | int, ...] = ()):
        super().__init__(message)
        self.message = message
        self.path = path


class Plan(Protocol):
    def restore(self, value: Any) -> Any: ...


class Record:
    """An object. A null of a property in `absent` means that the property is not there."""

    def __init__(self, properties: dict[str, Plan], absent: frozenset[str]):
        self.properties = properties
        self.absent = absent

    def restore(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        restored = {}
        for name, inner in value.items():
            if inner is None and name in self.absent:
                continue
            plan = self.properties.get(name)
            restored[name] = at(name, plan, inner) if plan else inner
        return restored


class Items:
    """A list whose items have a plan."""

    def __init__(self, item: Plan):
        self.item = item

    def restore(self, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [at(index, self.item, inner) for index, inner in enumerate(value)]


class Map:
    """`{"entries": [{"key", "value"}, …]}` becomes an object. A key that comes twice is an error, never a loss."""

    def __init__(self, value: Plan | None):
        self.value = value

    def restore(self, value: Any) -> Any:
        entries = value.get("entries") if isinstance(value, dict) and len(value) == 1 else None
        if not isinstance(entries, list):
            raise Misshapen('a map must be {"entries": [{"key": …, "value": …}, …]}')
        restored: dict[str, Any] = {}
        for index, entry in enumerate(entries):
            if not isinstance(entry, dict) or not entry.keys() >= {"key", "value"}:
                raise Misshapen('an entry must be {"key": …, "value": …}', ("entries", index))
            key = as_name(entry["key"])
            if key in restored:
                raise Misshapen(f"the key {key!r} is there twice", ("entries", index, "key"))
            inner = entry["value"]
            restored[key] = at(key, self.value, inner) if self.value else inner
        return restored


class Alternatives:
    """One of several. The wire schemas tell which: by type, by the names of properties, by constants in them."""

    def __init__(self, choices: list[tuple[dict[str, Any], Plan | None]], definitions: dict[str, dict[str, Any]]):
        self.choices = choices
        self.definitions = definitions

    def restore(self, value: Any) -> Any:
        for wire, plan in self.choices:
            if may_be(value, self.definitions.get(wire.get("$ref", "").rpartition("/")[2], wire)):
                return plan.restore(value) if plan else value
        return value


class Named:
    """A definition that contains itself."""

    def __init__(self, name: str, plans: dict[str, Plan | None]):
        self.name = name
        self.plans = plans

    def restore(self, value: Any) -> Any:
        plan = self.plans.get(self.name)
        return plan.restore(value) if plan else value


def at(step: str | int, plan: Plan, value: Any) -> Any:
    try:
        return plan.restore(value)
    except Misshapen as error:
        raise Misshapen(error.message, (step, *error.path)) from None


def as_name(key: Any) -> str:
    """A key as a JSON object has it."""
    if isinstance(key, str):
        return key
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int | float):
        return repr(key)
    raise Misshapen("a key must be a text or a number")


def may_be(value: Any, wire: dict[str, Any]) -> bool:
    """Whether `value` looks like an answer to the wire schema of one alternative."""
    sort = wire.get("type")
    if sort == "array":
        return isinstance(value, list)
    if sort != "object":
        return not isinstance(value, dict | list)
    if not isinstance(value, dict):
        return False
    properties = wire["properties"]
    return value.keys() >= properties.keys() and all(
        value[name] in (inner["enum"] if "enum" in inner else [inner["const"]])
        for name, inner in properties.items()
        if "enum" in inner or "const" in inner
    )
