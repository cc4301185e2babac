"""Which transport a process uses: `HEADRACE_TRANSPORT`. Only the one that is chosen is imported."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial

from headrace.settings import Settings
from headrace_providers.wire.transport import Transport

VARIABLES = ("HEADRACE_TRANSPORT", "HEADRACE_TRUST_ENV")


def transport_of(environ: Mapping[str, str] | None = None) -> Callable[..., Transport]:
    """Return what makes a transport of `deadlines` and `connections`, as the environment chooses it.

    Raises `SettingsError` naming a variable that cannot be read.
    """
    variables = os.environ if environ is None else environ
    chosen = Settings.load({name: variables[name] for name in VARIABLES if name in variables})
    if chosen.transport == "http":
        from headrace_providers.wire.http_transport import HttpTransport

        return partial(HttpTransport, trust_env=chosen.trust_env)
    from headrace_providers.wire.sdk_transport import SdkTransport

    return SdkTransport
