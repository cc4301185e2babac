"""Nothing that was paid for is thrown away: fields without a name here are kept, shown, and passed on."""

from __future__ import annotations

from typing import Any

import pytest
from fake_transport import FakeTransport, answer, as_chunks, model_of, piece
from headrace_providers.wire.reducer import Reducer
from headrace_providers.wire.unnamed_fields import MAX_BYTES
from headrace_worker.publishing.delta_events import DeltaEvents, rest

from headrace.chat.completion import Completion
from headrace.events.fold import Fold, fold
from headrace.events.types import Snapshot, decode_job_event, encode
from headrace.jobs.job import Job

JOB = Job(model="x/y", messages=[{"role": "user", "content": "q"}])
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
URLS = ["https://a.example", "https://b.example"]


def rich() -> dict[str, Any]:
    """An answer with what Perplexity, vLLM, Groq, Azure and OpenRouter add to it."""
    script = answer("So.", images=[IMAGE], executed_tools=[{"type": "search", "output": "…"}], audio=None)
    script |= {"citations": URLS, "search_results": [{"title": "A", "url": URLS[0]}], "prompt_token_ids": [1, 2]}
    script |= {"prompt_logprobs": [None, {"5": {"logprob": -0.1}}], "openrouter_metadata": {"region": "eu"}}
    script["choices"][0] |= {
        "token_ids": [5, 5, 7],
        "content_filter_results": {"hate": {"filtered": False}},
        "empty": [],
    }
    return script


EXTRA = {
    "answer": {
        "search_results": [{"title": "A", "url": URLS[0]}],
        "prompt_token_ids": [1, 2],
        "prompt_logprobs": [None, {"5": {"logprob": -0.1}}],
        "openrouter_metadata": {"region": "eu"},
    },
    "choice": {"token_ids": [5, 5, 7], "content_filter_results": {"hate": {"filtered": False}}},
    "message": {"executed_tools": [{"type": "search", "output": "…"}]},
}


async def completed(script: Any, **job: Any) -> Completion:
    return await model_of("vllm", FakeTransport(script), retry=False).complete(
        Job(**{"model": "x/y", "messages": JOB.messages, **job})
    )


def shown(chunks: list[dict[str, Any]]) -> tuple[Fold, Fold, Completion]:
    """What viewers of a stream know at its end, those of the whole answer, and the completion."""
    reducer, events, told = Reducer(), DeltaEvents(), Fold()
    for chunk in chunks:
        for delta in reducer.add(chunk):
            for event in events.of(delta):
                told.add(event)
    completion = reducer.completion(JOB)
    for event in rest(told, completion):
        told.add(event)
    return told, fold(rest(Fold(), completion)), completion


@pytest.mark.parametrize("stream", [False, True])
async def test_an_unnamed_field_is_kept_by_where_it_stood(stream: bool) -> None:
    completion = await completed(as_chunks(rich()) if stream else rich(), stream=stream)
    assert completion.extra == EXTRA
    assert (completion.images, completion.citations) == ([IMAGE], URLS)
    assert completion.message["images"] == [IMAGE]


def test_viewers_know_all_of_it() -> None:
    for told in shown(as_chunks(rich()))[:2]:
        assert told.choice(0).extra == EXTRA
        assert (told.message["images"], told.message["citations"]) == ([IMAGE], URLS)
    told, _, completion = shown(as_chunks(rich()))
    assert told.message == completion.message
    stored = decode_job_event(encode(told.snapshot()))
    assert isinstance(stored, Snapshot)
    assert Fold.of(stored).snapshot() == stored


def test_an_image_is_shown_when_it_comes_and_once() -> None:
    reducer = Reducer()
    assert [delta.kind for delta in reducer.add(piece(images=[IMAGE]))] == ["image"]
    assert reducer.add(piece(images=[IMAGE])) == []  # some say it again in the last chunk
    assert reducer.add(piece(finish="stop")) == []
    assert reducer.completion(JOB).content is None


def test_pieces_of_a_list_are_joined_and_lists_that_grow_are_not_doubled() -> None:
    chunks = [
        piece(content="a") | {"citations": URLS[:1], "search_results": [1]},
        piece(content="b") | {"citations": URLS, "search_results": [1, 2]},
        piece(finish="stop"),
    ]
    for chunk, ids in zip(chunks, ([5], [5], [6, 7]), strict=True):
        chunk["choices"][0]["token_ids"] = ids
    completion = shown(chunks)[2]
    assert completion.citations == URLS
    assert completion.extra == {"choice": {"token_ids": [5, 5, 6, 7]}, "answer": {"search_results": [1, 2]}}


def test_unnamed_fields_are_bounded_and_the_rest_is_noted() -> None:
    script = answer() | {"large": "x" * MAX_BYTES, "small": "y"}
    completion = shown([script])[2]
    assert completion.extra == {"answer": {"small": "y"}}
    assert any("large" in note for note in completion.notes)


async def test_a_plain_call_finds_it_in_the_metadata() -> None:
    response = await model_of("openrouter", FakeTransport(rich()), retry=False).acall("q")
    assert response.metadata["images"] == [IMAGE]
    assert response.metadata["citations"] == URLS
    assert response.metadata["extra"] == EXTRA
