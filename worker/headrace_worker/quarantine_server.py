"""The process that the quarantine's children are forked from imports this module first, and nobody else does.

Signals to the whole group of the worker (Ctrl-C at a terminal, a supervisor that stops all processes of a service) are the
worker's to handle: it drains, and tells its children by their pipes. The fork server ends when the worker is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal

with contextlib.suppress(OSError):
    os.setsid()
for ignored in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
    signal.signal(ignored, signal.SIG_IGN)  # its children inherit that

import headrace_worker.quarantine_child  # noqa: E402, F401
