"""Arrow's library (the extra `data`), imported when it is used."""

from __future__ import annotations

from typing import Any

from headrace.errors import InputError


def arrow(what: str) -> Any:
    """Return the module `pyarrow`. Raises `InputError` that says `what` it is needed for."""
    try:
        import pyarrow
    except ImportError as error:
        raise InputError(f"{what}: this needs pyarrow ({error}): pip install 'headrace[data]'") from None
    return pyarrow


def parquet(what: str) -> Any:
    """Return the module `pyarrow.parquet`, as `arrow` does."""
    arrow(what)
    import pyarrow.parquet

    return pyarrow.parquet


def compute() -> Any:
    """Return the module `pyarrow.compute`, whose functions are made when it is imported."""
    import pyarrow.compute

    return pyarrow.compute
