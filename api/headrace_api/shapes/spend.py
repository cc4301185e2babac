"""`/v1/spend`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class SpendQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The number of days (UTC) to list."""

    days: Annotated[int, Meta(ge=1, le=400)] = 30
