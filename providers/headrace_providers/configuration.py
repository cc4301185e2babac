"""Serialize the configuration of a model to plain JSON, and back: without its key, or an address that holds one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.errors import InputError
from headrace.text.masking import secrets_in
from headrace.text.quoting import quoted
from headrace_providers.retry import Retry

if TYPE_CHECKING:
    from headrace_providers.chat_completion import ChatCompletion

MODEL_TYPE = "chat_completion"


def configuration_of(model: ChatCompletion, *, base_url: str | None, retry: Retry | bool | None) -> dict[str, Any]:
    """Return the configuration of `model`; `base_url` and `retry` as they were passed, not as they were resolved."""
    config: dict[str, Any] = {
        "provider": model.facts.name,
        "model_type": model.model_type,
        "model_id": model.model_id,
        "options": msgspec.to_builtins(model.options),
        "switches": msgspec.to_builtins(model.switches),
        "base_url": None if secrets_in(base_url or "") else base_url,
        "retry": msgspec.to_builtins(retry) if isinstance(retry, Retry) else retry,
        "structured_output_mode": model.facts.structured_output,
        "mode": model.mode,
        "enable_cache": model.enable_cache,
        "cache_size": model.cache_size,
        "tenant": model.tenant,
        "context_length": model.context_length,
    }
    return {name: value for name, value in config.items() if value is not None or name == "cache_size"}


def words_of(config: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Return the provider, the model's id, and the constructor's other keyword arguments. Raises `InputError`."""
    if not isinstance(config, Mapping):
        raise InputError(f"this is no configuration of a model, but of type {type(config).__name__}")
    given = dict(config)
    try:
        provider, model_id, sort = given.pop("provider"), given.pop("model_id"), given.pop("model_type")
    except KeyError as error:
        raise InputError(f"this is no configuration of a model: {error} is missing") from None
    if sort != MODEL_TYPE:
        raise InputError(f"model_type={quoted(sort)}: only {quoted(MODEL_TYPE)} is known")
    options, switches = given.pop("options", {}), given.pop("switches", {})
    if not isinstance(options, dict) or not isinstance(switches, dict):
        raise InputError("this is no configuration of a model: options and switches must be objects")
    if isinstance(given.get("retry"), dict):
        try:
            given["retry"] = msgspec.convert(given["retry"], Retry)
        except msgspec.ValidationError as error:
            raise InputError(f"this is no configuration of a model: retry: {error}") from None
    twice = (options.keys() & switches.keys()) | (given.keys() & {*options, *switches})
    if twice:
        raise InputError(f"this is no configuration of a model: {quoted(min(twice))} stands in it twice")
    return provider, model_id, {**options, **switches, **given}
