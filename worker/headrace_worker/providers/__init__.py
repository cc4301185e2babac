"""The former place of `headrace_providers`, for one release."""

from __future__ import annotations

import warnings
from typing import Any

import headrace_providers


def __getattr__(name: str) -> Any:
    if name not in headrace_providers.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        f"headrace_worker.providers is headrace_providers now: `from headrace_providers import {name}`",
        DeprecationWarning,
        stacklevel=2,
    )
    return getattr(headrace_providers, name)
