"""One child process of `headrace up`: started with its own log, restarted with back-off when it dies."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from headrace.guards.ownership import PRIVATE_UMASK
from headrace.local.valkey import die_with_parent

FIRST_WAIT_S = 0.2
MAX_WAIT_S = 2.0
MAX_WAIT_UNREADY_S = 10.0
GROWN_UP_S = 30.0
MAX_FAILED_STARTS = 5
LOG_BYTES = 5 * 1024 * 1024


class SupervisedProcess:
    """A program that is to run. `ready` is checked with its process id; `tick()` restarts it when it is due."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        ready: Callable[[int], bool],
    ):
        self.name = name
        self.command = list(command)
        self.environment = dict(environment)
        self.log = log
        self._ready = ready
        self.process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._wait_s = FIRST_WAIT_S
        self._restart_at: float | None = None
        self._was_ready = False
        self.failed_starts = 0

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    def start(self) -> None:
        """Start it. Only from the main thread: the kernel ties its life to the thread that starts it."""
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_suffix(".old.log"))
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C at the terminal reaches the supervisor alone, which stops all in order.
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                umask=PRIVATE_UMASK,
                preexec_fn=lambda: die_with_parent(signal.SIGKILL),
            )
        self._started = time.monotonic()
        self._restart_at = None
        self._was_ready = False

    def is_ready(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            return False
        self._was_ready = self._was_ready or self._ready(self.process.pid)
        return self._was_ready

    def tick(self) -> str | None:
        """Return what happened since the last call, in words, or None."""
        now = time.monotonic()
        if self._restart_at is not None:
            if now < self._restart_at:
                return None
            self.start()
            return f"started again (pid {self.pid})"
        if self.process is None or self.process.poll() is None:
            if self.is_ready():
                self.failed_starts = 0
            if now - self._started > GROWN_UP_S:
                self._wait_s = FIRST_WAIT_S
            return None
        code = self.process.returncode
        self.failed_starts += not self._was_ready
        self._restart_at = now + self._wait_s
        cause = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        said = f"{cause}; it starts again in {self._wait_s:g} s"
        self._wait_s = min(self._wait_s * 2, MAX_WAIT_S if self._was_ready else MAX_WAIT_UNREADY_S)
        self.process = None
        return said

    @property
    def hopeless(self) -> bool:
        """It died several times in a row before it was ready: starting it again will not help."""
        return self.failed_starts >= MAX_FAILED_STARTS

    def last_lines(self, count: int = 8) -> str:
        """Return the end of its log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])
        except OSError:
            return "(no log)"

    def stop(self, sig: int = signal.SIGTERM) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(sig)
        self._restart_at = None

    def gone(self) -> bool:
        return self.process is None or self.process.poll() is not None


def ready_file_names(file: Path) -> Callable[[int], bool]:
    """Return a `ready` that holds once `file` is JSON with the process's own `pid`."""

    def ready(pid: int) -> bool:
        try:
            return json.loads(file.read_bytes())["pid"] == pid
        except (OSError, ValueError, KeyError):
            return False

    return ready
