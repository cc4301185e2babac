"""An S3 emulator as a process of its own, and what reaches it."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
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
