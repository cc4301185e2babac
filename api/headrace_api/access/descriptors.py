"""The limit of open files and connections of this process."""

from __future__ import annotations

import contextlib
import resource

OPEN_MAX = 10_240
"""Descriptors that macOS takes where it says that there is no limit."""


def raise_limit() -> int:
    """Raise the soft limit of descriptors to the hard one; returns what holds then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (hard, OPEN_MAX):
        if soft != resource.RLIM_INFINITY and (soft < wanted or wanted == resource.RLIM_INFINITY):
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                soft = wanted
    return soft if soft != resource.RLIM_INFINITY else 1 << 20
