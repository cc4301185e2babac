"""`headrace files …`: what lies in the file store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from headrace.cli import completions, terminal
from headrace.cli.service import with_client
from headrace.cli.table import show, when
from headrace.text.quoting import quoted

if TYPE_CHECKING:
    from headrace.client.async_client import AsyncHeadrace


class StoredFile(msgspec.Struct, frozen=True):
    """A committed file: its name in the store, its size in bytes, when it was committed."""

    name: str
    bytes: int
    modified_ms: int


@click.group(epilog="Example: headrace files list batch_…")
def files() -> None:
    """List, print and delete what batches left in the file store."""


@files.command("list", epilog="Example: headrace files list batch_…")
@click.argument("batch_id", required=False, shell_complete=completions.batch_ids)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_files(batch_id: str | None, as_json: bool) -> None:
    """List the files of one batch, or of all."""
    from headrace.errors import InputError

    async def body(client: AsyncHeadrace) -> list[StoredFile]:
        root = (await client.ledger_backend.store()).root
        folder = root / checked_name(batch_id) if batch_id else root
        if not folder.is_dir():
            raise InputError(f"{batch_id} has no files in {root}")
        found = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
        stats = [(path, path.stat()) for path in found]
        return [
            StoredFile(str(path.relative_to(root)), stat.st_size, int(stat.st_mtime * 1000)) for path, stat in stats
        ]

    show(with_client(body), ("name", "bytes", "modified"), row_of, as_json=as_json)


def row_of(file: Any) -> tuple[str, ...]:
    return file.name, str(file.bytes), when(file.modified_ms)


@files.command("show", epilog="Example: headrace files show batch_…/input.jsonl")
@click.argument("name")
def show_file(name: str) -> None:
    """Print one file of the store."""

    async def body(client: AsyncHeadrace) -> None:
        store = await client.ledger_backend.store()
        for line in store.lines(checked_name(name)):
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
        if not store.exists(checked_name(batch_id)):
            raise InputError(f"{batch_id} has no files in {store.root}")
        store.remove(batch_id)

    with_client(body)


def checked_name(name: str) -> str:
    from headrace.errors import InputError

    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(f"{quoted(name)} is not a name in the file store: `headrace files list` shows those there are")
    return name
