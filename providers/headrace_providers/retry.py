"""The one retry loop, and its policy: when to ask again, and after how long. There is one layer that retries: a provider
class called directly, or the engine, never both, and never the transport."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from headrace.errors import CallError, SettingsError
from headrace.settings import number_in

T = TypeVar("T")

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

    def is_left(self, error: CallError, spent: int) -> bool:
        """Return True if another attempt may follow `error`, which ended the last of `spent` attempts."""
        return error.retryable and spent < self.attempts

    def pause_s(self, error: CallError, attempt: int) -> float:
        """Return how long to wait after the `attempt`th call failed: as long as the provider says, else the backoff."""
        return self.backoff_s(attempt) if error.retry_after_s is None else error.retry_after_s

    def wait_s(self, error: CallError, attempt: int, elapsed_s: float) -> float | None:
        """Return how long a caller waits after the `attempt`th call failed with `error`; None when no other is to follow."""
        if not self.is_left(error, attempt):
            return None
        wait = self.pause_s(error, attempt)
        over = bool(self.delay_limit_s) and elapsed_s + wait > self.delay_limit_s
        return None if over or wait > MAX_OBEYED_S else wait


async def with_retries(
    attempt: Callable[[], Awaitable[T]],
    *,
    wait_s: Callable[[CallError], float | None],
    pause: Callable[[float], Awaitable[None]],
) -> T:
    """Await `attempt()` until it answers. After each failure `wait_s` says how long to `pause`, or None: then it is raised."""
    while True:
        try:
            return await attempt()
        except CallError as error:
            wait = wait_s(error)
            if wait is None:
                raise
        await pause(wait)


NO_RETRY = Retry(attempts=1)
DEFAULT = Retry()


def from_environment(environ: Mapping[str, str] | None = None) -> Retry:
    """Return the default policy, with `OPENAI_MAX_RETRIES` retries after the first attempt where that is set (conformance 26)."""
    retries = number_in(environ, "OPENAI_MAX_RETRIES", 0)
    if retries is None:
        return DEFAULT
    if retries != int(retries) or retries > 99:
        raise SettingsError(f"OPENAI_MAX_RETRIES={retries:g}: must be a whole number, at most 99")
    return Retry(attempts=int(retries) + 1)
