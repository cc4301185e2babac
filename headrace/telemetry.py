"""The one table of what the service tells of itself: its metrics and its spans, with their labels.

Who records uses the constants of this table, so that nothing is told that is not in it; `docs/metrics.md`, the dashboard and the
alerts are held to it by tests. Log events are spelled where they are logged and listed in `docs/logs.md`, which is held to the
code in the same way.

A label has values of a set that is bounded (`Label`): never a prompt, an answer, a key or the id of a job.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

MAX_MODELS = 100
"""Models that have a value of their own of the label `model`, per process; all others are `OTHER`."""
OTHER = "other"


class Label(NamedTuple):
    """A label: its name, and what bounds its values."""

    name: str
    values: str


PROVIDER = Label("provider", "the providers of the table and of `HEADRACE_PROVIDERS`")
MODEL = Label("model", f"models that have answered, {MAX_MODELS} a process; else `{OTHER}`")
OUTCOME = Label("outcome", "`ok`, or the code of the failure")
CODE = Label("code", "the code of the failure")
TOKENS_OF = Label("kind", "`input`, `output`; `cached` is a part of `input`, `reasoning` of `output`")
RECORD = Label("kind", "`job`, `shard`, `join`, `check`")
ENDED = Label("kind", "`job`, `item`")
STATE = Label("state", "states of records: `queued`, `running`, `parked`")
ITEM_STATE = Label("state", "`succeeded`, `failed`, `cancelled`, `dead`, `left`")
END_STATE = Label("state", "`succeeded`, `failed`, `cancelled`, `dead`")
QUEUE = Label("queue", "`interactive`, `bulk`, `quarantine`")
REASON = Label("reason", "`rate_limited`, or another code of a failure; `draining`, `storage`, `version`")
LIMIT_OF = Label("limit_of", "a provider or `provider/model`, as `headrace limits` lists them, 200 at most")
LIMIT = Label("limit", "`requests` and `tokens` (a minute), `in_flight`")
MONEY = Label("kind", "`answers`: what answers cost; `unaccounted`: what calls may have cost whose usage never came")
BUDGET = Label("budget", "`tenant`, `day`; `batches`: those of the open batches together, of 100 batches at most")
STATUS = Label("status", "the HTTP status")
CAUSE = Label("cause", "`cache`: a kept answer; `join`: that of an equal request, or line, that was under way")

Kind = Literal["counter", "gauge", "histogram"]
Unit = Literal["", "seconds", "usd", "bytes"]
Source = Literal["worker", "gateway", "process", "ledger"]
"""Which processes tell it: workers, gateways, or both, each of itself; `ledger`: both, and each says the same."""

LATENCY_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
LAG_S = (0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metric(NamedTuple):
    """One metric. A counter's name ends in `_total`; a histogram has the upper bounds of its `buckets`."""

    name: str
    kind: Kind
    unit: Unit
    source: Source
    labels: tuple[Label, ...]
    help: str
    buckets: tuple[float, ...] = ()


class Span(NamedTuple):
    """One kind of span: its name (`{model}` stands for the model's), where it begins, its attributes."""

    name: str
    parent: str
    attributes: tuple[str, ...]
    help: str


_CALL = (PROVIDER, MODEL)

# fmt: off
# ruff: noqa: E501 (a table is read by its columns)
CALLS = Metric("headrace_calls_total", "counter", "", "worker", (*_CALL, OUTCOME), "Calls to providers that have ended")
CALLS_IN_FLIGHT = Metric("headrace_calls_in_flight", "gauge", "", "worker", (), "Calls to providers under way")
CALL_SECONDS = Metric("headrace_call_seconds", "histogram", "seconds", "worker", _CALL, "From a call's request to its whole answer, or its failure", LATENCY_S)
FIRST_TOKEN_SECONDS = Metric("headrace_first_token_seconds", "histogram", "seconds", "worker", _CALL, "From a streamed call's request to its first token", LATENCY_S)
WAIT_SECONDS = Metric("headrace_call_wait_seconds", "histogram", "seconds", "worker", (PROVIDER,), "How long calls waited in a worker for a limit, a hold or a slot before they began", LATENCY_S)
TOKENS = Metric("headrace_tokens_total", "counter", "", "worker", (*_CALL, TOKENS_OF), "Tokens of answers, as providers count them")
COST = Metric("headrace_cost_usd_total", "counter", "usd", "worker", _CALL, "What answers cost, where a price is known")
UNPRICED = Metric("headrace_calls_without_price_total", "counter", "", "worker", _CALL, "Answers whose cost is not known")
RATE_LIMITED = Metric("headrace_rate_limited_total", "counter", "", "worker", _CALL, "Calls that were refused with 429")
RETRIES = Metric("headrace_retries_total", "counter", "", "worker", (PROVIDER, CODE), "Calls that are made again after a failure")
FALLBACKS = Metric("headrace_fallbacks_total", "counter", "", "worker", (PROVIDER, CODE), "Failures after which another deployment of the alias was asked")
REASKS = Metric("headrace_reasks_total", "counter", "", "worker", (PROVIDER,), "Calls that asked again because an answer was not valid under its schema")
PARKED = Metric("headrace_parked_total", "counter", "", "worker", (RECORD, REASON), "Jobs and shards that were sent away to wait without a slot")
SAVED = Metric("headrace_calls_saved_total", "counter", "", "worker", (CAUSE,), "Calls that were not made, for an answer was there")
CACHE_MISSES = Metric("headrace_cache_misses_total", "counter", "", "worker", (), "Questions looked up in the answer cache that had no answer there")
ENDS = Metric("headrace_ends_total", "counter", "", "worker", (ENDED, END_STATE), "Jobs, and items of batches, that ended in a worker")
HELD = Metric("headrace_records_held", "gauge", "", "worker", (), "Records that the worker holds leases of")
LEADS = Metric("headrace_leader", "gauge", "", "worker", (), "1 in the worker that does maintenance")

STREAMS = Metric("headrace_streams", "gauge", "", "gateway", (), "Viewers: open streams and WebSockets")
FOLLOWED = Metric("headrace_followed_logs", "gauge", "", "gateway", (), "Event logs that are followed for viewers")
BUFFERED = Metric("headrace_log_buffer_bytes", "gauge", "bytes", "gateway", (), "Events that are kept in memory for viewers")
RESPONSES = Metric("headrace_http_responses_total", "counter", "", "gateway", (STATUS,), "Answers to HTTP requests, those to `/healthz` and `/metrics` too")

LOOP_LAG = Metric("headrace_loop_lag_seconds", "histogram", "seconds", "process", (), "How late the event loop wakes who has slept for half a second", LAG_S)

QUEUE_LENGTH = Metric("headrace_queue_length", "gauge", "", "ledger", (QUEUE,), "Hints that wait for a worker")
QUEUE_AGE = Metric("headrace_queue_age_seconds", "gauge", "seconds", "ledger", (QUEUE,), "How long the oldest hint has waited for a worker; 0 when none waits")
RECORDS = Metric("headrace_records", "gauge", "", "ledger", (RECORD, STATE), "Records that have not ended; beyond 200 that wait or run, estimated from 200 drawn at random")
OPEN_BATCHES = Metric("headrace_open_batches", "gauge", "", "ledger", (), "Batches whose items run, or are paused")
BATCH_ITEMS = Metric("headrace_batch_items", "gauge", "", "ledger", (ITEM_STATE,), "Items of the open batches, of 100 batches at most")
LIMITS = Metric("headrace_limit", "gauge", "", "ledger", (LIMIT_OF, LIMIT), "A limit that workers keep together: the stricter of what is configured and learnt")
LIMIT_USED = Metric("headrace_limit_used", "gauge", "", "ledger", (LIMIT_OF, LIMIT), "What was granted of it in the last minute; of `in_flight`, what is under way")
HOLD_SECONDS = Metric("headrace_hold_seconds", "gauge", "seconds", "ledger", (LIMIT_OF,), "How long a provider asked not to be called, from now")
BREAKER_OPEN = Metric("headrace_breaker_open", "gauge", "", "ledger", (LIMIT_OF,), "1 while the circuit breaker of a deployment is open, 0.5 while it is half open; none while it is closed")
CACHE_BYTES = Metric("headrace_cache_bytes", "gauge", "bytes", "ledger", (), "What the cached answers take in Redis, by our own count")
SET_ASIDE = Metric("headrace_set_aside_total", "counter", "", "ledger", (), "Damaged messages, records and logs that were set aside")
SPENT = Metric("headrace_spent_usd_total", "counter", "usd", "ledger", (MONEY,), "What all calls of the service have cost, in whichever process")
SAVED_MONEY = Metric("headrace_saved_usd_total", "counter", "usd", "ledger", (), "What answers would have cost that were known already")
BUDGET_LEFT = Metric("headrace_budget_left_usd", "gauge", "usd", "ledger", (BUDGET,), "What is left of each budget that is set, without what is reserved for calls under way")
LEDGER_UP = Metric("headrace_ledger_up", "gauge", "", "process", (), "1 when the ledger was read for this answer, 0 when it did not answer in time")

METRICS = (
    CALLS, CALLS_IN_FLIGHT, CALL_SECONDS, FIRST_TOKEN_SECONDS, WAIT_SECONDS, TOKENS, COST, UNPRICED, RATE_LIMITED, RETRIES, FALLBACKS,
    REASKS, PARKED, SAVED, CACHE_MISSES, ENDS, HELD, LEADS, STREAMS, FOLLOWED, BUFFERED, RESPONSES, LOOP_LAG, QUEUE_LENGTH, QUEUE_AGE,
    RECORDS, OPEN_BATCHES, BATCH_ITEMS, LIMITS, LIMIT_USED, HOLD_SECONDS, BREAKER_OPEN, CACHE_BYTES, SET_ASIDE, SPENT, SAVED_MONEY, BUDGET_LEFT,
    LEDGER_UP,
)

_REQUEST = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.request.stream", "server.address")
_ANSWER = ("gen_ai.response.model", "gen_ai.response.id", "gen_ai.response.finish_reasons", "gen_ai.response.time_to_first_chunk")
_USAGE = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.reasoning.output_tokens")

SPANS = (
    Span("job", "the producer's span (`traceparent`)", ("headrace.record", "headrace.state", "error.type"), "A job, from its submission to its end in a worker"),
    Span("batch", "the producer's span (`traceparent`)", ("headrace.record", "headrace.state", "error.type"), "A batch, from its opening to its close"),
    Span("attempt", "`job` or `batch`", ("headrace.record", "headrace.kind", "headrace.epoch", "error.type"), "One attempt at a job, or at a shard, the check or the join of a batch"),
    Span("chat {model}", "`attempt`", (*_REQUEST, *_ANSWER, *_USAGE, "headrace.record", "headrace.call", "error.type"), "One call to a provider"),
)
# fmt: on
