"""OpenAI's chat-completions body, decoded to a job. Unknown fields go to the provider unchanged (`extra_body`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

import msgspec

from headrace.chat.options import MAX_CHOICES, Options
from headrace.chat.reserved_fields import check_reserved_fields
from headrace.chat.response_format import read_response_format
from headrace.chat.tool_schemas import located
from headrace.errors import InputError, SchemaError
from headrace.jobs.build import make_job
from headrace.jobs.job import Job
from headrace.schema.validate import MAX_DEPTH, too_deep
from headrace.text.quoting import shortened
from headrace_api.requests.value_count import MAX_NODES, too_many_nodes
from headrace_api.shapes.chat import OPTION_NAMES, HeadraceOptions

OWN = frozenset(HeadraceOptions.__struct_fields__)
GONE = {"functions": "tools", "function_call": "tool_choice"}
TAKEN = frozenset({"model", "messages", "tools", "tool_choice", "response_format", "stream", "stream_options", "n"})
LARGE_BYTES = 4096
readers = ThreadPoolExecutor(2, thread_name_prefix="headrace-body")
P = ParamSpec("P")
T = TypeVar("T")


class ChatRequest(msgspec.Struct, frozen=True):
    """A decoded body. `own` is the object `headrace` in it."""

    job: Job
    stream: bool
    include_usage: bool
    own: dict[str, Any]


async def sized(size: int, work: Callable[P, T], *args: P.args, **words: P.kwargs) -> T:
    """Return the result of `work` on a body of `size` bytes; a large one is processed in a thread, so that it blocks no
    stream."""
    if size <= LARGE_BYTES:
        return work(*args, **words)
    return await asyncio.get_running_loop().run_in_executor(readers, partial(work, *args, **words))


def read_object(raw: bytes) -> dict[str, Any]:
    """Decode a request's body, a JSON object. Raises `InputError`, for one of too many values before it is decoded."""
    if too_many_nodes(raw):
        raise InputError(f"the body has more than {MAX_NODES} values")
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"the body is no JSON: {error}") from None
    if not isinstance(body, dict):
        raise InputError("the body must be a JSON object")
    if too_deep(body):
        raise InputError(f"the body is nested more than {MAX_DEPTH} deep")
    return body


def read_chat_request(body: dict[str, Any], *, streams: bool = False) -> ChatRequest:
    """Decode a chat-completions body to a job. `streams`: stream deltas even if the body does not ask for it. Raises
    `InputError` naming the place."""
    check_reserved_fields(body)
    for name, instead in GONE.items():
        if body.get(name) is not None:
            raise InputError(f"{name}: is no longer taken; write `{instead}`")
    n = body.get("n")
    if n is not None and (isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MAX_CHOICES):
        raise InputError(f"n={n!r:.40}: must be a whole number from 1 to {MAX_CHOICES}")
    stream = body.get("stream")
    if not isinstance(stream, bool | None):
        raise InputError(f"stream={stream!r:.40}: must be true or false")
    own = body.get("headrace") or {}
    if not isinstance(own, dict) or set(own) - OWN:
        raise InputError(f"/headrace: must be an object with some of {', '.join(sorted(OWN))}")
    if not isinstance(own.get("join"), bool | None):
        raise InputError("/headrace/join: must be true or false")
    if own.get("on_disconnect") not in (None, "continue", "cancel"):
        raise InputError('/headrace/on_disconnect: must be "continue" or "cancel"')
    schema, name, other = read_response_format(body.get("response_format"))
    options = {name: value for name, value in body.items() if name in OPTION_NAMES and value is not None}
    options |= limit(body, options) | ({"n": n} if n not in (None, 1) else {})
    options |= native_options(own.get("options"))
    extra = {
        name: value
        for name, value in body.items()
        if name not in OPTION_NAMES | TAKEN | {"headrace", "max_completion_tokens", "functions", "function_call"}
    }
    if not isinstance(body.get("tools"), list | None):
        raise InputError("tools: must be a list of tools")
    try:
        job, _ = make_job(
            body.get("model"),  # type: ignore[arg-type] (checked there)
            body.get("messages"),  # type: ignore[arg-type]
            schema=schema,
            tools=body.get("tools") or None,
            tool_choice=body.get("tool_choice") if body.get("tools") else None,
            prefilling=own.get("prefilling"),
            on_retry=own.get("on_retry") or "fail",
            cache=own.get("cache", False),
            variant=own.get("variant"),
            mode=own.get("mode"),
            reasks=own.get("reasks", 0),
            lax=own.get("lax", False),
            stream=streams or bool(stream),
            **with_extra(options, extra),
        )
    except SchemaError as error:
        if error.pointer.startswith("/schemas/"):  # of a tool: its place is said
            raise
        raise located(error, "/response_format/json_schema/schema") from None
    job = msgspec.structs.replace(job, response_format=other, **({"schema_name": name} if name else {}))
    usage = body.get("stream_options")
    include_usage = isinstance(usage, dict) and usage.get("include_usage") is True
    return ChatRequest(job, bool(stream), include_usage, own)


def with_extra(options: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """Return `options` with the fields `extra` in their `extra_body`."""
    return options | {"extra_body": {**(options.get("extra_body") or {}), **extra}} if extra else options


def native_options(given: Any) -> dict[str, Any]:
    """Return options by the names that they have in headrace, which come over those of the body. Raises `InputError`."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InputError("/headrace/options: must be an object")
    options: dict[str, Any] = given
    unknown = [name for name in options if name not in Options.__struct_fields__]
    if unknown:
        raise InputError(
            f"/headrace/options/{shortened(unknown[0])}: is no option; what a provider takes beyond them is `extra_body`"
        )
    extra = options.get("extra_body")
    if not isinstance(extra, dict | None):
        raise InputError("/headrace/options/extra_body: must be an object")
    check_reserved_fields(
        {name: value for name, value in options.items() if name != "extra_body"}, "/headrace/options/"
    )
    check_reserved_fields(extra or {}, "/headrace/options/extra_body/")
    return options


def limit(body: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    newer = body.get("max_completion_tokens")
    if newer is None:
        return {}
    if options.get("max_tokens") not in (None, newer):
        raise InputError("max_tokens: max_completion_tokens says another number; give one of them, not both")
    return {"max_tokens": newer}
