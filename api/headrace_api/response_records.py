"""The records of responses: in the file store what was asked and, once it is known, what came of it; until then the job."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Iterable
from typing import Any

import msgspec

from headrace.chat.completion import Outcome
from headrace.chat.responses_items import Item
from headrace.chat.responses_messages import seal
from headrace.chat.responses_object import letters_of, response_head, response_id, response_object, sealable
from headrace.client.ledger_backend import TENANT
from headrace.errors import Gone, HeadraceError, InputError, StorageError, Unknown
from headrace.ledger.script import UNAVAILABLE
from headrace.ledger.state import TERMINAL, JobState
from headrace.logs import get_logger
from headrace.storage.response_store import LETTERS, ResponseEnd, ResponseStore, StoredResponse
from headrace_api.error_quoting import shorten_quotes
from headrace_api.errors import ApiError
from headrace_api.state import Gateway
from headrace_api.streaming.session import StreamSession
from headrace_api.views import Cursor, Subject
from headrace_api.views.openai_responses import OpenAIResponses

SMALL_BYTES = 64 * 1024
"""Up to this size a record is written on the loop: handing it to a thread would cost more."""
MAX_CONVERSATION_BYTES = 32 << 20
MAX_REFERENCES = 2000
ITEM_ID = re.compile(r"[a-z]+_([a-z2-7]{26})(?:_\w{1,20})?")
NOT_FOUND = "previous_response_not_found"

log = get_logger("headrace.api.response_records")
_tasks: set[asyncio.Task[None]] = set()


class ResponseRecords:
    """The records as one gateway reads and writes them."""

    def __init__(self, gateway: Gateway):
        self._gateway = gateway

    async def _store(self) -> ResponseStore:
        return ResponseStore(await self._gateway.client.store(), TENANT, self._gateway.settings.response_ttl_s)

    async def _store_with_room(self) -> ResponseStore:
        """Return the store. Raises `StorageError`, and `ApiError` when its disk is nearly full: before anything is paid."""
        files, least_mb = await self._gateway.client.store(), self._gateway.settings.min_free_mb
        if (free_mb := files.free_mb()) < least_mb:
            raise ApiError(
                507, "storage", f"{free_mb} MiB are free where responses are kept, {least_mb} are left alone"
            )
        return await self._store()

    # Writing

    async def save_ahead(self, job: str, record: StoredResponse, *, size: int, streams: bool) -> bool:
        """Write what a response is asked with before its job is submitted; return False for one that can wait: it is
        answered on its connection (not `streams`), and small. `size` is that of its body."""
        is_small = size <= SMALL_BYTES and size + sum(map(size_of, record.earlier)) <= SMALL_BYTES
        if is_small and not streams:
            if record.is_kept:
                await self._store_with_room()
            return False
        encode = msgspec.json.encode
        encoded = encode(record) if is_small else await asyncio.to_thread(encode, record)
        if len(encoded) > MAX_CONVERSATION_BYTES:
            raise InputError("/input: the whole conversation is larger than 32 MiB; begin a new one")
        store, letters = await self._store_with_room(), letters_of(job)
        # Of a background response that was accepted nothing is lost with the power that the ledger does not lose.
        durable = bool(record.request.get("background"))
        if durable or len(encoded) > SMALL_BYTES or not store.is_near:
            await asyncio.to_thread(store.save, letters, encoded, is_kept=record.is_kept, durable=durable)
        else:
            store.save(letters, encoded, is_kept=record.is_kept, durable=False)
        return True

    async def answered(self, job: str, record: StoredResponse, end: ResponseEnd) -> None:
        """Write what came of a response, so that the ledger's copy may go earlier. A paid answer is not withheld because that
        fails."""
        try:
            store, encoded = await self._store(), msgspec.json.encode(end)
            if len(encoded) > SMALL_BYTES or not store.is_near:
                await asyncio.to_thread(store.finish, letters_of(job), encoded, is_kept=record.is_kept)
            else:
                store.finish(letters_of(job), encoded, is_kept=record.is_kept)
        except (OSError, StorageError) as error:
            log.warning("response not stored", job=job, error=type(error).__name__)
        except (*UNAVAILABLE, HeadraceError):
            pass
        else:
            self._gateway.expendable.add(job)

    def answered_soon(self, job: str, record: StoredResponse, end: ResponseEnd) -> None:
        """Do as `answered` does, without waiting for it."""
        task = asyncio.create_task(self.answered(job, record, end))
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)

    async def save_whole(self, job: str, record: StoredResponse, end: ResponseEnd) -> None:
        """Write a response with what came of it in one file, or the end alone where the rest is written already. A paid
        answer is not withheld because that fails."""
        try:
            store, letters = await self._store(), letters_of(job)
            encoded = msgspec.json.encode(msgspec.structs.replace(record, end=end))
            if len(encoded) <= SMALL_BYTES and store.is_near:
                store.save(letters, encoded, is_kept=record.is_kept, durable=False)
                return
            await asyncio.to_thread(store.save, letters, encoded, is_kept=record.is_kept, durable=False)
            ended = msgspec.json.encode(end)
            await asyncio.to_thread(store.finish, letters, ended, is_kept=record.is_kept)
        except (OSError, StorageError) as error:
            log.warning("response not stored", job=job, error=type(error).__name__)

    async def remove(self, job: str) -> None:
        """Remove a record. Idempotent."""
        store = await self._store()
        await asyncio.to_thread(store.remove, letters_of(job))

    # Reading

    async def load(self, id: str) -> tuple[str, StoredResponse]:
        """Return the job of the response `resp_…`, and its record. Raises `ApiError` for an unknown one."""
        letters = letters_of(id)
        if id.startswith("resp_") and LETTERS.fullmatch(letters):
            store = await self._store()
            record = await asyncio.to_thread(store.load, letters)
            if record is not None:
                return f"job_{letters}", record
        raise ApiError(404, "not_found", shorten_quotes(f"Response with id {id!r:.80} not found."))

    async def shown(self, job: str, record: StoredResponse) -> dict[str, Any]:
        """Return the response as it is now. Raises `ApiError` for one whose job is not known any more."""
        end = await self.end(job, record)
        if end is not None:
            return end.response
        status = await self._gateway.job_status(job)
        waits = status is not None and status.state == JobState.QUEUED and not status.attempts
        word = "queued" if waits and record.request.get("background") else "in_progress"
        return response_head(record.request, response_id(job), created_at=record.created_s, status=word)

    async def end(self, job: str, record: StoredResponse) -> ResponseEnd | None:
        """Return what came of a response, None while it is not known. Who sees it first writes it down."""
        if record.end is not None:
            return record.end
        status = await self._gateway.job_status(job)
        if status is None:
            raise ApiError(404, "not_found", f"Response with id {response_id(job)!r} not found.")
        if status.state not in TERMINAL:
            return None
        end = (
            await self._told_by_log(job, record)
            if record.request.get("stream") or record.request.get("background")
            else None
        )
        if end is None:
            completed_s = (status.ended_ms or 0) // 1000 or int(time.time())
            end = end_of(job, record, await self._gateway.outcome(job), completed_s)
        await self.answered(job, record, end)
        return end

    async def last_number(self, job: str, record: StoredResponse) -> int:
        """Return the number of the last event of a response that has ended. Raises `Unknown` and `Gone`."""
        return (await self._folded(job, record)).last_number

    async def _told_by_log(self, job: str, record: StoredResponse) -> ResponseEnd | None:
        """Return the end as those were told it who read the events; None when the log is gone."""
        try:
            return (await self._folded(job, record)).end
        except (Unknown, Gone):
            return None

    async def _folded(self, job: str, record: StoredResponse) -> OpenAIResponses:
        session = StreamSession(self._gateway, OpenAIResponses, subject_of(job, record), Cursor())
        try:
            await session.open()
            async with contextlib.aclosing(session.groups(asyncio.get_running_loop().create_future())) as groups:
                async for _ in groups:
                    pass
        finally:
            session.close()
        view = session.view
        assert isinstance(view, OpenAIResponses)
        return view

    # The conversation before a request

    async def conversation(self, id: Any, caller: str) -> list[Item]:
        """Return the items of the conversation up to the response `id`, which `previous_response_id` names. Raises `ApiError`,
        also for one that another `caller` asked for."""
        if not isinstance(id, str):
            raise InputError("/previous_response_id: must be a text")
        try:
            job, record = await self.load(id)
            end = await self.end(job, record)
        except ApiError:
            raise previous_error(f"Previous response with id {id!r:.80} not found.") from None
        if record.caller != caller:
            raise previous_error(f"Previous response with id {id!r:.80} not found.")
        if not record.is_kept:
            raise previous_error(f"Previous response with id {id!r:.80} was not stored (`store: false`).")
        if end is None:
            raise previous_error(f"Previous response with id {id!r:.80} is still running.", "previous_response_running")
        status = end.response.get("status")
        if status not in ("completed", "incomplete"):
            raise previous_error(f"Previous response with id {id!r:.80} has no answer: it is {status}.")
        return [*record.earlier, *record.input, *output_items(end)]

    async def items(self, ids: Iterable[str], caller: str) -> dict[str, Item]:
        """Return the items of the `caller`'s stored responses that have these ids, as far as there are any."""
        wanted = {id: found[1] for id in ids if (found := ITEM_ID.fullmatch(id))}
        if len(wanted) > MAX_REFERENCES:
            raise InputError(f"/input: names {len(wanted)} items; {MAX_REFERENCES} are allowed")
        known: dict[str, Item] = {}
        for letters in dict.fromkeys(wanted.values()):
            with contextlib.suppress(ApiError):
                job, record = await self.load(f"resp_{letters}")
                if not record.is_kept or record.caller != caller:
                    continue
                end = await self.end(job, record)
                for item in [*record.input, *(output_items(end) if end else ())]:
                    if item.get("id") in wanted:
                        known[item["id"]] = item
        return known


def subject_of(job: str, record: StoredResponse, *, starting_after: int | None = None) -> Subject:
    """Return what a view of a response needs beside the events of its job."""
    return Subject(
        job=job,
        model=record.request["model"],
        request=record.request,
        created_s=record.created_s,
        starting_after=starting_after,
    )


def end_of(job: str, record: StoredResponse, outcome: Outcome | None, completed_s: int) -> ResponseEnd:
    """Return what came of a response whose job has that outcome."""
    completion, failure = (outcome.completion, outcome.error) if outcome else (None, None)
    response = response_object(
        record.request,
        response_id(job),
        created_at=record.created_s,
        completed_at=completed_s,
        completion=completion,
        failure=failure,
    )
    return ResponseEnd(response, seal(sealable(completion)) if completion else None)


def output_items(end: ResponseEnd) -> list[Item]:
    """Return the output of a response with the provider's own form of its reasoning, as the conversation goes on with it."""
    items: list[Item] = list(end.response.get("output") or ())
    if end.sealed is None:
        return items
    for place, item in enumerate(items):
        if item["type"] == "reasoning":
            items[place] = item | {"encrypted_content": end.sealed}
            return items
    return [*items, {"type": "reasoning", "summary": [], "content": [], "encrypted_content": end.sealed}]


def previous_error(message: str, code: str = NOT_FOUND) -> ApiError:
    return ApiError(400, code, shorten_quotes(message), param="previous_response_id")


def size_of(item: Item) -> int:
    """Return about how many bytes an item takes."""
    return len(msgspec.json.encode(item))
