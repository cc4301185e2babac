"""A job that ends its process is found out, and takes nobody with it.

A crash speaks against each record that was in flight in the process: with n of them, 1/n of *evidence*. From a half on, a record
is a suspect and runs in the *quarantine*, in a child process of its own. After three deaths alone it is `dead`; whoever ends
there is cleared.
"""

from __future__ import annotations

from headrace.jobs.job import new_id
from headrace.ledger.claim import claim
from headrace.ledger.recover import recover, report_end
from headrace.ledger.script import Ledger
from headrace.ledger.submit import submit


async def test_after_three_deaths_alone_a_job_is_dead(ledger: Ledger) -> None:
    job = await submit(ledger, new_id("job"), b"{}", queue="interactive")
    await claim(ledger, job, token="a", owner="worker-1", queue="interactive", lease_ms=-1)
    assert await recover(ledger) == [("quarantine", job)]  # it was alone when its worker died

    # The quarantine's worker sees its child process end, and says so: nobody waits for a lease.
    for token in "bcd":
        await claim(ledger, job, token=token, owner="quarantine/1", queue="quarantine")
        hints = await report_end(ledger, "quarantine/1")
    assert hints == []
    assert await ledger.client.hget(ledger.keys.job(job), "state") == b"dead"
