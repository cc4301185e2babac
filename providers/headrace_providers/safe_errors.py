"""The part of an exception that a log or Celery may show: its kind and its places. Its text may hold a prompt."""

from __future__ import annotations

from pathlib import Path
from traceback import walk_tb


def kind_of(error: BaseException) -> str:
    """The name of an exception's type: all of it that may be shown."""
    name = type(error).__name__
    return name if isinstance(name, str) and name.isidentifier() and len(name) <= 80 else "Exception"


def where_of(error: BaseException) -> str:
    """The last places of an exception's traceback, innermost first, without source text or values."""
    frames = [
        f"{Path(frame.f_code.co_filename).name}:{line} {frame.f_code.co_name}"
        for frame, line in walk_tb(error.__traceback__)
    ]
    return " < ".join(reversed(frames[-4:]))
