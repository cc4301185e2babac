"""`--out` and `--force`: where results go, and what is never replaced."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from headrace.errors import InputError

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
        return click.option("--out", type=click.Path(path_type=Path), help=help)(command)

    return decorate


def checked_out(
    out: Path | None, *, whole: bool, force: bool, excel: bool = False, inputs: Iterable[Path | str | None] = ()
) -> None:
    """Raise `InputError` when results must not go to `out`: before anything is paid. `inputs` are the files that the command
    reads, `-` for standard input; they are not replaced even with `force`."""
    from headrace.batches.export import check_free, check_is_no_input, check_suffix, errors_beside, writable

    if out is None:
        if force:
            raise InputError("--force: there is no --out that it could replace")
        if excel:
            raise InputError("--excel: there is no --out; name a file that ends in .csv or .tsv")
        return
    try:
        target = writable(out)
        check_suffix(out, whole=whole, excel=excel)
        for name in inputs:
            if name is not None and str(name) != "-":
                check_is_no_input(out, Path(name))
        if "-" in map(str, inputs):
            check_is_not_standard_input(out)
        if not force:
            check_free(target, errors_beside(target), remedy="give --force to replace it, or another name")
    except InputError as error:
        raise InputError(f"--out {error}") from None


def occupied(out: Path) -> bool:
    """Return True if there is a file under the name of the results, or of the errors beside them."""
    from headrace.batches.export import errors_beside, writable

    target = writable(out)
    return any(map(os.path.lexists, (target, errors_beside(target))))


def check_is_not_standard_input(out: Path) -> None:
    """Raise `InputError` for `headrace extract - --out rows.jsonl < rows.jsonl`."""
    from headrace.batches.export import errors_beside, writable

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
