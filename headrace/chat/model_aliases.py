"""Aliases of models: names without a slash for `provider/model`, or for several: in the order in which they are tried, or with a
routing among them.

They come from the variable `HEADRACE_MODELS` of the process that submits. Without a slash, because clients read what stands
before one as a prefix of their own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from headrace.chat.provider_table import NAME
from headrace.chat.routing import Choose, DeploymentWeight, Priority, RoutedModels, Routing
from headrace.errors import InputError, ModelNotFound, SettingsError
from headrace.guards.json_variable import json_of_variable
from headrace.settings import variable
from headrace.text.quoting import quoted, shortened
from headrace.text.readable import UNREADABLE

MAX_FALLBACKS = 7
MAX_SHOWN = 10
Alias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}$")]
Target = Annotated[str, Meta(pattern=NAME.removesuffix("$") + r"/\S+$", max_length=256)]
Targets = Annotated[list[Target], Meta(min_length=1, max_length=MAX_FALLBACKS + 1)]
AliasModels = list[str] | RoutedModels

_resolved_elsewhere: ContextVar[bool] = ContextVar("resolved_elsewhere", default=False)


@contextmanager
def resolved_elsewhere() -> Iterator[None]:
    """Leave names as they are for the block: the gateway to which they go knows its aliases."""
    token = _resolved_elsewhere.set(True)
    try:
        yield
    finally:
        _resolved_elsewhere.reset(token)


class ModelRoute(NamedTuple):
    """The model that a name stands for, and those that are tried in its place, in order, when its provider fails."""

    model: str
    fallbacks: list[str]
    routing: Routing | None = None


class GivenDeployment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One deployment of an alias, as it is configured."""

    model: Target
    weight: DeploymentWeight = 1
    priority: Priority = 0


class GivenRouting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An alias with a routing, as it is configured."""

    deployments: Annotated[list[Target | GivenDeployment], Meta(min_length=1, max_length=MAX_FALLBACKS + 1)]
    choose: Choose = "weight"


def resolve(model: str, aliases: Mapping[str, AliasModels] | None = None) -> ModelRoute:
    """Return what `model` stands for: an alias its models, `provider/model` itself. `aliases` are those of
    this process unless given. Raises `ModelNotFound` for any other name, `InputError` for what is no name, and
    `SettingsError`."""
    if not isinstance(model, str) or not model:
        raise InputError(f"model={quoted(model)}: must be a text that is not empty")
    if "/" in model or _resolved_elsewhere.get():
        return ModelRoute(model, [])
    aliases = model_aliases() if aliases is None else aliases
    if model not in aliases:
        names = [*sorted(aliases)[:MAX_SHOWN], *(["…"] if len(aliases) > MAX_SHOWN else [])]
        known = f"the aliases are {', '.join(names)}" if names else "there are no aliases (HEADRACE_MODELS)"
        raise ModelNotFound(
            f"model {quoted(model)}: is no alias of a model; {known}; or write `provider/model`, for example "
            f"`openai/{shortened(model)}`"
        )
    first, *others = models_of(aliases[model])
    return ModelRoute(first, others, getattr(aliases[model], "routing", None))


def models_of(alias: AliasModels) -> list[str]:
    """Return the models of an alias, in the order in which they are tried."""
    return alias if isinstance(alias, list) else alias.models


def model_aliases() -> dict[str, AliasModels]:
    """Return the models of each alias of this process. Raises `SettingsError` naming the place of what cannot be used."""
    return read_aliases(os.environ.get(variable("models")) or "")


@lru_cache(maxsize=8)
def read_aliases(given: str) -> dict[str, AliasModels]:
    """Return the aliases in a JSON text, or in the file at a path; none for an empty one. Raises `SettingsError`."""
    if not given.strip():
        return {}
    where, text = json_of_variable(variable("models"), given)
    try:
        aliases = msgspec.json.decode(text, type=dict[str, str | list[Any] | dict[str, Any]])
    except UNREADABLE as error:
        raise SettingsError(f"{where}: {shortened(str(error))}") from None
    return {name: checked(where, name, targets) for name, targets in aliases.items()}


def checked(where: str, name: str, targets: str | list[Any] | dict[str, Any]) -> AliasModels:
    """Return the models of one alias. Raises `SettingsError` naming its place."""
    place = f"{where}: /{shortened(name)}"
    try:
        msgspec.convert(name, Alias)
    except msgspec.ValidationError:
        raise SettingsError(
            f"{place}: an alias is 1 to 128 letters, digits and `._:@+-`, without a slash (`provider/model` needs no alias)"
        ) from None
    if isinstance(targets, dict):
        return routed(place, targets)
    models = [targets] if isinstance(targets, str) else targets
    if any(isinstance(model, dict) for model in models):
        raise SettingsError(
            f"{place}: a list is an order of fallbacks; weights and priorities stand in "
            '`{"deployments": [{"model": …, "weight": …, "priority": …}, …]}`'
        )
    try:
        msgspec.convert(models, Targets)
    except msgspec.ValidationError as error:
        at = str(error).rpartition("`$[")[2].rstrip("]`")
        if at.isdecimal():
            at, model = ("" if isinstance(targets, str) else f"/{at}"), models[int(at)]
            raise SettingsError(f"{place}{at}: {quoted(model)} must be `provider/model`") from None
        raise SettingsError(f"{place}: must be 1 to {MAX_FALLBACKS + 1} models") from None
    if len(set(models)) < len(models):
        raise SettingsError(f"{place}: names a model twice")
    return models


def routed(place: str, given: dict[str, Any]) -> RoutedModels:
    """Return the models of an alias that is an object. Raises `SettingsError` with the JSON Pointer of what is wrong."""
    try:
        asked = msgspec.convert(given, GivenRouting)
    except msgspec.ValidationError as error:
        why, _, path = str(error).partition(" - at `$")
        raise SettingsError(f"{place}{pointer_of(path)}: {shortened(explained(why, path))}") from None
    deployments = [each if isinstance(each, GivenDeployment) else GivenDeployment(each) for each in asked.deployments]
    deployments.sort(key=lambda each: each.priority)  # for workers that know of an order alone
    models = [each.model for each in deployments]
    if len(set(models)) < len(models):
        twice = next(model for model in models if models.count(model) > 1)
        raise SettingsError(f"{place}/deployments: names {quoted(twice)} twice; give it a weight instead")
    weights, priorities = [each.weight for each in deployments], [each.priority for each in deployments]
    return RoutedModels(models, Routing(weights, priorities, asked.choose))


def pointer_of(path: str) -> str:
    """Return a place of msgspec's (`.deployments[1].weight`) as a JSON Pointer."""
    return "".join(f"/{part}" for part in re.findall(r"\w+", path))


def explained(why: str, path: str) -> str:
    """Return what msgspec says of a value, in words of this table."""
    if why.startswith("Invalid enum value"):
        return "must be one of weight, least_busy"
    if "matching regex" in why or re.search(r"\]$|\.model`?$", path):
        return "must be `provider/model`, or an object with `model`, `weight` and `priority`"
    if why.startswith("Object contains unknown field"):
        return f"{why[0].lower()}{why[1:]}; known are deployments, choose, and of a deployment model, weight, priority"
    return why
