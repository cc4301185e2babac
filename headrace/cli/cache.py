"""`headrace cache …`: what the answer cache takes, and how to empty it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from headrace.cli import terminal
from headrace.cli.service import with_client

if TYPE_CHECKING:
    from headrace.client.async_client import AsyncHeadrace


@click.group(epilog="Example: headrace cache info")
def cache() -> None:
    """Show and empty the answer cache."""


@cache.command("info", epilog="Example: headrace cache info --json")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def info(as_json: bool) -> None:
    """Show how many answers are cached, what they take, and how many calls they have saved."""
    import msgspec

    async def body(client: AsyncHeadrace) -> None:
        async with client.ledger_backend.answer_cache() as (server, max_bytes):
            from headrace.ledger.answer_cache import cache_use

            use = await cache_use(server)
        saved = (await client.spend()).total.cached
        max_bytes = max_bytes if use.max_bytes is None else use.max_bytes
        if as_json:
            facts = {**msgspec.structs.asdict(use), "max_bytes": max_bytes or None, "saved_calls": saved}
            terminal.echo(msgspec.json.encode(facts))
            return
        size = f"{use.bytes / 2**20:.1f} MiB of {max_bytes / 2**20:.0f} MiB" if max_bytes else "no bound of its own"
        terminal.echo(f"{use.answers} answers, {size}; {saved} calls saved")
        for tenant, count in sorted(use.tenants.items()):
            terminal.echo(f"  {tenant}: {count / 2**20:.1f} MiB")

    with_client(body)


@cache.command("clear", epilog="Example: headrace cache clear")
def clear() -> None:
    """Delete every cached answer: what is asked from now on is paid again."""

    async def body(client: AsyncHeadrace) -> int:
        from headrace.ledger.answer_cache import drop_answers

        async with client.ledger_backend.answer_cache() as (server, _):
            return await drop_answers(server)

    count = with_client(body)
    terminal.echo("1 answer deleted" if count == 1 else f"{count} answers deleted")
