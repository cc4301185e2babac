"""When a file expires: OpenAI's policy, `{"anchor": "created_at", "seconds": …}`."""

from __future__ import annotations

from typing import Any

from headrace_api.errors import ApiError

MIN_EXPIRES_S, MAX_EXPIRES_S = 3600, 30 * 24 * 3600
ANCHOR = "created_at"


def checked_policy(given: Any, param: str) -> int | None:
    """Return the seconds of a policy; None for none. Raises `ApiError` naming the place in it."""
    if given is None:
        return None
    if not isinstance(given, dict) or set(given) - {"anchor", "seconds"}:
        raise ApiError(400, "invalid_request", f"{param}: must be an object with `anchor` and `seconds`", param=param)
    if given.get("anchor") != ANCHOR:
        raise ApiError(400, "invalid_request", f"{param}.anchor: must be '{ANCHOR}'", param=f"{param}.anchor")
    seconds, place = given.get("seconds"), f"{param}.seconds"
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not MIN_EXPIRES_S <= seconds <= MAX_EXPIRES_S:
        message = f"{place}: must be a whole number from {MIN_EXPIRES_S} (an hour) to {MAX_EXPIRES_S} (30 days)"
        raise ApiError(400, "invalid_request", message, param=place)
    return seconds
