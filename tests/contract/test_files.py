"""`/v1/files` through the official client and over bare sockets: whole, in pieces, refused, broken off."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import openai.types
import pytest
from gateways import Answer, another_gateway, ask, killed, rss_mb
from openai import OpenAI
from openai_types import check
from stack import Stack, until

MIB = 1 << 20


@pytest.fixture
def official(base: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0) as client:
        yield client


def contents(stack: Stack) -> set[str]:
    """What lies in the folder of files, temporary ones too."""
    folder = Path(stack.ready["files"]) / "files"
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def form(*parts: tuple[str, bytes] | tuple[str, bytes, str], boundary: str = "xx") -> bytes:
    body = b""
    for name, content, *filename in parts:
        named = f'; filename="{filename[0]}"' if filename else ""
        body += (
            f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + content + b"\r\n"
        )
    return body + f"--{boundary}--\r\n".encode()


def post(base: str, body: bytes, kind: str = "multipart/form-data; boundary=xx", **headers: str) -> Answer:
    return ask(f"{base}/v1/files", "POST", body, **{"content-type": kind, **headers})


FILE = ("file", b"{}\n", "a.jsonl")
BATCH = ("purpose", b"batch")


class TestTheOfficialClient:
    def test_uploads_shows_fetches_and_deletes(self, official: OpenAI, base: str, stack: Stack) -> None:
        data = os.urandom(3 * MIB + 7)
        policy: Any = {"anchor": "created_at", "seconds": 3600}
        made = official.files.create(file=("a b.bin", data), purpose="batch", expires_after=policy)
        assert (made.bytes, made.filename, made.purpose, made.status) == (len(data), "a b.bin", "batch", "processed")
        assert made.expires_at == made.created_at + 3600
        assert official.files.retrieve(made.id) == made
        check(openai.types.FileObject, ask(f"{base}/v1/files/{made.id}").json)
        assert official.files.content(made.id).read() == data
        assert made.id in contents(stack)
        gone = official.files.delete(made.id)
        assert (gone.id, gone.deleted) == (made.id, True)
        check(openai.types.FileDeleted, gone.model_dump())
        assert made.id not in contents(stack)
        for asked in (official.files.retrieve, official.files.content, official.files.delete):
            with pytest.raises(openai.NotFoundError):
                asked(made.id)

    def test_pages_through_the_list(self, official: OpenAI, base: str) -> None:
        made = [official.files.create(file=(f"{n}", b"x"), purpose="user_data").id for n in range(5)]
        assert [file.id for file in official.files.list(limit=2, purpose="user_data")] == made[::-1]
        assert [file.id for file in official.files.list(limit=2, order="asc", purpose="user_data")] == made
        page = ask(f"{base}/v1/files?limit=2&purpose=user_data").json
        assert (page["object"], page["first_id"], page["last_id"], page["has_more"]) == ("list", made[4], made[3], True)
        assert ask(f"{base}/v1/files?limit=2&after={made[0]}&purpose=user_data").json["data"] == []
        assert not list(official.files.list(purpose="batch_output"))
        for file_id in made:
            official.files.delete(file_id)

    def test_has_lifetimes_as_openai_gives_them(self, official: OpenAI) -> None:
        batch = official.files.create(file=("a", b"x"), purpose="batch")
        assert batch.expires_at == batch.created_at + 30 * 24 * 3600
        assert official.files.create(file=("a", b"x"), purpose="user_data").expires_at is None

    @pytest.mark.parametrize("purpose", ["batch_output", "assistants", "fine-tune", "vision", "nothing"])
    def test_is_told_which_purposes_there_are(self, official: OpenAI, purpose: Any) -> None:
        with pytest.raises(openai.BadRequestError) as error:
            official.files.create(file=("a", b"x"), purpose=purpose)
        assert error.value.param == "purpose"

    def test_that_repeats_an_upload_gets_the_file_that_it_made(self, official: OpenAI) -> None:
        def made(**headers: str) -> str:
            return official.files.create(file=("a", b"same"), purpose="batch", extra_headers=headers).id

        assert made() != made()
        keyed = made(**{"idempotency-key": "k"})
        assert made(**{"idempotency-key": "k"}) == keyed
        with pytest.raises(openai.ConflictError):
            official.files.create(file=("a", b"other"), purpose="batch", extra_headers={"idempotency-key": "k"})


class TestContent:
    @pytest.fixture
    def url(self, base: str) -> str:
        made = post(base, form(BATCH, ("file", b"0123456789", "digits"))).json
        return f"{base}/v1/files/{made['id']}/content"

    @pytest.mark.parametrize(
        ("given", "status", "content", "place"),
        [
            ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
            ("bytes=7-", 206, b"789", "bytes 7-9/10"),
            ("bytes=-2", 206, b"89", "bytes 8-9/10"),
            ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
            ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
            (f"bytes=8-{'9' * 30}", 206, b"89", "bytes 8-9/10"),
            (f"bytes=-{'9' * 30}", 206, b"0123456789", "bytes 0-9/10"),
            ("bytes=0-1,4-5", 200, b"0123456789", None),
            ("bytes=4-2", 200, b"0123456789", None),
            ("bytes=x", 200, b"0123456789", None),
            ("lines=0-1", 200, b"0123456789", None),
        ],
    )
    def test_is_sent_whole_or_one_range_of_it(
        self, url: str, given: str, status: int, content: bytes, place: str | None
    ) -> None:
        answer = ask(url, Range=given)
        assert (answer.status, answer.body, answer.headers["content-range"]) == (status, content, place)
        assert answer.headers["content-length"] == str(len(content))
        assert answer.headers["cache-control"] == "no-store"

    @pytest.mark.parametrize("given", ["bytes=10-", "bytes=99-100"])
    def test_has_no_range_behind_its_end(self, url: str, given: str) -> None:
        answer = ask(url, Range=given)
        assert (answer.status, answer.headers["content-range"]) == (416, "bytes */10")

    def test_of_another_file_is_sent_whole(self, url: str) -> None:
        tag = ask(url).headers["etag"]
        assert ask(url, Range="bytes=0-1", If_Range=tag).status == 206
        assert ask(url, Range="bytes=0-1", If_Range='"other"').status == 200


class TestBadUploads:
    @pytest.mark.parametrize(
        ("body", "param"),
        [
            (form(FILE), "purpose"),
            (form(BATCH), "file"),
            (form(BATCH, ("file", b"", "empty")), "file"),
            (form(BATCH, ("file", b"text")), "file"),
            (form(BATCH, FILE, FILE), "file"),
            (form(BATCH, BATCH, FILE), "purpose"),
            (form(BATCH, FILE, ("more", b"x")), "more"),
            (form(BATCH, FILE, ("expires_after[seconds]", b"3600")), "expires_after.anchor"),
            (
                form(BATCH, FILE, ("expires_after[anchor]", b"created_at"), ("expires_after[seconds]", b"9")),
                "expires_after.seconds",
            ),
            (form(("purpose", b"b" * 5000), FILE), "purpose"),
            (form(("purpose", b"\xff"), FILE), "purpose"),
            (form(*[(f"f{n}", b"x") for n in range(40)]), None),
            (b"", None),
            (b"--xx\r\n", None),
            (form(BATCH, FILE)[:-6], None),
            (b"--xx\r\ncontent-disposition: form-data\r\n" + b"y" * 10_000, None),
        ],
    )
    def test_are_told_and_leave_nothing(self, base: str, stack: Stack, body: bytes, param: str | None) -> None:
        before = contents(stack)
        answer = post(base, body)
        assert (answer.status, answer.json["error"]["param"]) == (400, param), answer.body
        until(lambda: contents(stack) == before, what="nothing is left")

    @pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "multipart/form-data; boundary="])
    def test_of_another_kind_are_refused(self, base: str, kind: str) -> None:
        assert post(base, form(BATCH, FILE), kind).status == 400

    def test_may_have_their_parts_in_any_order(self, base: str) -> None:
        made = post(base, form(FILE, BATCH))
        assert (made.status, made.json["purpose"]) == (200, "batch")

    def test_have_names_of_one_line(self, base: str) -> None:
        made = post(base, form(BATCH, ("file", b"x", "a\tb\x7f../c")))
        assert made.json["filename"] == "ab../c"

    @pytest.mark.parametrize("name", ["file-", "file-x/../y", "batch_x", "file-" + "x" * 99, "file-%00", "file-a-b"])
    @pytest.mark.parametrize("rest", ["", "/content"])
    def test_no_other_id_is_that_of_a_file(self, base: str, name: str, rest: str) -> None:
        assert ask(f"{base}/v1/files/{name}{rest}").status == 404

    @pytest.mark.parametrize("query", ["limit=0", "limit=10001", "limit=x", "order=up", "purpose=x"])
    def test_a_list_has_bounds(self, base: str, query: str) -> None:
        assert ask(f"{base}/v1/files?{query}").status == 400

    def test_a_list_goes_on_behind_a_file_only(self, base: str) -> None:
        assert ask(f"{base}/v1/files?after=file-x").status == 404


def test_a_file_over_the_bound_is_refused_early_or_when_it_is_seen(stack: Stack) -> None:
    with another_gateway(stack, "small", HEADRACE_FILE_MB="1", HEADRACE_FILES_TOTAL_MB="3") as (base, _):
        before = contents(stack)
        large = os.urandom(2 * MIB)
        answer = post(base, form(BATCH, ("file", large, "large")))
        assert (answer.status, answer.json["error"]["code"]) == (413, "file_too_large")
        host, port = base.removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=30)  # without a length: in chunks
        whole = form(BATCH, ("file", large, "large"))
        pieces = (whole[at : at + 65536] for at in range(0, len(whole), 65536))
        with contextlib.closing(connection), contextlib.suppress(ConnectionError):
            connection.request("POST", "/v1/files", pieces, {"content-type": "multipart/form-data; boundary=xx"})
            assert connection.getresponse().status == 413
        until(lambda: contents(stack) == before, what="nothing is left")
        statuses = [post(base, form(BATCH, ("file", os.urandom(900_000), "a"))).status for _ in range(4)]
        assert statuses[-1] == 507, "all files together have a bound"
        assert len(contents(stack)) == len(before) + statuses.count(200)


class TestInTheMiddle:
    """What an upload leaves that does not come to its end."""

    def upload(self, base: str, size: int) -> tuple[socket.socket, bytes]:
        """A connection, and the bytes of a request for a file of `size` bytes."""
        host, port = base.removeprefix("http://").split(":")
        body = form(BATCH, ("file", os.urandom(size), "a"))
        head = f"POST /v1/files HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: multipart/form-data; boundary=xx\r\n"
        return socket.create_connection(
            (host, int(port)), 30
        ), f"{head}content-length: {len(body)}\r\n\r\n".encode() + body

    def test_a_client_that_leaves_leaves_nothing(self, stack: Stack, base: str) -> None:
        before, chance = contents(stack), random.Random(1)
        for _ in range(10):
            connection, request = self.upload(base, 700_000)
            with connection:
                connection.sendall(request[: chance.randrange(len(request))])
        until(lambda: contents(stack) == before, what="nothing is left")
        assert ask(f"{base}/v1/files").status == 200

    def test_a_client_that_is_too_slow_is_cut_off(self, stack: Stack) -> None:
        with another_gateway(stack, "slow", HEADRACE_GATEWAY_BODY_S="0.5") as (base, _):
            before = contents(stack)
            connection, request = self.upload(base, 1000)
            with connection:
                connection.sendall(request[:-500])
                assert connection.recv(100).startswith(b"HTTP/1.1 408 ")
            until(lambda: contents(stack) == before, what="nothing is left")

    def test_a_gateway_killed_at_any_byte_leaves_no_file(self, stack: Stack, base: str) -> None:
        """20 random places, the last ones among them: whatever the answer was, what is listed is whole."""
        chance = random.Random(20)
        listed = {file["id"] for file in ask(f"{base}/v1/files").json["data"]}
        size = 300_000
        for round in range(20):
            with another_gateway(stack, f"killed{round}") as (mine, process):
                connection, request = self.upload(mine, size)
                with connection, contextlib.suppress(ConnectionError):
                    connection.sendall(request[: chance.choice([chance.randrange(len(request)), len(request)])])
                    if round % 2:  # at once, or after it was perhaps written
                        connection.settimeout(0.02)
                        with contextlib.suppress(TimeoutError):
                            connection.recv(1)
                    killed(process.pid)
                    process.wait()
        new = [file for file in ask(f"{base}/v1/files").json["data"] if file["id"] not in listed]
        assert all(file["bytes"] == size for file in new)
        for file in new:
            assert len(ask(f"{base}/v1/files/{file['id']}/content").body) == size


def test_a_large_upload_does_not_grow_the_gateway(stack: Stack) -> None:
    """A short form of the bound for 100 MB: the gateway holds pieces, never the file."""
    with another_gateway(stack, "grow") as (base, process), httpx.Client(timeout=60) as client:
        post(base, form(BATCH, FILE))
        idle = rss_mb(process.pid)
        peak, over = [idle], threading.Event()

        def look() -> None:
            while not over.wait(0.005):
                peak[0] = max(peak[0], rss_mb(process.pid))

        watching = threading.Thread(target=look)
        watching.start()
        try:
            data = {"purpose": "user_data"}
            answer = client.post(f"{base}/v1/files", data=data, files={"file": ("a", io.BytesIO(bytes(64 * MIB)))})
            assert json.loads(answer.content)["bytes"] == 64 * MIB
            assert len(client.get(f"{base}/v1/files/{answer.json()['id']}/content").content) == 64 * MIB
        finally:
            over.set()
            watching.join()
        assert peak[0] - idle < 30
