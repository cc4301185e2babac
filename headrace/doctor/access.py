"""Check who else reaches the server, and with it every prompt."""

from __future__ import annotations

import stat
from pathlib import Path
from urllib.parse import urlsplit

from headrace.doctor.context import DoctorContext, Finding, connect

FIX = "Give it a password (`requirepass`, or an ACL user), and put it into HEADRACE_REDIS_URL: redis://user:password@host:port/0."


def access(bench: DoctorContext) -> Finding:
    """Check that the server answers nobody without a password, unless only this user can open its socket."""
    from redis.exceptions import RedisError

    parts = urlsplit(bench.url)
    if parts.scheme == "unix" and not is_open(Path(parts.path)):
        return Finding("access", "ok", "its socket is not for everybody")
    stranger = connect(f"unix://{parts.path}" if parts.scheme == "unix" else without_credentials(bench.url))
    try:
        stranger.ping()
    except (RedisError, OSError):
        return Finding("access", "ok", "it answers nobody without a password")
    finally:
        stranger.close()
    whoever = "every user of this machine" if parts.scheme == "unix" else "whoever reaches its port"
    return Finding("access", "warning", f"it asks for no password: {whoever} reads every prompt and answer", FIX)


def is_open(socket: Path) -> bool:
    """Return True if every user may open it. Raises `OSError` when it is not there."""
    reachable = all(folder.stat().st_mode & stat.S_IXOTH for folder in socket.parents)
    return bool(socket.stat().st_mode & stat.S_IWOTH) and reachable


def without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
