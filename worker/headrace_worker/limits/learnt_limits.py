"""Learnt limits: what answers tell of their provider's limits becomes a limit once it was told twice, a second apart, and the
provider has not answered more calls than it claims to."""

from __future__ import annotations

from headrace_providers.wire.limit_headers import ToldLimits

CONFIRM_S = 1.0
REPEAT_S = 60.0
"""A limit that is told again is stored again so often; it is forgotten after ten minutes."""
EMPTY_REPEAT_S = 1.0
SLACK = 2.0
MIN_SLACK_CALLS = 5
"""More calls of a minute than so many times a limit, and so many, show that it is none."""


class LearntLimits:
    """Limits that were told of one model of a deployment, by the seconds of one clock."""

    def __init__(self) -> None:
        self._told: ToldLimits | None = None
        self._first_s = 0.0
        self._sent_s: float | None = None
        self._lies: set[int] = set()
        self._minute = 0
        self._answered = 0

    def hear(self, told: ToldLimits, now_s: float) -> ToldLimits | None:
        """Take account of the headers of one answer; return what is to be stored now, None for nothing."""
        if int(now_s / 60) != self._minute:
            self._minute, self._answered = int(now_s / 60), 0
        self._answered += 1
        if told.requests and self._answered > max(SLACK * told.requests, MIN_SLACK_CALLS):
            self._lies.add(told.requests)
        if told.requests in self._lies:
            return None
        limits = told._replace(empty_requests_s=0.0, empty_tokens_s=0.0)
        if limits != self._told:
            self._told, self._first_s, self._sent_s = limits, now_s, None
            return None
        if now_s - self._first_s < CONFIRM_S:
            return None
        is_empty = told.empty_requests_s or told.empty_tokens_s
        if self._sent_s is not None and now_s - self._sent_s < (EMPTY_REPEAT_S if is_empty else REPEAT_S):
            return None
        self._sent_s = now_s
        return told
