"""Events as the client yields them: dicts."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from headrace.events.ids import Event
from headrace.events.types import BatchEvent, JobEvent, JsonObject

decode = msgspec.json.Decoder(JsonObject).decode

E = TypeVar("E", bound=JobEvent | BatchEvent)


class EventDict(JsonObject, Generic[E]):
    """An event as a dict: all its fields, those of a newer release too, with its type as `t`. `event` is the same as one of
    `headrace.events.types`, for code that tells events apart by `match` or `isinstance`."""

    __slots__ = ("event",)

    event: E


def job_event_dict(entry: Event, job_id: str) -> EventDict[JobEvent]:
    """Return the event of a job's log, with its `id`. Raises `Damaged`."""
    found: EventDict[JobEvent] = EventDict(id=str(entry.id))
    found.event = entry.decode(job_id)
    found.update(decode(entry.data))
    return found


def batch_event_dict(entry: Event, batch_id: str) -> EventDict[BatchEvent]:
    """Return the event of a batch's log. Raises `Damaged`."""
    found: EventDict[BatchEvent] = EventDict()
    found.event = entry.decode_batch(batch_id)
    found.update(decode(entry.data))
    return found
