"""The arguments of strict tools whose parameters travelled in another shape: what the caller reads is in the caller's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.chat.completion import Choice
from headrace.chat.messages import as_json
from headrace.errors import InvalidOutput
from headrace.schema.lower import Lowered

CHANGED = "tool_calls: arguments that have not the shape of the tool's strict form are as they came"


def with_own_arguments(choice: Choice, reshaped: Mapping[str, Lowered]) -> Choice:
    """Return the choice with the arguments of such tools (by name) as their parameters are written. What cannot be read
    back stays as it came, and is noted."""
    if not choice.tool_calls:
        return choice
    notes = list(choice.notes)
    calls = [own_arguments(call, reshaped, notes) for call in choice.tool_calls]
    return msgspec.structs.replace(choice, tool_calls=calls, notes=notes)


def own_arguments(call: dict[str, Any], reshaped: Mapping[str, Lowered], notes: list[str]) -> dict[str, Any]:
    function = call.get("function")
    lowered = reshaped.get(function["name"]) if function else None
    if function is None or lowered is None:
        return call
    try:
        arguments = as_json(lowered.restore(function["arguments"], plain=True))
    except (InvalidOutput, ValueError):
        if CHANGED not in notes:
            notes.append(CHANGED)
        return call
    return call | {"function": function | {"arguments": arguments}}
