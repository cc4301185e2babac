"""Create file: an upload is entered once, within the bound of its tenant, and a repeated request enters no other."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors
from headrace.ledger.create_file import create_file
from headrace.ledger.creation import Creation
from headrace.ledger.delete_file import delete_file
from headrace.ledger.file_record import expired_files, file_record, files, unknown_files
from headrace.ledger.script import Ledger
from headrace.ledger.unread import UnreadAnswer, WaitingClient, mark_disconnected


async def made(ledger: Ledger, name: str, *, creation: Creation | None = None, **more: Any) -> str:
    given: dict[str, Any] = {"purpose": "batch", "filename": "in.jsonl", "size": 10, "max_bytes": 25, **more}
    return await create_file(ledger, name, tenant="default", creation=creation or Creation(name), **given)


async def listed(ledger: Ledger, **which: Any) -> list[str]:
    return [record.id async for record in files(ledger, "default", **which)]


async def test_a_file_is_entered_with_what_is_said_of_it(ledger: Ledger) -> None:
    assert await made(ledger, "file-a", expires_s=3600) == "file-a"
    record = await file_record(ledger, "file-a", tenant="default")
    assert (record.purpose, record.filename, record.bytes, record.content) == ("batch", "in.jsonl", 10, "files/file-a")
    assert record.expires_ms == record.created_ms + 3_600_000
    with pytest.raises(errors.Unknown):
        await file_record(ledger, "file-a", tenant="another")


async def test_sent_twice_it_is_entered_once(ledger: Ledger, look: Any) -> None:
    await made(ledger, "file-a")
    before = await look.everything()
    assert await made(ledger, "file-a") == "file-a"
    assert await look.everything() == before


async def test_a_repeated_request_is_given_the_file_of_the_first(ledger: Ledger) -> None:
    waiter = WaitingClient("here", again=False, asked="0" * 64)
    same, retry = Creation("same", waiter=waiter), Creation("same", waiter=waiter._replace(again=True))
    await made(ledger, "file-a", creation=same)
    assert await made(ledger, "file-b", creation=retry) == "file-a"
    assert await made(ledger, "file-c", creation=same) == "file-c", "two equal requests are two files"
    await mark_disconnected(ledger, UnreadAnswer("default", waiter.asked, "file-c", "file-c"))
    assert await made(ledger, "file-h", creation=same) == "file-c"
    await made(ledger, "file-d", creation=Creation("x", "key"), max_bytes=99)
    assert await made(ledger, "file-e", creation=Creation("x", "key")) == "file-d"
    with pytest.raises(errors.Conflict):
        await made(ledger, "file-f", creation=Creation("y", "key"))
    await delete_file(ledger, "file-d")
    assert await made(ledger, "file-g", creation=Creation("y", "key"), max_bytes=99) == "file-g"


async def test_all_files_of_a_tenant_have_a_bound_together(ledger: Ledger) -> None:
    await made(ledger, "file-a")
    await made(ledger, "file-b")
    with pytest.raises(errors.Spill):
        await made(ledger, "file-c")
    await delete_file(ledger, "file-a")
    assert await made(ledger, "file-c") == "file-c"


async def test_files_are_listed_in_the_order_of_their_creation(ledger: Ledger) -> None:
    for name in "abc":
        await made(ledger, f"file-{name}", purpose="user_data" if name == "b" else "batch", max_bytes=99)
        await ledger.client.zadd(ledger.keys.files("default"), {f"file-{name}": ord(name)})
    assert await listed(ledger) == ["file-c", "file-b", "file-a"]
    assert await listed(ledger, newest_first=False, after="file-a") == ["file-b", "file-c"]
    assert await listed(ledger, after="file-b") == ["file-a"]
    assert await listed(ledger, purpose="batch") == ["file-c", "file-a"]
    with pytest.raises(errors.Unknown):
        await listed(ledger, after="file-x")
    await ledger.client.hset(ledger.keys.file("file-b"), "bytes", "many")
    assert await listed(ledger) == ["file-c", "file-a"], "a damaged record hides itself alone"


async def test_what_is_past_its_lifetime_is_no_file_any_more(ledger: Ledger) -> None:
    await made(ledger, "file-a", expires_s=3600)
    assert await expired_files(ledger, 10) == []
    await ledger.client.hset(ledger.keys.file("file-a"), "expires", 1)
    await ledger.client.zadd(ledger.keys.expiring, {"file-a": 1})
    assert await expired_files(ledger, 10) == ["file-a"]
    with pytest.raises(errors.Unknown):
        await file_record(ledger, "file-a", tenant="default")
    assert await unknown_files(ledger, ["file-a", "file-x"]) == ["file-x"]
