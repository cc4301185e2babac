"""The types of events: the place where the names and the fields of events are spelled. docs/streaming.md and the types of
`headrace.js` are made of it. What a move of the ledger writes itself is spelled in its Lua as well: `attempt.start`, `end`, and
a batch's progress.

A stored event is what its type encodes to, byte for byte: its fields in the order in which they stand here. Optional ones are
left out where there is nothing to say, the others always written. So a new field is optional, and the last of its type.

A log may have been written by a newer release. An event of a type that is not known here is read as an `OtherEvent`. What is
more in one of the events that a fold keeps is kept with it, as attributes; elsewhere it is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import Struct

from headrace.events.message_shape import check_base64, check_message

T = TypeVar("T")
JsonObject = dict[str, Any]
K = TypeVar("K", bound="KeptEvent")


def always_encoded(default: Callable[[], T]) -> T:
    """Declare a field that is encoded also when it has its default value; readers of a log without it get the default."""
    # msgspec knows the empty `dict` and `list` by their factories, and would leave them out.
    return msgspec.field(default_factory=lambda: default())


class BaseEvent(Struct, omit_defaults=True, tag_field="t", tag=""):
    """An event of a log. Its type stands in the field `t`."""


class KeptEvent(BaseEvent, dict=True):
    """An event that a fold keeps unchanged."""


class AttemptStart(KeptEvent, tag="attempt.start", kw_only=True):
    """An attempt begins: always the first event of an epoch."""

    n: int  # the attempts so far, from 1
    reset: bool = always_encoded(bool)  # what was shown is void
    reason: str = always_encoded(str)  # `claim`, `crash`, or why it began anew


class AttemptRoute(KeptEvent, tag="attempt.route", kw_only=True):
    """The call goes out. Before any delta."""

    provider: str
    model: str
    deployment: str
    cached: bool = always_encoded(bool)  # the answer comes from the cache
    mode: str | None = None  # how the schema was put to the model
    lowered: bool = False  # the text that comes has not the shape of the answer
    why: str | None = None  # of an alias, why this one: `first`, `weight`, `least_busy`, `fallback`, `probe`


class Status(BaseEvent, tag="status", kw_only=True):
    """The reason for a pause in the stream."""

    phase: str  # `retrying`, `rate_limited`; of the gateway's own: `stalled`
    detail: str  # for people: `openai says wait 20 s`
    until_ms: int | None = None  # when it goes on, in milliseconds since 1970


class ChoiceEvent(BaseEvent):
    """An event that adds to one choice."""

    c: int = always_encoded(int)  # the choice, from 0


class TextEvent(ChoiceEvent, kw_only=True):
    """A piece of a text."""

    p: int = always_encoded(int)  # the part of the message
    d: str  # the piece
    lp: list[Any] | None = None  # logprobs of its tokens


class TextDelta(TextEvent, tag="text.delta"):
    """A piece of the answer's text."""


class ReasoningDelta(TextEvent, tag="reasoning.delta"):
    """A piece of the reasoning."""


class RefusalDelta(TextEvent, tag="refusal.delta"):
    """A piece of a refusal."""


class ToolEvent(ChoiceEvent):
    """An event of one tool call."""

    i: int = always_encoded(int)  # the call, from 0


class ToolStart(ToolEvent, tag="tool.start"):
    """A tool call begins."""

    call_id: str = always_encoded(str)  # the provider's id of the call
    name: str = always_encoded(str)
    type: str = always_encoded(lambda: "function")  # `function` or `custom`


class ToolDelta(ToolEvent, tag="tool.delta"):
    """A piece of a call's arguments."""

    d: str = always_encoded(str)  # the piece


class ToolEnd(ToolEvent, tag="tool.end"):
    """The arguments of a call are complete."""


class AudioDelta(ChoiceEvent, tag="audio.delta"):
    """A piece of a sound."""

    d: str = always_encoded(str)  # the piece, in base64
    audio_id: str | None = None  # the provider's id of the sound
    tr: str | None = None  # more of its transcript
    exp: float | int | None = None  # the time at which the id expires, in seconds since 1970


class ListEvent(ChoiceEvent):
    """One more of a list of the message."""

    p: int = always_encoded(int)  # the part of the message
    a: Any = always_encoded(lambda: None)  # as the provider has it


class Annotation(ListEvent, tag="annotation"):
    """One more annotation."""


class Image(ListEvent, tag="image"):
    """One more generated image."""


class Citation(ListEvent, tag="citation"):
    """One more citation."""


class Raw(ChoiceEvent, tag="raw"):
    """Fields that have no name here, as the provider has them."""

    i: int | None = None  # they are of that tool call
    o: JsonObject = always_encoded(dict)  # by where: `answer`, `choice`, `message`; reasoning as it came: `details`


class UsageEvent(BaseEvent, tag="usage"):
    """The tokens of the answer."""

    u: JsonObject | None = always_encoded(dict)  # `input_tokens`, `output_tokens`, and what is known beside


class SnapshotChoice(Struct, frozen=True, omit_defaults=True):
    """A choice after the first, in a snapshot."""

    c: int = always_encoded(int)
    message: JsonObject = always_encoded(dict)
    logprobs: dict[str, list[Any]] | None = None
    extra: dict[str, JsonObject] | None = None


class Snapshot(BaseEvent, tag="snapshot"):
    """The attempt so far: takes the place of all its earlier events."""

    upto: int = always_encoded(int)  # the number of the last event that is in it
    attempt: JsonObject = always_encoded(dict)  # the fields of `attempt.start`
    route: JsonObject = always_encoded(dict)  # the fields of `attempt.route`; none before it
    message: JsonObject = always_encoded(dict)  # the first choice, as OpenAI's assistant message
    logprobs: dict[str, list[Any]] | None = None
    extra: dict[str, JsonObject] | None = None  # what `raw` told
    others: list[SnapshotChoice] | None = None  # the other choices
    usage: JsonObject | None = None
    end: JsonObject | None = None


class FinishReason(Struct, frozen=True):
    """The reason why a choice ended."""

    c: int = 0
    reason: str | None = None


class End(KeptEvent, tag="end", kw_only=True):
    """The job has ended: exactly one, the last event."""

    status: str  # `succeeded`, `failed`, `cancelled`, `dead`
    error: JsonObject | None = None  # `code`, `message`, `retryable`, `provider_status`
    finish: list[FinishReason] | None = None  # of each choice `c` the `reason`
    usage: JsonObject | None = None  # as in `usage`
    cached: bool = False  # the answer comes from the cache
    ms: JsonObject | None = None  # milliseconds to the first piece (`ttft`) and to the end (`total`)
    service_tier: str | None = None  # the one that the provider answered in
    system_fingerprint: str | None = None  # of the provider's system


class BatchCounts(BaseEvent, kw_only=True):
    """The progress of a batch."""

    state: str  # of the batch
    at: int  # the server's clock, in milliseconds since 1970
    total: int  # its items
    succeeded: int
    failed: int
    cancelled: int
    dead: int
    input_tokens: int
    output_tokens: int
    reason: str | None = None  # why it is paused, or was ended
    waiting: str | None = None  # why its calls do not go out just now
    cost_nano_usd: int = 0  # what its answers cost, in billionths of a dollar
    retried: int = 0  # calls that repeat a failed one
    cached: int = 0  # answers that were known already

    @property
    def done(self) -> int:
        """Return how many of its items have ended."""
        return self.succeeded + self.failed + self.cancelled + self.dead

    @property
    def unsuccessful(self) -> int:
        return self.failed + self.dead + self.cancelled


class BatchStateChange(BatchCounts, tag="batch.state"):
    """Its state has changed."""


class BatchProgress(BatchCounts, tag="batch.progress"):
    """Its counters, at most four times a second."""


class BatchEnd(BatchCounts, tag="end"):
    """The batch has ended: the last event."""


class OtherEvent(Struct, frozen=True):
    """An event of a type that is not known here."""

    t: str


KnownJobEvent = (
    AttemptStart
    | AttemptRoute
    | Status
    | TextDelta
    | ReasoningDelta
    | RefusalDelta
    | ToolStart
    | ToolDelta
    | ToolEnd
    | AudioDelta
    | Annotation
    | Image
    | Citation
    | Raw
    | UsageEvent
    | Snapshot
    | End
)
KnownBatchEvent = BatchStateChange | BatchProgress | BatchEnd
JobEvent = KnownJobEvent | OtherEvent
BatchEvent = KnownBatchEvent | OtherEvent

LISTS: dict[type[Annotation | Image | Citation], str] = {
    Annotation: "annotations",
    Image: "images",
    Citation: "citations",
}
"""Events that append one entry to a list of the message."""

encode = msgspec.json.Encoder().encode
_decode_job = msgspec.json.Decoder(KnownJobEvent).decode
_decode_batch = msgspec.json.Decoder(KnownBatchEvent).decode
_decode_other = msgspec.json.Decoder(OtherEvent).decode


def name_of(type: type[BaseEvent]) -> str:
    """Return the value of the field `t`."""
    return str(type.__struct_config__.tag)


def beginning(type: type[BaseEvent]) -> bytes:
    """Return the common prefix of all stored events of a type, up to the fields after `t`."""
    return b'{"t":"%s"' % name_of(type).encode()


_JOB_NAMES = frozenset(map(name_of, get_args(KnownJobEvent)))
_BATCH_NAMES = frozenset(map(name_of, get_args(KnownBatchEvent)))


def decode_job_event(data: bytes) -> JobEvent:
    """Decode a job's event that is stored as `data`. Raises one of `UNREADABLE` for one that no writer of ours has written."""
    try:
        event = _decode_job(data)
    except msgspec.ValidationError as error:
        return _other(data, _JOB_NAMES, error)
    finish = _FINISHES.get(type(event))
    if finish is not None:
        finish(event, data)
    return event


def decode_batch_event(data: bytes) -> BatchEvent:
    """Decode an event of a batch's log, as `decode_job_event` does one of a job's."""
    try:
        return _decode_batch(data)
    except msgspec.ValidationError as error:
        return _other(data, _BATCH_NAMES, error)


def _other(data: bytes, known: Container[str], error: msgspec.ValidationError) -> OtherEvent:
    event = _decode_other(data)
    if event.t in known:
        raise error
    return event


def fields_of(event: KeptEvent) -> JsonObject:
    """Return the fields of `event` without `t`, unknown ones included."""
    fields = msgspec.to_builtins(event) | vars(event)
    del fields["t"]
    return fields


def of_fields(type: type[K], fields: JsonObject) -> K:
    """Return the event that has these fields. Raises `msgspec.ValidationError`."""
    event = msgspec.convert({"t": name_of(type), **fields}, type)
    _keep_unknown(event, fields)
    return event


def _keep_unknown(event: KeptEvent, fields: JsonObject) -> None:
    unknown = fields.keys() - {"t", *event.__struct_fields__}
    if unknown:
        # The fields that are known are in slots, so this is theirs alone; it is not encoded.
        vars(event).update({name: fields[name] for name in fields if name in unknown})


def _finish_kept(event: KeptEvent, data: bytes) -> None:
    _keep_unknown(event, msgspec.json.decode(data))


def _finish_end(event: End, data: bytes) -> None:
    _finish_kept(event, data)
    _check_error(event.error)


def _check_error(error: JsonObject | None) -> None:
    for name in ("code", "message"):
        msgspec.convert((error or {}).get(name), str | None)


def _check_raw(event: Raw, _: bytes) -> None:
    for level, fields in event.o.items() if event.i is None else ():  # those of a tool call are fields themselves
        msgspec.convert(fields, list[Any] if level == "details" else JsonObject)


def _check_audio(event: AudioDelta, _: bytes) -> None:
    check_base64(event.d)


def _check_snapshot(event: Snapshot, _: bytes) -> None:
    for type, fields in ((AttemptStart, event.attempt), (AttemptRoute, event.route)):
        if fields:
            of_fields(type, fields)
    if event.end is not None:
        _check_error(of_fields(End, event.end).error)
    for message in (event.message, *(choice.message for choice in event.others or ())):
        check_message(message)


_FINISHES: dict[type[BaseEvent], Callable[[Any, bytes], None]] = {
    AttemptStart: _finish_kept,
    AttemptRoute: _finish_kept,
    End: _finish_end,
    Raw: _check_raw,
    AudioDelta: _check_audio,
    Snapshot: _check_snapshot,
}
"""Steps after decoding, by type: they keep unknown fields, and validate what types cannot express; the fold accepts every
decoded event."""
