"""A request of the Responses API: its body as a job, and its record, written before what it names can be asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from litestar import Request

from headrace.chat.responses_items import Item, input_items
from headrace.chat.responses_object import letters_of, response_id
from headrace.chat.responses_request import chat_body
from headrace.errors import Conflict, InputError, Refused, SchemaError
from headrace.jobs.build import CHAT_TIMEOUT_S, TIMEOUT_S
from headrace.storage.response_store import BRIEF_S, StoredResponse
from headrace_api.errors import ApiError
from headrace_api.requests.chat_completions import ChatRequest, read_chat_request, sized
from headrace_api.requests.synchronous_request import SynchronousRequest
from headrace_api.response_records import ResponseRecords
from headrace_api.state import Gateway

OWN_FIELDS = frozenset({"timeout_s", "idempotency_key", "cache", "variant", "join", "prefilling"})
PLACES = (
    (re.compile(r"^/messages(?=[/:])"), "/input"),
    (re.compile(r"^/(?:schemas|tools)/(\d+)/(?:function|custom)(?=[/:])"), r"/tools/\1"),
    (re.compile(r"^/schemas(?=:)"), "/tools"),
    (re.compile(r"^/choice(?=[/:])"), "/tool_choice"),
    (re.compile(r"^/response_format/json_schema(?=[/:])"), "/text/format"),
    (re.compile(r"^schema at "), "/text/format/schema: schema at "),
)
"""Beginnings of messages about a chat's body, and how they begin about one of a response."""


def read_response_request(
    body: dict[str, Any], *, earlier: Sequence[Item], known: Mapping[str, Item], ttl_s: float
) -> ChatRequest:
    """Decode a Responses body to a job. `earlier` and `known` are those of `chat_body`, `ttl_s` is the lifetime of a response
    that is kept. Raises `InputError` naming the place in that body."""
    own = body.get("headrace") or {}
    if not isinstance(own, dict) or set(own) - OWN_FIELDS:
        raise InputError(f"/headrace: must be an object with some of {', '.join(sorted(OWN_FIELDS))}")
    chat = chat_body(body, earlier=earlier, known=known)
    streams = is_streamed(body)
    # What nobody has seen yet may begin anew; from then on the ledger lets no other attempt follow (`ledger/show.py`).
    chat["headrace"] = own | {"on_retry": "reset" if streams else "fail"}
    # Of what is answered on the connection the file has the answer; of the rest the ledger has it, until somebody asks.
    chat["headrace"]["ttl_s"] = max(1.0, ttl_s) if streams and body.get("store") is not False else BRIEF_S
    try:
        return read_chat_request(chat, streams=streams)
    except InputError as error:
        raise renamed(error) from None


def renamed(error: InputError) -> InputError:
    """Return an error about a chat's body as one about the body that it was made of."""
    for pattern, place in PLACES:
        message, found = pattern.subn(place, str(error), count=1)
        if found:
            return InputError(message)
    return error if not isinstance(error, SchemaError) else InputError(str(error))


def is_streamed(body: Mapping[str, Any]) -> bool:
    """Return True if the events of the answer are kept as it comes: somebody reads them now, or may later."""
    return bool(body.get("stream") or body.get("background"))


class ResponseQuestion(SynchronousRequest):
    """A request whose job is recorded as a response. `body` is its own, `raw` the same in bytes."""

    def __init__(
        self,
        gateway: Gateway,
        request: Request[Any, Any, Any],
        asked: ChatRequest,
        raw: bytes,
        *,
        body: dict[str, Any],
        earlier: Sequence[Item],
        known: Mapping[str, Item],
        created_s: int,
    ):
        timeout_s = TIMEOUT_S if body.get("background") else CHAT_TIMEOUT_S
        super().__init__(gateway, request, asked, raw, timeout_s=timeout_s)
        self.records = ResponseRecords(gateway)
        self._body = body
        self._earlier = list(earlier)
        self._known = known
        self._created_s = created_s
        self._record: StoredResponse | None = None

    async def record_of(self, job: str) -> StoredResponse:
        """Return the record of the response that `job` answers: this request's, or that of an earlier one which it joins."""
        if job == self._token and self._record is not None:
            return self._record
        try:
            _, record = await self.records.load(response_id(job))
        except (
            ApiError
        ):  # it is answered on its connection, or an idempotency key names a job that no response asked for
            record = await sized(len(self._raw), self._made, job)
        return record

    def _made(self, job: str) -> StoredResponse:
        given = self._body.get("input")
        return StoredResponse(
            request={name: value for name, value in self._body.items() if name not in ("input", "headrace")},
            created_s=self._created_s,
            input=input_items([] if given is None else given, letters_of(job), self._known),
            earlier=self._earlier,
            is_kept=self._body.get("store") is not False,
            caller=self._gateway.caller(self._request),
        )

    async def _submit(self) -> str:
        try:
            self._record = await sized(len(self._raw), self._made, self._token)
            is_saved = await self.records.save_ahead(
                self._token, self._record, size=len(self._raw), streams=is_streamed(self._body)
            )
        except BaseException:
            self._submission.cancel()
            raise
        try:
            job = await super()._submit()
        except (InputError, Refused):  # there is no job; after any other failure there may be one
            await self.records.remove(self._token)
            raise
        if is_saved and job != self._token:  # what was asked before is joined, and has a record of its own
            await self.records.remove(self._token)
        if self._key and job != self._token:
            await self._check_same(job)
        return job

    async def _check_same(self, job: str) -> None:
        """Raise `Conflict` when the idempotency key names the job of another request: one that differs in what no job has, such
        as `store` or `metadata`."""
        try:
            _, record = await self.records.load(response_id(job))
        except ApiError:  # of a chat, or gone: the job itself was compared
            return
        if self._record is not None and record.request != self._record.request:
            raise Conflict(self._token, job)
