"""llama.cpp's OpenAI-compatible server as a process: `python llama_server.py MODEL PORT`. It prints `ready` when it
answers, and ends when its standard input is closed."""

from __future__ import annotations

import os
import sys

from xllamacpp import CommonParams, Server


def main(model: str, port: int) -> None:
    parameters = CommonParams()
    parameters.model.path = model
    parameters.n_ctx = 2048
    parameters.n_parallel = 2
    parameters.port = port
    # With fewer, connections that are kept alive starve the others.
    parameters.n_threads_http = 64
    parameters.warmup = False
    server = Server(parameters)
    print("ready", server.listening_address, flush=True)
    sys.stdin.read()
    os._exit(0)  # the server's threads are not all joined


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
