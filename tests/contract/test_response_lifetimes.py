"""Stored responses go when their time is over, and are refused when there is no room for them; nothing is paid then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gateways import another_gateway, ask
from live_files import files_below
from stack import Stack, started, until

ASKED = {"model": "rehearsal/small", "input": "Why?"}
TTL_S = 3


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    environment = {"HEADRACE_RESPONSE_TTL_S": str(TTL_S)}
    with started(tmp_path_factory.mktemp("service"), "--no-flower", environment=environment) as stack:
        yield stack


def files_of(stack: Stack, id: str) -> list[Path]:
    return [path for path in files_below(Path(stack.ready["files"])) if path.name.startswith(id.removeprefix("resp_"))]


@pytest.mark.parametrize("more", [{}, {"background": True}])
def test_past_its_lifetime_it_is_unknown_and_its_files_are_gone(stack: Stack, base: str, more: dict[str, Any]) -> None:
    id = ask(f"{base}/v1/responses", "POST", ASKED | more).json["id"]
    assert files_of(stack, id)
    until(lambda: ask(f"{base}/v1/responses/{id}").status == 404, what="it is unknown")
    until(lambda: not files_of(stack, id), what="its files are gone")


@pytest.mark.parametrize("more", [{}, {"background": True}, {"stream": True}])
def test_without_room_it_is_refused_before_it_is_paid(stack: Stack, more: dict[str, Any]) -> None:
    paid = len(stack.calls())
    with another_gateway(stack, "full", HEADRACE_MIN_FREE_MB=str(10**9)) as (full, _):
        answer = ask(f"{full}/v1/responses", "POST", ASKED | more)
    assert (answer.status, answer.json["error"]["code"]) == (507, "storage")
    assert len(stack.calls()) == paid


def test_of_what_was_deleted_nothing_is_left(stack: Stack, base: str) -> None:
    id = ask(f"{base}/v1/responses", "POST", ASKED | {"background": True}).json["id"]
    assert ask(f"{base}/v1/responses/{id}", "DELETE").json == {"id": id, "object": "response", "deleted": True}
    assert not files_of(stack, id)
    job = id.replace("resp_", "job_")

    def content() -> bool:
        keys = list(stack.client.scan_iter(f"*{job}*"))
        return any(not key.endswith(job.encode()) for key in keys)

    until(lambda: not content(), what="the ledger has its record alone")
