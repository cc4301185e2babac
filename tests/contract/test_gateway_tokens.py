"""Stream tokens: what they open, for how long, and what stays shut without one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from gateways import SLOW, Sse, another_gateway, ask, text_of
from headrace_api.auth import Gate
from stack import Stack, headrace, started, until
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

SECRET = "a secret for this test alone"
BODY = {"model": "rehearsal/small", "messages": [{"role": "user", "content": "x"}]}


@pytest.fixture(scope="module")
def shut(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, str]]:
    """A gateway that demands tokens."""
    with started(tmp_path_factory.mktemp("tokens"), "--no-flower") as stack:
        variables = {"HEADRACE_STREAM_SECRET": SECRET, "HEADRACE_GATEWAY_OPEN": "0"}
        with another_gateway(stack, "shut", **variables) as (base, _):
            yield stack, base


@pytest.fixture
def owner(shut: tuple[Stack, str]) -> str:
    done = headrace("gateway", "--token", env={**shut[0].client_environment, "HEADRACE_STREAM_SECRET": SECRET})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def job_of(base: str, owner: str) -> tuple[str, str]:
    accepted = ask(f"{base}/v1/jobs", "POST", BODY, **bearer(owner))
    assert accepted.status == 202, accepted.body
    return accepted.json["id"], accepted.json["stream_token"]


async def test_a_connection_ends_when_its_token_says_so_and_goes_on_with_a_fresh_one(
    shut: tuple[Stack, str], owner: str
) -> None:
    _, base = shut
    body = BODY | {"messages": [{"role": "user", "content": SLOW}]}
    accepted = ask(f"{base}/v1/jobs", "POST", body, **bearer(owner)).json
    job, gate = accepted["id"], Gate(SECRET.encode(), is_open=False)
    short, url = gate.sign(job, ("read",), max_stream_s=0.6), f"{base}/v1/jobs/{job}/events"
    began = time.monotonic()
    first = await asyncio.to_thread(lambda: Sse(url, **bearer(short)).all())
    assert time.monotonic() - began < 5
    kinds = [json.loads(data)["t"] for _, data in first]
    assert "auth.expiring" in kinds
    assert (kinds[-1], "end" in kinds) == ("bye", False)
    last = [id for id, _ in first if id is not None][-1]
    async with connect(f"ws{base.removeprefix('http')}/v1/stream?job={job}&after={last}&st={short}") as connection:
        second: list[Any] = []
        with contextlib.suppress(ConnectionClosed):
            while True:
                frame = json.loads(await connection.recv())
                second.append((frame.get("id"), json.dumps(frame)))
    assert connection.close_code == 4401
    last = [id for id, _ in second if id is not None][-1]
    cookie = {"cookie": f"theme=dark; headrace_token={accepted['stream_token']}", "last_event_id": last}
    third = await asyncio.to_thread(lambda: Sse(url, **cookie).all())
    whole = ask(f"{base}/v1/jobs/{job}", **bearer(owner)).json["completion"]["content"]
    assert text_of([*first, *second, *third]) == whole


def test_nothing_is_done_without_a_token(shut: tuple[Stack, str], owner: str) -> None:
    _, base = shut
    job, _ = job_of(base, owner)
    for method, path in (
        ("POST", "/v1/jobs"),
        ("GET", f"/v1/jobs/{job}"),
        ("GET", f"/v1/jobs/{job}/events"),
        ("POST", f"/v1/jobs/{job}/cancel"),
        ("POST", f"/v1/jobs/{job}/tokens"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/ui/chat"),
        ("GET", "/v1/ui/chat/c/stream"),
        ("POST", "/v1/ag-ui"),
        ("POST", "/v1/files"),
        ("GET", "/v1/files"),
        ("GET", "/v1/files/file-a"),
        ("GET", "/v1/files/file-a/content"),
        ("DELETE", "/v1/files/file-a"),
        ("POST", "/v1/batches"),
        ("GET", "/v1/batches"),
        ("GET", "/v1/batches/batch_a"),
        ("GET", "/v1/batches/batch_a/results"),
        ("POST", "/v1/batches/batch_a/cancel"),
        ("POST", "/v1/batches/batch_a/retry"),
    ):
        answer = ask(base + path, method, BODY if method == "POST" else None)
        assert (answer.status, answer.json["error"]["code"]) == (401, "unauthorized"), path


def test_every_way_to_carry_a_token(shut: tuple[Stack, str], owner: str) -> None:
    _, base = shut
    job, token = job_of(base, owner)
    assert Sse(f"{base}/v1/jobs/{job}/events", authorization=f"Bearer {token}").all()
    assert Sse(f"{base}/v1/jobs/{job}/events?st={token}").all()
    assert ask(f"{base}/v1/jobs/{job}", **bearer(token)).status == 200


@pytest.mark.parametrize("claims", ["expired", "other", "scope", "foreign", "changed"])
async def test_tokens_that_do_not_hold(shut: tuple[Stack, str], owner: str, claims: str) -> None:
    _, base = shut
    job, good = job_of(base, owner)
    gate = Gate(SECRET.encode(), is_open=False)
    token, status = {
        "expired": (gate.sign(job, ["read"], lasts_s=-1), 401),
        "other": (gate.sign("job_" + "b" * 26, ["read"]), 403),
        "scope": (gate.sign(job, ["cancel"]), 403),
        "foreign": (Gate(b"another", is_open=False).sign(job, ["read"]), 401),
        "changed": (good[:-3] + ("aaa" if good[-3:] != "aaa" else "bbb"), 401),
    }[claims]
    answer = ask(f"{base}/v1/jobs/{job}/events", **bearer(token))
    assert answer.status == status
    assert set(answer.json) == {"error"}, "nothing of the stream"
    assert await code_of(base, f"?job={job}", [f"bearer.{token}"]) == {401: 4401, 403: 4403}[status]


def test_the_token_of_a_job_shows_nothing_of_what_was_asked(shut: tuple[Stack, str], owner: str) -> None:
    """A response tells its instructions and its input, which the events of a job do not."""
    _, base = shut
    asked = {"model": "rehearsal/small", "input": "Why?", "instructions": "Tell nobody."}
    made = ask(f"{base}/v1/responses", "POST", asked, **bearer(owner))
    assert made.status == 200, made.body
    name = made.json["id"]
    token = Gate(SECRET.encode(), is_open=False).sign(made.headers["x-headrace-job"], ["read", "cancel"])
    assert ask(f"{base}/v1/responses/{name}", **bearer(owner)).status == 200
    for method, rest in (("GET", ""), ("GET", "?stream=true"), ("GET", "/input_items"), ("DELETE", "")):
        refused = ask(f"{base}/v1/responses/{name}{rest}", method, **bearer(token))
        assert refused.status == 403, (method, rest)
        assert "Tell nobody" not in refused.body.decode()


async def test_over_a_websocket(shut: tuple[Stack, str], owner: str) -> None:
    _, base = shut
    (job, token), (other, other_token) = job_of(base, owner), job_of(base, owner)
    assert await code_of(base, f"?job={job}", [f"bearer.{token}"]) == 1000
    assert await code_of(base, f"?job={job}", []) == 4401
    assert await code_of(base, f"?job={other}", [f"bearer.{token}"]) == 4403
    async with connect(f"ws{base[4:]}/v1/stream", subprotocols=["headrace.v1", f"bearer.{token}"]) as connection:  # type: ignore[list-item]
        assert connection.subprotocol == "headrace.v1", "the token is not said back"
        found: dict[str, Any] = {}
        for order in ({"job": job}, {"job": other}, {"job": other, "token": other_token}):
            await connection.send(json.dumps({"op": "sub", **order}))
            while (frame := json.loads(await connection.recv()))["t"] != "closed":
                pass
            found[json.dumps(order)[:60]] = frame["code"]
        assert sorted(found.values()) in ([1000, 1000, 4403], [1000, 4403])


async def test_a_silent_websocket_is_closed(shut: tuple[Stack, str]) -> None:
    assert await code_of(shut[1], "", []) == 4401


async def code_of(base: str, query: str, tokens: list[str], **options: Any) -> int:
    """The code that a WebSocket is closed with. Whoever is turned away was told nothing before."""
    frames = []
    protocols: Any = ["headrace.v1", *tokens]
    async with connect(f"ws{base[4:]}/v1/stream{query}", subprotocols=protocols, **options) as connection:
        with contextlib.suppress(ConnectionClosed):
            while True:
                frames.append(await connection.recv())
    assert connection.close_code is not None
    assert connection.close_code == 1000 or not frames
    return connection.close_code


@pytest.mark.parametrize("claims", ["expired", "other", "scope", "foreign"])
async def test_a_subscription_with_a_token_that_does_not_hold(shut: tuple[Stack, str], owner: str, claims: str) -> None:
    _, base = shut
    (job, _), (mine, own) = job_of(base, owner), job_of(base, owner)
    gate = Gate(SECRET.encode(), is_open=False)
    token, code = {
        "expired": (gate.sign(job, ["read"], lasts_s=-1), 4401),
        "other": (gate.sign(mine, ["read"]), 4403),
        "scope": (gate.sign(job, ["cancel"]), 4403),
        "foreign": (Gate(b"another", is_open=False).sign(job, ["read"]), 4401),
    }[claims]
    protocols: Any = ["headrace.v1", f"bearer.{own}"]
    async with asyncio.timeout(20), connect(f"ws{base[4:]}/v1/stream", subprotocols=protocols) as connection:
        await connection.send(json.dumps({"op": "sub", "job": job, "token": token}))
        frame = json.loads(await connection.recv())
        assert (frame["t"], frame["job"], frame["code"]) == ("closed", job, code)
        await connection.send(json.dumps({"op": "sub", "job": mine}))
        while (frame := json.loads(await connection.recv()))["t"] != "closed":
            assert frame["job"] == mine
        assert frame["code"] == 1000, "the others on this connection go on"


async def test_a_token_that_expires_ends_no_stream_and_opens_none(shut: tuple[Stack, str], owner: str) -> None:
    _, base = shut
    body = BODY | {"messages": [{"role": "user", "content": SLOW}]}
    job = ask(f"{base}/v1/jobs", "POST", body, **bearer(owner)).json["id"]
    token = Gate(SECRET.encode(), is_open=False).sign(job, ["read"], lasts_s=1)
    expires_s = time.time() + 1
    with Sse(f"{base}/v1/jobs/{job}/events", **bearer(token)) as stream:
        reading = stream.events()
        events = [next(reading) for _ in range(3)]
        until(lambda: time.time() > expires_s, what="it has expired")
        assert ask(f"{base}/v1/jobs/{job}", **bearer(owner)).json["status"] == "running"
        again = ask(f"{base}/v1/jobs/{job}/events?after={events[-1][0]}", **bearer(token))
        assert (again.status, again.json["error"]["code"]) == (401, "unauthorized")
        assert await code_of(base, f"?job={job}&after={events[-1][0]}", [f"bearer.{token}"]) == 4401
        events += reading
    shown = ask(f"{base}/v1/jobs/{job}", **bearer(owner)).json
    assert text_of(events) == shown["completion"]["content"]


async def test_a_page_of_another_site_is_shown_nothing(shut: tuple[Stack, str], owner: str) -> None:
    """Also with a token that holds."""
    _, base = shut
    job, token = job_of(base, owner)
    for origin in ("https://evil.example", "null", base.replace("http", "https") + ".evil.example"):
        answer = ask(f"{base}/v1/jobs/{job}/events", origin=origin, **bearer(token))
        assert (answer.status, set(answer.json)) == (403, {"error"})
        assert await code_of(base, f"?job={job}", [f"bearer.{token}"], origin=origin) == 4403
    assert Sse(f"{base}/v1/jobs/{job}/events", origin=base, **bearer(token)).all()
    assert await code_of(base, f"?job={job}", [f"bearer.{token}"], origin=base) == 1000


def test_a_fresh_token(shut: tuple[Stack, str], owner: str) -> None:
    _, base = shut
    job, token = job_of(base, owner)
    fresh = ask(f"{base}/v1/jobs/{job}/tokens", "POST", {"scope": ["read"]}, **bearer(owner)).json["stream_token"]
    assert ask(f"{base}/v1/jobs/{job}", **bearer(fresh)).status == 200
    assert ask(f"{base}/v1/jobs/{job}/cancel", "POST", {}, **bearer(fresh)).status == 403
    assert ask(f"{base}/v1/jobs/{job}/tokens", "POST", {}, **bearer(token)).status == 403, "a viewer makes none"
    assert ask(f"{base}/v1/jobs/{job}/tokens", "POST", {"scope": ["submit"]}, **bearer(owner)).status == 400


def test_the_secret_of_a_state_folder(shut: tuple[Stack, str]) -> None:
    stack, _ = shut
    file = stack.folder / ".headrace" / "stream.secret"
    assert file.stat().st_mode & 0o777 == 0o600
    answer = ask(f"{stack.ready['gateway']}/v1/jobs", "POST", BODY)
    gate = Gate(file.read_text().strip().encode(), is_open=False)
    assert gate.read(answer.json["stream_token"]).job == answer.json["id"]
    assert ask(f"{stack.ready['gateway']}/v1/jobs/{answer.json['id']}", **bearer("hr1.x.y")).status == 401, (
        "one that is given is checked"
    )
