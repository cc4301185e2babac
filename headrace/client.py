"""The producer's side: submit a job, open a batch, watch either, fetch what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from headrace.batch import Item, Template, prompt_fields
from headrace.errors import InputError, Unknown, Unreachable
from headrace.facts import split_model
from headrace.files import FileStore, attach
from headrace.hint import BULK, INTERACTIVE, Hints
from headrace.intake import Committed, commit_input
from headrace.job import Job, Outcome, new_id
from headrace.ledger.cancel import cancel
from headrace.ledger.open import open_batch
from headrace.ledger.script import AWAY, Ledger
from headrace.ledger.state import BATCH_TERMINAL, TERMINAL
from headrace.ledger.submit import submit
from headrace.lines import simple
from headrace.reader import events
from headrace.schema.validate import check_schema
from headrace.settings import STATE_FOLDER, Settings, find_state_folder, redis_url

WINDOW_MS = 24 * 3600 * 1000
TENANT = "default"


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as the ledger has it now. `reason` says why it is paused or was cancelled."""

    id: str
    state: str
    total: int
    succeeded: int
    failed: int
    cancelled: int
    dead: int
    input_tokens: int
    output_tokens: int
    created_ms: int
    ended_ms: int | None = None
    reason: str = ""
    model: str = ""
    structured: bool = False
    retry_of: str = ""

    @property
    def done(self) -> int:
        return self.succeeded + self.failed + self.cancelled + self.dead

    @property
    def ended(self) -> bool:
        return self.state in BATCH_TERMINAL


class AsyncHeadrace:
    """A connection to the service; use it in an `async with`. Raises `Unreachable` when nothing answers."""

    def __init__(self, settings: Settings | None = None, url: str | None = None):
        self.settings = settings or Settings.load()
        self.url = url or redis_url(self.settings)
        self.ledger = Ledger.at(self.url, self.settings.namespace, retries=1)
        self.hints = Hints(self.url, self.settings.namespace)

    async def __aenter__(self) -> AsyncHeadrace:
        try:
            await self.ledger.client.ping()
        except AWAY as error:
            await self.ledger.close()
            raise Unreachable(
                f"no answer from Redis at {self.url}: {type(error).__name__}. Start the service with `headrace up`, or "
                "set HEADRACE_REDIS_URL to the server that it uses."
            ) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.ledger.close()
        await asyncio.to_thread(self.hints.close)

    async def check_model(self, model: str) -> None:
        """Raises `InputError` for a model whose provider is neither built in nor registered by a worker."""
        registered = await self.ledger.client.hkeys(self.ledger.keys.providers)
        split_model(model, [name.decode() for name in registered])

    async def submit(self, job: Job, *, idempotency_key: str | None = None) -> str:
        """Accept a job and return its id; from then on it reaches exactly one terminal state."""
        await self.check_model(job.model)
        if job.schema is not None:
            check_schema(job.schema)
        body = msgspec.json.encode(job)
        job_id = await submit(
            self.ledger, new_id("job"), body, queue=INTERACTIVE, tenant=TENANT, idempotency_key=idempotency_key
        )
        with suppress(Unreachable):  # accepted all the same: `due` publishes the hint
            await asyncio.to_thread(self.hints.send, INTERACTIVE, job_id)
        return job_id

    async def outcome(self, job_id: str, *, on_event: Callable[[dict[str, Any]], None] | None = None) -> Outcome:
        """Wait for the job's end and return what came of it. Raises `Unknown` for an id that is not there."""
        record = self.ledger.keys.job(job_id)
        state = await self.ledger.client.hget(record, "state")
        if state is None:
            raise Unknown(job_id, "never submitted, or past its retention")
        if state.decode() not in TERMINAL or on_event is not None:
            async for _, event in events(self.ledger, f"{record}:log"):
                if on_event is not None:
                    on_event(event)
        result = await self.ledger.client.get(f"{record}:result")
        if result is None:
            raise Unknown(job_id, "its result is past its retention")
        decoded = msgspec.json.decode(result)
        return msgspec.convert(
            decoded if "error" in decoded or "completion" in decoded else {"error": decoded}, Outcome
        )

    async def store(self) -> FileStore:
        """The file store that the ledger names; this client's own when none is named yet."""
        root = (
            Path(self.settings.files) if self.settings.files else (find_state_folder() or Path(STATE_FOLDER)) / "files"
        )
        return await attach(self.ledger, FileStore(root.resolve()))

    async def open(
        self,
        template: Template,
        items: Iterator[Item],
        *,
        window_ms: int = WINDOW_MS,
        progress: Callable[[int], None] | None = None,
    ) -> str:
        """Check and commit `items`, then open the batch and return its id. Raises `InputError`; then nothing is enqueued."""
        await self.check_model(template.model)
        if template.schema is not None:
            check_schema(template.schema)
        prompt_fields(template.prompt)
        store = await self.store()
        batch_id = new_id("batch")
        try:
            committed = await asyncio.to_thread(commit_input, store, batch_id, items, progress)
        except BaseException:
            store.remove(batch_id)
            raise
        await self._open(batch_id, template, committed, window_ms)
        return batch_id

    async def retry(self, batch_id: str) -> str:
        """Open a new batch that keeps what succeeded in a closed one and pays only for the rest. Returns its id."""
        old = await self._batch_fields(batch_id)
        if old["state"] not in BATCH_TERMINAL:
            raise InputError(f"{batch_id} is {old['state']}; a batch is retried after it has ended")
        store = await self.store()
        new = new_id("batch")
        store.link(old["input"], f"{new}/input.jsonl")
        store.link(old["index"], f"{new}/index")
        store.link(old["output"], f"{new}/prefill.jsonl")
        await asyncio.to_thread(index_prefill, store, new)
        body = await self.ledger.client.get(self.ledger.keys.template(old["template"]))
        if body is None:
            raise InputError(f"{batch_id}: its template is past its retention; extract the input anew")
        template = msgspec.json.decode(body, type=Template)
        extra = {"prefill": f"{new}/prefill.jsonl", "retry_of": batch_id}
        await self._open(new, template, Committed(int(old["total"]), int(old["shards"])), WINDOW_MS, extra)
        return new

    async def batch(self, batch_id: str) -> Batch:
        """The batch as it is now. Raises `Unknown`."""
        fields = await self._batch_fields(batch_id)
        numbers = {
            name: int(fields.get(name) or 0)
            for name in ("total", "succeeded", "failed", "cancelled", "dead", "input_tokens", "output_tokens")
        }
        return Batch(
            id=batch_id,
            state=fields["state"],
            created_ms=int(fields["created"]),
            ended_ms=int(fields["ended"]) if "ended" in fields else None,
            reason=fields.get("reason", ""),
            model=fields.get("model", ""),
            structured=fields.get("structured") == "1",
            retry_of=fields.get("retry_of", ""),
            **numbers,
        )

    async def batches(self, *, limit: int = 50) -> list[Batch]:
        """The newest batches, newest first."""
        key = self.ledger.keys.batches(TENANT)
        found = []
        for raw in await self.ledger.client.zrevrange(key, 0, limit - 1):
            try:
                found.append(await self.batch(raw.decode()))
            except Unknown:
                await self.ledger.client.zrem(key, raw)
        return found

    async def cancel(self, subject_id: str) -> str:
        """Cancel a job or a batch; returns its state now. Twice is no error; after its end it is (`Finished`)."""
        return await cancel(self.ledger, subject_id)

    async def watch(self, batch_id: str, *, after: str = "0") -> AsyncIterator[dict[str, Any]]:
        """The batch's events (its counters, at most four a second), the `end` last."""
        await self._batch_fields(batch_id)
        async for _, event in events(self.ledger, f"{self.ledger.keys.batch(batch_id)}:log", after=after):
            yield event

    async def output_lines(self, batch_id: str, *, which: str = "output") -> Iterator[bytes]:
        """The lines of a closed batch's `output` or `errors`, in OpenAI's batch form, in input order."""
        fields = await self._batch_fields(batch_id)
        if fields["state"] not in BATCH_TERMINAL:
            raise InputError(f"{batch_id} is {fields['state']}; its output is there when it has ended")
        store = await self.store()
        return store.lines(fields[which])

    async def _batch_fields(self, batch_id: str) -> dict[str, str]:
        raw = await self.ledger.client.hgetall(self.ledger.keys.batch(batch_id))
        if not raw:
            raise Unknown(
                batch_id, "no such batch, or past its retention; `headrace batches list` shows those there are"
            )
        return {name.decode(): value.decode() for name, value in raw.items()}

    async def _open(
        self,
        batch_id: str,
        template: Template,
        committed: Committed,
        window_ms: int,
        extra: dict[str, str] | None = None,
    ) -> None:
        sha, body = template.encoded()
        await open_batch(
            self.ledger,
            batch_id,
            template_sha=sha,
            template=body,
            window_ms=window_ms,
            tenant=TENANT,
            record={
                "tenant": TENANT,
                "queue": BULK,
                "model": template.model,
                "structured": int(template.schema is not None),
                "template": sha,
                "total": committed.total,
                "shards": committed.shards,
                "input": f"{batch_id}/input.jsonl",
                "index": f"{batch_id}/index",
                **(extra or {}),
            },
        )


def index_prefill(store: FileStore, batch_id: str) -> None:
    """Where, in `prefill.jsonl`, the paid line of each input line lies: offset and length, 8 bytes each; 0 0 for none.

    Both files are in input order, so one pass over both is enough.
    """

    def entries() -> Iterator[bytes]:
        paid = store.lines(f"{batch_id}/prefill.jsonl")
        offset, line = 0, next(paid, b"")
        known = _custom_id(line)
        for raw in store.lines(f"{batch_id}/input.jsonl"):
            if line and _custom_id(raw) == known:
                yield offset.to_bytes(8, "little") + len(line.rstrip(b"\n")).to_bytes(8, "little")
                offset += len(line)
                line = next(paid, b"")
                known = _custom_id(line)
            else:
                yield bytes(16)

    store.commit(f"{batch_id}/prefill.index", entries())


class _Named(msgspec.Struct):
    custom_id: str


def _custom_id(line: bytes) -> str | None:
    return msgspec.json.decode(line, type=_Named).custom_id if line else None


def write_results(lines: Iterator[bytes], path: Path, *, structured: bool, whole: bool) -> int:
    """Write `lines` to `path` as `{custom_id, value}`, or `whole` as they are. Returns how many. The file appears at the end."""
    count = 0
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("wb") as file:
        for line in lines:
            file.write(line if whole else simple(line, structured=structured) + b"\n")
            count += 1
    temporary.replace(path)
    return count
