"""The limits that workers share, as they stand: what `headrace limits` and `headrace doctor` show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.ledger.keys import Keys
from headrace.ledger.script import Ledger

MAX_LISTED = 200


class LimitRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a deployment, or of one model there: a minute's requests and tokens, and calls in flight; None for none.

    `configured` is the strictest of what the workers were given, `configurations` counts how many different ones that are,
    `learnt` is what answers have told. `requests` and `tokens` are those of the last minute that were granted, `in_flight` the
    calls under way; they are counted while something is limited. It is held for `held_s` more seconds, because of `reason`.
    """

    name: str
    configured: dict[str, int] = {}
    configurations: int = 0
    learnt: dict[str, int] = {}
    requests: int = 0
    tokens: int = 0
    in_flight: int = 0
    held_s: float = 0.0
    reason: str = ""


async def limit_records(ledger: Ledger) -> list[LimitRecord]:
    """Return all limits, by name."""
    names = await ledger.client.hgetall(ledger.keys.limits)
    scopes = list(names)[:MAX_LISTED]
    async with ledger.client.pipeline(transaction=False) as pipeline:
        pipeline.time()
        for scope in scopes:
            pipeline.hgetall(ledger.keys.limit(scope.decode(errors="replace")))
        (seconds, micros), *stored = await pipeline.execute(raise_on_error=False)
    return records_of(names, dict(zip(scopes, stored, strict=True)), seconds * 1000 + micros // 1000)


def read_limits(client: Any, keys: Keys) -> list[LimitRecord]:
    """Return all limits, by name, over a client without `await`."""
    names = client.hgetall(keys.limits)
    scopes = list(names)[:MAX_LISTED]
    with client.pipeline(transaction=False) as pipeline:
        pipeline.time()
        for scope in scopes:
            pipeline.hgetall(keys.limit(scope.decode(errors="replace")))
        (seconds, micros), *stored = pipeline.execute(raise_on_error=False)
    return records_of(names, dict(zip(scopes, stored, strict=True)), seconds * 1000 + micros // 1000)


def records_of(names: Mapping[bytes, bytes], stored: Mapping[bytes, Any], now_ms: int) -> list[LimitRecord]:
    """Return the records in the hashes of the scopes that have a name; what is no hash is left out."""
    found = [
        record_of(names[scope].decode(errors="replace"), fields, now_ms)
        for scope, fields in stored.items()
        if isinstance(fields, dict) and fields
    ]
    return sorted(found, key=lambda record: record.name)


def record_of(name: str, stored: Mapping[bytes, bytes], now_ms: int) -> LimitRecord:
    fields = {field.decode(errors="replace"): value.decode(errors="replace") for field, value in stored.items()}

    def number(field: str) -> int:
        text = fields.get(field, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0

    given, in_flight = set[str](), 0
    for field, value in fields.items():
        until, _, rest = value.partition(" ")
        if field[:2] in ("c:", "p:") and until.isdigit() and len(until) < 19 and int(until) > now_ms:
            if field[:2] == "c:":
                given.add(rest)
            else:
                held = rest.partition(" ")[0]
                in_flight += int(held) if held.isdigit() and len(held) < 10 else 0
    is_learnt = number("learnt_until") > now_ms
    part = (now_ms % 60_000) / 60_000
    age = now_ms // 60_000 - number("minute")  # 0: it is this minute that is counted

    def of_last_minute(this: str, before: str) -> int:
        now, then = (number(this), number(before)) if age == 0 else (0, number(this) if age == 1 else 0)
        return round(now + then * (1 - part))

    held_s = max(0.0, number("hold") / 1e6 - now_ms / 1000)
    return LimitRecord(
        name=name,
        configured={kind: number(kind) for kind in ("requests", "tokens", "in_flight") if number(kind)},
        configurations=len(given),
        learnt={
            kind: number(f"learnt_{kind}") for kind in ("requests", "tokens") if is_learnt and number(f"learnt_{kind}")
        },
        requests=of_last_minute("calls", "calls_before"),
        tokens=of_last_minute("tokens_granted", "tokens_before"),
        in_flight=in_flight,
        held_s=round(held_s, 1),
        reason=fields.get("reason", "") if held_s else "",
    )
