"""Aliases of models: what they stand for, and that a bad `HEADRACE_MODELS` is told by its place."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from headrace.batches.build import make_template
from headrace.batches.template import Item
from headrace.chat.model_aliases import model_aliases, resolve
from headrace.chat.routing import Routing
from headrace.errors import InputError, ModelNotFound, SettingsError
from headrace.jobs.build import make_job
from headrace.jobs.job import Job

ALIASES = '{"gpt-5-mini": "openai/gpt-5-mini", "fast": ["vllm/a", "openrouter/b/c"]}'


@pytest.fixture(autouse=True)
def aliases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_MODELS", ALIASES)


def test_a_name_stands_for_its_models() -> None:
    assert resolve("gpt-5-mini") == ("openai/gpt-5-mini", [], None)
    assert resolve("fast") == ("vllm/a", ["openrouter/b/c"], None)
    assert resolve("openai/any") == ("openai/any", [], None)


def test_a_name_without_a_slash_that_is_no_alias_is_not_found() -> None:
    with pytest.raises(ModelNotFound, match=r"'gpt-9': is no alias of a model; the aliases are fast, gpt-5-mini"):
        resolve("gpt-9")
    with pytest.raises(InputError, match="model="):
        resolve("")


def test_jobs_and_batches_carry_the_models() -> None:
    job, _ = make_job("fast", "Hello")
    assert (job.model, job.fallbacks) == ("vllm/a", ["openrouter/b/c"])
    template, _ = make_template("fast", "{text}")
    assert template.job(Item(custom_id="1", fields={"text": "a"})).fallbacks == ["openrouter/b/c"]
    assert b"fallbacks" not in msgspec.json.encode(make_job("gpt-5-mini", "Hello")[0]), "its body is as it was"


def test_a_worker_of_before_reads_a_body_with_fallbacks_and_tries_the_first() -> None:
    class Before(msgspec.Struct):
        model: str

    assert msgspec.json.decode(msgspec.json.encode(make_job("fast", "Hello")[0]), type=Before).model == "vllm/a"
    old = msgspec.json.encode({"v": 1, "model": "vllm/a", "messages": []})
    assert msgspec.json.decode(old, type=Job).fallbacks == []


def test_what_is_asked_has_to_suit_every_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_MODELS", '{"wide": "vllm/a", "both": ["vllm/a", "openai/b"]}')
    make_job("wide", "Hello", stop=list("abcde"))
    with pytest.raises(InputError, match="stop"):
        make_job("both", "Hello", stop=list("abcde"))
    with pytest.raises(InputError, match="stop"):
        make_template("both", "{text}", stop=list("abcde"))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{", "HEADRACE_MODELS: "),
        ("[]", "HEADRACE_MODELS: Expected `object`, got `array`"),
        ('{"a": 1}', r"HEADRACE_MODELS: .*\$\[\.\.\.\]"),
        ('{"a/b": "openai/c"}', "HEADRACE_MODELS: /`?a/b.*: an alias is 1 to 128 letters"),
        ('{"a": "b"}', "HEADRACE_MODELS: /`?a.*: 'b' must be `provider/model`"),
        ('{"a": ["openai/b", "c"]}', "HEADRACE_MODELS: /`?a.*/1: 'c' must be `provider/model`"),
        ('{"a": []}', "HEADRACE_MODELS: /`?a.*: must be 1 to 8 models"),
        ('{"a": ["openai/b", "openai/b"]}', "names a model twice"),
        ("/nowhere/models.json", "HEADRACE_MODELS .*models.json.*: cannot be read: No such file"),
    ],
)
def test_a_bad_value_is_told_by_its_place(value: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_MODELS", value)
    with pytest.raises(SettingsError, match=said):
        model_aliases()


def test_a_file_holds_them_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "models.json"
    file.write_text(ALIASES)
    file.chmod(0o600)
    monkeypatch.setenv("HEADRACE_MODELS", str(file))
    assert resolve("gpt-5-mini").model == "openai/gpt-5-mini"


def test_a_file_that_others_may_write_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "models.json"
    file.write_text(ALIASES)
    file.chmod(0o666)
    monkeypatch.setenv("HEADRACE_MODELS", str(file))
    with pytest.raises(SettingsError, match="HEADRACE_MODELS"):
        model_aliases()


ROUTED = """{"fast": {"deployments": [{"model": "vllm/a", "priority": 1}, {"model": "openai/b", "weight": 3}, "openai/c"],
    "choose": "least_busy"}}"""


def test_an_alias_with_deployments_has_a_routing_the_first_to_be_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_MODELS", ROUTED)
    route = resolve("fast")
    assert (route.model, route.fallbacks) == ("openai/b", ["openai/c", "vllm/a"])
    assert route.routing == Routing([3, 1, 1], [0, 0, 1], "least_busy")
    job, _ = make_job("fast", "Hello")
    assert job.routing == route.routing
    assert msgspec.json.decode(msgspec.json.encode(job), type=Job) == job
    template, _ = make_template("fast", "{text}")
    assert template.job(Item(custom_id="1", fields={"text": "a"})).routing == route.routing
    own = Item(custom_id="1", messages=[], model="openai/d")
    assert template.job(own).routing is None, "of the template's model, not of the item's"


@pytest.mark.parametrize(
    ("alias", "said"),
    [
        ("{}", "/f: .*missing required field `deployments`"),
        ('{"deployments": []}', "/f/deployments: .*length >= 1"),
        ('{"deployments": "a/b"}', "/f/deployments: Expected `array`"),
        ('{"deployments": ["a"]}', "/f/deployments/0: must be `provider/model`"),
        ('{"deployments": ["a/b", {"model": "a"}]}', "/f/deployments/1/model: must be `provider/model`"),
        ('{"deployments": [{"model": "a/b", "weight": 0}]}', "/f/deployments/0/weight: .*>= 1"),
        ('{"deployments": [{"model": "a/b", "weight": 1.5}]}', "/f/deployments/0/weight: "),
        ('{"deployments": [{"model": "a/b", "priority": 101}]}', "/f/deployments/0/priority: .*<= 100"),
        ('{"deployments": [{"model": "a/b", "wieght": 3}]}', "/f/deployments/0: .*`wieght`; known are"),
        ('{"deployments": ["a/b"], "choose": "fastest"}', "/f/choose: must be one of weight, least_busy"),
        ('{"deployments": ["a/b", "a/b"]}', "/f/deployments: names 'a/b' twice"),
        ('["a/b", {"model": "c/d"}]', "/f: a list is an order of fallbacks"),
    ],
)
def test_a_bad_routing_is_told_by_its_place(alias: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_MODELS", f'{{"f": {alias}}}')
    with pytest.raises(SettingsError, match=f"HEADRACE_MODELS: {said}"):
        model_aliases()
