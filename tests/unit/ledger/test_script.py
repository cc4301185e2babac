"""The ledger's connection: names are bound, a forgotten script is sent again, and every refusal has its exception."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ResponseError

import headrace.ledger
from headrace import errors
from headrace.ledger.claim import claim
from headrace.ledger.script import FOLDER, REFUSALS, Ledger, accepted, bind, fields, script

MOVES = sorted(path.stem for path in FOLDER.glob("*.lua"))
LUA = {path: path.read_text() for path in FOLDER.glob("**/*.lua")}
WHAT = script("lead")
KEYS, ARGUMENTS = {"leader": "k"}, {"process": "p", "lease_ms": 1}


def test_keys_and_arguments_are_bound_in_the_scripts_own_order() -> None:
    assert bind(WHAT, KEYS, {"lease_ms": 1, "process": "p"}, ["rest"]) == ["k", "p", 1, "rest"]


@pytest.mark.parametrize(
    ("keys", "arguments"),
    [
        ({}, ARGUMENTS),
        ({**KEYS, "due": "x"}, ARGUMENTS),
        (KEYS, {"process": "p"}),
        (KEYS, {**ARGUMENTS, "epoch": 1}),
        ({"lead": "k"}, ARGUMENTS),
    ],
    ids=["no key", "a key too many", "an argument too few", "an argument too many", "a wrong name"],
)
def test_a_name_too_many_or_too_few_is_a_type_error(keys: Any, arguments: Any) -> None:
    with pytest.raises(TypeError, match="the script takes"):
        bind(WHAT, keys, arguments, [])


@pytest.mark.parametrize("move", MOVES)
def test_every_move_names_what_it_takes(move: str) -> None:
    what = script(move)
    assert what.keys
    assert what.arguments
    assert len(set(what.keys + what.arguments)) == len(what.keys + what.arguments)


@pytest.mark.parametrize("move", MOVES)
def test_every_move_has_a_module_and_a_test_of_its_name(move: str) -> None:
    assert (FOLDER / f"{move}.py").is_file()
    assert (Path(__file__).parent / f"test_{move}.py").is_file()


KNOWN = {
    "__init__",
    "creation",
    "damage",
    "keys",
    "queues",
    "script",
    "server_check",
    "shard_range",
    "state",
    "stop_reason",
}
READS = {
    "spend_record",
    *(
        "answer_cache",
        "answer_files",
        "batch_list",
        "batch_record",
        "breaker_record",
        "chat_job",
        "command_packing",
        "event_log",
        "file_record",
        "inspection",
        "job_record",
        "limit_record",
        "overview",
        "prefix_warmup",
        "queued_record",
        "summaries",
    ),
    *("row_refusals", "shard_rows", "store_name"),
}


def test_every_module_of_the_ledger_is_a_move_or_a_known_one() -> None:
    modules = {path.stem for path in Path(headrace.ledger.__path__[0]).glob("*.py")}
    assert modules - set(MOVES) == KNOWN | READS


def test_every_fragment_is_used_and_every_use_is_a_fragment() -> None:
    used = {name for text in LUA.values() for line in re.findall(r"^-- uses: (.*)", text) for name in line.split()}
    assert used == {path.stem for path in (FOLDER / "fragments").glob("*.lua")}


def test_every_word_a_script_answers_with_is_ok_or_an_exception() -> None:
    words = {word for text in LUA.values() for word in re.findall(r"\{ '([A-Z]+)'", text)}
    assert {word.encode() for word in words} - {b"OK"} == set(REFUSALS)


def test_every_refusal_of_the_tree_has_its_word() -> None:
    assert set(REFUSALS.values()) == set(errors.Refused.__subclasses__())
    assert all(word.decode() == refusal.__name__.upper() for word, refusal in REFUSALS.items())


@pytest.mark.parametrize("word", REFUSALS)
def test_a_refusal_is_raised_with_its_record_and_detail(word: bytes) -> None:
    with pytest.raises(REFUSALS[word]) as refused:
        accepted([word, b"why"], "job_x")
    assert (refused.value.record, refused.value.detail) == ("job_x", "why")
    assert "job_x" in str(refused.value)
    with pytest.raises(REFUSALS[word]):
        accepted([word], "job_x")


def test_accepted_returns_what_follows_ok() -> None:
    assert accepted([b"OK", b"a", b"1"], "job_x") == [b"a", b"1"]
    assert fields([b"a", b"1", b"b", b"2"]) == {"a": b"1", "b": b"2"}


async def test_a_server_that_forgot_its_scripts_gets_them_again(ledger: Ledger, job: str, take: Any) -> None:
    first = await take(job)
    await ledger.client.script_flush()
    assert (await take(job)).epoch == first.epoch
    assert await ledger.client.script_exists(script("claim").sha) == [True]


async def test_a_hint_that_cannot_be_published_is_an_error_though_its_queue_is_to_blame(ledger: Ledger) -> None:
    await ledger.client.set("queue", "no list", ex=60)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await ledger.run_many("lead", [], [["LPUSH", "queue", "hint"]])
    await ledger.client.delete("queue")


async def test_a_refusal_through_the_wire_is_an_exception(ledger: Ledger, attempt: Any) -> None:
    with pytest.raises(errors.Busy, match=attempt.record_id):
        await claim(ledger, attempt.record_id, token="t2", owner="w2", queue="interactive")


def test_a_script_that_names_nothing_or_miscounts_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.ledger.script.FOLDER", tmp_path)
    (tmp_path / "nameless.lua").write_text("return { 'OK' }")
    with pytest.raises(ValueError, match="does not name"):
        script("nameless")
    (tmp_path / "miscounted.lua").write_text("local a = unpack(KEYS)\nlocal b, c = unpack(ARGV, 1, 3)")
    with pytest.raises(ValueError, match="unpacks 3 arguments into 2"):
        script("miscounted")
