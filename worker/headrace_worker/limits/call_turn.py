"""Whose turn a call takes where several wait: a tenant's or its user's, or a batch's, by weight."""

from __future__ import annotations

from typing import NamedTuple


class CallTurn(NamedTuple):
    """Calls of one `party` wait for each other; among parties the turns go by `weight`. Those of one `shard` are kept waiting or
    sent away together."""

    party: str = ""
    weight: int = 1
    shard: str = ""


NO_TURN = CallTurn()
