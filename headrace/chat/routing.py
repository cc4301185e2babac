"""Routing: how the calls of one alias are divided among its deployments.

Deployments of the lowest priority number take all calls; those of the next are asked when these fail, or are not to be called.
Within a priority calls go by weight, or to whom is least busy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from headrace.errors import InputError

MAX_WEIGHT_OF_DEPLOYMENT = 1000
MAX_PRIORITY = 100
Choose = Literal["weight", "least_busy"]
DeploymentWeight = Annotated[int, Meta(ge=1, le=MAX_WEIGHT_OF_DEPLOYMENT)]
Priority = Annotated[int, Meta(ge=0, le=MAX_PRIORITY)]


class Routing(msgspec.Struct, frozen=True, omit_defaults=True):
    """The weights and priorities of a job's `model` and `fallbacks`, in this order, and how to choose among equal priorities:
    by `weight`, or whom has fewest calls under way for its weight."""

    weights: list[int]
    priorities: list[int]
    choose: Choose = "weight"


class RoutedModels(msgspec.Struct, frozen=True):
    """The models of an alias, the lowest priority number first, with their routing."""

    models: list[str]
    routing: Routing


def check_routing(routing: Routing | None, models: Sequence[str]) -> None:
    """Raise `InputError` for a routing that is not one of so many models: it was read back from Redis."""
    if routing is None:
        return
    if not len(routing.weights) == len(routing.priorities) == len(models):
        raise InputError("routing: has not as many weights and priorities as there are models")
    for weight, priority in zip(routing.weights, routing.priorities, strict=True):
        if not 1 <= weight <= MAX_WEIGHT_OF_DEPLOYMENT or not 0 <= priority <= MAX_PRIORITY:
            raise InputError(f"routing: weights are 1 to {MAX_WEIGHT_OF_DEPLOYMENT}, priorities 0 to {MAX_PRIORITY}")
