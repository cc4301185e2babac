"""A gateway that writes down how long its event loop stood still at worst: `python loop_lag_gateway.py FILE ARGUMENTS…`.

In seconds of CPU time of all its threads between two turns: what other processes do meanwhile does not count.
"""

import asyncio
import sys
import time
from pathlib import Path

from headrace_api.__main__ import parse, serve

from headrace.settings import Settings


async def turn(file: Path) -> None:
    worst_s, last_s = 0.0, time.process_time()
    while True:
        await asyncio.sleep(0.001)
        now_s = time.process_time()
        if now_s - last_s > worst_s:
            worst_s = now_s - last_s
            file.write_text(f"{worst_s:.4f}")
            now_s = time.process_time()
        last_s = now_s


async def main() -> int:
    serving = asyncio.create_task(serve(parse(sys.argv[2:]), Settings.load()))
    turning = asyncio.create_task(turn(Path(sys.argv[1])))
    try:
        return await serving
    finally:
        turning.cancel()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
