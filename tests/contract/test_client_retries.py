"""A client's own automatic retry is given the answer that it left without: it is never charged again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from gateways import another_gateway, ask
from openai import APITimeoutError, AsyncOpenAI, OpenAI
from proxy import proxied
from stack import Stack, until

from headrace.ledger.keys import Keys
from headrace.local.ports import free_port

SLOW = "[[rehearsal latency=4000]]"
RUNNING = (b"queued", b"running", b"parked")
RETRY = {"x-stainless-retry-count": "1"}


def body(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "rehearsal/small", "messages": [{"role": "user", "content": text}], **more}


def ended_jobs(stack: Stack, *jobs: str) -> bool:
    """Whether all of them have ended."""
    keys = Keys(stack.ready["namespace"])
    return all(stack.client.hget(keys.job(job), "state") not in RUNNING for job in jobs)


def jobs_of(stack: Stack) -> set[str]:
    return {job.decode() for job in stack.client.zrange(Keys(stack.ready["namespace"]).jobs("default"), 0, -1)}


@contextlib.contextmanager
def new_jobs(stack: Stack) -> Iterator[set[str]]:
    """The jobs that came into being meanwhile, known at the end."""
    before, found = jobs_of(stack), set[str]()
    yield found
    found |= jobs_of(stack) - before


def test_an_impatient_client_pays_once(stack: Stack, base: str) -> None:
    before = len(stack.calls())
    with OpenAI(base_url=f"{base}/v1", api_key="none", timeout=1.0) as client, new_jobs(stack) as jobs:
        with contextlib.suppress(APITimeoutError):  # its last try ends about when the answer comes
            client.chat.completions.create(**body(f"{SLOW} Why is the sky blue?"))
        until(lambda: ended_jobs(stack, *jobs_of(stack)), what="all has ended")
    assert len(jobs) == len(stack.calls()) - before == 1


def test_a_client_that_retries_often_enough_has_its_answer(stack: Stack, base: str) -> None:
    before = len(stack.calls())
    with OpenAI(base_url=f"{base}/v1", api_key="none", timeout=1.0, max_retries=8) as client:
        answer = client.chat.completions.create(**body(f"{SLOW} Why is grass green?"))
    assert answer.choices[0].message.content
    assert len(stack.calls()) - before == 1


async def test_twenty_who_ask_the_same_are_each_given_an_answer_of_their_own(stack: Stack, base: str) -> None:
    before = len(stack.calls())
    async with AsyncOpenAI(base_url=f"{base}/v1", api_key="none", timeout=1.5, max_retries=8) as client:
        with new_jobs(stack) as jobs:
            raw = await asyncio.gather(
                *(client.chat.completions.with_raw_response.create(**body(f"{SLOW} Throw a die.")) for _ in range(20))
            )
    assert Counter(one.headers["x-headrace-job"] for one in raw) == Counter(jobs)
    assert len(jobs) == len(stack.calls()) - before == 20


def test_an_answer_that_was_read_is_nobody_elses(base: str) -> None:
    with httpx.Client(base_url=base) as client:
        first = client.post("/v1/chat/completions", json=body("Name a colour."))
        client.get("/healthz")  # the next request on its connection says that it has been read
        again = client.post("/v1/chat/completions", json=body("Name a colour."), headers=RETRY)
    assert first.headers["x-headrace-job"] != again.headers["x-headrace-job"]


def test_only_the_same_question_asked_again_joins(stack: Stack, base: str) -> None:
    with httpx.Client(base_url=base, timeout=1) as client, new_jobs(stack) as jobs, pytest.raises(httpx.ReadTimeout):
        client.post("/v1/chat/completions", json=body(f"{SLOW} Which?"))
    (left,) = jobs
    until(lambda: ended_jobs(stack, left), what="the job has ended")
    with httpx.Client(base_url=base, timeout=20) as client:

        def job(text: str, headers: dict[str, str], **more: Any) -> str:
            answer = client.post("/v1/chat/completions", json=body(text, **more), headers=headers)
            assert answer.status_code == 200, answer.text
            return answer.headers["x-headrace-job"]

        assert job(f"{SLOW} Which?", RETRY, temperature=0.5) != left, "another question"
        assert job(f"{SLOW} Which?", RETRY, headrace={"join": False}) != left
        assert job(f"{SLOW} Which?", RETRY | {"idempotency-key": "k"}) != left, "a key of its own"
        assert job(f"{SLOW} Which?", RETRY) == left, "unread until now"
        assert job(f"{SLOW} Which?", RETRY) != left, "read"


def test_a_quarter_of_an_hour_after_its_end_it_is_forgotten(stack: Stack, base: str) -> None:
    with httpx.Client(base_url=base, timeout=1) as client, new_jobs(stack) as jobs, pytest.raises(httpx.ReadTimeout):
        client.post("/v1/chat/completions", json=body(f"{SLOW} How long?"))
    (left,) = jobs
    until(lambda: ended_jobs(stack, left), what="the job has ended")
    keys = Keys(stack.ready["namespace"])
    stack.client.hincrby(keys.job(left), "ended", -15 * 60_000)
    again = ask(f"{base}/v1/chat/completions", "POST", body(f"{SLOW} How long?"), **RETRY)
    assert again.headers["x-headrace-job"] != left


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM])
def test_a_gateway_that_goes_costs_its_clients_nothing(stack: Stack, sig: int) -> None:
    port = str(free_port())
    question = body(f"{SLOW} Who was it, {sig!s}?")
    before = len(stack.calls())
    with contextlib.ExitStack() as gateways, new_jobs(stack) as jobs:
        base, first = gateways.enter_context(another_gateway(stack, f"gone-{sig}", "--port", port))

        def replace(request: httpx.Request) -> None:
            if request.headers["x-stainless-retry-count"] != "0":
                first.wait(10)
                if not second:
                    second.append(gateways.enter_context(another_gateway(stack, f"next-{sig}", "--port", port)))

        second: list[Any] = []
        asked = gateways.enter_context(
            OpenAI(base_url=f"{base}/v1", api_key="none", http_client=httpx.Client(event_hooks={"request": [replace]}))
        )

        def end() -> None:
            until(lambda: len(stack.calls()) > before or jobs_of(stack) - known, what="the job is there")
            os.kill(first.pid, sig)

        known = jobs_of(stack)
        ending = threading.Thread(target=end)
        ending.start()
        answer = asked.chat.completions.create(**question)
        ending.join()
    assert answer.choices[0].message.content
    assert second, "the answer came from the next gateway"
    assert len(jobs) == 1
    assert len(stack.calls()) - before == 1


async def test_a_link_that_breaks_under_the_answer_costs_nothing(stack: Stack, base: str) -> None:
    before = len(stack.calls())
    async with proxied(int(base.rpartition(":")[2])) as proxy:
        proxy.cut_replies = 2
        url = f"http://127.0.0.1:{proxy.port}/v1"
        async with AsyncOpenAI(base_url=url, api_key="none", timeout=20) as client:
            answer = await client.chat.completions.create(**body("Was it cut?"))
        assert answer.choices[0].message.content
        assert proxy.cuts == 2
    assert len(stack.calls()) - before == 1


async def test_a_client_whose_leaving_is_hidden_pays_once(stack: Stack, base: str) -> None:
    """Who stands between keeps the connection to the gateway open when the client has closed its own."""
    before = len(stack.calls())
    host, port = "127.0.0.1", int(base.rpartition(":")[2])
    kept: list[Any] = []

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, port)
        kept.extend((writer, back))

        async def answer() -> None:
            while data := await there.read(1 << 16):
                writer.write(data)

        kept.append(asyncio.create_task(answer()))
        while data := await reader.read(1 << 16):
            back.write(data)

    server = await asyncio.start_server(between, host, 0)
    url = f"http://{host}:{server.sockets[0].getsockname()[1]}/v1"
    try:
        async with AsyncOpenAI(base_url=url, api_key="none", timeout=1.0, max_retries=8) as client:
            answer = await client.chat.completions.create(**body(f"{SLOW} Who hides?"))
        assert answer.choices[0].message.content
    finally:
        server.close()
        for one in kept:
            one.cancel() if isinstance(one, asyncio.Task) else one.close()
        await asyncio.sleep(0)  # for them to end
    assert len(stack.calls()) - before == 1


async def test_a_stream_whose_beginning_was_lost_is_told_from_its_beginning(stack: Stack, base: str) -> None:
    before = len(stack.calls())
    async with proxied(int(base.rpartition(":")[2])) as proxy:
        proxy.cut_replies = 1
        url = f"http://127.0.0.1:{proxy.port}/v1"
        async with AsyncOpenAI(base_url=url, api_key="none", timeout=20) as client:
            stream = await client.chat.completions.create(**body("Tell it again."), stream=True)
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
            job = stream.response.headers["x-headrace-job"]
        assert proxy.cuts == 1
    assert text == ask(f"{base}/v1/jobs/{job}").json["completion"]["content"]
    assert len(stack.calls()) - before == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_while_redis_stands_still_pays_once(stack: Stack, base: str, stream: bool) -> None:
    server = stack.client.info("server")["process_id"]
    before, tries = len(stack.calls()), []

    def count(request: httpx.Request) -> None:
        tries.append(request.headers["x-stainless-retry-count"])
        if tries[-1] == "2":
            os.kill(server, signal.SIGCONT)

    with (
        httpx.Client(event_hooks={"request": [count]}) as http,
        OpenAI(base_url=f"{base}/v1", api_key="none", http_client=http, timeout=2.0, max_retries=8) as client,
        new_jobs(stack) as jobs,
    ):
        os.kill(server, signal.SIGSTOP)
        try:
            answer: Any = client.chat.completions.create(**body(f"Is anybody there? {stream}"), stream=stream)
            assert list(answer)
        finally:
            os.kill(server, signal.SIGCONT)
    assert tries[:3] == ["0", "1", "2"]
    until(lambda: len(stack.calls()) > before and ended_jobs(stack, *jobs_of(stack)), what="all has ended")
    assert len(jobs) == len(stack.calls()) - before == 1
