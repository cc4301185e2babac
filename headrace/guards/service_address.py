"""Where the service is, as seen from here: the nearest `.headrace` folder with what `headrace up` left in it, or what the
settings say."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from headrace.errors import Unreachable, UntrustedFile
from headrace.guards.ownership import check_trusted, read_trusted
from headrace.settings import Settings
from headrace.text.readable import UNREADABLE

STATE_FOLDER = ".headrace"
READY_FILE = "up.json"
REMEDY = (
    f"remove it, make a folder of your own nearer to your work (`mkdir -m 700 {STATE_FOLDER}`), or name the service and its "
    "files (HEADRACE_REDIS_URL, HEADRACE_FILES)."
)


class Ready(msgspec.Struct, frozen=True):
    """The content of `up.json` about a running `headrace up`; it holds more, which nobody but people reads there."""

    pid: Annotated[int, Meta(ge=1)]  # 0 and less would name groups of processes
    redis: Annotated[str, Meta(pattern="^(redis|rediss|unix)://")]
    embedded: bool = False  # the server is its own, on a socket in a folder of its own


def files_address(settings: Settings) -> str:
    """Return the address of the file store as seen here: `HEADRACE_FILES`, a folder or a URL, else `files` in the nearest
    `.headrace` folder."""
    if settings.files and "://" in settings.files:
        return settings.files
    if settings.files:
        return str(Path(settings.files).resolve())
    return str(((find_state_folder() or Path(STATE_FOLDER)) / "files").resolve())


def find_state_folder(start: Path | None = None, *, to_mend: bool = False) -> Path | None:
    """Return the nearest `.headrace` folder at or above `start` (default: the current folder), or None. `to_mend`:
    whoever asks looks at its owner and its mode, and puts them right.

    Raises `UntrustedFile` when that is another user's, or open to others: prompts would go where it says. Walking on past it
    would find another service than the one that is meant.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        state = folder / STATE_FOLDER
        try:
            if not state.is_dir():
                continue
        except PermissionError:
            continue  # what is in there is not for us either
        if not to_mend:
            check_trusted(state, remedy=REMEDY)
        return state
    return None


def read_ready(state: Path) -> Ready | None:
    """Return what `headrace up` left in `state`, or None when it runs no longer (or never did).

    Raises `UntrustedFile` when somebody else may have written it, or holds the socket that it names.
    """
    file = state / READY_FILE
    try:
        text = read_trusted(file, remedy=REMEDY)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UntrustedFile(f"{file} is a symbolic link, so it is not used: {REMEDY}") from None
        return None
    try:
        ready = msgspec.json.decode(text, type=Ready)
        os.kill(ready.pid, 0)
    except (OSError, OverflowError, *UNREADABLE):
        return None
    if ready.embedded:
        # Left behind in a folder of temporary files that was cleaned since, its name is free for anybody.
        socket = Path(urlsplit(ready.redis).path)
        try:
            check_trusted(socket.parent, remedy=REMEDY)
            check_trusted(socket, remedy=REMEDY)
        except OSError:
            return None
    return ready


def redis_url(settings: Settings) -> str:
    """Return the URL of the service: `HEADRACE_REDIS_URL`, else the nearest `.headrace` folder. Raises `Unreachable`."""
    if settings.redis_url:
        return settings.redis_url
    state = find_state_folder()
    ready = read_ready(state) if state else None
    if ready is None:
        where = f"{state} is there, but nothing runs on it" if state else f"no {STATE_FOLDER} folder here or above"
        raise Unreachable(
            f"headrace is not running: HEADRACE_REDIS_URL is not set, and {where}. Start it: `headrace up`."
        )
    return ready.redis
