"""Loop lag: how late an event loop wakes who sleeps, measured as long as it runs."""

from __future__ import annotations

import asyncio

from headrace.instruments.meter import Meter
from headrace.telemetry import LOOP_LAG

EVERY_S = 0.5


async def measure_loop_lag(meter: Meter) -> None:
    """Record the lag of this event loop, twice a second, until it is cancelled."""
    lag, loop = meter.histogram(LOOP_LAG), asyncio.get_running_loop()
    while True:
        due_s = loop.time() + EVERY_S
        await asyncio.sleep(EVERY_S)
        lag.observe((), max(0.0, loop.time() - due_s))
