"""An S3 emulator as a process of its own, and what reaches it."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stack import until

from headrace.local.ports import free_port


class ObjectStorage:
    """The emulator: `environment` is what its clients need; `bucket()` makes one, and returns its URL."""

    def __init__(self, url: str):
        self.url = url
        self.environment = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": url,
        }

    def bucket(self) -> str:
        name = f"headrace-{secrets.token_hex(6)}"
        self._ask("PUT", name)
        return f"s3://{name}"

    def _ask(self, method: str, path: str) -> None:
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/{path}", method=method), timeout=20):
            pass


@contextmanager
def object_storage(folder: Path) -> Iterator[ObjectStorage]:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "moto.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "MOTO_ACCOUNT_ID": "1" * 12})
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: answers(url), what="the S3 emulator is up")
        yield ObjectStorage(url)
    finally:
        process.terminate()
        process.wait(20)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


class Link:
    """A connection to the emulator that can be `cut`: what is open ends, and nothing new gets through."""

    def __init__(self, url: str):
        self._port = int(url.rpartition(":")[2])
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self._is_cut = False
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._is_cut = True
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._is_cut = False

    def close(self) -> None:
        self.cut()
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._server.accept()
            except OSError:
                return
            if self._is_cut:
                here.close()
                continue
            there = socket.create_connection(("127.0.0.1", self._port))
            self._open |= {here, there}
            for one, other in ((here, there), (there, here)):
                threading.Thread(target=self._pipe, args=(one, other), daemon=True).start()

    def _pipe(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(1 << 16):
                other.sendall(data)
        for each in (one, other):
            self._open.discard(each)
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
