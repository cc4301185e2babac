"""The limits of calls: can they be read here, and do all workers have the same."""

from __future__ import annotations

from headrace.chat.call_limits import call_limits
from headrace.chat.provider_table import providers as known_providers
from headrace.doctor.context import DoctorContext, Finding
from headrace.errors import SettingsError
from headrace.text.masking import masked


def limits(bench: DoctorContext) -> Finding:
    """Check that `HEADRACE_LIMITS` can be used, and that workers do not differ in what they were given."""
    try:
        call_limits(bench.environ, known_providers(bench.environ))
    except SettingsError as error:
        return Finding("limits", "error", masked(str(error)), "Correct the variable (docs/spend.md).")
    found = bench.inspection.limits()
    differing = [record.name for record in found if record.configurations > 1]
    if differing:
        return Finding(
            "limits",
            "warning",
            f"workers were given different limits of {', '.join(differing)}; the strictest holds",
            "Give all workers the same HEADRACE_LIMITS and HEADRACE_PROVIDERS. See headrace limits.",
        )
    return Finding("limits", "ok", f"{len(found)} in force; see headrace limits" if found else "none")
