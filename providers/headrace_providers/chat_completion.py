"""The base of the provider classes: request → transport → reduce, for the engine (`complete`) and for direct calls."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Literal, Self, Unpack, overload

import msgspec

from headrace import portal
from headrace.chat.completion import Completion
from headrace.chat.messages import conversation
from headrace.chat.options import Options, check_beside_schema, check_for, check_options, laid_over, parse_options
from headrace.chat.provider_table import OF_OTHERS, Provider, endpoint, is_openai_endpoint
from headrace.chat.tools import ToolDefinitions
from headrace.errors import CallError, HeadraceError, InputError
from headrace.flows.react import flow_of
from headrace.jobs.build import Tools
from headrace.jobs.build import tool_definitions as defined
from headrace.jobs.job import Job
from headrace.logs import get_logger
from headrace.schema.modes import Mode, check_carried, checked_mode, mode_for
from headrace.schema.python_types import answer_type, check_type, plain
from headrace.spend.prices import Profile, profile_of
from headrace.text.masking import masked
from headrace.text.quoting import quoted
from headrace.text.safe_errors import kind_of, where_of
from headrace_providers.cache import Cache, CacheInfo, MemoryCache, SingleFlightCache, cache_key
from headrace_providers.call_arguments import (
    CallParams,
    TypedParserNotFoundError,
    checked_key,
    checked_retry,
    checked_size,
    checked_url,
)
from headrace_providers.configuration import MODEL_TYPE, configuration_of
from headrace_providers.credentials import remember_endpoint, remember_headers
from headrace_providers.loop_transports import LoopTransports
from headrace_providers.parsers import PARSERS
from headrace_providers.response import Response, Stream, Switches, fitting, response_of
from headrace_providers.retry import Retry, with_retries
from headrace_providers.wire.answer_end import fill
from headrace_providers.wire.call_cost import cost_of_call, tell_cost
from headrace_providers.wire.choice_reducer import Delta
from headrace_providers.wire.provider_errors import without_credentials
from headrace_providers.wire.reducer import Reducer, asked_choices
from headrace_providers.wire.request import REQUEST_ID, Adapt, Body, Request, build_body, request_headers
from headrace_providers.wire.structured_value import fits
from headrace_providers.wire.transport import Deadlines, Transport

log = get_logger("headrace.providers.chat_completion")


class ChatCompletion:
    """A model at a provider. `model(messages, …)` answers; `await model.acall(messages, …)` is the same with `await`.

    Options of every call (`temperature=0`, `extra_body={…}`; see `headrace.chat.options`) are given here by name. `base_url`,
    `api_key`: else the provider's environment variables. `retry`: None is five attempts, False one, or a `Retry`.
    `cache` (or `enable_cache` and `cache_size`, None for no bound, 0 for none) keeps whole answers. `context_length` is
    for whoever asks; it never travels. `mode` is how schemas are put to the model (`headrace.schema.modes`).
    Raises `InputError` for what cannot be used, and for a missing key, naming the variable.
    """

    facts: Provider
    adapt: Adapt
    model_type = MODEL_TYPE

    def __init__(
        self,
        model_id: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        retry: Retry | bool | None = None,
        deadlines: Deadlines | None = None,
        transport: Transport | None = None,
        facts: Provider | None = None,
        structured_output_mode: str | None = None,
        mode: Mode | None = None,
        enable_cache: bool = False,
        cache_size: int | None = 128,
        cache: Cache | None = None,
        tenant: str = "default",
        context_length: int | None = None,
        verbose: bool = False,
        return_reasoning: bool = True,
        reasoning_in_tool_call: bool = True,
        validate_typed_parser_output: bool = False,
        **options: Any,
    ):
        self.facts = facts or type(self).facts
        if structured_output_mode is not None:
            self.facts = self.facts.with_structured_output(structured_output_mode)
        if not isinstance(model_id, str) or not model_id:
            raise InputError(f"model_id={quoted(model_id)}: must be the name of a model")
        self.model_id = model_id
        self.options = parse_options(options, self.facts)
        self.base_url = checked_url(base_url or self.facts.address(os.environ), self.facts)
        if self.facts.name == "openai" and not is_openai_endpoint(self.base_url):
            self.facts = msgspec.structs.replace(self.facts, **OF_OTHERS)
        self._key = checked_key(api_key or self.facts.key(os.environ), self.facts)
        self.retry = checked_retry(retry)
        self._given_base_url, self._given_retry = base_url, retry
        self.deadlines = deadlines or Deadlines.from_environment()
        self._transports = LoopTransports(self, self.deadlines, transport)
        self.switches = Switches(
            return_reasoning=return_reasoning,
            reasoning_in_tool_call=reasoning_in_tool_call,
            validate_typed_parser_output=validate_typed_parser_output,
        )
        self.enable_cache, self.cache_size, self.tenant = enable_cache, checked_size(cache_size), tenant
        self.context_length, self.verbose = context_length, verbose
        cache = MemoryCache(cache_size) if cache is None and enable_cache and cache_size != 0 else cache
        self._remembered = SingleFlightCache(cache) if cache is not None else None
        self._profile = profile_of(self.facts.prices, self.facts.name, model_id)
        self.mode: Mode | None = checked_mode(mode)
        self._profile_mode = (self._profile.mode if self._profile else None) or self.facts.mode
        self._headers = request_headers(self.facts, self._key, self.options)
        self._checked: Options | None = None
        remember_endpoint(self._key, self.base_url, self._headers, default=self.facts.default_key)

    # Direct calls

    @overload
    def __call__(self, messages: Any, *, stream: Literal[True], **words: Unpack[CallParams]) -> Stream: ...
    @overload
    def __call__(self, messages: Any, *, stream: Literal[False] = False, **words: Unpack[CallParams]) -> Response: ...
    def __call__(self, messages: Any, *, stream: bool = False, **words: Unpack[CallParams]) -> Response | Stream:
        """Call the model as `acall` does, for code without an event loop."""
        return portal.run(self._ask(messages, stream=stream, **words))

    @overload
    async def acall(self, messages: Any, *, stream: Literal[True], **words: Unpack[CallParams]) -> Stream: ...
    @overload
    async def acall(
        self, messages: Any, *, stream: Literal[False] = False, **words: Unpack[CallParams]
    ) -> Response: ...
    async def acall(self, messages: Any, *, stream: bool = False, **words: Unpack[CallParams]) -> Response | Stream:
        """Call the model; return a `Response`, or with `stream=True` a `Stream` that has begun.

        `messages` is a text or a conversation. Raises `InputError` before anything is sent for what cannot be asked for,
        `CallError` for a call that failed or an answer that cannot be used.
        """
        return await self._ask(messages, stream=stream, **words)

    async def _ask(
        self,
        messages: Any,
        *,
        stream: bool,
        system_prompt: str | None = None,
        prefilling: str | None = None,
        generation_schema: Any = None,
        tool_definitions: Tools | None = None,
        typed_parser: str | None = None,
        **options: Any,
    ) -> Response | Stream:
        tools = defined(tool_definitions)
        if stream and generation_schema is not None:
            raise InputError("stream: a schema's answer is only of use when it is whole; leave out `stream`")
        if stream and typed_parser:
            raise InputError("stream: a parser needs the whole answer; leave out `stream`")
        expected, flow = answer_type(generation_schema), flow_of(generation_schema)
        envelope = flow.provider_response_format(tools) if flow else None
        if expected.schema is not None and not (envelope or typed_parser):
            check_type(generation_schema)
            check_carried(expected.schema, self.mode, self.facts.dialect)
        wanted = self._call_options(options)
        if expected.schema is not None:
            check_beside_schema(wanted)
        job = self.job(
            messages,
            system_prompt=system_prompt,
            prefilling=prefilling,
            options=wanted,
            schema=None if envelope else expected.schema,
            schema_name=expected.name,
            response_format=envelope,
            tool_definitions=None if flow else tools,
            typed_parser=typed_parser,
            stream=bool(stream),
        )

        def read(completion: Completion) -> Any:
            value = completion.value
            if flow:
                value = flow.normalize_provider_response(value, tool_definitions=tools)
                fitting(completion, value, expected.read)
                return value
            if not job.parser:
                return fitting(completion, value, lambda value: plain(expected.read(value)))
            if expected.schema is not None and self.switches.validate_typed_parser_output:
                fitting(completion, value, expected.read)
            return value

        async def ask(on_delta: Callable[[Delta], None] | None) -> Response:
            completion = await self._remembering(job, on_delta)
            return response_of(completion, self.switches, read)

        return await Stream.start(ask, self.switches) if job.stream else await ask(None)

    def job(
        self,
        messages: Any,
        *,
        system_prompt: str | None = None,
        prefilling: str | None = None,
        options: Options | None = None,
        schema: dict[str, Any] | None = None,
        schema_name: str = "answer",
        response_format: dict[str, Any] | None = None,
        tool_definitions: ToolDefinitions | None = None,
        typed_parser: str | None = None,
        stream: bool = False,
    ) -> Job:
        """Return the job that a direct call makes. Raises `InputError` for what cannot be asked for."""
        if prefilling and (schema is not None or response_format is not None):
            raise InputError("prefilling: a schema's answer cannot begin with it; leave one of the two out")
        if typed_parser and typed_parser not in PARSERS:
            raise TypedParserNotFoundError(f"typed_parser={quoted(typed_parser)}: the parsers are {', '.join(PARSERS)}")
        talk = conversation(messages, system_prompt=system_prompt)
        conversation("x", prefilling=prefilling)
        tools = tool_definitions or ToolDefinitions()
        if self.mode == "tool_call" and schema is not None and tools.schemas:
            raise InputError(
                "mode='tool_call': the schema travels as a tool there, so there can be no tools of your own"
            )
        return Job(
            model=f"{self.facts.name}/{self.model_id}",
            messages=talk,
            options=options or self.options,
            schema=schema,
            schema_name=schema_name,
            response_format=response_format,
            envelope=response_format is not None,
            tools=tools.schemas,
            tool_choice=tools.choice,
            prefilling=prefilling or None,
            parser=typed_parser or None,
            stream=stream,
        )

    def _call_options(self, given: dict[str, Any]) -> Options:
        """Return the model's options under those of one call. None is "as the model has it"."""
        changed = {name: value for name, value in given.items() if value is not None}
        return parse_options(laid_over(self.options, changed), self.facts) if changed else self.options

    async def _remembering(self, job: Job, on_delta: Callable[[Delta], None] | None) -> Completion:
        if self._remembered is None or job.stream:
            return await self.complete(job, on_delta=on_delta)
        return await self._remembered.ask(
            self.cache_key(job, self.tenant), lambda: self.complete(job), lambda kept: self.fitting(job, kept)
        )

    async def acache_info(self) -> CacheInfo:
        """Return hits, misses, bound and size of the cache; all zero without one."""
        return await self._remembered.cache.info() if self._remembered else CacheInfo(0, 0, 0, 0)

    def cache_info(self) -> CacheInfo:
        return portal.run(self.acache_info())

    async def acache_clear(self) -> None:
        if self._remembered:
            await self._remembered.cache.clear()

    def cache_clear(self) -> None:
        portal.run(self.acache_clear())

    # What the engine calls

    def cache_key(self, job: Job, tenant: str) -> str:
        """Return what an answer to `job` is kept under: the same for jobs of a tenant that would get the same answer."""
        return cache_key(
            provider=self.facts.name,
            base_url=self.base_url,
            tenant=tenant,
            body=self.body(job),
            parser=job.parser,
            schema=job.schema,
            switches=[self.switches, job.mode, job.lax],
        )

    async def fitting(self, job: Job, kept: Completion) -> bool:
        """Return True if a kept completion is what the job's schema, parser or response format makes of its text."""
        return await fits(kept, job, self.mode_of(job), self.facts.dialect)

    async def complete(
        self, job: Job, *, request_id: str = "", on_delta: Callable[[Delta], None] | None = None
    ) -> Completion:
        """Run `job`. `on_delta` gets what each chunk adds; after one nothing is retried, for it was shown. Raises `CallError`."""
        if self.retry.attempts == 1:
            return await self._attempt(job, request_id, on_delta)
        delivered = False

        def deliver(delta: Delta) -> None:
            nonlocal delivered
            delivered = True
            if on_delta is not None:
                on_delta(delta)

        attempts, begun = 0, time.monotonic()

        def wait_s(error: CallError) -> float | None:
            return None if delivered else self.retry.wait_s(error, attempts, time.monotonic() - begun)

        async def attempt() -> Completion:
            nonlocal attempts
            attempts += 1
            return await self._attempt(job, request_id, deliver if on_delta else None)

        return await with_retries(attempt, wait_s=wait_s, pause=asyncio.sleep)

    def body(self, job: Job) -> Body:
        """Return the JSON body of the request that `job` makes."""
        return build_body(job, self.model_id, self.facts, type(self).adapt, self.mode_of(job))

    def mode_of(self, job: Job) -> Mode:
        """Return how the job's schema is put to this model: as the job says, the object, its profile, or what is known of it.

        As a tool it would take the place of the job's own: then it is put in words."""
        mode = job.mode or self.mode or mode_for(self.facts.name, self.model_id, self._profile_mode)
        return "prompt" if mode == "tool_call" and job.tools else mode

    def request(self, job: Job, request_id: str = "") -> Request:
        """Return the request that `job` makes. Raises `InputError` for options and headers that it may not have."""
        if job.options is not self.options and job.options is not self._checked:
            check_options(job.options)  # a job comes from Redis, where others may write
            check_for(job.options, self.facts)
            self._checked = job.options
        if job.parser is not None and job.parser not in PARSERS:
            raise InputError(f"parser={quoted(job.parser)}: the parsers are {', '.join(PARSERS)}")
        headers = self._headers
        if job.options.extra_headers and job.options is not self.options:
            headers = request_headers(self.facts, self._key, job.options)
            remember_headers(headers, default=self.facts.default_key)
        if request_id:
            headers = headers | {REQUEST_ID: request_id}
        return Request(endpoint(self.base_url, "/chat/completions"), headers, self.body(job))

    async def close(self) -> None:
        """Close the connections, those of calls without `await` too. Used again, it connects again."""
        await self._transports.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        portal.run(self.close())

    async def _attempt(self, job: Job, request_id: str, deliver: Callable[[Delta], None] | None) -> Completion:
        request = self.request(job, request_id)
        reducer = Reducer(self.mode_of(job), self.facts.dialect, asked_choices(request.body))
        try:
            async with aclosing(self._transports.here().chunks(request)) as chunks:  # pyright: ignore[reportArgumentType]
                await fill(reducer, chunks, deliver)
            completion = await reducer.completed(job, deployment=self.facts.name)
        except CallError as error:
            reducer.keep_what_came(error)
            error.details.setdefault("cost", cost_of_call(reducer, self._profile).cost)
            raise without_credentials(error) from None
        except (HeadraceError, MemoryError):
            raise
        except Exception as error:
            # A fault of ours in what reads answers must not be paid again and again.
            log.error("an answer could not be read", kind=kind_of(error), where=where_of(error))
            raise CallError(
                "provider_error", f"the answer could not be read: {kind_of(error)}", retryable=False
            ) from None
        finally:
            tell_cost(reducer, self._profile)
        cost = cost_of_call(reducer, self._profile).cost
        if self.verbose and (job.schema is not None or job.parser is not None):
            print(f"[{self.model_id}][raw_response] {completion.content}")  # noqa: T201 (what `verbose` asks for)
        return completion if cost is None else msgspec.structs.replace(completion, cost=cost)

    def profile(self) -> Profile | None:
        """Return prices (USD per token), context length and features, as far as they are known (`headrace.spend.prices`)."""
        return self._profile

    def get_model_info(self) -> dict[str, str]:
        return {"model_id": self.model_id, "provider": self.facts.name}

    def serialize(self) -> dict[str, Any]:
        """Return its configuration as plain JSON, without the key, nor an address that holds one; `Model.from_config` is the way
        back (conformance 146)."""
        return configuration_of(self, base_url=self._given_base_url, retry=self._given_retry)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model_id!r}, base_url={masked(self.base_url)!r})"
