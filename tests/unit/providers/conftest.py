"""What the tests of the provider classes share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def no_provider_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing about a provider is in the environment."""
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "VLLM_", "OPENROUTER_", "HEADRACE_PRO")):
            monkeypatch.delenv(name)
