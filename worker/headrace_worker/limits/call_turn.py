"""Whose turn a call takes where several wait: a tenant's or its user's, or a batch's, by weight."""

from __future__ import annotations

from typing import NamedTuple


class CallTurn(NamedTuple):
    """Calls of one `party` wait for each other; among parties the turns go by `weight`."""

    party: str = ""
    weight: int = 1


NO_TURN = CallTurn()
