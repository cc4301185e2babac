"""Build a `Job` from a caller's arguments. No I/O: the sync and the async client share it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from headrace.chat.messages import conversation
from headrace.chat.model_aliases import ModelRoute, resolve
from headrace.chat.options import MAX_CHOICES, OptionParams, Options, check_beside_schema, parse_options
from headrace.chat.provider_table import PROVIDERS
from headrace.chat.tool_schemas import check_strict
from headrace.chat.tools import ToolDefinitions
from headrace.errors import InputError
from headrace.jobs.cache_mode import Cache, checked_variant, stored_cache
from headrace.jobs.job import Job
from headrace.schema.function_schema import function_schema
from headrace.schema.modes import Mode, check_carried, checked_mode
from headrace.schema.python_types import AnswerType, answer_type
from headrace.text.quoting import quoted, shortened

Messages = str | Sequence[Mapping[str, Any]]
Tools = ToolDefinitions | Sequence[Callable[..., Any] | Mapping[str, Any]]
TTL_S = 3600.0
TIMEOUT_S = 24 * 3600.0
CHAT_TIMEOUT_S = 3600.0
"""Default timeout of a job that a chat client waits for."""
MAX_TIMEOUT_S = 7 * 24 * 3600
MAX_TTL_S = 7 * 24 * 3600
MAX_WINDOW_S = 30 * 24 * 3600
MAX_KEY_CHARS = 256
MAX_REASKS = 5


class SchemaParams(OptionParams, total=False):
    """Keyword arguments that go with a schema. `mode` is the way in which it is sent to the model: strict, json_schema,
    json_object, tool_call, typed_xml or prompt; by default that of the model's profile. An invalid answer is asked again up
    to `reasks` times (0 to 5), each with the violations, each paid; `lax` coerces values of the wrong type that can only
    mean one thing ("3" to 3)."""

    mode: Mode | None
    reasks: int
    lax: bool


class JobParams(SchemaParams, total=False):
    """Keywords of `submit` beside `model`, `messages` and `schema`; those of `Options` go to the provider.

    `tools` are what the model may call: Python functions, schemas in the provider's shape, or `ToolDefinitions`, and
    `tool_choice` is auto, required, none or a tool's name. The calls it makes are in the completion (`tool_calls`).
    `prefilling` is the beginning of the answer, `system` the system prompt; `ttl_s` how long the result stays (3,600 s,
    7 days at most), `timeout_s` how long it may take, waits included (24 h, 7 days at most): then it fails, `expired`.
    `stream` shows the answer as it comes; when it breaks off after something was shown, the job fails, or
    with `on_retry="reset"` begins anew and clears what was shown. With an `idempotency_key` the same call within 24 h
    returns the same job, and another call under that key raises `Conflict`. With `cache` an answer that was paid for in the
    last 24 h (`HEADRACE_CACHE_TTL_S` of the workers) is given again: the completion says `cached`, and costs nothing. True is
    `on`, False `off`; `read` keeps no new answer, `write` and `refresh` pay for a new one and keep it, `refresh` in place of
    the one that is kept. `variant` is any text: under another one the same question has another answer.
    """

    system: str | None
    tools: Tools | None
    tool_choice: str | dict[str, Any] | None
    prefilling: str | None
    stream: bool
    on_retry: Literal["fail", "reset"]
    cache: Cache
    variant: str | None
    idempotency_key: str | None
    ttl_s: float
    timeout_s: float


def make_job(
    model: str,
    messages: Messages,
    *,
    schema: Any = None,
    system: str | None = None,
    tools: Tools | None = None,
    tool_choice: str | dict[str, Any] | None = None,
    prefilling: str | None = None,
    stream: bool = False,
    mode: Mode | None = None,
    reasks: int = 0,
    lax: bool = False,
    on_retry: Literal["fail", "reset"] = "fail",
    cache: Cache = False,
    variant: str | None = None,
    **options: Any,
) -> tuple[Job, AnswerType[Any]]:
    """Return the job, and the way to decode its answer. An alias becomes its models, and what is asked for has to suit the
    provider of each. Raises `InputError`, `ModelNotFound`; that the model's provider exists is checked by the caller."""
    if not isinstance(stream, bool):
        raise InputError(f"stream={quoted(stream)}: must be True or False")
    cached, sample = stored_cache(cache), checked_variant(variant)
    if on_retry not in ("fail", "reset"):
        raise InputError(f"on_retry={quoted(on_retry)}: must be 'fail' or 'reset'")
    expected, definitions = answer_type(schema), tool_definitions(tools, tool_choice)
    models = resolve(checked_text("model", model))
    conversation("x", prefilling=prefilling)
    if prefilling and expected.schema is not None:
        raise InputError("prefilling: a schema's answer cannot begin with it; leave one of the two out")
    for each in (models.model, *models.fallbacks):
        check_schema_params(each, expected, mode, reasks, lax)
        provider = PROVIDERS.get(each.partition("/")[0])
        check_strict(definitions.schemas or (), provider.dialect if provider else "openai")
    if mode == "tool_call" and definitions.schemas:
        raise InputError("mode='tool_call': the schema travels as a tool there, so there can be no `tools` of your own")
    if stream and reasks and on_retry != "reset":
        raise InputError('reasks: a streamed answer is not taken back; give on_retry="reset", or leave out `stream`')
    wanted = options_for_all(models, options)
    if expected.schema is not None:
        check_beside_schema(wanted, choices=MAX_CHOICES)
    job = Job(
        model=models.model,
        messages=conversation(messages, system_prompt=system),
        options=wanted,
        schema=expected.schema,
        schema_name=expected.name,
        tools=definitions.schemas or None,
        tool_choice=definitions.choice if definitions.schemas else None,
        prefilling=prefilling or None,
        mode=mode,
        reasks=reasks,
        lax=lax,
        stream=stream,
        on_retry=on_retry,
        cache=cached,
        variant=sample,
        fallbacks=models.fallbacks,
        routing=models.routing,
    )
    return job, expected


def check_schema_params(model: str, expected: AnswerType[Any], mode: Mode | None, reasks: int, lax: bool) -> None:
    """Raise `InputError` for keyword arguments that need a schema without one, and `SchemaError` for a schema that the
    model's provider cannot take: before a call is paid."""
    checked_mode(mode)
    if isinstance(reasks, bool) or not isinstance(reasks, int) or not 0 <= reasks <= MAX_REASKS:
        raise InputError(f"reasks={reasks!r}: must be a whole number from 0 to {MAX_REASKS}")
    if not isinstance(lax, bool):
        raise InputError(f"lax={quoted(lax)}: must be True or False")
    if expected.schema is None:
        given = [name for name, value in (("mode", mode), ("reasks", reasks), ("lax", lax)) if value]
        if given:
            raise InputError(f"{given[0]}: means nothing without a schema; give `schema`, or leave it out")
        return
    provider = PROVIDERS.get(str(model).partition("/")[0])
    check_carried(expected.schema, mode, provider.dialect if provider else "openai")


def options_for_all(models: ModelRoute, given: dict[str, Any]) -> Options:
    """Validate the options for the provider of each of `models`. Raises `InputError`."""
    for model in models.fallbacks:
        options_for(model, given)
    return options_for(models.model, given)


def options_for(model: str, given: dict[str, Any]) -> Options:
    """Validate the options against the table's row of the model's provider. Raises `InputError`."""
    return parse_options(given, PROVIDERS.get(model.partition("/")[0]))


def tool_definitions(tools: Tools | None, choice: str | dict[str, Any] | None = None) -> ToolDefinitions:
    """Return tool definitions of functions and schemas. Raises `InputError` naming the place of anything else."""
    if isinstance(tools, ToolDefinitions):
        return tools if choice is None else msgspec.structs.replace(tools, choice=choice)
    if tools is not None and (isinstance(tools, str | Mapping) or not isinstance(tools, Iterable)):
        raise InputError(f"tools: must be a list of tools, not {type(tools).__name__}")
    schemas: list[Any] = [function_schema(tool) if callable(tool) else tool for tool in tools or ()]
    if choice is not None and not schemas:
        raise InputError("tool_choice: there are no tools to choose from; give `tools`")
    return ToolDefinitions(schemas=schemas or None, choice=choice)


def ttl_ms(ttl_s: float | None) -> int:
    """Return the lifetime of a result in milliseconds (None: an hour). Raises `InputError` outside 1 s … 7 days."""
    if ttl_s is None:
        return int(TTL_S * 1000)
    if isinstance(ttl_s, bool) or not isinstance(ttl_s, int | float) or not 1 <= ttl_s <= MAX_TTL_S:
        raise InputError(f"ttl_s={quoted(ttl_s)}: a result stays between 1 and {MAX_TTL_S} seconds (7 days)")
    return int(ttl_s * 1000)


def timeout_ms(timeout_s: float | None, default_s: float = TIMEOUT_S) -> int:
    """Return the timeout of a job in milliseconds (None: `default_s`). Raises `InputError` outside 1 s … 7 days."""
    if timeout_s is None:
        return int(default_s * 1000)
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not 1 <= timeout_s <= MAX_TIMEOUT_S:
        raise InputError(
            f"timeout_s={quoted(timeout_s)}: a job may take between 1 and {MAX_TIMEOUT_S} seconds (7 days)"
        )
    return int(timeout_s * 1000)


def encoded(job: Job) -> bytes:
    """Encode `job` as the stored body. Raises `InputError` for what JSON cannot hold, such as a lone surrogate."""
    try:
        return msgspec.json.encode(job)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"the job cannot be written as JSON: {shortened(str(error))}") from None


def checked_key(key: Any) -> str | None:
    """Return `key` if it is a valid idempotency key, or None. Raises `InputError`."""
    if key is not None and (not isinstance(key, str) or not 1 <= len(key) <= MAX_KEY_CHARS):
        raise InputError(f"idempotency_key={quoted(key)}: must be a text of 1 to {MAX_KEY_CHARS} characters, or None")
    return key


def checked_seconds(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= MAX_WINDOW_S:
        raise InputError(f"{name}={quoted(value)}: must be a number of seconds between 1 and {MAX_WINDOW_S}")
    return value


def checked_count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name}={quoted(value)}: must be a whole number, 1 or more")
    return value


def checked_text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise InputError(f"{name}={quoted(value)}: must be a text that is not empty")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{name}: character {error.start + 1} is half of one ({value[error.start]!r}): a text that was no UTF-8, or was "
            "cut in the middle of a character"
        ) from None
    return value
