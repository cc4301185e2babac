"""Placeholder until the module with builders lands."""

from __future__ import annotations

import copy
from typing import Any

from headrace.errors import InputError


def conversation(
    messages: Any, *, system_prompt: str | None = None, prefilling: str | None = None
) -> list[dict[str, Any]]:
    if isinstance(messages, str):
        talk = [{"role": "user", "content": messages}]
    else:
        if not isinstance(messages, list | tuple) or not all(isinstance(m, dict) for m in messages):
            raise InputError("messages: must be a text or a list of messages")
        talk = [copy.deepcopy(dict(message)) for message in messages]
    if system_prompt is not None:
        talk.insert(0, {"role": "system", "content": system_prompt})
    return talk
