"""`headrace spend …`: what was spent, saved and is left, and the budgets of all work and of each day."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from headrace.cli import terminal
from headrace.cli.service import with_client
from headrace.cli.table import show
from headrace.spend.money import checked_budget, nano_of_float, usd_text

if TYPE_CHECKING:
    from headrace.client.async_client import AsyncHeadrace
    from headrace.ledger.spend_record import Spent
    from headrace.ledger.summaries import Batch

NONE = "none"


@click.group(invoke_without_command=True, epilog="Example: headrace spend --days 7")
@click.option("--days", type=click.IntRange(1, 400), default=30, show_default=True, help="The last N days (UTC).")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
@click.pass_context
def spend(context: click.Context, days: int, as_json: bool) -> None:
    """Show what was spent and saved, in all and by day, and what is left of budgets. In US dollars."""
    if context.invoked_subcommand is not None:
        return
    record = with_client(lambda client: client.spend(days=days))
    if as_json:
        terminal.echo(msgspec.json.encode(record))
        return
    terminal.echo(f"{record.tenant}: {sentence(record.total)}")
    if record.day_budget_usd is not None:
        terminal.echo(f"today: {sentence(record.today)}")
    show(list(record.days), ("day", "calls", "cost", "unaccounted", "cached", "saved"), row_of, as_json=False)


@spend.command("batches", epilog="Example: headrace spend batches --json")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def of_batches(limit: int, as_json: bool) -> None:
    """Show what the newest batches have cost, newest first."""
    found = with_client(lambda client: client.batches(limit=limit))
    show(found, ("batch", "state", "cost", "unaccounted", "saved", "budget", "left"), row_of_batch, as_json=as_json)


@spend.command("limit", epilog="Example: headrace spend limit --day 20.00")
@click.option("--day", metavar="USD", help=f"The most that each day (UTC) may cost; `{NONE}`: no limit.")
@click.option("--total", metavar="USD", help=f"The most that everything together may cost; `{NONE}`: no limit.")
@click.option("--allow-unpriced/--refuse-unpriced", default=None, help="Whether calls without a known price may pass.")
def limit(day: str | None, total: str | None, allow_unpriced: bool | None) -> None:
    """Set the budgets of all work: of each day, and of everything. What was spent already counts.

    Before a call begins, the most that it can cost is reserved. A batch whose next call does not fit waits for the next day, or
    is paused (--total); a single job fails with the code `budget`. Batches that were paused go on when there is room again.
    """
    if day is None and total is None:
        raise click.UsageError("say which budget: --day USD, --total USD, or both")
    of_day, of_all = limit_of(day, "--day"), limit_of(total, "--total")

    async def body(client: AsyncHeadrace) -> int:
        if day is not None:
            await client.ledger_backend.limit_spend(of_day, of_day=True, allow_unpriced=allow_unpriced)
        if total is None:
            return 0
        await client.ledger_backend.limit_spend(of_all, of_day=False, allow_unpriced=allow_unpriced)
        return await client.ledger_backend.resume_paused_by("tenant")

    resumed = with_client(body)
    record = with_client(lambda client: client.spend(days=1))
    terminal.echo(f"in all: {sentence(record.total)}")
    terminal.echo(f"today: {sentence(record.today)}")
    if resumed:
        terminal.echo("1 paused batch goes on" if resumed == 1 else f"{resumed} paused batches go on")


def limit_of(text: str | None, name: str) -> int | None:
    return None if text is None or text == NONE else checked_budget(text, name)


def sentence(spent: Spent) -> str:
    """Return what was spent as `1.20 USD for 300 calls, 0.10 USD saved by 20 cached answers, 3.70 of 5.00 USD left`."""
    words = [f"{amount(spent.cost_usd)} USD for {spent.calls} calls"]
    if spent.unaccounted_calls:
        at_most = f"{amount(spent.unaccounted_usd)} USD at most" if spent.unaccounted_usd else "an unknown amount"
        words.append(f"{at_most} for {spent.unaccounted_calls} whose usage never arrived")
    if spent.unpriced_calls:
        words.append(f"{spent.unpriced_calls} calls of unknown price")
    if spent.cached:
        words.append(f"{amount(spent.saved_usd)} USD saved by {spent.cached} cached answers")
    if spent.budget_usd is not None and spent.left_usd is not None:
        words.append(f"{amount(spent.left_usd)} of {amount(spent.budget_usd)} USD left")
    return ", ".join(words)


def row_of(spent: Spent) -> tuple[str, ...]:
    unaccounted = amount(spent.unaccounted_usd) if spent.unaccounted_calls else ""
    return spent.day, str(spent.calls), amount(spent.cost_usd), unaccounted, str(spent.cached), amount(spent.saved_usd)


def row_of_batch(batch: Batch) -> tuple[str, ...]:
    unaccounted = amount(batch.unaccounted_usd) if batch.unaccounted_calls else ""
    budget, left = ("" if usd is None else amount(usd) for usd in (batch.budget_usd, batch.left_usd))
    return batch.id, batch.state, amount(batch.cost_usd), unaccounted, amount(batch.saved_usd), budget, left


def amount(usd: float) -> str:
    return usd_text(nano_of_float(usd))
