"""The part of an exception that a log or Celery may show: its class and its places. Its text may hold a prompt."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import TracebackType

MAX_FRAMES = 20


def kind_of(error: BaseException) -> str:
    """Return the name of an exception's type: all of it that may be shown."""
    name = type(error).__name__
    return name if isinstance(name, str) and name.isidentifier() and len(name) <= 80 else "Exception"


def where_of(error: BaseException, *, frames: int = 4) -> str:
    """Return the last places of an exception's traceback, innermost first, without source text or values."""
    return " < ".join(list(_places(error.__traceback__))[-frames:][::-1])


def report_of(error: BaseException) -> str:
    """Return the replacement of a traceback: a line for `error`, and one for each exception in its chain."""
    lines: list[str] = []
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        module = type(following).__module__
        where = where_of(following, frames=MAX_FRAMES)
        lines.append(f"{module}.{kind_of(following)} at {where or 'no place'}")
        hidden = None if following.__suppress_context__ else following.__context__
        following = following.__cause__ or hidden
    return "\n  after ".join(lines[:5])


def _places(traceback: TracebackType | None) -> Iterator[str]:
    while traceback is not None:
        code = traceback.tb_frame.f_code
        yield f"{os.path.basename(code.co_filename)}:{traceback.tb_lineno} {code.co_name}"  # noqa: PTH119
        traceback = traceback.tb_next
