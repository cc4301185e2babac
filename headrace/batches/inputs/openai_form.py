"""OpenAI's batch form as input: `{"custom_id", "method", "url", "body"}`, the body of each item as it would be posted."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from headrace.batches.template import Item, Template
from headrace.chat.options import COMPATIBLE, check_beside_schema
from headrace.chat.reserved_fields import check_reserved_fields
from headrace.chat.response_format import read_response_format
from headrace.chat.tool_schemas import located
from headrace.errors import InputError, SchemaError
from headrace.jobs.build import make_job
from headrace.schema.python_types import check_schema

URL = "/v1/chat/completions"
PATH = re.compile(r"(/[\w.-]+)*/chat/completions")
TAKEN = ("model", "messages", "tools", "tool_choice", "response_format", "stream", "stream_options", "n")
PASSED_ON = COMPATIBLE - {"n"} | {"parallel_tool_calls"}
INSTEAD = {"functions": "tools", "function_call": "tool_choice"}


def is_batch_form(fields: dict[str, Any], needed: list[str]) -> bool:
    """Return True if a record brings its own conversation; not when the prompt names its `body`, which is a field then."""
    body = fields.get("body")
    return isinstance(body, dict) and "body" not in needed and ("messages" in body or "url" in fields)


def read_body(fields: dict[str, Any], custom_id: str, template: Template) -> Item:
    """Return the item of one line. The batch's model answers it, whatever the body names; its options are laid over
    those of the batch. Raises `InputError` naming the place in the line."""
    # Numbers stay as they were written only in a prompt: what goes into a body is a number.
    try:
        body: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(fields["body"]))
    except msgspec.DecodeError as error:
        raise InputError(f"/body: {error}") from None
    check_envelope(fields, body)
    try:
        job, _ = make_job(
            template.model,
            body.get("messages"),  # type: ignore[arg-type] (checked there)
            tools=body.get("tools") or None,
            tool_choice=body.get("tool_choice") if body.get("tools") else None,
            **options_of(body),
        )
    except InputError as error:
        place = str(error)
        raise InputError(f"/body{place}" if place.startswith("/") else f"/body: {place}") from None
    if template.schema is not None:
        check_beside_schema(job.options)
        if job.tools and template.mode == "tool_call":
            raise InputError("/body/tools: the schema travels as a tool in mode tool_call; choose another --mode")
    return Item(
        custom_id=custom_id,
        messages=job.messages,
        tools=job.tools,
        tool_choice=job.tool_choice,
        options=job.options,
        response_format=response_format(body.get("response_format"), template),
    )


def check_envelope(fields: dict[str, Any], body: dict[str, Any]) -> None:
    method, url = fields.get("method"), fields.get("url")
    if method not in (None, "POST"):
        raise InputError(f"/method: must be POST, not {method!r:.40}")
    if url is not None and not (isinstance(url, str) and PATH.fullmatch(url)):
        raise InputError(f"/url: must be {URL}, not {url!r:.80}: other endpoints are not called")
    for name, instead in INSTEAD.items():
        if body.get(name) is not None:
            raise InputError(f"/body/{name}: is no longer taken; write `{instead}`")
    check_reserved_fields(body, "/body/")
    if body.get("n") not in (None, 1):
        raise InputError(f"/body/n: a row of a batch holds one choice, not {body['n']!r:.40}")
    if body.get("stream") not in (None, False):
        raise InputError("/body/stream: a batch does not stream; leave it out")
    if not isinstance(body.get("tools"), list | None):
        raise InputError("/body/tools: must be a list of tools")


def options_of(body: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a body by the names that they have here; what has none goes to the provider as it is."""
    options = {name: value for name, value in body.items() if name in PASSED_ON and value is not None}
    newer = body.get("max_completion_tokens")
    if newer is not None:
        if options.get("max_tokens") not in (None, newer):
            raise InputError("max_tokens: max_completion_tokens says another number; give one of them, not both")
        options["max_tokens"] = newer
    extra = {
        name: value
        for name, value in body.items()
        if name not in PASSED_ON and name not in TAKEN and name != "max_completion_tokens" and value is not None
    }
    return options | ({"extra_body": extra} if extra else {})


def response_format(given: Any, template: Template) -> dict[str, Any] | None:
    schema, _, other = read_response_format(given, "/body/response_format")
    if schema is None and other is None:
        return None
    if template.schema is not None:
        raise InputError("/body/response_format: the batch has a schema of its own; leave one of the two out")
    if schema is not None:
        try:
            check_schema(schema)
        except SchemaError as error:
            raise located(error, "/body/response_format/json_schema/schema") from None
    return other or given
