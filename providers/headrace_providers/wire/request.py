"""A job becomes a request: URL, headers, JSON body. This is the only builder; a provider's `adapt` is its last step."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from headrace.chat.options import ONE_LIMIT, Options, merged, merged_plugins
from headrace.chat.provider_table import Provider
from headrace.chat.tools import ToolDefinitions, wire_tools
from headrace.jobs.job import Job
from headrace.logs import get_logger
from headrace.schema.modes import Mode, form_of
from headrace.text.masking import masked
from headrace_providers.wire.history import as_wanted
from headrace_providers.wire.response_format import with_schema

log = get_logger("headrace.providers.wire.request")

Body = dict[str, Any]
Adapt = Callable[[Body, Job, Provider], Body]
ACCOUNT = ("OPENAI_ORG_ID", "OpenAI-Organization"), ("OPENAI_PROJECT_ID", "OpenAI-Project")
MERGED = (
    *("reasoning", "chat_template_kwargs", "provider", "usage", "metadata", "logit_bias", "prediction"),
    *("audio", "web_search_options", "structured_outputs"),
)


REQUEST_ID = "X-Client-Request-Id"
"""The header that names a call at the provider."""


class Request(msgspec.Struct, frozen=True):
    """A request as it is sent: `POST url`, with exactly these headers beside the transport's own, and `body` as JSON."""

    url: str
    headers: dict[str, str]
    body: Body

    def __repr__(self) -> str:  # its headers hold the credential, its body the prompt: neither belongs into a traceback
        return f"Request({masked(self.url)!r})"


def build_body(job: Job, model: str, provider: Provider, adapt: Adapt, mode: Mode = "strict") -> Body:
    """Return the JSON body of `POST {base_url}/chat/completions`, a schema in `mode`. Nothing that is not
    set reaches the wire."""
    options = job.options
    talk = as_wanted(job.messages, provider)
    body: Body = {"model": model, "messages": talk}
    if job.prefilling:
        body["messages"] = [*talk, {"role": "assistant", "content": job.prefilling}]
    for name, value in options.wire().items():
        if name in provider.unsupported:
            warn_unsupported(provider.name, name)
        elif name not in provider.silent:
            body[provider.renamed.get(name, name)] = value
    if job.prefix_key and provider.prompt_cache_key and "prompt_cache_key" not in body:
        body["prompt_cache_key"] = job.prefix_key
    if job.tools:
        definitions = ToolDefinitions(schemas=job.tools, choice=job.tool_choice)
        body |= wire_tools(definitions, parallel=options.parallel_tool_calls, dialect=provider.dialect)
    if job.response_format is not None:
        body["response_format"] = job.response_format
    elif job.schema is not None and job.parser is None:
        body |= with_schema(body, form_of(job.schema, mode, provider.dialect), schema_name(job.schema_name))
    if job.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return with_extra(adapt(body, job, provider), options.extra_body)


def schema_name(name: str) -> str:
    """Return the name as providers take it: `^[a-zA-Z0-9_-]{1,64}$`."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:64] or "answer"


def with_extra(body: Body, extra: Mapping[str, Any] | None) -> Body:
    """Merge `extra_body` last: its keys win, objects that both have are merged at every level, plug-ins by their id.

    What the caller set by a named option wins over the same key of a merged object (conformance 30 and 38).
    """
    for name, value in (extra or {}).items():
        if name in ONE_LIMIT:
            for other in ONE_LIMIT - {name}:
                body.pop(other, None)
        ours = body.get(name)
        if name in MERGED and isinstance(ours, dict) and isinstance(value, dict):
            body[name] = merged(value, ours)
        elif name == "plugins" and isinstance(ours, list) and isinstance(value, list):
            body[name] = merged_plugins(value, ours)
        elif value is not None:
            body[name] = value
        else:
            body.pop(name, None)
    return body


@lru_cache(maxsize=256)
def warn_unsupported(provider: str, option: str) -> None:
    """Say once in a process that an option has no effect there."""
    log.warning("option left out: the provider does not take it", provider=provider, option=option)


def request_headers(facts: Provider, key: str, options: Options) -> dict[str, str]:
    """Return the credential, the provider's own headers, the account's where they are meant for it, and the caller's, which
    win."""
    headers = {"Authorization": f"Bearer {key}"} | facts.headers
    if facts.account_headers:
        headers |= {name: os.environ[variable] for variable, name in ACCOUNT if os.environ.get(variable)}
    theirs = options.extra_headers or {}
    lower_names = {name.lower() for name in theirs}
    return {name: value for name, value in headers.items() if name.lower() not in lower_names} | theirs
