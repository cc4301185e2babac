"""Secrets in addresses and settings stand in no message and no `repr`; what is quoted has a bound."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from headrace_providers.credentials import scrub
from headrace_providers.registry import Model
from headrace_providers.wire.request import Request

from headrace import Headrace
from headrace.chat.options import parse_options
from headrace.chat.provider_table import providers, split_model
from headrace.errors import HeadraceError, SettingsError
from headrace.jobs.build import make_job
from headrace.settings import Settings, variable
from headrace.text.masking import HIDDEN, masked, secrets_in
from headrace.text.quoting import MAX_QUOTED, quoted, shortened

SECRET = "hunter2-very-secret"

URLS = {
    "redis://:{}@h:1/0": "redis://:***@h:1/0",
    "redis://user:{}@h/0": "redis://user:***@h/0",
    "rediss://user:{}@more@h/0": "rediss://user:***@h/0",
    "redis://user:a/{}@h/0": "redis://user:***@h/0",
    "https://{}@h/v1": "https://***@h/v1",
    "https://h/v1?api_key={}&x=1": "https://h/v1?api_key=***&x=1",
    "https://h/v1?x=1&key={}#f": "https://h/v1?x=1&key=***#f",
    "https://h/v1?subscription-key={}": "https://h/v1?subscription-key=***",
    "https://h/v1?accessToken={}": "https://h/v1?accessToken=***",
    "unix:///tmp/s?db=1&password={}": "unix:///tmp/s?db=1&password=***",
    "redis://[x:{}@h": "redis://[x:***@h",
}


@pytest.mark.parametrize("form", URLS)
def test_secrets_of_an_address_are_masked(form: str) -> None:
    assert masked(form.format(SECRET)) == URLS[form]
    assert (
        masked(f"at {form.format(SECRET)} and 'redis://a:b@c', x@y.z")
        == f"at {URLS[form]} and 'redis://a:***@c', x@y.z"
    )


def test_leaves_urls_without_secrets_alone() -> None:
    for text in ("https://h:80/v1?model=m&limit=3", "a@b.c", "no url", "unix:///tmp/valkey.sock?db=0"):
        assert masked(text) == text


def test_secrets_are_found_as_they_stand_and_decoded() -> None:
    assert secrets_in("https://u:p%40ss@h/?key=a%20b") == ["p%40ss", "p@ss", "a%20b", "a b"]
    assert secrets_in("https://h/v1") == []


def test_no_setting_shows_a_secret() -> None:
    with pytest.raises(SettingsError, match=r"HEADRACE_STREAM_SECRET=\*\*\*") as error:
        Settings.load({"HEADRACE_STREAM_SECRET": "short-one"})
    assert "short-one" not in str(error.value)
    settings = Settings(stream_secret=SECRET, redis_url=f"redis://:{SECRET}@h/0")
    assert SECRET not in repr(settings)
    assert "redis://:***@h/0" in repr(settings)


@pytest.mark.parametrize("field", Settings.__struct_fields__)
def test_an_odd_setting_is_named_and_cut(field: str) -> None:
    said = "HEADRACE_"
    try:
        Settings.load({variable(field): f"redis://u:{SECRET}@" + "x" * 5000})
    except SettingsError as error:
        said = str(error)
    assert variable(field) in said or said == "HEADRACE_"
    assert SECRET not in said
    assert len(said) < 3 * MAX_QUOTED


@pytest.mark.parametrize("text", [f"https://u:{SECRET}@h/v1 {{}}", f'[{{"base_url": "https://u:{SECRET}@h/v1"}}]'])
def test_the_providers_setting_shows_none(text: str) -> None:
    with pytest.raises(SettingsError) as error:
        providers({"HEADRACE_PROVIDERS": text})
    assert SECRET not in str(error.value)


def test_a_provider_shows_no_secret_of_its_address() -> None:
    url = f"https://user:{SECRET}@h/v1?api_key=abcdef-{SECRET}"
    model = Model.chat_completion("openai/m", base_url=url, api_key="sk-none")
    for text in (repr(model), str(model.serialize()), repr(Request(url, {}, {})), scrub(f"cannot reach {url}")):
        assert SECRET not in text
    with pytest.raises(HeadraceError) as error:
        Model.chat_completion("openai/m", base_url=f"ftp://user:{SECRET}@h", api_key="sk-none")
    assert SECRET not in str(error.value)


def test_no_repr_shows_what_headers_hold() -> None:
    options = parse_options({"extra_headers": {"Helicone-Auth": f"Bearer {SECRET}"}, "temperature": 0.0})
    assert SECRET not in repr(options)
    assert "Helicone-Auth" in repr(options)
    assert "temperature=0.0" in repr(options)
    job, _ = make_job("openai/m", "x", extra_headers={"Helicone-Auth": SECRET})
    assert SECRET not in repr(job)
    row = providers(
        {"HEADRACE_PROVIDERS": f'{{"p": {{"base_url": "https://u:{SECRET}@h", "headers": {{"X-Key": "{SECRET}"}}}}}}'}
    )["p"]
    assert SECRET not in repr(row)


LONG = "x" * 5000

QUOTING: dict[str, Callable[[], Any]] = {
    "model": lambda: split_model(LONG),
    "option": lambda: parse_options({LONG: 1}),
    "a value": lambda: parse_options({"verbosity": LONG}),
    "header": lambda: parse_options({"extra_headers": {LONG + " ": "1"}}),
    "mode": lambda: make_job("rehearsal/small", "x", schema={"type": "object"}, mode=LONG),  # type: ignore[arg-type]
    "on_retry": lambda: make_job("rehearsal/small", "x", on_retry=LONG),  # type: ignore[arg-type]
    "role": lambda: make_job("rehearsal/small", [{"role": LONG, "content": "x"}]),
    "part": lambda: make_job("rehearsal/small", [{"role": "user", "content": [{"type": LONG}]}]),
    "tool": lambda: make_job("rehearsal/small", "x", tools=[{"type": "function", "function": {"name": LONG}}]),
    "choice": lambda: make_job(
        "rehearsal/small", "x", tools=[{"type": "function", "function": {"name": "f"}}], tool_choice=LONG
    ),
    "schema": lambda: make_job("rehearsal/small", "x", schema={"type": LONG}),
    "ref": lambda: make_job("rehearsal/small", "x", schema={"$ref": f"#/{LONG}"}),
    "dialect": lambda: make_job("rehearsal/small", "x", schema={"$schema": LONG}),
    "required": lambda: make_job(
        "rehearsal/small", "x", schema={"type": "object", "required": [LONG], "additionalProperties": False}
    ),
    "pattern": lambda: make_job("rehearsal/small", "x", schema={"type": "string", "pattern": f"({LONG}"}),
    "job": lambda: Headrace("redis://127.0.0.1:1").job(LONG),
    "provider": lambda: Model.chat_completion(f"{LONG}/m"),
    "base_url": lambda: Model.chat_completion("openai/m", base_url=LONG, api_key="k"),
    "parser": lambda: Model.chat_completion("openai/m", base_url="http://127.0.0.1:1", api_key="k")(
        "x", typed_parser=LONG
    ),
}


@pytest.mark.parametrize("name", QUOTING)
def test_a_message_quotes_no_more_than_200_characters(name: str) -> None:
    with pytest.raises(HeadraceError) as error:
        QUOTING[name]()
    assert len(re.findall("x", str(error.value))) <= 2 * MAX_QUOTED + 10, str(error.value)[:300]


def test_quoting() -> None:
    assert quoted("a'b") == '"a\'b"'
    assert len(quoted(LONG)) <= MAX_QUOTED + 3
    assert shortened(LONG) == "x" * MAX_QUOTED + "…"
    assert len(quoted([LONG])) <= MAX_QUOTED + 1

    class Bad:
        def __repr__(self) -> str:
            raise ValueError("no")

    assert quoted(Bad()) == "<Bad, whose repr raises ValueError>"


def test_the_end_of_an_address_that_was_cut_is_masked_as_well() -> None:
    assert masked("…/v1?api_key=hunter2&x=1") == f"…/v1?api_key={HIDDEN}&x=1"
