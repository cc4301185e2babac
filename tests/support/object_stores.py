"""An S3 server of the test's own: moto, as a process on a free port of this machine."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from proxy import Proxy, proxied
from stack import until

from headrace.local.ports import free_port
from headrace.portal import LoopThread


class ObjectServer:
    """A running S3 server with one bucket, behind a proxy; `environment` is what a client of it needs."""

    bucket = "headrace"

    def __init__(self, port: int, proxy: Proxy, loop: LoopThread):
        self._port = port
        self._proxy = proxy
        self._loop = loop
        self.url = f"http://127.0.0.1:{proxy.port}"

    def go_away(self) -> None:
        """Cut all connections, and take no further one."""
        self._loop.run(lambda: self._proxy.switch(free_port()))

    def come_back(self) -> None:
        self._loop.run(lambda: self._proxy.switch(self._port))

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }

    def bucket_request(self, method: str, bucket: str = bucket) -> None:
        """Make (`PUT`) or delete a bucket."""
        request = urllib.request.Request(f"{self.url}/{bucket}", method=method)
        request.add_header("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request")
        urllib.request.urlopen(request, timeout=10).close()


@contextlib.contextmanager
def object_server(folder: Path) -> Iterator[ObjectServer]:
    """Yield an S3 server with an empty bucket. Nothing of it outlives the block."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    environment = {**os.environ, "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": str(1 << 26)}
    with (folder / "s3.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    loop, proxies = LoopThread("proxy of the S3 server"), contextlib.AsyncExitStack()
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}"), what="the S3 server is up")
        server = ObjectServer(port, loop.run(lambda: proxies.enter_async_context(proxied(port))), loop)
        server.bucket_request("PUT")
        yield server
    finally:
        loop.run(proxies.aclose)
        loop.close()
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/moto-api/", timeout=5).close()
    except OSError:
        return False
    return True
