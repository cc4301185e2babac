"""Output lines as OpenAI's batches have them: a failed request has its HTTP status and the error object as its body, one that
never ran has an error and no response, and a line of `/v1/responses` has a Response object."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from headrace.batches.ingest import read_index
from headrace.batches.outputs.merge_by_custom_id import custom_id_of, merge_by_custom_id
from headrace.batches.outputs.output_lines import outcome_of
from headrace.batches.request_lines import RESPONSES
from headrace.chat.chat_object import chat_object
from headrace.chat.error_object import status_and_code, type_of
from headrace.chat.responses_object import response_object
from headrace.errors import Failure, StorageError
from headrace.ledger.batch_record import BatchRecord
from headrace.storage.file_store import FileStore

IN_FORM = b'"finish_reason":"stop","logprobs":null}],"usage":'
NOT_IN_FORM = (b'"headrace":', b'"cost":', b'"reasoning":', b'"citations":')
NEVER_RAN = frozenset({"batch_cancelled", "batch_expired"})
_encode = msgspec.json.Encoder().encode


class _AnyLine(msgspec.Struct):
    id: str
    custom_id: str
    response: msgspec.Raw = msgspec.Raw(b"null")
    error: msgspec.Raw = msgspec.Raw(b"null")


class _RequestOf(msgspec.Struct):
    response: dict[str, Any] | None = None


_decode_line = msgspec.json.Decoder(_AnyLine).decode
_decode_request = msgspec.json.Decoder(_RequestOf).decode


def openai_line(line: bytes, request: Mapping[str, Any] | None = None) -> bytes:
    """Return an output line in OpenAI's form, without a line feed. `request` is that of a line of `/v1/responses`, without its
    input."""
    if request is None and is_in_form(line):
        return line.rstrip(b"\n")
    parsed = _decode_line(line)
    if bytes(parsed.error) != b"null":
        return _error_line(parsed)
    return _chat_line(line, parsed.id) if request is None else _response_line(line, parsed.id, request)


def is_in_form(line: bytes) -> bool:
    """Return True for the line of a chat that has OpenAI's form as it was written: most have. Quotes in a text are escaped, so
    what is looked for stands in none."""
    return IN_FORM in line and not any(name in line for name in NOT_IN_FORM)


def _error_line(parsed: _AnyLine) -> bytes:
    failure = msgspec.json.decode(parsed.error, type=Failure)
    if failure.code in NEVER_RAN:
        error = {"code": failure.code, "message": failure.message}
        return _encode({"id": parsed.id, "custom_id": parsed.custom_id, "response": None, "error": error})
    status, body = error_body(failure)
    response = {"status_code": status, "request_id": parsed.id.removeprefix("batch_req_"), "body": body}
    return _encode({"id": parsed.id, "custom_id": parsed.custom_id, "response": response, "error": None})


def error_body(failure: Failure) -> tuple[int, dict[str, Any]]:
    """Return the HTTP status of a failure, and OpenAI's error object. What was paid for stands beside it, as `headrace`."""
    status, code = status_and_code(failure.code)
    error = {"message": failure.message, "type": type_of(status), "param": None, "code": code}
    kept = {name: value for name in ("status", "partial", "errors", "metadata") if (value := getattr(failure, name))}
    return status, {"error": error} | ({"headrace": kept} if kept else {})


def _chat_line(line: bytes, id: str) -> bytes:
    custom_id, completion, _ = outcome_of(line, structured=False)
    if completion is None:
        raise StorageError(f"the row of {custom_id} has no answer")
    # The content is the text of the value already.
    body = chat_object(msgspec.structs.replace(completion, mode=None))
    if completion.mode is not None:
        body["extra"] = body.get("extra", {}) | {"mode": completion.mode}
    response = {"status_code": 200, "request_id": id.removeprefix("batch_req_"), "body": body}
    return _encode({"id": id, "custom_id": custom_id, "response": response, "error": None})


def _response_line(line: bytes, id: str, request: Mapping[str, Any]) -> bytes:
    custom_id, completion, _ = outcome_of(line, structured=False)
    if completion is None:
        raise StorageError(f"the row of {custom_id} has no answer")
    # The content is the text of the value already.
    completion = msgspec.structs.replace(completion, mode=None)
    name = f"resp_{letters(id)}"
    shown = response_object(
        request, name, created_at=completion.created, completed_at=completion.created, completion=completion
    )
    response = {"status_code": 200, "request_id": id.removeprefix("batch_req_"), "body": shown}
    return _encode({"id": id, "custom_id": custom_id, "response": response, "error": None})


def letters(id: str) -> str:
    """Return 26 letters that are the same for the same `id`."""
    return base64.b32encode(blake2b(id.encode(), digest_size=16).digest()).decode().rstrip("=").lower()


def is_file_in_form(store: FileStore, batch: BatchRecord, output: str) -> bool:
    """Return True if every line of the file `output` has OpenAI's form as it was written."""
    return batch.endpoint != RESPONSES and all(map(is_in_form, store.lines(output)))


def output_file_lines(store: FileStore, batch: BatchRecord, output: str) -> Iterator[bytes]:
    """Yield the lines of the file `output`, which the join of a batch has written, in OpenAI's form."""
    if batch.endpoint != RESPONSES:
        yield from (openai_line(line) + b"\n" for line in store.lines(output))
        return
    placed = ((custom_id_of(line), line) for line in store.lines(output))
    for raw, _, line in merge_by_custom_id(store.lines(batch.input), placed):
        if line is not None:
            yield openai_line(line, _decode_request(raw).response or {}) + b"\n"


def error_file_lines(store: FileStore, errors: str) -> Iterator[bytes]:
    """Yield the lines of the file `errors` in OpenAI's form."""
    return (openai_line(line) + b"\n" for line in store.lines(errors))


def requests_of(store: FileStore, batch: BatchRecord, first: int, count: int) -> Sequence[dict[str, Any] | None]:
    """Return the requests to `/v1/responses` of `count` lines from number `first` on; None for those of a chat."""
    found: list[dict[str, Any] | None] = []
    (shard,) = read_index(store, batch.index, 0, 1)
    number = first // shard.count  # all but the last have as many
    while len(found) < count:
        (shard,) = read_index(store, batch.index, number, 1)
        lines = store.read(batch.input, shard.offset, shard.length).splitlines()
        start = max(0, first - shard.line)
        found += [_decode_request(line).response for line in lines[start : start + count - len(found)]]
        number += 1
    return found
