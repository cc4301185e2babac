"""A worker killed while it checks an uploaded batch: another one begins anew, and nothing of the first attempt is left."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
from batches_api import CHAT, line
from fleet import kill_one_of_up
from gateways import ask
from stack import started, until

LINES = 150_000


def test_the_check_begins_anew(tmp_path: Path) -> None:
    with started(tmp_path, "--no-flower") as stack:
        base = stack.ready["gateway"]
        lines = "".join(json.dumps(line(f"r{n}")) + "\n" for n in range(LINES))
        form = {"purpose": "batch"}
        file = httpx.post(f"{base}/v1/files", data=form, files={"file": ("a", lines.encode())}, timeout=60).json()["id"]
        body = {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"}
        batch = ask(f"{base}/v1/batches", "POST", body).json["id"]
        folder = Path(stack.ready["files"]) / batch
        until(lambda: list(folder.glob(".input.*")), what="the check has begun")
        assert kill_one_of_up(stack, "bulk")
        assert ask(f"{base}/v1/batches/{batch}").json["status"] == "validating", "it was killed in the middle"
        until(lambda: ask(f"{base}/v1/batches/{batch}").json["status"] == "in_progress", what="it was checked")
        assert ask(f"{base}/v1/batches/{batch}").json["request_counts"]["total"] == LINES
        until(lambda: not (folder / "upload.jsonl").exists(), what="the check is over")

        def left() -> list[str]:
            return [path.name for path in folder.iterdir() if "input" in path.name or "index" in path.name]

        until(lambda: len(left()) == 2, what="one input and its index")
        ask(f"{base}/v1/batches/{batch}/cancel", "POST", b"")
        until(lambda: ask(f"{base}/v1/batches/{batch}").json["status"] == "cancelled", what="it was cancelled")
        shown = ask(f"{base}/v1/batches/{batch}").json
        counts = shown["request_counts"]
        assert counts["completed"] + counts["failed"] == LINES
