"""Answers that the cache no longer has, found in the outputs of closed batches by the indexes that these left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from headrace_providers.wire.structured_value import is_structured

from headrace.batches.outputs.output_lines import outcome_of
from headrace.chat.completion import Completion
from headrace.errors import StorageError
from headrace.jobs.job import Job
from headrace.logs import get_logger
from headrace.storage.file_store import FileStore
from headrace_worker.engine.answer_cache import AnswerCache
from headrace_worker.engine.kept_answer import is_shareable
from headrace_worker.execution.answer_index import find_lines, packed_key

log = get_logger("headrace.worker.execution.filed_answers")


def file_of_answers(batch_id: str, epoch: int) -> str:
    """Return the name by which the answers of a batch are found, whose join has this epoch."""
    return f"{batch_id}/{epoch}"


def index_file(name: str) -> str:
    batch_id, _, epoch = name.partition("/")
    return f"{batch_id}/answers.{epoch}.index"


def output_file(name: str) -> str:
    batch_id, _, epoch = name.partition("/")
    return f"{batch_id}/output.{epoch}.jsonl"


class FiledAnswers:
    """The answers in the outputs named by `names`, the newest first."""

    def __init__(self, cache: AnswerCache, store: FileStore, names: Sequence[str]):
        self._cache = cache
        self._store = store
        self._names = list(names)

    async def find(self, asked: Sequence[tuple[str, Job]]) -> dict[str, Completion]:
        """Return the answers to questions, by their keys."""
        if not self._names or not asked:
            return {}
        return await asyncio.to_thread(self._find, asked)

    def _find(self, asked: Sequence[tuple[str, Job]]) -> dict[str, Completion]:
        found: dict[str, Completion] = {}
        left = {packed_key(key): (key, job) for key, job in asked}
        for name in self._names.copy():
            if not left:
                break
            try:
                lines = find_lines(self._cache, self._store, index_file(name), output_file(name), left)
            except (StorageError, OSError) as error:  # of a batch that was deleted
                log.info("a file of answers cannot be read", file=name, error=type(error).__name__)
                self._names.remove(name)
                continue
            for packed, line in lines.items():
                key, job = left[packed]
                if (completion := answer_in(line, job)) is not None:
                    found[key] = completion
                    del left[packed]
        return found


def answer_in(line: bytes, job: Job) -> Completion | None:
    """Return the answer in an output line; None for one that may not be given to others."""
    try:
        _, completion, _ = outcome_of(line, structured=is_structured(job))
    except StorageError:
        return None
    return completion if completion is not None and is_shareable(completion) else None
