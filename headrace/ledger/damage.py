"""Damage: every error of reading a corrupt record becomes one exception."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import ResponseError

from headrace.errors import Damaged, HeadraceError
from headrace.ledger.script import is_damage

DAMAGED = "damaged"
"""The state that is shown of a record that cannot be read; none of the ledger's states."""
READ_ERRORS = (
    ResponseError,
    ValueError,
    KeyError,
    TypeError,
    ArithmeticError,
    LookupError,
    RecursionError,
    struct.error,
)
"""Exceptions of a read whose field is none, is no number, or leads nowhere."""


@contextmanager
def readable(record_id: str) -> Iterator[None]:
    """Convert the errors of reading a corrupt record to `Damaged`."""
    try:
        yield
    except HeadraceError:
        raise
    except READ_ERRORS as error:
        if isinstance(error, ResponseError) and not is_damage(error):
            raise
        raise Damaged(record_id, "its record in Redis cannot be read") from error
