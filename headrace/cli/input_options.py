"""The options of a command that say how its input is read: which items, which columns, which media, and what is bad."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from headrace.cli.spool import readable
from headrace.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])


def input_options(command: F) -> F:
    """Add the options to a command. Their values are words of `batches.inputs.reading.Reading`."""
    for option in (
        click.option("--encoding", help="The input's encoding. [default: UTF-8]"),
        click.option("--follow", is_flag=True, help="Read links and paths that lead out of the input's folder."),
        click.option(
            "--fetch", is_flag=True, help="Fetch media at addresses, instead of giving these to the provider."
        ),
        click.option(
            "--pdf-as",
            type=click.Choice(["file", "text", "images", "pages", "page-texts"]),
            default="file",
            show_default=True,
            help="Send PDF files as they are, as the text of their pages, or as pictures of them; or make an item of each page.",
        ),
        click.option(
            "--image-size", type=int, metavar="PIXELS", help="Make images smaller that are longer than that on a side."
        ),
        click.option("--pdf", "pdfs", metavar="COLUMN", multiple=True, help="A column of PDF files: as for --image."),
        click.option(
            "--audio", "recordings", metavar="COLUMN", multiple=True, help="A column of sound files: as for --image."
        ),
        click.option(
            "--image",
            "images",
            metavar="COLUMN",
            multiple=True,
            help="A column of images: paths, addresses, or bytes. They follow the prompt.",
        ),
        click.option(
            "--per-item",
            metavar="PARTS",
            help="Columns that are each item's own: messages,system,model,tools,tool_choice,options; PART=COLUMN renames.",
        ),
        click.option(
            "--on-bad-row",
            type=click.Choice(["refuse", "error", "skip"]),
            default="refuse",
            show_default=True,
            help="What to do with rows that cannot be used: refuse them all, make an error line of each, or skip them.",
        ),
        click.option(
            "--on-empty",
            type=click.Choice(["refuse", "skip", "send"]),
            default="refuse",
            show_default=True,
            help="What to do with items in which a field of the prompt is null or empty.",
        ),
        click.option("--keep", metavar="COLUMNS", help="Columns of the input that rows carry: a,b or all."),
        click.option("--id", metavar="COLUMN", help="The column of the ids, or @line. [default: custom_id, id, line]"),
        click.option("--sample", type=click.IntRange(1), help="Take N items at random, the same ones each time."),
        click.option("--limit", type=click.IntRange(1), help="Take the first N items only."),
    ):
        command = option(command)
    return command


@contextmanager
def readable_inputs(given: tuple[str, ...], *, limit: int | None, encoding: str | None) -> Iterator[Any]:
    """Yield the input as a path that can be read twice, or as a list of them. Raises `InputError` for files of this machine and
    of an object store at once."""
    from headrace.batches.inputs.reading import ObjectUrls
    from headrace.text.object_urls import OBJECT_URL

    remote = [name for name in given if OBJECT_URL.match(name)]
    if remote:
        if len(remote) < len(given):
            raise InputError(f"{remote[0]}: lies in an object store, and other inputs do not; give those of one kind")
        yield ObjectUrls(remote)
        return
    with ExitStack() as stack:
        paths = [stack.enter_context(readable(name, limit=limit, encoding=encoding)) for name in given]
        yield paths[0] if len(paths) == 1 else [Path(path) for path in paths]
