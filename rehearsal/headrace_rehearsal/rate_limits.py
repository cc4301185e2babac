"""Limits as providers enforce them: requests and tokens a minute, each a bucket that holds a second's worth.

A call that finds too little in a bucket is refused with 429 and `Retry-After`, and takes nothing. Its tokens are those of the
prompt and of the answer. With limits every answer carries OpenAI's `x-ratelimit-*` headers.
"""

from __future__ import annotations

from headrace_rehearsal.dialects import RefusedRequest

BURST_S = 1.0


class Bucket:
    """So many a minute; full at first. Times are the loop's."""

    def __init__(self, kind: str, per_minute: float):
        self.kind = kind
        self.per_minute = per_minute
        self.per_s = per_minute / 60
        self.size = max(1.0, self.per_s * BURST_S)
        self._left = self.size
        self._at = 0.0

    def lacks_s(self, amount: float, now: float) -> float:
        """Return the seconds until `amount` is there; 0 when it is. One that is larger than the bucket needs it full."""
        self._left = min(self.size, self._left + (now - self._at) * self.per_s) if self._at else self.size
        self._at = now
        return max(0.0, (min(amount, self.size) - self._left) / self.per_s)

    def take(self, amount: float) -> None:
        self._left -= amount

    def headers(self) -> dict[str, str]:
        used = self.size - self._left
        return {
            f"x-ratelimit-limit-{self.kind}": f"{self.per_minute:.0f}",
            f"x-ratelimit-remaining-{self.kind}": f"{max(0.0, self.per_minute - used):.0f}",
            f"x-ratelimit-reset-{self.kind}": f"{used / self.per_s:.3f}s",
        }


class RateLimits:
    """The limits of one provider; 0 is none."""

    def __init__(self, *, requests: float = 0, tokens: float = 0):
        kinds = {"requests": requests, "tokens": tokens}
        self._buckets = [Bucket(kind, per_minute) for kind, per_minute in kinds.items() if per_minute]

    def __bool__(self) -> bool:
        return bool(self._buckets)

    def admit(self, tokens: int, now: float) -> dict[str, str]:
        """Take a call of so many tokens and return the headers of its answer. Raises `RefusedRequest`."""
        amounts = [1 if bucket.kind == "requests" else tokens for bucket in self._buckets]
        lacking = [bucket.lacks_s(amount, now) for bucket, amount in zip(self._buckets, amounts, strict=True)]
        if wait_s := max(lacking, default=0.0):
            kind = self._buckets[lacking.index(wait_s)].kind
            refused = RefusedRequest(429, f"Rate limit reached on {kind} per min.", code="rate_limit_exceeded")
            refused.retry_after_s = max(0.001, round(wait_s, 3))
            raise refused
        for bucket, amount in zip(self._buckets, amounts, strict=True):
            bucket.take(amount)
        return {name: value for bucket in self._buckets for name, value in bucket.headers().items()}
