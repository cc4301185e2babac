"""The HTTP side: OpenAI's routes and shapes, and the passing of time.

`POST /v1/chat/completions` (plain and streamed), `GET /v1/models`, `GET /healthz`; the first two also behind `/vllm` and
`/openrouter`, in these providers' dialects (see `dialects`). A call is answered like this: read
the body, write `received` in the account, take its orders (see `faults`), compose the answer (see `answers`), let the
ordered time pass, send. The client leaving cancels the call at any point and is written down as `gone`.

`tool_choice` "required" or a named function brings one tool call, `response_format` or a JSON Schema in the system message
an instance of it, the fields of an XML answer there that answer, anything else a text. `max_completion_tokens` and
`max_tokens` truncate, with finish reason `length`, as a provider does.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from hashlib import sha256
from typing import Any

import msgspec
from aiohttp import web

from headrace_rehearsal.account import Account, UsedTokens
from headrace_rehearsal.answers import AnswerWriter, plain_text
from headrace_rehearsal.asked import MISSING, as_xml, asked_schema, asked_xml, forced_tool, text_of
from headrace_rehearsal.dialects import DIALECTS, OpenAIDialect, RefusedRequest
from headrace_rehearsal.faults import MARKER, SLOW_TPS, BadOrder, Book, Orders, missed
from headrace_rehearsal.http_answers import encode, error_response, json_response, raise_ordered
from headrace_rehearsal.prompt import Prompt, pieces, tokens
from headrace_rehearsal.rate_limits import RateLimits

MODELS = ("rehearsal-small", "rehearsal-large")
CHAT = "/v1/chat/completions"
ROUTES = {CHAT: "POST", "/v1/models": "GET", "/healthz": "GET"}
MAX_BODY_BYTES = 64 << 20
encode_canonical = msgspec.json.Encoder(order="deterministic").encode


class ComposedAnswer(msgspec.Struct):
    """An answer as it is said. `text` is the content, the refusal or the tool's arguments, as `kind` tells."""

    text: str
    kind: str = "content"
    tool: str = ""
    finish_reason: str = "stop"
    thought: str = ""


class ServedCall(msgspec.Struct):
    """One call on its way: its number, the client's name for it, when its first byte is due on the loop's clock, the dialect
    it is answered in, and what its answer says of limits."""

    n: int
    request_id: str | None
    due: float
    dialect: OpenAIDialect
    headers: dict[str, str] = {}
    closed: bool = False  # the account has its closing line
    used: UsedTokens | None = None  # what is charged for, as soon as the request is understood


def read_body(raw: bytes) -> dict[str, Any]:
    """Return the request's body. Raises `RefusedRequest` as OpenAI would."""
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedRequest(400, f"We could not parse the JSON body of your request: {error}") from None
    if not isinstance(body, dict):
        raise RefusedRequest(400, "The body of the request must be a JSON object.")
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise RefusedRequest(400, "you must provide a model parameter", param="model")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RefusedRequest(400, "Missing required parameter: 'messages'.", param="messages", code=MISSING)
    if not all(isinstance(message, dict) and isinstance(message.get("role"), str) for message in messages):
        raise RefusedRequest(400, "Each of 'messages' must be an object with a 'role'.", param="messages")
    if body.get("n") not in (None, 1):
        raise RefusedRequest(400, "Rehearsal gives one choice: leave out 'n'.", param="n")
    return body


def compose(body: dict[str, Any], seed: int, fault: str | None) -> ComposedAnswer:
    """Return the answer to a request, spoilt as `fault` says. Raises `RefusedRequest`."""
    said = [MARKER.sub("", text_of(message)) for message in body["messages"] if message["role"] == "user"]
    said = said or [MARKER.sub("", text_of(message)) for message in body["messages"]]
    newest = Prompt(said[-1])
    # A re-ask ends with a complaint about the last answer: what to extract from stands in an earlier message.
    prompt = Prompt("\n".join(reversed(said))) if len(said) > 1 else newest
    tool = forced_tool(body, newest)
    xml = None if tool else asked_xml(body)
    schema = tool.get("parameters", {}) if tool else xml[1] if xml else asked_schema(body)
    if schema is None:
        answer = ComposedAnswer(plain_text(newest, seed))
    else:
        try:
            value = AnswerWriter(prompt, seed, schema).document()
        except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
            raise RefusedRequest(
                400, f"Invalid schema: {error!r}", param="tools" if tool else "response_format"
            ) from None
        value = missed(value, schema) if fault == "miss" else value
        answer = ComposedAnswer(as_xml(xml[0], value) if xml else encode(value).decode())
    if tool:
        # OpenAI ends a call of a named function with "stop", one of "required" with "tool_calls".
        answer.kind, answer.tool = "tool", tool["name"]
        answer.finish_reason = "tool_calls" if body["tool_choice"] == "required" else "stop"
    if fault == "malformed" or (fault == "miss" and schema is None):
        answer.text = "Sure! " + answer.text[:-1]
    elif fault == "refusal":
        return ComposedAnswer("Rehearsal refuses, as it was ordered to.", kind="refusal")
    elif fault in ("length", "content_filter"):
        parts = pieces(answer.text)
        answer.text, answer.finish_reason = "".join(parts[: len(parts) // 2]), fault
        return answer
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if isinstance(limit, int) and tokens(answer.text) > limit:
        answer.text = answer.text.encode()[: int(limit * 3.5)].decode(errors="ignore")
        answer.finish_reason = "length"
    return answer


class Rehearsal:
    """Answers requests. `orders`, `rates` and `seed` settle how calls misbehave by default, see `faults.Book`."""

    def __init__(
        self,
        account: Account | None,
        orders: Orders,
        rates: dict[str, float],
        seed: int,
        limits: RateLimits | None = None,
    ):
        self._account = account
        self._limits = limits
        self._book = Book(orders, rates, seed)
        self._seed = seed
        self._calls = 0
        self._run = account.run if account else f"{os.getpid():x}"
        self.stopping = False

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        prefix = next((prefix for prefix in DIALECTS if prefix and request.path.startswith(f"{prefix}/")), "")
        path, dialect = request.path.removeprefix(prefix), DIALECTS[prefix]
        wanted = ROUTES.get(path)
        if wanted is None:
            unknown = f"Unknown request URL: {request.method} {request.path}."
            return error_response(RefusedRequest(404, unknown, code="unknown_url"), dialect)
        if wanted != request.method:
            refused = RefusedRequest(405, f"Not allowed to {request.method} on {request.path}: use {wanted}.")
            return error_response(refused, dialect)
        if path == CHAT:
            return await self._chat(request, dialect)
        if path == "/healthz":
            return web.Response(text="ok\n")
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "rehearsal"} for name in MODELS]
        return json_response({"object": "list", "data": models})

    async def _chat(self, request: web.BaseRequest, dialect: OpenAIDialect) -> web.StreamResponse:
        try:
            raw = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return error_response(RefusedRequest(413, f"The body is larger than {MAX_BODY_BYTES} bytes."), dialect)
        self._calls += 1
        now = asyncio.get_running_loop().time()
        call = ServedCall(self._calls, request.headers.get("X-Client-Request-Id"), now, dialect)
        if self._account:
            self._account.received(call.n, call.request_id, size=len(raw), key=sha256(raw).hexdigest()[:16])
        try:
            try:
                return await self._answer(request, call, raw)
            except RefusedRequest as refused:
                response = error_response(refused, dialect)
                await self._send_whole(request, call, response, 0)
                return response
        except asyncio.CancelledError:
            self._gone(call)
            raise
        except ConnectionError:
            self._gone(call)
            return web.Response()  # nobody reads it; raising would be logged as a fault of ours

    def _gone(self, call: ServedCall) -> None:
        if self._account and not call.closed and not self.stopping:
            self._account.gone(call.n, call.request_id, call.used)

    async def _answer(self, request: web.BaseRequest, call: ServedCall, raw: bytes) -> web.StreamResponse:
        body = read_body(raw)
        call.dialect.check(body, request.headers)
        stream, options = body.pop("stream", False), body.pop("stream_options", None)
        digest = sha256(encode_canonical(body)).digest()
        seed = int.from_bytes(digest[:8])
        marked: list[str] = []
        if b"[[rehearsal" in raw:
            heard = (text_of(message) for message in body["messages"] if message["role"] not in ("assistant", "tool"))
            marked = [order for text in heard for order in MARKER.findall(text)]
        try:
            key = job_of(call.request_id) or digest.hex()
            orders = self._book.orders(request.headers.get("x-rehearsal"), marked, key)
        except BadOrder as error:
            raise RefusedRequest(400, str(error), code="rehearsal_order") from None
        jitter_ms = orders.jitter_ms * random.Random(seed ^ self._seed).random() if orders.jitter_ms else 0
        prompt_tokens = sum(tokens(text_of(message)) for message in body["messages"])
        tier = orders.tier or body.get("service_tier")
        call.used = UsedTokens(
            str(body["model"]), "" if tier in (None, "auto", "default") else str(tier), prompt_tokens
        )
        call.used.cached_tokens = min(orders.cached, prompt_tokens)
        call.due += (orders.latency_ms + jitter_ms) / 1000
        if orders.fault == "hang":
            await asyncio.get_running_loop().create_future()
        if orders.fault and (orders.fault.isdecimal() or (orders.fault == "stream_error" and not stream)):
            await until(call.due)
            raise_ordered(orders)
        answer = compose(body, seed, orders.fault)
        tps = orders.tps or (SLOW_TPS if orders.fault == "slow" else 0)
        used: dict[str, Any] = {"prompt_tokens": prompt_tokens, "completion_tokens": tokens(answer.text)}
        used["total_tokens"] = sum(used.values())
        if call.used.cached_tokens:
            used["prompt_tokens_details"] = {"cached_tokens": call.used.cached_tokens}
        if self._limits:
            call.headers = self._limits.admit(used["total_tokens"], asyncio.get_running_loop().time())
        used = call.dialect.usage(used)
        call.used.answer_tokens, call.used.charge = used["completion_tokens"], used.get("cost")
        if call.dialect.thinks(body):
            answer.thought = f"The question has {prompt_tokens} tokens; its own words are the answer."
        model = body["model"] if body["model"].startswith("rehearsal-") else "rehearsal-" + body["model"]
        head = {
            "id": f"chatcmpl-{self._run}-{call.n}",
            "created": int(time.time()),
            "model": model,
        } | call.dialect.answer()
        if tier:
            head["service_tier"] = "default" if tier == "auto" else tier
        if stream:
            with_usage = isinstance(options, dict) and options.get("include_usage") is True
            with_usage = with_usage or call.dialect.always_usage
            return await self._stream(request, call, answer, orders, tps, head, used if with_usage else None)
        return await self._plain(request, call, answer, orders, tps, head, used)

    async def _plain(
        self,
        request: web.BaseRequest,
        call: ServedCall,
        answer: ComposedAnswer,
        orders: Orders,
        tps: float,
        head: Any,
        used: Any,
    ) -> web.StreamResponse:
        message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
        if answer.kind == "tool":
            function = {"name": answer.tool, "arguments": answer.text}
            message["tool_calls"] = [{"id": f"call_{head['id'][9:]}", "type": "function", "function": function}]
        else:
            message[answer.kind] = answer.text
        if answer.thought:
            message |= call.dialect.thought(answer.thought)
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}
        choice |= call.dialect.choice(answer.finish_reason)
        response = json_response(head | {"object": "chat.completion", "choices": [choice], "usage": used}, head["id"])
        await until(call.due + (used["completion_tokens"] / tps if tps else 0))
        if orders.fault not in ("cut", "stall"):
            await self._send_whole(request, call, response, used["completion_tokens"])
            return response
        data: Any = response.body
        torn = web.StreamResponse(headers={"Content-Type": "application/json"})
        torn.content_length = len(data)
        await self._begin(request, call, torn)
        await torn.write(data[: len(data) // 2])
        await self._break_off(request, call, orders)
        return torn

    async def _stream(
        self,
        request: web.BaseRequest,
        call: ServedCall,
        answer: ComposedAnswer,
        orders: Orders,
        tps: float,
        head: Any,
        used: Any,
    ) -> web.StreamResponse:
        shared = head | {"object": "chat.completion.chunk"} | ({"usage": None} if used else {})

        def event(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
            choice |= call.dialect.choice(finish_reason)
            return b"data: " + encode(shared | {"choices": [choice]}) + b"\n\n"

        opening: dict[str, Any] = {"role": "assistant", "content": None if answer.kind == "tool" else ""}
        if answer.kind == "tool":
            start = {"index": 0, "id": f"call_{head['id'][9:]}", "type": "function"}
            opening["tool_calls"] = [start | {"function": {"name": answer.tool, "arguments": ""}}]
        # The frame of a piece is the same each time: only the text is encoded anew.
        function = [{"index": 0, "function": {"arguments": "\0"}}]
        frame = event({"tool_calls": function} if answer.kind == "tool" else {answer.kind: "\0"})
        before, after = frame.split(rb'"\u0000"')
        parts = pieces(answer.text)
        broken = orders.fault in ("cut", "stall", "stream_error")
        parts = parts[: orders.after] if broken else parts
        end = [event({}, answer.finish_reason)]
        if used:
            end.append(b"data: " + encode(shared | {"choices": [], "usage": used}) + b"\n\n")
        end.append(b"data: [DONE]\n\n")

        response = web.StreamResponse(headers={"Cache-Control": "no-cache", "x-request-id": head["id"]})
        response.headers["Content-Type"] = "text/event-stream; charset=utf-8"
        await until(call.due)
        thought = event(call.dialect.thought(answer.thought)) if answer.thought else b""
        sent = [call.dialect.comment + event(opening) + thought]
        if tps:
            await self._begin(request, call, response)
            await response.write(sent[0])
            spoken = 0
            for part in parts:
                spoken += len(part.encode())
                await until(call.due + spoken / 3.5 / tps)
                sent.append(before + encode(part) + after)
                await response.write(sent[-1])
        else:
            sent += [before + encode(part) + after for part in parts]
            await self._begin(request, call, response)
            await response.write(b"".join(sent if broken else sent + end))
        if broken:
            await self._break_off(request, call, orders, response)
            return response
        if tps:
            await response.write(b"".join(end))
        await response.write_eof()
        if self._account:
            size = sum(map(len, sent)) + sum(map(len, end))
            self._account.finished(
                call.n, call.request_id, status=200, size=size, tokens=tokens(answer.text), used=call.used
            )
        call.closed = True
        return response

    async def _begin(self, request: web.BaseRequest, call: ServedCall, response: web.StreamResponse) -> None:
        response.headers.update(call.headers)
        await response.prepare(request)
        if self._account:
            self._account.first_byte(call.n, call.request_id)

    async def _send_whole(self, request: web.BaseRequest, call: ServedCall, response: web.Response, used: int) -> None:
        first_byte_at = time.time()
        response.headers.update(call.headers)
        await response.prepare(request)
        await response.write_eof()
        if self._account:
            size = len(response.body) if isinstance(response.body, bytes) else 0
            self._account.finished(
                call.n,
                call.request_id,
                status=response.status,
                size=size,
                tokens=used,
                first_byte_at=first_byte_at,
                used=call.used,
            )
        call.closed = True

    async def _break_off(
        self, request: web.BaseRequest, call: ServedCall, orders: Orders, stream: web.StreamResponse | None = None
    ) -> None:
        """Stop in the middle: silence until the client leaves, or an error event, or only a closed connection."""
        if orders.fault == "stall":
            await asyncio.get_running_loop().create_future()
        if orders.fault == "stream_error" and stream:
            error = RefusedRequest(500, "Rehearsal broke off, as it was ordered to.")
            await stream.write(b"data: " + encode(call.dialect.error_event(error)) + b"\n\n")
            await stream.write_eof()
        elif request.transport:
            request.transport.close()
        if self._account:
            self._account.cut(call.n, call.request_id, status=200, used=call.used)
        call.closed = True


async def until(due: float) -> None:
    """Sleep until the loop's clock shows `due`."""
    wait = due - asyncio.get_running_loop().time()
    if wait > 0:
        await asyncio.sleep(wait)


def job_of(request_id: str | None) -> str | None:
    """Return `job.7` for the request id `job.7.<epoch>.<call>`, so that the retries of one job are counted together."""
    parts = (request_id or "").rsplit(".", 2)
    return parts[0] if len(parts) == 3 and parts[0] else request_id
