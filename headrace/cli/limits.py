"""`headrace limits`: the limits that workers keep together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from headrace.ledger.limit_record import LimitRecord


@click.command(epilog="Example: headrace limits --json")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def limits(as_json: bool) -> None:
    """List the limits of providers and models: configured and learnt, what is used now, and until when one is held.

    Requests and tokens are a minute's, of all workers together. Read in Redis (HEADRACE_REDIS_URL, or the service that is found).
    """
    import asyncio

    from redis.exceptions import RedisError

    from headrace.cli.table import show
    from headrace.errors import Unreachable
    from headrace.guards.service_address import redis_url
    from headrace.ledger.limit_record import limit_records
    from headrace.ledger.script import Ledger
    from headrace.settings import Settings
    from headrace.text.masking import masked

    settings = Settings.load()
    url = redis_url(settings)

    async def read() -> list[LimitRecord]:
        ledger = Ledger.at(url, settings.namespace, retries=1)
        try:
            return await limit_records(ledger)
        except (RedisError, OSError) as error:
            raise Unreachable(f"Redis at {masked(url)} does not answer: {type(error).__name__}") from None
        finally:
            await ledger.close()

    found = asyncio.run(read())
    show(found, ("limit of", "requests/min", "tokens/min", "in flight", "held"), row_of, as_json=as_json)


def row_of(record: LimitRecord) -> tuple[str, ...]:
    held = f"{record.held_s:.0f} s: {record.reason}" if record.held_s else ""
    kinds = {"requests": record.requests, "tokens": record.tokens, "in_flight": record.in_flight}
    return record.name, *(used_of(record, kind, used) for kind, used in kinds.items()), held


def used_of(record: LimitRecord, kind: str, used: int) -> str:
    """Return `480 of 500, learnt 600`."""
    configured, learnt = record.configured.get(kind), record.learnt.get(kind)
    if configured is None and learnt is None:
        return str(used or "")
    words = [] if configured is None else [f"{configured:,}"]
    if learnt is not None:
        words.append(f"learnt {learnt:,}")
    more = " (workers differ)" if configured is not None and record.configurations > 1 else ""
    return f"{used:,} of {', '.join(words)}{more}"
