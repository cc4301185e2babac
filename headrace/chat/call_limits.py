"""Limits of calls that are kept before a provider says 429: of a provider, or of one of its models (`HEADRACE_LIMITS`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from headrace.errors import SettingsError
from headrace.guards.json_variable import json_of_variable
from headrace.settings import variable
from headrace.text.quoting import quoted, shortened
from headrace.text.readable import UNREADABLE

MAX_PER_MIN = 10**12


class CallLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Requests and tokens a minute, and calls in flight, of all workers together; None: no such limit."""

    requests_per_min: Annotated[int, Meta(ge=1, le=MAX_PER_MIN)] | None = None
    tokens_per_min: Annotated[int, Meta(ge=1, le=MAX_PER_MIN)] | None = None
    in_flight: Annotated[int, Meta(ge=1, le=10**6)] | None = None


def call_limits(environ: Mapping[str, str], providers: Collection[str]) -> dict[str, CallLimits]:
    """Return the limits in `HEADRACE_LIMITS` (JSON, or the path of a JSON file) by `provider` or `provider/model`. Raises
    `SettingsError` naming the variable and, as a JSON Pointer, the place in it."""
    given = environ.get(variable("limits")) or ""
    if not given.strip():
        return {}
    where, text = json_of_variable(variable("limits"), given)
    try:
        entries = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        return {name: limits_at(where, name, entry, providers) for name, entry in entries.items()}
    except UNREADABLE as error:
        raise SettingsError(f"{where}: must be an object of limits by provider: {shortened(str(error))}") from None


def limits_at(where: str, name: str, entry: msgspec.Raw, providers: Collection[str]) -> CallLimits:
    provider, slash, model = name.partition("/")
    place = f"{where}: /{shortened(escaped(name))}"
    if provider not in providers or (slash and not model):
        raise SettingsError(f"{place}: must be `provider` or `provider/model`; providers are {', '.join(providers)}")
    try:
        limits = msgspec.json.decode(entry, type=CallLimits)
    except msgspec.ValidationError as error:
        why, _, at = str(error).partition(" - at `$")
        raise SettingsError(f"{place}{at.rstrip('`').replace('.', '/')}: {shortened(why)}") from None
    if limits == CallLimits():
        fields = ", ".join(CallLimits.__struct_fields__)
        raise SettingsError(
            f"{place}: names no limit, got {quoted(bytes(entry).decode(errors='replace'))}; of {fields}"
        )
    return limits


def escaped(name: str) -> str:
    """Return a name as it stands in a JSON Pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
