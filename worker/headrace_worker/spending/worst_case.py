"""The most that one call can cost: what is reserved for it, and what it counts for when nobody hears what it did cost.

A token is a byte at least, so a request has no more tokens than bytes, beside what a provider adds to each message; media have
more than their address says. An answer is no longer than its maximum, the model's, or the context.
"""

from __future__ import annotations

from typing import Any

import msgspec
from headrace_providers.chat_completion import ChatCompletion

from headrace.errors import InputError
from headrace.jobs.job import Job
from headrace.spend.prices import Profile

TOKENS_PER_REQUEST = 64
TOKENS_PER_MESSAGE = 16
TOKENS_PER_MEDIUM = 50_000
"""More than an image in its highest resolution takes at any known model."""
encode = msgspec.json.Encoder().encode


class NoBound(Exception):
    """Nothing bounds the cost of a call: `str()` says what is missing, and what to do."""


def worst_cost(provider: ChatCompletion, job: Job) -> int:
    """Return the most that a call of `job` can cost, in nano-USD. Raises `NoBound`."""
    name, profile = f"{provider.facts.name}/{provider.model_id}", provider.profile() or Profile()
    asked, answered = max_input(provider, job), max_output(job, profile)
    if profile.context_length is not None:
        asked = min(asked, profile.context_length)
    if answered is None:
        raise NoBound(
            f"{name}: how long an answer can be is unknown: set max_completion_tokens, or `max_output` in a profile"
        )
    worst = profile.worst_nano(asked, answered * (job.options.n or 1), job.options.service_tier)
    if worst is None:
        raise NoBound(f"{name}: its price is unknown: write it into the file that HEADRACE_PROFILES names")
    return worst


def max_input(provider: ChatCompletion, job: Job) -> int:
    try:
        size = len(encode(provider.body(job)))
    except (InputError, TypeError, ValueError):  # it will fail before it is sent
        size = 0
    media = sum(media_in(message.get("content")) for message in job.messages)
    return TOKENS_PER_REQUEST + TOKENS_PER_MESSAGE * len(job.messages) + TOKENS_PER_MEDIUM * media + size


def max_output(job: Job, profile: Profile) -> int | None:
    known = (job.options.max_tokens, profile.max_output, profile.context_length)
    return next((number for number in known if number is not None), None)


def media_in(content: Any) -> int:
    if not isinstance(content, list):
        return 0
    return sum(isinstance(part, dict) and part.get("type") not in ("text", "refusal") for part in content)
