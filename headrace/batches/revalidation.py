"""Validate what is read back from Redis as if it came from a caller: it may be damaged, of another version, or written by
anybody with access. What cannot be used is refused by name, before a call is paid or sent."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec

from headrace.batches.template import Template, checked_weight
from headrace.chat.messages import check_conversation
from headrace.chat.model_aliases import MAX_FALLBACKS
from headrace.chat.options import MAX_CHOICES, Options, check_beside_schema, check_options
from headrace.chat.prompt_prefix import check_prefix_key
from headrace.chat.routing import check_routing
from headrace.errors import Damaged, InputError
from headrace.jobs.build import MAX_REASKS
from headrace.jobs.job import Job
from headrace.text.readable import UNREADABLE


def job_of(body: bytes) -> Job:
    """Return the job in a body. Raises one of `UNREADABLE`, or `InputError` for what nobody may ask for."""
    job = msgspec.json.decode(body, type=Job)
    check_job(job)
    return job


def check_job(job: Job) -> None:
    """Raise `InputError` for what could not have been submitted. The provider's own rules are checked with the request."""
    check_conversation(job.messages)
    check_asked(job.options, job.schema, job.reasks, choices=MAX_CHOICES)
    check_fallbacks(job.fallbacks)
    check_routing(job.routing, (job.model, *job.fallbacks))
    check_prefix_key(job.prefix_key)
    if job.prefilling and job.schema is not None:
        raise InputError("prefilling: a schema's answer cannot begin with it")


def template_of(body: bytes) -> Template:
    """Return the template in its bytes. Raises one of `UNREADABLE`, or `InputError`."""
    template = msgspec.json.decode(body, type=Template)
    check_asked(template.options, template.schema, template.reasks)
    check_fallbacks(template.fallbacks)
    check_routing(template.routing, (template.model, *template.fallbacks))
    check_prefix_key(template.prefix_key)
    checked_weight(template.weight)
    return template


def template_named(body: bytes, sha: str, batch_id: str) -> Template:
    """Return the template of a batch, whose record names its hash. Raises `Damaged` for any other."""
    try:
        if sha256(body).hexdigest() == sha:
            return template_of(body)
    except (*UNREADABLE, InputError):
        pass
    raise Damaged(batch_id, "its template in Redis is not what was submitted; extract the input anew")


def check_fallbacks(models: list[str]) -> None:
    if len(models) > MAX_FALLBACKS:
        raise InputError(f"fallbacks: must be {MAX_FALLBACKS} models at most, not {len(models)}")


def check_asked(options: Options, schema: dict[str, Any] | None, reasks: int, *, choices: int = 1) -> None:
    if not 0 <= reasks <= MAX_REASKS:
        raise InputError(f"reasks={reasks}: must be a whole number from 0 to {MAX_REASKS}")
    check_options(options)
    if schema is not None:
        check_beside_schema(options, choices=choices)
