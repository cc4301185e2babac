"""A job becomes a request body, in OpenAI's names; the provider's own `adapt` has the last word."""

from __future__ import annotations

import re
from typing import Any

from headrace.facts import Provider
from headrace.job import Job
from headrace.schema.validate import is_strict


def build_body(job: Job, model: str, provider: Provider) -> dict[str, Any]:
    """The JSON body of `POST {base_url}/chat/completions`. Nothing that is not set reaches the wire."""
    body: dict[str, Any] = {"model": model, "messages": job.messages, **job.options.wire()}
    for ours, theirs in provider.renamed:
        if ours in body:
            body[theirs] = body.pop(ours)
    if job.schema is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {
                "name": schema_name(job.schema_name),
                "schema": job.schema,
                # A provider refuses `strict` for a schema outside its subset, so it is only claimed where it holds.
                "strict": is_strict(job.schema),
            },
        }
    if job.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return body


def schema_name(name: str) -> str:
    """The name as providers take it: `^[a-zA-Z0-9_-]{1,64}$` (reference, section 3.2)."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:64] or "answer"
