"""`/v1/responses` with the official client for Python, unmodified; every body and event judged by its types."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import openai
import pytest
from gateways import SLOW, Sse, another_gateway, ask, kill
from live_files import files_below
from openai import AsyncOpenAI, OpenAI
from openai.types.responses import Response, ResponseStreamEvent
from openai_types import check
from pydantic import BaseModel
from stack import Stack, until

from headrace.ledger.keys import Keys

MODEL = "rehearsal/small"
OFFICIAL = {
    get_args(kind.model_fields["type"].annotation)[0]: kind for kind in get_args(get_args(ResponseStreamEvent)[0])
}
PET = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "legs": {"type": "integer"}},
    "required": ["name", "legs"],
    "additionalProperties": False,
}
TOOL: Any = {"type": "function", "name": "f", "parameters": PET, "strict": True}


class Pet(BaseModel):
    name: str
    legs: int


@pytest.fixture
def official(base: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{base}/v1", api_key="none") as client:
        yield client


def create(base: str, **body: Any) -> Any:
    """A response as it is on the wire, checked."""
    answer = ask(f"{base}/v1/responses", "POST", {"model": MODEL, "input": "Why?"} | body)
    assert answer.status == 200, answer.body
    check(Response, answer.json)
    return answer.json


def events_of(base: str, **body: Any) -> list[Any]:
    asked = {"model": MODEL, "input": "Why?", "stream": True} | body
    return checked(Sse(f"{base}/v1/responses", "POST", asked, content_type="application/json"))


def checked(sse: Sse) -> list[Any]:
    events = [json.loads(data) for _, data in sse.all()]
    for event in events:
        check(OFFICIAL[event["type"]], event)
    return events


def ended(base: str, id: str) -> Any:
    def look() -> Any:
        shown = ask(f"{base}/v1/responses/{id}").json
        return shown if shown["status"] not in ("queued", "in_progress") else None

    return until(look, what="the response has ended")


class TestPlain:
    def test_an_answer_is_stored(self, base: str, official: OpenAI) -> None:
        response = official.responses.create(
            model=MODEL, input="Why?", instructions="Be brief.", metadata={"a": "b"}, temperature=0
        )
        assert response.output_text
        assert response.status == "completed"
        assert response.usage
        assert response.usage.total_tokens > 0
        again = official.responses.retrieve(response.id)
        assert again == response
        assert (again.metadata, again.instructions, again.temperature) == ({"a": "b"}, "Be brief.", 0)
        check(Response, ask(f"{base}/v1/responses/{response.id}").json)

    async def test_with_the_async_client(self, base: str) -> None:
        async with AsyncOpenAI(base_url=f"{base}/v1", api_key="none") as client:
            response = await client.responses.create(model=MODEL, input="Why?")
            stream = await client.responses.create(model=MODEL, input="Why?", stream=True)
            events = [event async for event in stream]
        assert events[-1].type == "response.completed"
        assert events[-1].response.output_text
        assert response.output_text

    def test_a_schema_is_parsed(self, official: OpenAI) -> None:
        response = official.responses.parse(model=MODEL, input="A pet.", text_format=Pet)
        assert isinstance(response.output_parsed, Pet)

    def test_what_was_cut_is_incomplete(self, base: str) -> None:
        shown = create(base, input="[[rehearsal fault=length]] Why, and what for?")
        assert shown["status"] == "incomplete"
        assert shown["incomplete_details"] == {"reason": "max_output_tokens"}

    def test_errors_have_their_status_and_their_place(self, base: str, official: OpenAI) -> None:
        for body, place in (
            ({"frequency_penalty": 1}, "frequency_penalty"),
            ({"tools": [{"type": "web_search"}]}, "tools"),
            ({"input": [{"role": "user", "content": [{"type": "nothing"}]}]}, "input"),
        ):
            with pytest.raises(openai.BadRequestError) as caught:
                official.responses.create(model=MODEL, input=body.pop("input", "x"), extra_body=body)  # type: ignore[arg-type]
            assert place in str(caught.value.param)
        with pytest.raises(openai.BadRequestError):
            official.responses.create(model=MODEL, input="[[rehearsal fault=400]] x")
        with pytest.raises(openai.NotFoundError):
            official.responses.retrieve("resp_" + "a" * 26)

    def test_not_stored_it_is_no_previous_response(self, base: str, official: OpenAI) -> None:
        response = official.responses.create(model=MODEL, input="Why?", store=False)
        assert official.responses.retrieve(response.id).id == response.id, "for an hour it is there"
        with pytest.raises(openai.BadRequestError, match="not stored") as caught:
            official.responses.create(model=MODEL, input="And?", previous_response_id=response.id)
        assert caught.value.code == "previous_response_not_found"


class TestStreams:
    def test_a_text(self, base: str) -> None:
        events = events_of(base)
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
        final = events[-1]["response"]
        assert "".join(deltas) == final["output"][0]["content"][0]["text"]
        assert until(lambda: ask(f"{base}/v1/responses/{final['id']}").json == final, what="it is stored so")

    def test_the_ledger_lets_go_what_the_file_has(self, stack: Stack, base: str) -> None:
        job = events_of(base)[0]["response"]["id"].replace("resp_", "job_")
        keys = Keys(stack.ready["namespace"])
        result = keys.result(keys.job(job))
        until(lambda: 0 < stack.client.pttl(result) <= 3600_000, what="it goes after an hour, and not after a week")

    def test_the_helper_of_the_client(self, official: OpenAI) -> None:
        with official.responses.stream(model=MODEL, input="A pet.", text_format=Pet, tools=[]) as stream:
            kinds = {event.type for event in stream}
            final = stream.get_final_response()
        assert isinstance(final.output_parsed, Pet)
        assert {"response.created", "response.output_text.delta", "response.output_text.done"} <= kinds

    def test_a_tool_call(self, base: str, official: OpenAI) -> None:
        with official.responses.stream(model=MODEL, input="A pet?", tools=[TOOL], tool_choice="required") as stream:
            (call,) = [item for item in stream.get_final_response().output if item.type == "function_call"]
        assert set(json.loads(call.arguments)) == {"name", "legs"}
        events = events_of(base, tools=[TOOL], tool_choice="required")
        assert "response.function_call_arguments.done" in [event["type"] for event in events]

    def test_events_are_named_and_have_no_ids(self, base: str) -> None:
        body = {"model": MODEL, "input": "Why?", "stream": True}
        raw = ask(f"{base}/v1/responses", "POST", body).body.decode()
        names = [line[7:] for line in raw.splitlines() if line.startswith("event: ")]
        assert names == [json.loads(line[6:])["type"] for line in raw.splitlines() if line.startswith("data: ")]
        assert "\nid: " not in raw

    def test_with_heartbeats_before_the_first_piece(self, stack: Stack) -> None:
        with another_gateway(stack, "beats", HEADRACE_HEARTBEAT_S="0.05") as (base, _):
            events = events_of(base, input="[[rehearsal latency=600]] Why?")
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert [event["type"] for event in events][:2] == ["response.created", "response.in_progress"]
        assert events[-1]["type"] == "response.completed"

    def test_a_failure_before_the_first_event_has_its_own_status(self, base: str, official: OpenAI) -> None:
        with pytest.raises(openai.BadRequestError):
            official.responses.create(model=MODEL, input="[[rehearsal fault=400]] x", stream=True)
        events = events_of(base, input="[[rehearsal fault=400]] x", background=True)
        assert [event["type"] for event in events][-1] == "response.failed", "of that the id is told first"
        assert events[-1]["response"]["error"]["code"] == "invalid_prompt"

    def test_a_failure_in_the_middle_is_told_as_such(self, base: str) -> None:
        events = events_of(base, input="[[rehearsal fault=cut after=5]] Say it all: a b c d e f g h i j k l m n o p")
        assert events[-1]["type"] == "response.failed"
        assert events[-1]["response"]["error"]["code"] == "server_error"


class TestBackground:
    def test_it_is_polled(self, base: str, official: OpenAI) -> None:
        response = official.responses.create(model=MODEL, input="[[rehearsal tps=40]] Why?", background=True)
        assert response.status in ("queued", "in_progress")
        assert response.background
        final = ended(base, response.id)
        check(Response, final)
        assert final["status"] == "completed"
        assert final["output"]

    def test_it_is_cancelled_and_others_are_not(self, base: str, official: OpenAI) -> None:
        response = official.responses.create(model=MODEL, input=SLOW, background=True)
        cancelled = official.responses.cancel(response.id)
        assert cancelled.status == "cancelled"
        assert official.responses.cancel(response.id).status == "cancelled"
        check(Response, ask(f"{base}/v1/responses/{response.id}").json)
        plain = official.responses.create(model=MODEL, input="Why?")
        with pytest.raises(openai.BadRequestError, match="background"):
            official.responses.cancel(plain.id)

    def test_it_is_deleted(self, stack: Stack, base: str, official: OpenAI) -> None:
        response = official.responses.create(model=MODEL, input=SLOW, background=True)
        official.responses.delete(response.id)
        with pytest.raises(openai.NotFoundError):
            official.responses.retrieve(response.id)
        with pytest.raises(openai.NotFoundError):
            official.responses.delete(response.id)
        letters = response.id.removeprefix("resp_")
        store = stack.folder / stack.ready["files"]
        assert not [path for path in files_below(store) if path.name.startswith(letters)]

    def test_it_is_followed_from_any_number(self, base: str, official: OpenAI) -> None:
        stream = official.responses.create(model=MODEL, input=SLOW, background=True, stream=True)
        seen = []
        for event in stream:
            seen.append(event)
            if len(seen) == 12:
                break
        stream.close()
        id = seen[0].response.id  # type: ignore[union-attr]
        rest = list(official.responses.retrieve(id, stream=True, starting_after=seen[-1].sequence_number))
        numbers = [event.sequence_number for event in (*seen, *rest)]
        assert numbers == list(range(len(numbers)))
        whole = checked(Sse(f"{base}/v1/responses/{id}?stream=true"))
        assert [event.to_dict() for event in (*seen, *rest)] == whole

    def test_wrong_numbers_are_refused(self, base: str) -> None:
        id = events_of(base)[0]["response"]["id"]
        last = len(checked(Sse(f"{base}/v1/responses/{id}?stream=true"))) - 1
        assert checked(Sse(f"{base}/v1/responses/{id}?stream=true&starting_after={last}")) == []
        for query in (f"stream=true&starting_after={last + 1}", "stream=true&starting_after=-1", "starting_after=1"):
            answer = ask(f"{base}/v1/responses/{id}?{query}")
            assert (answer.status, answer.json["error"]["param"]) == (400, "starting_after"), query
        for query in ("stream=true&starting_after=x", "stream=perhaps", "include=everything"):
            assert ask(f"{base}/v1/responses/{id}?{query}").status == 400, query


class TestRepeats:
    @pytest.mark.parametrize("stream", [False, True])
    def test_a_client_that_loses_patience_pays_once(self, stack: Stack, base: str, stream: bool) -> None:
        paid = len(stack.calls())
        with OpenAI(base_url=f"{base}/v1", api_key="none", timeout=1.5) as client:
            asked = client.responses.create(model=MODEL, input=f"[[rehearsal latency=3000]] {stream}?", stream=stream)
            response = list(asked)[-1].response if stream else asked  # type: ignore[union-attr, arg-type]
            assert response.output_text  # type: ignore[union-attr]
            assert client.responses.retrieve(response.id) == response  # type: ignore[union-attr]
        assert len(stack.calls()) == paid + 1


def cut_at_15(url: str, body: Any, cut: Callable[[], None]) -> list[Any]:
    """The events of a stream in the middle of which something is cut off."""
    seen = []
    with Sse(url, "POST", body, content_type="application/json") as sse:
        for _, data in sse.events():
            seen.append(json.loads(data))
            if len(seen) == 15:
                cut()
    return seen


class TestKills:
    def test_a_gateway_is_killed_and_another_goes_on(self, stack: Stack, base: str) -> None:
        with another_gateway(stack, "doomed") as (doomed, process):
            body = {"model": MODEL, "input": SLOW, "background": True, "stream": True}
            seen = cut_at_15(f"{doomed}/v1/responses", body, lambda: kill(process.pid))
        id, last = seen[0]["response"]["id"], seen[-1]["sequence_number"]
        rest = checked(Sse(f"{base}/v1/responses/{id}?stream=true&starting_after={last}"))
        whole = checked(Sse(f"{base}/v1/responses/{id}?stream=true"))
        assert seen + rest == whole
        assert rest[-1]["type"] == "response.completed"
        for number in random.Random(7).choices(range(len(whole)), k=100):
            url = f"{base}/v1/responses/{id}?stream=true&starting_after={number}"
            assert [json.loads(data) for _, data in Sse(url).all()] == whole[number + 1 :]

    def test_a_worker_is_killed_after_a_part_was_shown(self, stack: Stack, base: str) -> None:
        paid = len(stack.calls())
        body = {"model": MODEL, "input": f"shown {SLOW}", "background": True, "stream": True}
        seen = cut_at_15(f"{base}/v1/responses", body, lambda: kill(stack.ready["workers"]["interactive"]))
        assert [event["sequence_number"] for event in seen] == list(range(len(seen)))
        assert seen[-1]["type"] == "response.failed"
        assert seen[-1]["response"]["error"]["code"] == "server_error"
        id = seen[0]["response"]["id"]
        whole = checked(Sse(f"{base}/v1/responses/{id}?stream=true"))
        assert whole == seen
        for number in (0, 5, 14, len(seen) - 2):
            rest = checked(Sse(f"{base}/v1/responses/{id}?stream=true&starting_after={number}"))
            assert rest == seen[number + 1 :]
        assert ended(base, id) == seen[-1]["response"]
        assert len(stack.calls()) == paid + 1

    def test_both_are_killed(self, stack: Stack, base: str) -> None:
        body = {"model": MODEL, "input": f"both {SLOW}", "background": True, "stream": True}
        with another_gateway(stack, "doomed") as (doomed, process):

            def cut() -> None:
                kill(process.pid)
                kill(stack.ready["workers"]["interactive"])

            seen = cut_at_15(f"{doomed}/v1/responses", body, cut)
        id, last = seen[0]["response"]["id"], seen[-1]["sequence_number"]
        rest = checked(Sse(f"{base}/v1/responses/{id}?stream=true&starting_after={last}"))
        assert seen + rest == checked(Sse(f"{base}/v1/responses/{id}?stream=true"))
        assert rest[-1]["response"] == ended(base, id)
        assert rest[-1]["type"] == "response.failed"

    def test_gateways_that_are_killed_leave_nothing_half_made(self, stack: Stack, base: str) -> None:
        chance, answered = random.Random(3), list[str]()

        def ask_until_it_dies(url: str, sizes: random.Random) -> None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                while True:
                    text = "x" * sizes.choice([5, 200_000]) + str(sizes.random())
                    more = sizes.choice([{}, {"background": True}])
                    answer = ask(f"{url}/v1/responses", "POST", {"model": MODEL, "input": text} | more)
                    answered.append(answer.json["id"])

        for round in range(4):
            with another_gateway(stack, "doomed") as (doomed, process), ThreadPoolExecutor() as clients:
                until(lambda url=doomed: ask(f"{url}/healthz").status == 200, what="it is there")
                for seed in range(3):
                    clients.submit(ask_until_it_dies, doomed, random.Random(10 * round + seed))
                before = len(answered)
                until(lambda before=before: len(answered) > before + chance.randrange(6), what="some are answered")
                kill(process.pid)
        for file in (Path(stack.ready["files"]) / "responses").rglob("*.json"):
            if not file.name.startswith("."):
                json.loads(file.read_bytes())
        for id in answered:
            assert ask(f"{base}/v1/responses/{id}").status == 200

    def test_a_worker_is_killed_before_anybody_looked(self, stack: Stack, base: str) -> None:
        paid = len(stack.calls())
        shown = create(base, input=f"unseen {SLOW}", background=True)
        until(lambda: len(stack.calls()) > paid, what="it runs")
        kill(stack.ready["workers"]["interactive"])
        final = ended(base, shown["id"])
        assert final["status"] == "completed", "nobody had seen a part of it"
        events = checked(Sse(f"{base}/v1/responses/{shown['id']}?stream=true"))
        assert events[-1]["response"]["output"] == final["output"]


async def test_many_viewers_of_one_response_see_the_same(base: str) -> None:
    async with AsyncOpenAI(base_url=f"{base}/v1", api_key="none") as client:
        response = await client.responses.create(model=MODEL, input=SLOW, background=True)

        async def follow(after: int) -> list[Any]:
            stream = await client.responses.retrieve(response.id, stream=True, starting_after=after)
            return [event.to_dict() async for event in stream]

        whole, *others = await asyncio.gather(*(follow(number) for number in range(20)))
    for number, events in enumerate(others, 1):
        assert events == whole[number:]


def test_an_idempotency_key_names_the_whole_request(base: str) -> None:
    """Also what no job has of it: whether it is stored, its metadata."""
    asked = {"model": "rehearsal/small", "input": "Once?", "metadata": {"a": "1"}}

    def status(**more: Any) -> tuple[int, str]:
        answer = ask(f"{base}/v1/responses", "POST", asked | more, idempotency_key="of a response")
        return answer.status, answer.json.get("id") or answer.json["error"]["code"]

    first = status()
    assert first[0] == 200
    assert status() == first
    for other in ({"metadata": {"a": "2"}}, {"store": False}, {"truncation": "auto"}, {"input": "Twice?"}):
        assert status(**other) == (409, "conflict")
