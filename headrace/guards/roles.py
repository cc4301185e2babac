"""The environment of each kind of process: which secrets it gets, by one table.

Only workers call providers, so only they get keys; what the others get is listed, so that a key of tomorrow stays out as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Literal

Role = Literal["worker", "gateway", "flower", "rehearsal", "server", "validation"]

MACHINE = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "TZ", "LANG", "LANGUAGE", "LC_*", "TMPDIR", "TMP", "TEMP"),
    *("VIRTUAL_ENV", "PYTHON*", "LD_LIBRARY_PATH", "DYLD_*", "SSL_CERT_FILE", "SSL_CERT_DIR", "MALLOC_*", "NO_COLOR"),
    *("COVERAGE_*", "COV_CORE_*"),
)
OF_WORKERS = ("HEADRACE_PROVIDERS",)
"""It may hold headers with credentials."""
OF_PRODUCERS = ("HEADRACE_API", "HEADRACE_API_KEY")
"""How whoever submits reaches a gateway: no part of the service does."""
OF_SCRAPERS = ("HEADRACE_METRICS_TOKEN",)
OF_STORES = ("AWS_*", "GOOGLE_*", "AZURE_*")
"""How the clouds' own libraries find credentials, region and endpoint: for a gateway whose files lie in an object store."""
OF_GATEWAYS = ("HEADRACE_STREAM_SECRET", "HEADRACE_STREAM_SECRET_FILE")

ALLOWED: dict[Role, tuple[str, ...]] = {
    "worker": ("*",),
    "gateway": (*MACHINE, "HEADRACE_*"),
    "flower": (*MACHINE, "HEADRACE_*", "FLOWER_*", "CELERY_*"),
    "rehearsal": MACHINE,
    "server": MACHINE,
    "validation": MACHINE,
}
DENIED: dict[Role, tuple[str, ...]] = {
    "worker": (*OF_GATEWAYS, *OF_PRODUCERS, "FLOWER_*"),
    "gateway": (*OF_WORKERS, *OF_PRODUCERS),
    "flower": (*OF_WORKERS, *OF_GATEWAYS, *OF_PRODUCERS, *OF_SCRAPERS),
}


def environment_of(role: Role, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a process of this kind gets of `environ`."""
    allowed, denied = ALLOWED[role], DENIED.get(role, ())
    if role == "gateway" and "://" in environ.get("HEADRACE_FILES", ""):
        allowed = (*allowed, *OF_STORES)
    return {name: value for name, value in environ.items() if fits(name, allowed) and not fits(name, denied)}


def fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
