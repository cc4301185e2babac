"""A Valkey that dies as in a crash, for tests of what happens meanwhile and after."""

from __future__ import annotations

import os
import signal

from stack import until

from headrace.local.valkey import EmbeddedServer


def kill_server(server: EmbeddedServer) -> None:
    """SIGKILL `server` and wait for its end; `start()` brings it back on the same socket."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    until(lambda: server.poll() is not None, what="the server is gone")
