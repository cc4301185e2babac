"""A forecast of a batch: what it will take and cost, counted, or tried out on a few items, and told."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from headrace.cli import terminal
from headrace.errors import HeadraceError

if TYPE_CHECKING:
    from headrace.batches.forecast import Forecast, Forecaster, Range, SampledCall
    from headrace.batches.template import Template
    from headrace.chat.call_limits import CallLimits
    from headrace.client.async_client import AsyncHeadrace
    from headrace.spend.prices import Profile


def make_forecaster(template: Template, sample: int) -> Forecaster:
    from headrace.batches.forecast import Forecaster
    from headrace.spend.known_models import known_profile

    def profile_of(model: str) -> Profile | None:
        provider, _, name = model.partition("/")
        return known_profile(provider, name)

    return Forecaster(template, profile_of(template.model), sample=sample, profile_of=profile_of)


def limits_here(model: str) -> list[CallLimits]:
    """Return the limits in `HEADRACE_LIMITS` that hold for a model."""
    from headrace.chat.call_limits import call_limits
    from headrace.chat.provider_table import PROVIDERS

    named = call_limits(os.environ, PROVIDERS)
    return [named[name] for name in (model.partition("/")[0], model) if name in named]


async def limits_of_service(model: str) -> list[CallLimits]:
    """Return the limits that the workers of the service keep for a model, or learnt; none where no service runs here."""
    from redis.exceptions import RedisError

    from headrace.batches.forecast import limits_in_force
    from headrace.errors import Unreachable
    from headrace.guards.service_address import redis_url
    from headrace.ledger.limit_record import limit_records
    from headrace.ledger.script import Ledger
    from headrace.settings import Settings

    settings = Settings.load()
    if settings.api:
        return []
    try:
        ledger = Ledger.at(redis_url(settings), settings.namespace, retries=1)
    except Unreachable:
        return []
    try:
        return limits_in_force(await limit_records(ledger), model)
    except (RedisError, OSError):
        return []
    finally:
        await ledger.close()


async def tried(client: AsyncHeadrace, template: Template, forecaster: Forecaster) -> list[SampledCall]:
    """Run the sample as a batch, and return what its calls took. Its answers are paid, and cached where the batch caches them.
    Raises `HeadraceError` when none of it was answered."""
    from headrace.batches.forecast import SampledCall
    from headrace.batches.outputs.output_lines import outcome_of

    kept = sorted(forecaster.sampled, key=lambda each: each[0])
    batch_id = await client.open(template, (item for _, _, item in kept))
    terminal.echo(f"{batch_id}: {len(kept)} items are tried out, and paid", err=True)
    counted = {item.custom_id: tokens for _, tokens, item in kept}
    calls: list[SampledCall] = []
    async for page in client.batch(batch_id).line_pages():
        for line in page:
            custom_id, completion, _ = outcome_of(line, structured=template.schema is not None)
            if completion is None or completion.usage.unknown:
                continue
            cost = None if completion.cached else completion.cost
            calls.append(SampledCall(counted[custom_id], completion.usage, cost))
    if not calls:
        raise HeadraceError(f"no item of the sample was answered: headrace batches show {batch_id} says why")
    return calls


def facts_of(forecast: Forecast) -> dict[str, Any]:
    """Return a forecast as an object for JSON: an interval is `{"expected", "low", "high"}`."""
    import msgspec

    facts = msgspec.structs.asdict(forecast)
    return {name: value._asdict() if hasattr(value, "_asdict") else value for name, value in facts.items()}


def words_of(forecast: Forecast) -> list[str]:
    """Return a forecast for people, a line for each subject."""
    lines = [
        f"{forecast.calls} calls for {forecast.items} items"
        + (f", {forecast.equal} of which ask what another one asks" if forecast.equal else "")
    ]
    if forecast.refused:
        lines.append(f"{forecast.refused} lines will be refused: they are no requests")
    if forecast.too_long:
        lines.append(f"{forecast.too_long} items are longer than the model's context")
    lines.append(f"tokens: {interval(forecast.input_tokens)} of input, {interval(forecast.output_tokens)} of answers")
    if forecast.cost_usd is None:
        lines.append("cost: the model's price is not known here (HEADRACE_PROFILES)")
    else:
        cost, low, high = map(amount, forecast.cost_usd)
        lines.append(f"cost: {cost} USD ({low} to {high})")
    if forecast.minutes is not None:
        lines.append(f"time: {forecast.minutes:g} minutes at least, at the limits that are known")
    if not forecast.sampled:
        lines.append("answers are guessed by the schema: `headrace forecast --sample 20` tries 20 items out")
    return lines


def interval(range: Range) -> str:
    return f"about {range.expected:,.0f} ({range.low:,.0f} to {range.high:,.0f})"


def amount(usd: float) -> str:
    return f"{usd:,.2f}" if usd >= 1 else f"{usd:.4g}"
