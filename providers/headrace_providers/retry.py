"""When to ask again, and after how long. There is one layer that retries: a provider class called directly, or the
engine, never both, and never the transport."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from headrace.errors import CallError, SettingsError
from headrace.settings import number_in

MAX_OBEYED_S = 120.0
"""A longer `Retry-After` is not waited out by a call: the error says how long, and the caller decides."""


class Retry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`attempts` calls at most, over `delay_limit_s` at most (0: no limit), waiting between them with full jitter:
    anything up to `first_s` doubled with each attempt, `longest_s` at most."""

    attempts: Annotated[int, Meta(ge=1, le=100)] = 5
    first_s: Annotated[float, Meta(ge=0)] = 0.5
    longest_s: Annotated[float, Meta(ge=0)] = 8.0
    delay_limit_s: Annotated[float, Meta(ge=0)] = 0.0

    def backoff_s(self, attempt: int) -> float:
        return random.uniform(0, min(self.first_s * 2 ** (attempt - 1), self.longest_s))

    def wait_s(self, error: CallError, attempt: int, elapsed_s: float) -> float | None:
        """Return how long to wait after the `attempt`th call failed with `error`; None when it is not worth another."""
        if not error.retryable or attempt >= self.attempts:
            return None
        wait = self.backoff_s(attempt) if error.retry_after_s is None else error.retry_after_s
        over = bool(self.delay_limit_s) and elapsed_s + wait > self.delay_limit_s
        return None if over or wait > MAX_OBEYED_S else wait


NO_RETRY = Retry(attempts=1)
DEFAULT = Retry()
ATTEMPTS = DEFAULT.attempts
backoff_s = DEFAULT.backoff_s


def from_environment(environ: Mapping[str, str] | None = None) -> Retry:
    """The default, with `OPENAI_MAX_RETRIES` retries after the first attempt where that is set (statement 26)."""
    retries = number_in(environ, "OPENAI_MAX_RETRIES", 0)
    if retries is None:
        return DEFAULT
    if retries != int(retries) or retries > 99:
        raise SettingsError(f"OPENAI_MAX_RETRIES={retries:g}: must be a whole number, at most 99")
    return Retry(attempts=int(retries) + 1)
