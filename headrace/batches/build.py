"""Build the `Template` of a batch from a caller's arguments. No I/O."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

from headrace.batches.inputs.per_item import PerItemParam
from headrace.batches.media.choice import PdfForm
from headrace.batches.prompt import DEFAULT_PROMPT, checked_conversation, prompt_fields
from headrace.batches.template import DEFAULT_WEIGHT, Template, checked_weight
from headrace.chat.model_aliases import resolve
from headrace.chat.options import check_beside_schema
from headrace.chat.prompt_prefix import prefix_of_template
from headrace.chat.provider_table import PROVIDERS
from headrace.chat.tool_schemas import check_strict
from headrace.errors import InputError
from headrace.jobs.build import (
    SchemaParams,
    Tools,
    check_schema_params,
    checked_text,
    options_for_all,
    tool_definitions,
)
from headrace.jobs.cache_mode import Cache, checked_variant, template_cache
from headrace.schema.modes import Mode
from headrace.schema.python_types import AnswerType, answer_type
from headrace.spend.budgets import check_priced
from headrace.spend.money import checked_budget
from headrace.text.quoting import quoted, shortened

Economy = bool | Literal["fallback"]


def economical(options: dict[str, Any], economy: Economy) -> dict[str, Any]:
    """Return the options of a batch, with the service tier that `economy` asks for. Raises `InputError` where they name
    another."""
    if economy not in (True, False, "fallback"):
        raise InputError(f"economy={economy!r}: must be True, False or 'fallback'")
    if not economy:
        return options
    if options.get("service_tier") not in (None, "flex"):
        raise InputError(
            f"economy: is the service tier flex, and the options say {options['service_tier']!r}; leave one out"
        )
    return options | {"service_tier": "flex"}


class BatchParams(SchemaParams, total=False):
    """Keywords of `extract` beside `source`, `prompt`, `model` and `schema`; those of `Options` go to the provider.

    `limit` takes the first items only, `sample` so many of them at random; `encoding` is a file's (UTF-8); after `window_s`
    seconds (24 h) the batch expires with what it has. `on_empty` is what to do with items in which a field that the prompt
    names is null or empty: refuse them all, skip them (the handle's `skipped` counts them), or send them as they are.

    `id` is the column of the items' ids (`custom_id`, `id`, else the line's number; `"@line"`: always the number), `keep` the
    columns of the input that rows carry: names, or "all". `on_bad_row` is what to do with rows that cannot be used: refuse
    them all, make an error line of each, in order, or skip them (the handle's `bad_rows` counts both). `follow` reads links
    that lead out of a folder. `weight` (1 to 100) is the batch's share beside other batches: one of 20 gets twice the turns of
    one of 10. `budget` is the most that it may cost, in US dollars: it pauses when the next call might cost more than is left.
    With `allow_unpriced` calls whose price nobody knows pass. With `economy` calls go to the tier `flex`, at half the price,
    and have 15 minutes each; with `"fallback"` those that find no room there are made in the standard tier. With `progress` the
    handle's `wait` and `results` show how far it is.

    `messages` is a whole conversation with `{field}` places, in place of the prompt; with `template="jinja"` the prompt, the
    system message and the conversation are templates of Jinja (the extra `jinja`). `tools` and `tool_choice` are those of
    `submit`. `per_item` names the columns that are an item's own `messages`, `system`, `model`, `tools`, `tool_choice` and
    `options`: names, or a dict of these to columns.

    `images`, `recordings` and `pdfs` name columns of files: paths, addresses, data URLs, bytes, `{"bytes", "path"}`. They stand
    at the end of the last user message. No image is sent with a side above `image_size` pixels; `pdf_as` sends a PDF as the
    "file" that it is, as the "text" of its pages, or as "images" of them. `fetch` fetches what lies at an address, which
    providers are given otherwise.
    """

    system: str | None
    messages: list[dict[str, Any]] | None
    template: Literal["jinja"] | None
    tools: Tools | None
    tool_choice: str | dict[str, Any] | None
    per_item: PerItemParam
    images: str | list[str] | tuple[str, ...] | None
    recordings: str | list[str] | tuple[str, ...] | None
    pdfs: str | list[str] | tuple[str, ...] | None
    image_size: int | None
    pdf_as: PdfForm
    fetch: bool
    limit: int | None
    sample: int | None
    encoding: str | None
    on_empty: Literal["refuse", "skip", "send"]
    window_s: float
    id: str | None
    keep: str | list[str] | tuple[str, ...] | None
    on_bad_row: Literal["refuse", "error", "skip"]
    follow: bool
    progress: bool
    cache: Cache | None
    variant: str | None
    weight: int
    budget: str | float | Decimal | None
    allow_unpriced: bool
    economy: Economy


def make_template(
    model: str,
    prompt: str,
    *,
    schema: Any = None,
    schema_name: str | None = None,
    system: str | None = None,
    messages: Any = None,
    template: str | None = None,
    names: tuple[str, str, str] = ("--prompt", "system", "messages"),
    tools: Tools | None = None,
    tool_choice: str | dict[str, Any] | None = None,
    mode: Mode | None = None,
    reasks: int = 0,
    lax: bool = False,
    cache: Cache | None = None,
    variant: str | None = None,
    weight: int = DEFAULT_WEIGHT,
    budget: str | float | Decimal | None = None,
    allow_unpriced: bool = False,
    economy: Economy = False,
    **options: Any,
) -> tuple[Template, AnswerType[Any]]:
    """Return what the items of a batch share, and how their answers are read. Of a `template` in Jinja the words are not
    shared: every item brings the messages that it makes of them (`jinja_prompt`). `names` is what prompt, system message and
    conversation are called in complaints. Raises `InputError`."""
    expected = answer_type(schema, name=schema_name)
    models = resolve(checked_text("model", model))
    for each in (models.model, *models.fallbacks):
        check_schema_params(each, expected, mode, reasks, lax)
    definitions = tool_definitions(tools, tool_choice)
    for each in (models.model, *models.fallbacks):
        provider = PROVIDERS.get(each.partition("/")[0])
        check_strict(definitions.schemas or (), provider.dialect if provider else "openai")
    if mode == "tool_call" and definitions.schemas:
        raise InputError("mode='tool_call': the schema travels as a tool there, so there can be no `tools` of your own")
    checked_text("prompt", prompt)
    if system is not None:
        checked_text("system", system)
    if template not in (None, "jinja"):
        raise InputError(f"template={quoted(template)}: must be 'jinja', or left out for `{{field}}` places")
    if messages is not None and prompt != DEFAULT_PROMPT:
        raise InputError(
            "messages: is the whole conversation, so there can be no prompt beside it; leave one of the two out"
        )
    if template is None:
        prompt_fields(prompt, names[0])
        messages = None if messages is None else checked_conversation(messages, names[2])
    else:
        prompt, system, messages = DEFAULT_PROMPT, None, None
    wanted = options_for_all(models, economical(options, economy))
    if wanted.n is not None and wanted.n > 1:
        raise InputError(
            f"option `n`={wanted.n}: a row of a batch holds one choice; give each choice an item of its own"
        )
    if expected.schema is not None:
        check_beside_schema(wanted)
    shared = Template(
        model=models.model,
        prompt=prompt,
        system=system,
        conversation=messages,
        tools=definitions.schemas or None,
        tool_choice=definitions.choice if definitions.schemas else None,
        options=wanted,
        schema=expected.schema,
        schema_name=expected.name,
        mode=mode,
        reasks=reasks,
        lax=lax,
        fallbacks=models.fallbacks,
        routing=models.routing,
        prefix_key=prefix_of_template(
            system, prompt, expected.schema, tools=definitions.schemas or None, conversation=messages
        ),
        cache=template_cache(cache),
        variant=checked_variant(variant),
        weight=checked_weight(weight),
        budget=0 if budget is None else checked_budget(budget, "budget"),
        unpriced=allow_unpriced,
        standard_fallback=economy == "fallback",
    )
    if shared.budget and not allow_unpriced:
        check_priced((models.model, *models.fallbacks), wanted.max_tokens)
    try:
        shared.encoded()
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"the options cannot be written as JSON: {shortened(str(error))}") from None
    return shared, expected
