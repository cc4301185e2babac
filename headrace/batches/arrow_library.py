"""Arrow's library (the extra `data`), imported when it is used."""

from __future__ import annotations

import os
import sys
from typing import Any

from headrace.errors import InputError

POOL = "ARROW_DEFAULT_MEMORY_POOL"
"""The variable by which Arrow is told where to take memory from, when it is first imported."""


def arrow(what: str) -> Any:
    """Return the module `pyarrow`. Raises `InputError` that says `what` it is needed for."""
    if (library := sys.modules.get("pyarrow")) is not None:
        return library
    own = POOL not in os.environ
    try:
        os.environ.setdefault(
            POOL, "system"
        )  # pages come and go: the other pools keep twice as much (measured: 160 MB, 115 MB)
        import pyarrow

        pyarrow.default_memory_pool()
    except ImportError as error:
        raise InputError(f"{what}: this needs pyarrow ({error}): pip install 'headrace[data]'") from None
    finally:
        if own:
            del os.environ[POOL]
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
