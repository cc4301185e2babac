"""Reserve: what calls can cost at most is set aside of every budget that holds for them, before any of them begins.

All budgets are looked at in one script, so together workers never begin calls that could exceed one. What a call did cost is told
with the next move of its record (`fragments/bill.lua`), which gives back the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.ledger.keys import batch_of
from headrace.ledger.script import Ledger


class Reserved(msgspec.Struct, frozen=True):
    """The first `count` calls are paid for. `outcome` says why the next one is not: `wait` (calls under way may give back enough)
    or `exhausted` (it does not fit into what is left of the budget of `scope`: `batch`, `tenant` or `day`); money in nano-USD."""

    count: int
    outcome: str
    scope: str
    limit: int
    spent: int
    amount: int


async def reserve(ledger: Ledger, record_id: str, epoch: int, amounts: Sequence[int], *, token: str) -> Reserved:
    """Reserve `amounts`, in this order. Sending the same `token` again returns the same answer, so a record asks once at a time.

    A batch of which the next call does not fit into its own budget, or its tenant's, is paused. Raises `Fenced`, `Closed` or
    `Unknown`.
    """
    batch = ledger.keys.batch(batch_of(record_id))
    count, outcome, scope, limit, spent, amount = await ledger.run(
        "reserve",
        record_id,
        {"record": ledger.keys.record(record_id), "log": ledger.keys.log(batch)},
        {"epoch": epoch, "token": token, "channel": ledger.keys.channel(batch)},
        list(amounts),
    )
    return Reserved(int(count), outcome.decode(), scope.decode(), int(limit), int(spent), int(amount))
