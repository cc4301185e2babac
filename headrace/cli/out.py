"""`--out` and `--force`: where results go, and what is never replaced."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from headrace.cli import terminal
from headrace.errors import InputError
from headrace.text.object_urls import OBJECT_URL

if TYPE_CHECKING:
    from headrace.batches.outputs.object_outputs import ObjectOut

F = TypeVar("F", bound=Callable[..., Any])


def out_options(help: str) -> Callable[[F], F]:
    """Return a decorator that adds the options `--out`, `--force`, `--excel` and `--whole` to a command that writes results."""

    def decorate(command: F) -> F:
        command = click.option("--whole", is_flag=True, help="Write whole completions, in OpenAI's batch form.")(
            command
        )
        command = click.option("--excel", is_flag=True, help="Write .csv as Excel opens it: a byte order mark, `;`.")(
            command
        )
        command = click.option("--force", is_flag=True, help="Replace what is there under the name of --out.")(command)
        return click.option("--out", type=OutPath(path_type=Path), help=help)(command)

    return decorate


class OutPath(click.Path):
    """A path; of an address in an object store that of a file whose content is put there when the command ends."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str) or not OBJECT_URL.match(value) or ctx is None:
            return super().convert(value, param, ctx)
        from headrace.batches.outputs.object_outputs import ObjectOut

        try:
            remote = ObjectOut(value)
        except InputError as error:
            raise InputError(f"--out {error}") from None
        REMOTE[remote.path] = remote
        for folder in (remote.folder, remote.folder / "there"):
            terminal.RENAMED[f"{folder}/{remote.scheme}/"] = f"{remote.scheme}://"
        ctx.call_on_close(lambda: put_remote(remote, overwrite=bool(ctx.params.get("force"))))
        return remote.path


REMOTE: dict[Path, ObjectOut] = {}
"""The addresses of results, by the files that these are written to before."""


def put_remote(remote: ObjectOut, *, overwrite: bool) -> None:
    """Put the results that a command has written where they belong. Raises `InputError`."""
    REMOTE.pop(remote.path, None)
    try:
        remote.upload(overwrite=overwrite)
    except InputError as error:
        way = f"Write the results: headrace batches show {remote.batch_id} --out NAME"
        raise InputError(f"--out {error}. {way}") from None
    finally:
        remote.close()


def checked_out(out: Path | None, *, whole: bool, force: bool, excel: bool = False, inputs: Iterable[Any] = ()) -> None:
    """Raise `InputError` when results must not go to `out`: before anything is paid. `inputs` are the files and the objects that
    the command reads, `-` for standard input; they are not replaced even with `force`."""
    from headrace.batches.outputs.export import check_free, check_is_no_input, check_suffix, errors_beside, writable

    if out is None:
        if force:
            raise InputError("--force: there is no --out that it could replace")
        if excel:
            raise InputError("--excel: there is no --out; name a file that ends in .csv or .tsv")
        return
    try:
        target = writable(out)
        check_suffix(out, whole=whole, excel=excel)
        inputs = list(inputs)
        for name in inputs:
            if isinstance(name, str | Path) and str(name) != "-":
                check_is_no_input(out, Path(name))
        if "-" in inputs:
            check_is_not_standard_input(out)
        if out in REMOTE:
            REMOTE[out].check_is_no_input(inputs)
            REMOTE[out].check_bucket()
            if not force:
                REMOTE[out].check_free()
        if not force:
            check_free(target, errors_beside(target), remedy="give --force to replace it, or another name")
    except InputError as error:
        raise InputError(f"--out {error}") from None


def occupied(out: Path) -> bool:
    """Return True if there is a file, or an object, under the name of the results, or of the errors beside them."""
    from headrace.batches.outputs.export import errors_beside, writable

    if out in REMOTE:
        return REMOTE[out].occupied() is not None
    target = writable(out)
    return any(map(os.path.lexists, (target, errors_beside(target))))


def to_compare(out: Path) -> Path:
    """Return where the files that are there can be read: of objects copies."""
    return REMOTE[out].fetched() if out in REMOTE else out


def allow_replacing(out: Path) -> None:
    """Let results replace what is there now, when the command ends."""
    if out in REMOTE:
        REMOTE[out].overwrite = True


def remember_batch(out: Path | None, batch_id: str) -> None:
    """Name the batch whose results go to `out`, should they not get there."""
    if out in REMOTE:
        REMOTE[out].batch_id = batch_id


def check_is_not_standard_input(out: Path) -> None:
    """Raise `InputError` for `headrace extract - --out rows.jsonl < rows.jsonl`."""
    from headrace.batches.outputs.export import errors_beside, writable

    try:
        source = os.fstat(sys.stdin.fileno())
    except (OSError, ValueError):  # a stand-in without a descriptor
        return
    if not stat.S_ISREG(source.st_mode):
        return
    target = writable(out)
    for path in (target, errors_beside(target)):
        if path.exists() and os.path.samestat(path.stat(), source):
            raise InputError(f"{path}: is the input; give results another name")
