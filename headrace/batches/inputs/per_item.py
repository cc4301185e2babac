"""The parts of a request that are each item's own, from columns of the input that the caller names: its conversation, system
message, model, tools and options. A column that is not named is data, whatever it is called."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextvars import copy_context
from typing import Any, NamedTuple

import msgspec

from headrace.batches.inputs.openai_form import TAKEN, options_of
from headrace.batches.template import Template
from headrace.chat.model_aliases import ModelRoute, resolve
from headrace.chat.options import check_beside_schema, set_in
from headrace.chat.provider_table import PROVIDERS
from headrace.chat.reserved_fields import check_reserved_fields
from headrace.errors import InputError
from headrace.jobs.build import make_job
from headrace.schema.modes import check_carried
from headrace.text.quoting import quoted, shortened
from headrace.text.readable import UNREADABLE

PARTS = ("messages", "system", "model", "tools", "tool_choice", "options")
PLACEHOLDER = "x"
"""A conversation to check the other parts with, where the item's own is made of its fields later."""
PerItemParam = str | Collection[str] | Mapping[str, str] | None
"""Names of parts, which are those of their columns; or the column of each part."""


class OwnParts(NamedTuple):
    """What one item brings; None for what it takes from the batch."""

    messages: list[dict[str, Any]] | None = None
    system: str | None = None
    route: ModelRoute | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    options: Any = None

    def as_fields(self) -> dict[str, Any]:
        """Return them as the fields of an `Item`."""
        model = {} if self.route is None else {"model": self.route.model, "fallbacks": self.route.fallbacks}
        own = {name: getattr(self, name) for name in ("messages", "system", "tools", "tool_choice", "options")}
        return {name: value for name, value in own.items() if value is not None} | model


class PerItem:
    """The columns that are parts of a request, beside the `template` of the batch. Where the whole input is read (`reads_all`),
    each of them has to be in some item."""

    def __init__(self, columns: Mapping[str, str], template: Template, *, reads_all: bool = True):
        self.columns = dict(columns)
        self._model = template.model
        self._schema = template.schema
        self._mode = template.mode
        self._routes: dict[str, ModelRoute] = {}
        self._unseen = set(self.columns.values()) if reads_all else set[str]()
        # Names of models mean what they mean here and now; rows are read in another thread, later.
        self._context = copy_context()

    @property
    def brings_messages(self) -> bool:
        return "messages" in self.columns

    def read(self, fields: Mapping[str, Any], where: str) -> OwnParts:
        """Return the parts in the fields of one item. Raises `InputError` with the place of what cannot be used."""
        if self._unseen:
            self._unseen.difference_update(fields)
        given = {part: self._value(part, fields, where) for part in self.columns}
        try:
            return self._checked({part: value for part, value in given.items() if value is not None})
        except InputError as error:
            raise InputError(f"{where}: {error}") from None

    def check_columns(self, source: str) -> None:
        """Raise `InputError` for a column that no item had: it was misspelt, and the batch's own part is not what was meant."""
        for part, column in self.columns.items():
            if column in self._unseen:
                raise InputError(
                    f"{source}: no item has a field `{column}`, which --per-item (`per_item`) names as its {part}. Name the "
                    "right one, or leave it out"
                )

    def _value(self, part: str, fields: Mapping[str, Any], where: str) -> Any:
        column = self.columns[part]
        if column not in fields:
            if part != "messages":
                return None
            there = ", ".join(sorted(map(str, fields))) or "none"
            raise InputError(f"{where}: field `{column}`, its messages (--per-item), is missing. Fields there: {there}")
        value = fields[column]
        if part in ("system", "model"):
            if value is not None and not isinstance(value, str):
                raise InputError(f"{where}: /{column}: must be a text")
            return value or None
        return without_nulls(decoded(value, part, f"{where}: /{column}"))

    def _checked(self, given: dict[str, Any]) -> OwnParts:
        if self.brings_messages and "messages" not in given:
            raise InputError(
                f"/{self.columns['messages']}: is empty; every item needs its messages (--per-item messages)"
            )
        options = given.get("options") or {}
        place = f"/{self.columns.get('options', 'options')}"
        if not isinstance(options, dict):
            raise InputError(f'{place}: must be an object, such as {{"temperature": 0}}')
        if (taken := next((name for name in TAKEN if name in options), None)) is not None:
            remedy = (
                "give it in a column of its own (--per-item)" if taken in PARTS else "it is the batch's; leave it out"
            )
            raise InputError(f"{place}/{taken}: is no option of an item; {remedy}")
        check_reserved_fields(options, f"{place}/")
        route = self._route(given["model"]) if "model" in given else None
        tools = given.get("tools")
        if not isinstance(tools, list | None):
            raise InputError(f"/{self.columns['tools']}: must be a list of tools")
        first, *others = (route.model, *route.fallbacks) if route is not None else (self._model,)
        job = self._job(first, given, tools, options)
        for model in others:
            self._job(model, given, tools, options)
        if self._schema is not None:
            check_beside_schema(job.options)
            if job.tools and self._mode == "tool_call":
                raise InputError(
                    f"/{self.columns['tools']}: the schema travels as a tool in mode tool_call; choose another --mode"
                )
        return OwnParts(
            messages=job.messages if self.brings_messages else None,
            system=given.get("system"),
            route=route,
            tools=job.tools,
            tool_choice=job.tool_choice if job.tools else given.get("tool_choice"),
            options=job.options if set_in(job.options) else None,
        )

    def _job(self, model: str, given: dict[str, Any], tools: list[Any] | None, options: dict[str, Any]) -> Any:
        try:
            job, _ = self._context.copy().run(
                make_job,
                model,
                given.get("messages", PLACEHOLDER),
                tools=tools or None,
                tool_choice=given.get("tool_choice") if tools else None,
                **options_of(options),
            )
        except InputError as error:
            place, _, rest = str(error).partition("/messages")
            if not place and self.brings_messages:
                raise InputError(f"/{self.columns['messages']}{rest}") from None
            raise
        return job

    def _route(self, model: str) -> ModelRoute:
        """Return what a name of a model stands for, and that it can carry the batch's schema."""
        route = self._routes.get(model)
        if route is None:
            try:
                route = self._context.copy().run(resolve, model)
                for each in (route.model, *route.fallbacks):
                    check_schema(each, self._schema, self._mode)
            except InputError as error:
                raise InputError(f"/{self.columns['model']}: {error}") from None
            self._routes[model] = route
        return route


def check_schema(model: str, schema: dict[str, Any] | None, mode: Any) -> None:
    if schema is not None:
        provider = PROVIDERS.get(model.partition("/")[0])
        check_carried(schema, mode, provider.dialect if provider else "openai")


def checked_per_item(given: PerItemParam) -> dict[str, str]:
    """Return the column of each part: of `messages,model=llm`, of names, or of a dict. Raises `InputError`."""
    if given is None:
        return {}
    pairs: list[tuple[Any, Any]]
    if isinstance(given, Mapping):
        pairs = list(given.items())
    elif isinstance(given, Collection):
        words = given.split(",") if isinstance(given, str) else list(given)
        pairs = [split_pair(word) for word in words]
    else:
        raise InputError(
            f"per_item={quoted(given)}: must be names out of {', '.join(PARTS)}, or a dict of them to columns"
        )
    columns: dict[str, str] = {}
    for part, column in pairs:
        if part not in PARTS:
            raise InputError(f"--per-item (`per_item`): {quoted(part)} is none of {', '.join(PARTS)}")
        if part in columns:
            raise InputError(f"--per-item (`per_item`): names {part} twice")
        if not isinstance(column, str) or not column:
            raise InputError(f"--per-item (`per_item`): {part}={quoted(column)}: must be the name of a column")
        columns[part] = column
    return columns


def split_pair(word: Any) -> tuple[Any, Any]:
    if not isinstance(word, str):
        return word, word
    part, equals, column = word.strip().partition("=")
    return part, column if equals else part


def decoded(value: Any, part: str, place: str) -> Any:
    """Return a value that a cell may hold as JSON text: in CSV it can be nothing else."""
    if isinstance(value, str):
        if not value.strip():
            return None
        if part == "tool_choice" and value.strip()[0] != "{":
            return value
        if part == "messages" and value.lstrip()[0] not in "[{":
            raise InputError(f"{place}: must be a list of messages, as JSON")
        try:
            return msgspec.json.decode(value)
        except UNREADABLE as error:
            raise InputError(f"{place}: not JSON: {shortened(str(error))}") from None
    try:
        # Numbers stay as they were written only in a prompt: what goes into a body is a number.
        return msgspec.json.decode(msgspec.json.encode(value))
    except (*UNREADABLE, TypeError, ValueError) as error:
        raise InputError(f"{place}: {shortened(str(error))}") from None


def without_nulls(value: Any) -> Any:
    """Return `value` without the nulls in its objects: a table's structs have every field that any of them has. What is left
    without them is what was written."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value
