"""Build the `Template` of a batch from a caller's arguments. No I/O."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

from headrace.batches.template import DEFAULT_WEIGHT, Template, checked_weight, prompt_fields
from headrace.chat.model_aliases import resolve
from headrace.chat.options import check_beside_schema
from headrace.errors import InputError
from headrace.jobs.build import SchemaParams, check_schema_params, checked_text, options_for_all
from headrace.jobs.cache_mode import Cache, checked_variant, template_cache
from headrace.schema.modes import Mode
from headrace.schema.python_types import AnswerType, answer_type
from headrace.spend.budgets import check_priced
from headrace.spend.money import checked_budget
from headrace.text.quoting import shortened

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
    """

    system: str | None
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
    """Return what the items of a batch share, and how their answers are read. Raises `InputError`."""
    expected = answer_type(schema, name=schema_name)
    models = resolve(checked_text("model", model))
    for each in (models.model, *models.fallbacks):
        check_schema_params(each, expected, mode, reasks, lax)
    prompt_fields(checked_text("prompt", prompt))
    if system is not None:
        checked_text("system", system)
    wanted = options_for_all(models, economical(options, economy))
    if wanted.n is not None and wanted.n > 1:
        raise InputError(
            f"option `n`={wanted.n}: a row of a batch holds one choice; give each choice an item of its own"
        )
    if expected.schema is not None:
        check_beside_schema(wanted)
    template = Template(
        model=models.model,
        prompt=prompt,
        system=system,
        options=wanted,
        schema=expected.schema,
        schema_name=expected.name,
        mode=mode,
        reasks=reasks,
        lax=lax,
        fallbacks=models.fallbacks,
        cache=template_cache(cache),
        variant=checked_variant(variant),
        weight=checked_weight(weight),
        budget=0 if budget is None else checked_budget(budget, "budget"),
        unpriced=allow_unpriced,
        standard_fallback=economy == "fallback",
    )
    if template.budget and not allow_unpriced:
        check_priced((models.model, *models.fallbacks), wanted.max_tokens)
    try:
        template.encoded()
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"the options cannot be written as JSON: {shortened(str(error))}") from None
    return template, expected
