"""`headrace files …`: what lies in the file store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli import completions, terminal
from headrace.cli.service import with_client
from headrace.cli.table import show, when
from headrace.text.quoting import quoted

if TYPE_CHECKING:
    from headrace.client.async_client import AsyncHeadrace
    from headrace.storage.file_store import StoredFile

UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
"""Seconds of each unit of an age."""


@click.group(epilog="Example: headrace files list batch_…")
def files() -> None:
    """List, print and delete what batches left in the file store; show what it takes, and prune it."""


@files.command("list", epilog="Example: headrace files list batch_…")
@click.argument("batch_id", required=False, shell_complete=completions.batch_ids)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_files(batch_id: str | None, as_json: bool) -> None:
    """List the files of one batch, or of all."""
    import asyncio

    from headrace.errors import InputError

    async def body(client: AsyncHeadrace) -> list[StoredFile]:
        store = await client.ledger_backend.store()
        found = await asyncio.to_thread(lambda: list(store.files(checked_name(batch_id) if batch_id else "")))
        if batch_id and not found:
            raise InputError(f"{batch_id} has no files in {store.name.url}")
        return found

    show(with_client(body), ("name", "bytes", "modified"), row_of, as_json=as_json)


def row_of(file: Any) -> tuple[str, ...]:
    return file.name, str(file.bytes), when(file.modified_ms)


@files.command("show", epilog="Example: headrace files show batch_…/input.jsonl")
@click.argument("name")
def show_file(name: str) -> None:
    """Print one file of the store."""

    async def body(client: AsyncHeadrace) -> None:
        store = await client.ledger_backend.store()
        for line in store.lines(checked_name(name)):  # nothing else runs on this loop
            terminal.echo(line, nl=False)

    with_client(body)


@files.command("delete", epilog="Example: headrace files delete batch_…")
@click.argument("batch_id", shell_complete=completions.batch_ids)
def delete(batch_id: str) -> None:
    """Delete the files of a batch that has ended. Its results are gone then; a retry is no longer possible."""
    from headrace.errors import InputError, Unknown

    async def body(client: AsyncHeadrace) -> None:
        try:
            if not (await client.batch(batch_id).progress()).ended:
                raise InputError(f"{batch_id} has not ended: its files are in use. Stop it: headrace batches cancel")
        except Unknown:
            pass  # past its retention in the ledger: its files are all that is left
        store = await client.ledger_backend.store()
        if next(store.files(checked_name(batch_id)), None) is None:
            raise InputError(f"{batch_id} has no files in {store.name.url}")
        store.remove(batch_id)

    with_client(body)


@files.command("usage", epilog="Example: headrace files usage")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def show_usage(as_json: bool) -> None:
    """Show what lies in the file store, by kind, and what it takes."""
    from headrace.batches.retention import usage

    async def body(client: AsyncHeadrace) -> list[Any]:
        return await usage(client.ledger, await client.ledger_backend.store())

    columns = ("kind", "batches", "files", "MiB")
    show(with_client(body), columns, usage_row, as_json=as_json)


def usage_row(each: Any) -> tuple[str, ...]:
    return each.kind, "" if each.batches is None else str(each.batches), str(each.files), mib(each.bytes)


@files.command("prune", epilog="Example: headrace files prune --older-than 7d")
@click.option("--older-than", metavar="AGE", help="30d, 12h, 90m, 3600s. [default: HEADRACE_RETENTION_S]")
@click.option("--yes", is_flag=True, help="Delete what is shown.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def prune_files(older_than: str | None, yes: bool, as_json: bool) -> None:
    """Delete the files of batches that ended before AGE, and what no batch refers to any more.

    Shows what that is, and deletes nothing without --yes. Files of an open batch are never among it. The results of the batches
    are gone then; what was written with --out stays.
    """
    from headrace.batches import retention
    from headrace.settings import Settings

    keep_s = Settings.load().retention_s if older_than is None else seconds(older_than)

    async def body(client: AsyncHeadrace) -> tuple[list[Any], int]:
        ledger, store = client.ledger, await client.ledger_backend.store()
        found = await retention.past_retention(ledger, store, keep_s)
        removed = await retention.prune(ledger, store, [each.name for each in found], keep_s) if yes else 0
        blobs = retention.prune_blobs(store, dry=not yes)
        return [*found, *([blobs] if blobs is not None else [])], removed

    found, removed = with_client(body)
    show(found, ("name", "why", "since", "files", "MiB"), prunable_row, as_json=as_json)
    size = mib(sum(each.bytes for each in found))
    if not found:
        terminal.echo("nothing is that old", err=True)
    elif yes:
        terminal.echo(f"deleted: the files of {removed} batches, {size} MiB in all", err=True)
    else:
        terminal.echo(f"{size} MiB in all. Nothing was deleted; that does the same command with --yes", err=True)


def prunable_row(each: Any) -> tuple[str, ...]:
    return each.name, each.why, when(each.since_ms), str(each.files), mib(each.bytes)


def mib(size: int) -> str:
    return f"{size / (1 << 20):.1f}"


def seconds(age: str) -> float:
    """Return an age such as `30d` in seconds. Raises `InputError`."""
    from headrace.errors import InputError

    number, unit = age[:-1], age[-1:]
    try:
        found = float(number) * UNITS[unit]
    except (ValueError, KeyError):
        found = -1.0
    if not 0 <= found < float("inf"):
        raise InputError(f"--older-than {quoted(age)}: write a number and a unit: 30d, 12h, 90m, 3600s")
    return found


def checked_name(name: str) -> str:
    from headrace.errors import InputError

    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(f"{quoted(name)} is not a name in the file store: `headrace files list` shows those there are")
    return name
