"""What a caller of the SDK gets wrong is named in words, with its place, and nothing is enqueued."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace import Headrace
from headrace.errors import (
    InputError,
    SchemaError,
    SettingsError,
    Unknown,
    Unreachable,
)

BOTH_WAYS = True
MODEL = "rehearsal/small"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"temprature": 0.1}, "temprature"),
        ({"temperature": 9}, "temperature"),
        ({"ttl_s": 0}, "ttl_s"),
        ({"ttl_s": "soon"}, "ttl_s"),
        ({"stream": "yes"}, "stream"),
        ({"model": "small"}, "provider/model"),
        ({"model": "nobody/small"}, "nobody"),
        ({"model": 7}, "model"),
        ({"messages": 7}, "messages"),
        ({"messages": [{"content": "x"}]}, "role"),
        ({"messages": None}, "messages"),
        ({"system": 7}, "system"),
        ({"idempotency_key": 7}, "idempotency_key"),
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"messages": "\ud800"}, "surrogates"),
    ],
)
def test_a_callers_mistake_is_named_and_nothing_is_enqueued(client: Headrace, words: dict[str, Any], said: str) -> None:
    before = client.jobs(limit=1)
    call: dict[str, Any] = {"model": MODEL, "messages": "x", **words}
    with pytest.raises(InputError, match=said):
        client.submit(call.pop("model"), call.pop("messages"), **call)
    assert client.jobs(limit=1) == before


@pytest.mark.parametrize("schema", ["Review", 7, {"type": "strin"}, {"not": True, "enum": []}, lambda: None, object])
def test_a_type_that_cannot_be_carried_is_a_schema_error(client: Headrace, schema: Any) -> None:
    with pytest.raises(SchemaError, match="schema"):
        client.submit(MODEL, "x", schema=schema)


@pytest.mark.parametrize("url", ["nonsense", "redis://:pa/ss@host:1/0", "redis://host:port/0"])
def test_a_url_that_is_none_is_a_setting_to_mend(url: str) -> None:
    with pytest.raises(SettingsError, match="percent-encoded") as raised, Headrace(url):
        pass
    assert "pa/ss" not in str(raised.value)


@pytest.mark.parametrize("given", ["one text", None, 7])
def test_many_conversations_are_a_list(client: Headrace, given: Any) -> None:
    with pytest.raises(InputError, match="conversations"):
        client.submit_many(MODEL, given)


@pytest.mark.parametrize("timeout", [-1, "soon", True, float("nan")])
def test_a_timeout_is_seconds(client: Headrace, timeout: Any) -> None:
    job = client.submit(MODEL, "x")
    assert job.result(30)
    with pytest.raises(InputError, match="timeout"):  # also of a job that has ended
        job.result(timeout)


@pytest.mark.parametrize("limit", [0, -1, "a"])
def test_a_list_has_a_limit_that_is_a_number(client: Headrace, limit: Any) -> None:
    for ask in (client.jobs, client.batches):
        with pytest.raises(InputError, match="limit"):
            ask(limit=limit)


@pytest.mark.parametrize("given", ["", "batch_x", 7])
def test_an_id_of_something_else_is_refused(client: Headrace, given: Any) -> None:
    with pytest.raises(InputError, match="begin with `job_`"):
        client.job(given)


def test_a_service_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="headrace up"):
        Headrace(f"unix://{tmp_path}/nothing").submit(MODEL, "x")
    with pytest.raises(Unreachable, match=r"\*\*\*@127"), Headrace("redis://:secret@127.0.0.1:1/0"):
        pass


def test_one_wrong_conversation_of_many_refuses_all(client: Headrace) -> None:
    before = client.jobs(limit=1)
    with pytest.raises(InputError):
        client.submit_many(MODEL, ["good", 7])  # type: ignore[list-item]
    assert client.jobs(limit=1) == before


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ([], "no item"),
        ([7], "item 1"),
        ([{"text": "a"}, {"txet": "b"}], "item 2.*text"),
        ([{"id": "a", "text": "x"}, {"id": "a", "text": "y"}], "item 2.*'a'"),
        ({"text": "x"}, "must be a list"),
        (7, "must be a list"),
        (Path("nowhere.jsonl"), "nowhere.jsonl"),
    ],
)
def test_an_input_that_cannot_be_used_opens_nothing(client: Headrace, source: Any, said: str) -> None:
    before = [batch.id for batch in client.batches(limit=1)]
    with pytest.raises(InputError, match=said):
        client.extract(source, model=MODEL)
    assert [batch.id for batch in client.batches(limit=1)] == before


@pytest.mark.parametrize(
    "words", [{"window_s": -1}, {"window_s": "a"}, {"limit": "a"}, {"sample": 0}, {"encoding": "klingon"}]
)
def test_a_wrong_word_of_extract_is_named(client: Headrace, words: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(words))):
        client.extract(["x"], model=MODEL, **words)


def test_results_are_saved_to_a_file_in_a_folder_that_is_there(client: Headrace, tmp_path: Path) -> None:
    batch = client.extract(["x"], model=MODEL)
    batch.wait(30)
    for path in (tmp_path, tmp_path / "nowhere" / "rows.csv"):
        with pytest.raises(InputError, match="folder"):
            batch.save(path)


def test_a_batch_that_is_not_there_is_unknown(client: Headrace) -> None:
    lost = client.batch("batch_" + "a" * 26)
    for ask in (lost.progress, lost.wait, lambda: list(lost.results()), lost.cancel, lost.retry):
        with pytest.raises(Unknown):
            ask()
