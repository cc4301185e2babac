"""The parts of a batch: the template that its items share, and an item.

An item's line in the input is `Item` as JSON. It carries only what is its own: the fields that the template's prompt
names, or a whole body in OpenAI's batch form.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec

from headrace.batches.inputs.column_choice import KeptColumns
from headrace.batches.media.references import Part, with_media
from headrace.batches.prompt import DEFAULT_PROMPT, Conversation, conversation_fields, filled, prompt_fields, render
from headrace.chat.completion import Usage
from headrace.chat.options import Options, laid_over, set_in
from headrace.chat.routing import Routing
from headrace.errors import InputError
from headrace.jobs.cache_mode import TemplateCache, of_item
from headrace.jobs.job import BODY_VERSION, Job
from headrace.schema.modes import Mode
from headrace.text.quoting import quoted

DEFAULT_WEIGHT = 10
MAX_WEIGHT = 100


class Item(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of a batch. `fields` are the values for the prompt; `messages` replaces the prompt when given, and then the
    item may bring a `model` with `fallbacks`, a `schema`, `tools`, a `tool_choice`, a `response_format` and `options` (over those
    of the batch) of its own. `response` is a request of the Responses API without its input: what its answer repeats. `refused`
    says why a line that could not be used is no request: it fails without a call.

    `system` is its own system message, in place of the batch's. `kept` are the columns of the input that its row carries, as
    JSON: what is read is written again digit for digit. `media` are parts for the end of the prompt, which may refer to files
    of the batch (`media.references`); with `messages` they stand in these already.

    In a `reask` batch, `reasks` is the number of re-asks of the item, this one included; `usage` and `cost` are those of
    its earlier answers.
    """

    custom_id: str
    fields: dict[str, Any] = {}
    messages: list[dict[str, Any]] | None = None
    system: str | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    options: Options | None = None
    model: str | None = None
    schema: dict[str, Any] | None = None
    schema_name: str | None = None
    fallbacks: list[str] = []
    routing: Routing | None = None
    prefix_key: str = ""
    response: dict[str, Any] | None = None
    refused: str | None = None
    kept: dict[str, msgspec.Raw] | None = None
    media: list[Part] | None = None
    reasks: int = 0
    usage: Usage | None = None
    cost: float | None = None


class Template(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The part that all items of a batch share. `model` is empty where items bring theirs; `prompt` has `{field}` places;
    `{{` and `}}` are braces. `conversation` is a whole conversation with such places, in place of the prompt; `tools` and
    `tool_choice` are those of items that bring none. `fallbacks`, `routing` and `variant` are those of a job, `cache` is the mode
    of all items; `kept` are the columns of the input that rows carry, `weight` is the batch's share beside others, `budget` the
    most that it may cost in nano-USD (0: no budget), with `unpriced` calls without a known price pass it."""

    model: str
    prompt: str = DEFAULT_PROMPT
    system: str | None = None
    conversation: Conversation | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    options: Options = Options()
    schema: dict[str, Any] | None = None
    schema_name: str = "answer"
    mode: Mode | None = None
    reasks: int = 0
    lax: bool = False
    fallbacks: list[str] = []
    routing: Routing | None = None
    prefix_key: str = ""
    kept: KeptColumns | None = None
    cache: TemplateCache = False
    variant: str = ""
    weight: int = DEFAULT_WEIGHT
    budget: int = 0
    unpriced: bool = False
    standard_fallback: bool = False
    v: int = msgspec.field(default=BODY_VERSION)

    def encoded(self) -> tuple[str, bytes]:
        """Return the content hash and the encoded bytes: equal templates are stored once. The keys of a schema keep their
        order, in which models answer."""
        body = msgspec.json.encode(self)
        return sha256(body).hexdigest(), body

    def job(self, item: Item) -> Job:
        """Return the job for `item`."""
        options = self.options if item.options is None else Options(**laid_over(self.options, set_in(item.options)))
        messages = self.messages(item)
        system = self.system if item.system is None else item.system
        if system is not None:
            messages = [{"role": "system", "content": system}, *messages]
        return Job(
            model=item.model or self.model,
            messages=messages,
            options=options,
            tools=self.tools if item.tools is None else item.tools,
            tool_choice=self.tool_choice if item.tools is None and item.tool_choice is None else item.tool_choice,
            response_format=item.response_format,
            schema=self.schema if item.schema is None else item.schema,
            schema_name=item.schema_name or self.schema_name,
            mode=self.mode,
            reasks=max(0, self.reasks - item.reasks),
            lax=self.lax,
            fallbacks=self.fallbacks if item.model is None else item.fallbacks,
            routing=self.routing if item.model is None else item.routing,
            prefix_key=self.prefix_key if item.messages is None else item.prefix_key,
            cache=of_item(self.cache, options),
            variant=self.variant,
            standard_fallback=self.standard_fallback,
        )

    @property
    def fields(self) -> list[str]:
        """The names of the fields that its prompt, or its conversation, has places for."""
        return prompt_fields(self.prompt) if self.conversation is None else conversation_fields(self.conversation)

    def messages(self, item: Item) -> list[dict[str, Any]]:
        """Return the conversation for `item`, without the system prompt."""
        if item.messages is not None:
            return item.messages
        if self.conversation is not None:
            messages = [filled(message, item.fields) for message in self.conversation]
        else:
            messages = [{"role": "user", "content": render(self.prompt, item.fields)}]
        return messages if item.media is None else with_media(messages, item.media)


def checked_weight(weight: Any) -> int:
    """Return the weight of a batch. Raises `InputError` unless it is a whole number from 1 to `MAX_WEIGHT`."""
    if isinstance(weight, bool) or not isinstance(weight, int) or not 1 <= weight <= MAX_WEIGHT:
        raise InputError(f"weight={quoted(weight)}: must be a whole number from 1 to {MAX_WEIGHT}")
    return weight
