"""The result of a direct call: a `Response`, or a `Stream` that becomes one."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from headrace.chat.completion import Completion
from headrace.chat.tool_calls import ToolCalls
from headrace.errors import CallError, HeadraceError
from headrace.schema.python_types import places_of
from headrace.text.reasoning import REASONING_FIELDS
from headrace_providers.replay_buffer import ReplayBuffer
from headrace_providers.wire.choice_reducer import Delta

BESIDE = (
    "id",
    "model",
    "created",
    "provider",
    "service_tier",
    "system_fingerprint",
    "native_finish_reason",
    "refusal",
    "reasoning_details",
    "logprobs",
    "cost",
)


class Switches(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options that shape a response and are never sent: if reasoning is in it, and in the history of tool calls."""

    return_reasoning: bool = True
    reasoning_in_tool_call: bool = True
    validate_typed_parser_output: bool = False


class Response(msgspec.Struct, kw_only=True):
    """An answer. `data` is, by `response_type`:

    * `text_generation`: the text, or the refusal of a plain call; `""` when the model said nothing
    * `structured`: plain values, valid under the caller's schema, or what the parser read
    * `tool_call`: `ToolCalls`, whose `text` is what came with the calls
    * `audio_generation`, `audio_text_generation`: `{id, audio: bytes, text?, expires_at?}`

    `metadata` holds usage, finish reason and the like, the same for streams; `cached` says that nothing
    was paid for it.
    """

    response_type: str
    data: Any
    reasoning: str | None
    metadata: dict[str, Any]
    cached: bool = False

    @property
    def has_reasoning(self) -> bool:
        return self.reasoning is not None

    def consume(self) -> Any:
        return self.data

    def consume_reasoning(self) -> str | None:
        return self.reasoning


def response_of(completion: Completion, switches: Switches, read: Callable[[Completion], Any]) -> Response:
    """Return the response to a direct call; `read` decodes its validated value."""
    kind, data = "text_generation", completion.content or completion.refusal or ""
    if completion.tool_calls:
        kind, data = "tool_call", tool_calls_of(completion, switches)
    elif completion.structured:
        kind, data = "structured", read(completion)
    elif completion.audio and not completion.content:
        kind, data = audio_of(completion.audio)
    return Response(
        response_type=kind,
        data=data,
        reasoning=completion.reasoning if switches.return_reasoning else None,
        metadata=metadata_of(completion),
        cached=completion.cached,
    )


def tool_calls_of(completion: Completion, switches: Switches) -> ToolCalls:
    calls = ToolCalls()
    turn = completion.history
    if not switches.reasoning_in_tool_call:
        turn = {name: said for name, said in turn.items() if name not in (*REASONING_FIELDS, "reasoning_details")}
    calls.add_message(turn)
    return calls


def audio_of(audio: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    data: dict[str, Any] = {"id": audio.get("id"), "audio": base64.b64decode(audio.get("data", ""))}
    if audio.get("expires_at") is not None:
        data["expires_at"] = audio["expires_at"]
    if audio.get("transcript"):
        return "audio_text_generation", data | {"text": audio["transcript"]}
    return "audio_generation", data


def metadata_of(completion: Completion) -> dict[str, Any]:
    """Return the metadata of the answer; what the provider did not send is absent."""
    stop = completion.stop_reason
    metadata: dict[str, Any] = {
        "finish_reason": completion.finish_reason,
        "stop_reason": completion.finish_reason if stop is None else stop,
    }
    if completion.raw_usage is not None:
        metadata["usage"] = completion.raw_usage
    for name in ("annotations", "images", "citations", "extra"):
        if getattr(completion, name):
            metadata[name] = getattr(completion, name)
    if completion.audio and (completion.content or completion.tool_calls):
        metadata["audio"] = completion.audio
    for name in ("raw", "notes"):
        if found := getattr(completion, name):
            metadata[name] = found
    metadata |= {name: value for name in BESIDE if (value := getattr(completion, name)) not in (None, "")}
    return metadata


class Stream:
    """A response in progress. It is produced without any reader; readers may join late, and read more than once.

    `consume()` and `consume_reasoning()` are read with `for` or `async for`, from any thread or loop; they raise the error
    that ended the stream after all items before it. `aclose()` (`close()` from another thread) cancels the call. As a
    context manager it closes itself.
    """

    def __init__(self, switches: Switches):
        self._switches = switches
        self._content: ReplayBuffer[Any] = ReplayBuffer()
        self._reasoning: ReplayBuffer[str] = ReplayBuffer()
        self._first = asyncio.Event()
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._response: Response | None = None
        self.error: HeadraceError | None = None
        self.response_type: str | None = None

    @staticmethod
    async def start(
        ask: Callable[[Callable[[Delta], None]], Coroutine[Any, Any, Response]], switches: Switches
    ) -> Stream:
        """Return a started stream: its first delta has come, or its end. Raises an error that came before that."""
        stream = Stream(switches)
        stream._task = asyncio.create_task(stream._produce(ask))
        try:
            await stream._first.wait()
        except asyncio.CancelledError:
            await stream.aclose()
            raise
        if stream.error is not None and not stream.has_delivered:
            raise stream.error
        return stream

    @property
    def has_delivered(self) -> bool:
        return bool(self._content.items or self._reasoning.items or self.response_type)

    def feed(self, delta: Delta) -> None:
        if delta.kind == "reasoning":
            if not self._switches.return_reasoning:
                return
            self._reasoning.put(delta.value)
        elif delta.kind == "tool":
            self.response_type = "tool_call"
        elif delta.kind == "image":
            self.response_type = self.response_type or "text_generation"
        else:
            if delta.kind in {"text", "refusal"}:
                self.response_type = self.response_type or "text_generation"
            else:
                self.response_type = self.response_type or "audio_generation"
            self._content.put(delta.value)
        self._first.set()

    async def _produce(self, ask: Callable[[Callable[[Delta], None]], Coroutine[Any, Any, Response]]) -> None:
        error: BaseException | None = None
        try:
            self._response = await ask(self.feed)
            self.response_type = self._response.response_type
        except HeadraceError as failure:
            error = self.error = failure
        except asyncio.CancelledError:
            error = self.error = CallError("cancelled", "the stream was closed")
        finally:
            if self._response is None and error is None:
                error = self.error = CallError("provider_error", "the stream ended unexpectedly")
            self._reasoning.close(error)
            self._content.close(error)
            self._first.set()
            self._ended.set()

    def consume(self) -> ReplayBuffer[Any]:
        """Iterate over the deltas of the answer: texts, or bytes of audio."""
        return self._content

    def consume_reasoning(self) -> ReplayBuffer[str]:
        return self._reasoning

    @property
    def data(self) -> Any:
        """The whole answer after the end; before it, and after a failure, the text or audio so far."""
        if self._response is not None:
            return self._response.data
        if self.error is not None and isinstance(self.error, CallError) and "tool_calls" in self.error.details:
            return self.error.details["tool_calls"]
        items = list(self._content.items)
        return b"".join(items) if items and isinstance(items[0], bytes) else "".join(items)

    @property
    def reasoning(self) -> str | None:
        """The whole reasoning after the end; after a failure the reasoning so far."""
        if self._response is not None:
            return self._response.reasoning
        return ("".join(self._reasoning.items) or None) if self.error is not None else None

    @property
    def has_reasoning(self) -> bool:
        return bool(self._reasoning.items) or self.reasoning is not None

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata after the end; after a failure what is known of it."""
        if self._response is not None:
            return self._response.metadata
        return self.error.details.get("metadata", {}) if isinstance(self.error, CallError) else {}

    @property
    def cached(self) -> bool:
        return self._response is not None and self._response.cached

    async def response(self) -> Response:
        """Wait for the end and return the whole response. Raises the error that ended it."""
        async for _ in self._content:
            pass
        if self._response is None:
            raise self.error or CallError("provider_error", "the stream ended without a response")
        return self._response

    async def aclose(self) -> None:
        """Cancel the call and close the provider's connection; a no-op after the end."""
        if self._loop is asyncio.get_running_loop():
            await self._stop()
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._stop(), self._loop))

    def close(self) -> None:
        """Cancel the call, from code without an event loop: see `aclose`."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()

    async def _stop(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def fitting(completion: Completion, value: Any, read: Callable[[Any], Any]) -> Any:
    """Decode `value` as the caller's type, which may be stricter than its schema. Raises `CallError("invalid_output")`."""
    try:
        return read(value)
    except Exception as error:  # whatever the caller's own validators raise
        why = "; ".join(places_of(error))
        raise CallError("invalid_output", f"the answer does not fit: {why}", partial=completion.content) from None
