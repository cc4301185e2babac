"""One child process of `headrace up`: started with its own log, restarted with back-off when it dies."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from headrace.embedded import die_with_parent

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 10.0
GROWN_UP_S = 30.0
YOUNG_S = 3.0
MOST_YOUNG_DEATHS = 5
LOG_BYTES = 5 * 1024 * 1024


class Child:
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
        self.young_deaths = 0

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
                preexec_fn=lambda: die_with_parent(signal.SIGKILL),
            )
        self._started = time.monotonic()
        self._restart_at = None

    def is_ready(self) -> bool:
        return self.process is not None and self.process.poll() is None and self._ready(self.process.pid)

    def tick(self) -> str | None:
        """What happened since the last call, in words, or None."""
        now = time.monotonic()
        if self._restart_at is not None:
            if now < self._restart_at:
                return None
            self.start()
            return f"started again (pid {self.pid})"
        if self.process is None or self.process.poll() is None:
            if now - self._started > GROWN_UP_S:
                self._wait_s, self.young_deaths = FIRST_WAIT_S, 0
            return None
        code = self.process.returncode
        self.young_deaths = self.young_deaths + 1 if now - self._started < YOUNG_S else 0
        self._restart_at = now + self._wait_s
        cause = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        said = f"{cause}; it starts again in {self._wait_s:g} s"
        self._wait_s = min(self._wait_s * 2, LONGEST_WAIT_S)
        self.process = None
        return said

    @property
    def hopeless(self) -> bool:
        """It died young several times in a row: starting it again will not help."""
        return self.young_deaths >= MOST_YOUNG_DEATHS

    def last_lines(self, count: int = 8) -> str:
        """The end of its log."""
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
    """A `ready` that holds once `file` is JSON with the process's own `pid`."""

    def ready(pid: int) -> bool:
        try:
            return json.loads(file.read_bytes())["pid"] == pid
        except (OSError, ValueError, KeyError):
            return False

    return ready
