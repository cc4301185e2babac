"""The providers: is there a key, does it answer, does it take the key. Nothing is paid."""

from __future__ import annotations

from collections.abc import Iterator

from headrace.chat.provider_table import PROVIDERS, Provider, endpoint
from headrace.chat.provider_table import providers as known_providers
from headrace.doctor.context import DoctorContext, Finding
from headrace.errors import SettingsError
from headrace.text.masking import masked

PROVIDER_S = 3.0


def providers(bench: DoctorContext) -> Iterator[Finding]:
    """Check that each provider that has a key or an address here answers, and takes the key."""
    try:
        rows = known_providers(bench.environ)
    except SettingsError as error:
        yield Finding("providers", "error", masked(str(error)), "Correct HEADRACE_PROVIDERS (docs/providers.md).")
        rows = PROVIDERS
    named = [facts for facts in rows.values() if facts.name not in PROVIDERS or facts.given(bench.environ)]
    for facts in named:
        yield provider(bench, facts)
    if named:
        return
    announced = announced_providers(bench)
    if announced:
        yield Finding("providers", "ok", f"none set here; workers have announced {', '.join(announced)}")
        return
    variables = ", ".join(facts.key_variable for facts in PROVIDERS.values() if facts.key_variable)
    yield Finding(
        "providers",
        "warning",
        "no provider has a key or an address here, and no worker has announced one",
        f"Where workers run, set a key ({variables}), or take the stand-in: headrace up --rehearsal.",
    )


def announced_providers(bench: DoctorContext) -> list[str]:
    if bench.unreachable:
        return []
    return sorted({name for worker in bench.inspection.announcements() for name in worker.configured})


def provider(bench: DoctorContext, facts: Provider) -> Finding:
    """Return what `GET {base_url}/models` says. No redirect is followed and no proxy used: workers do neither,
    unless `HEADRACE_TRUST_ENV` sends them by way of one."""
    name = f"provider {facts.name}"
    base_url, key = facts.address(bench.environ), facts.key(bench.environ)
    if not base_url:
        return Finding(name, "error", "its address is not known", f"Set {facts.base_url_variable}.")
    if not key:
        return Finding(name, "error", "it has an address and no key", f"Set {facts.key_variable}.")
    shown, variable = masked(base_url), facts.key_variable or facts.base_url_variable
    # Not left to the HTTP library, whose complaint quotes the key.
    if not key.isascii() or not key.isprintable() or " " in key:
        return Finding(
            name,
            "error",
            f"{variable} holds a space, a line feed or another character no key has",
            f"Set {variable} anew.",
        )
    try:
        status = status_of(endpoint(base_url, "/models"), key)
    except (OSError, ValueError) as error:
        kind = type(getattr(error, "reason", None) or error).__name__
        kind = "TimeoutError" if kind == "timeout" else kind
        proxy = proxy_variable(bench, base_url)
        if proxy is not None:
            return Finding(
                name,
                "warning",
                f"no answer from {shown} without a proxy ({kind}); workers call it by way of {proxy}",
                f"Make a call to see whether that way is open: headrace run Hi --model {facts.name}/…",
            )
        return Finding(
            name,
            "error",
            f"no answer from {shown} within {PROVIDER_S:g} s ({kind})",
            f"Check {facts.base_url_variable}, and that this machine may reach it; no proxy is used.",
        )
    if status in (401, 403):
        return Finding(name, "error", f"{shown} refuses the key ({status})", f"Set {variable} to a key that is valid.")
    if status == 429 or status >= 500:
        return Finding(
            name, "warning", f"{shown} answers {status}", "Its limits or a fault of its own: look again later."
        )
    if 300 <= status < 400:
        return Finding(
            name, "error", f"{shown} redirects ({status})", f"Set {facts.base_url_variable} to where it redirects to."
        )
    if status == 200:
        return Finding(name, "ok", f"{shown} answers and takes the key")
    # Several compatible providers have no list of models.
    return Finding(name, "ok", f"{shown} answers ({status} for its list of models)")


def proxy_variable(bench: DoctorContext, base_url: str) -> str | None:
    """Return the variable of the proxy by way of which workers call an address, None when they call it directly."""
    if not bench.settings.trust_env or bench.settings.transport != "http":
        return None
    from urllib.parse import urlsplit
    from urllib.request import proxy_bypass_environment  # pyright: ignore[reportAttributeAccessIssue] (its stubs lack it)

    exempt = {"no": bench.environ.get("no_proxy") or bench.environ.get("NO_PROXY") or ""}
    try:
        if proxy_bypass_environment(urlsplit(base_url).netloc.rpartition("@")[2], exempt):
            return None
    except ValueError:  # it is no URL
        return None
    variable = f"{base_url.partition(':')[0].lower()}_proxy"
    return next((name for name in (variable, variable.upper()) if bench.environ.get(name)), None)


def status_of(url: str, key: str) -> int:
    """Return the status of `GET url`. Raises `OSError` or `ValueError`."""
    import http.client
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    if parts.scheme not in kinds or not parts.hostname:
        raise ValueError("not a URL of http or https")
    headers = {"Authorization": f"Bearer {key}", "Accept": "application/json", "User-Agent": "headrace-doctor"}
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    try:
        connection = kinds[parts.scheme](parts.hostname, parts.port, timeout=PROVIDER_S)
        try:
            connection.request("GET", path, headers=headers)
            return connection.getresponse().status
        finally:
            connection.close()
    except http.client.HTTPException as error:
        raise ValueError(type(error).__name__) from None
