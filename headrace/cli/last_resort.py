"""The last resort of Ctrl-C: whatever holds a command up that was interrupted, it ends."""

from __future__ import annotations

import os
import threading

GRACE_S = 15.0
"""Seconds an interrupted command may take; to cancel, to close and to report takes less."""


def end_soon() -> None:
    """End the process in `GRACE_S`, unless it has ended by then."""
    timer = threading.Timer(GRACE_S, os._exit, [130])
    timer.daemon = True
    timer.start()
