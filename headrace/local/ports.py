"""Find TCP ports of this machine that nobody listens on."""

import random
import socket
from contextlib import suppress
from pathlib import Path

# Where the system says from which port on it hands them out by itself.
EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
DEFAULT_EPHEMERAL_START = 32_768
FIRST_PORT = 15_000
MAX_DRAWS = 200


def free_port(*, row: int = 1) -> int:
    """Return a port that can be bound on 127.0.0.1; with `row`, the first of so many in a row.

    Drawn from below the ports that the system gives to connections going out: one of those could be in use again before
    whoever asked has bound it, as the near end of any connection of the machine.
    """
    start = ephemeral_start()
    if start - row > FIRST_PORT:
        for _ in range(MAX_DRAWS):
            port = random.randrange(FIRST_PORT, start - row + 1)
            if all(is_free(port + offset) for offset in range(row)):
                return port
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if all(port + offset < 65_536 and is_free(port + offset) for offset in range(row)):
            return port


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def ephemeral_start() -> int:
    with suppress(OSError, ValueError, IndexError):
        return int(EPHEMERAL_RANGE.read_text().split()[0])
    return DEFAULT_EPHEMERAL_START
