"""Options that users of the three providers name daily, each provider's ranges and headers, and addresses with a query."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
from typing import Any, ClassVar

import pytest
from fake_transport import CLASSES, FakeTransport, T, answer, ask, body_of, model_of
from headrace_api.requests.chat_completions import read_chat_request
from headrace_providers import Model, OpenAIChatCompletion
from headrace_providers.registry import Registry
from headrace_providers.wire.transport import Deadlines

from headrace.batches.build import make_template
from headrace.batches.template import Item, Template
from headrace.chat.options import Options, merged_plugins
from headrace.chat.provider_table import PROVIDERS, endpoint, providers
from headrace.chat.tools import ToolDefinitions
from headrace.errors import InputError
from headrace.jobs.build import make_job

OPENAIS = {
    "n": 2,
    "logit_bias": {"50256": -100.0},
    "metadata": {"run": "a"},
    "service_tier": "flex",
    "prompt_cache_key": "k",
    "safety_identifier": "u1",
    "prediction": {"type": "content", "content": "x"},
    "store": True,
}
VLLMS = {
    "min_p": 0.1,
    "top_k": -1,
    "repetition_penalty": 1.1,
    "stop_token_ids": [2],
    "chat_template_kwargs": {"thinking": True},
    "priority": -3,
    "logit_bias": {"50256": -100.0},
    "n": 3,
}
OPENROUTERS = {
    "provider": {"order": ["a"]},
    "models": ["b/c"],
    "plugins": [{"id": "file-parser"}],
    "transforms": [],
    "usage": {"include": True},
    "verbosity": "max",
    "reasoning": {"effort": "low", "exclude": True},
    "top_k": 40,
    "min_p": 0.1,
    "metadata": {"run": "a"},
}


def own_body(name: str, /, **options: Any) -> dict[str, Any]:
    """The body of a call whose options are the model's own (one of them is called `provider`)."""
    transport = FakeTransport()
    ask(CLASSES[name]("m", transport=transport, api_key="key", **options), "async")
    return transport.body


@pytest.mark.parametrize(
    ("provider", "options"),
    [
        ("openai", OPENAIS),
        ("vllm", VLLMS),
        ("vllm", {"structured_outputs": {"regex": "a+"}}),
        ("openrouter", OPENROUTERS),
    ],
)
def test_named_options_travel(provider: str, options: dict[str, Any]) -> None:
    assert body_of(provider, call=options).items() >= options.items()
    assert own_body(provider, **options).items() >= options.items()
    job, _ = make_job(f"{provider}/m", "x", **options)
    transport = FakeTransport()
    asyncio.run(model_of(provider, transport).complete(job))
    assert transport.body.items() >= options.items()


@pytest.mark.parametrize(
    ("provider", "options"),
    [("openai", {**VLLMS, **OPENROUTERS}), ("vllm", {**OPENAIS, **OPENROUTERS}), ("openrouter", VLLMS | {"top_k": 5})],
)
def test_drops_options_that_a_provider_does_not_support(provider: str, options: dict[str, Any]) -> None:
    row = PROVIDERS[provider]
    body = own_body(provider, **options)
    assert not body.keys() & (row.unsupported | row.silent)
    assert body.keys() >= options.keys() - row.unsupported - row.silent


def test_every_option_that_a_row_names_is_one() -> None:
    for row in PROVIDERS.values():
        assert set(Options.__struct_fields__) >= {*row.unsupported, *row.silent, *row.ranges, *row.renamed}


def test_token_ids_may_be_numbers() -> None:
    assert body_of("openai", logit_bias={50256: -100})["logit_bias"] == {"50256": -100.0}


LOOSE = [
    {"temperature": 3},
    {"stop": list("abcdefghij")},
    {"presence_penalty": -2.5, "frequency_penalty": 3},
    {"logprobs": True, "top_logprobs": -1},
    {"logprobs": True, "top_logprobs": 50},
]


@pytest.mark.parametrize("options", LOOSE)
def test_ranges_are_the_providers(options: dict[str, Any]) -> None:
    assert body_of("vllm", **options).items() >= options.items()
    for provider in ("openai", "openrouter"):
        with pytest.raises(InputError, match=rf"{provider} takes"):
            model_of(provider, **options)
        with pytest.raises(InputError, match=rf"{provider} takes"):
            make_job(f"{provider}/m", "x", **options)
    make_job("registered/m", "x", **options)  # its row is with the workers


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.5])
def test_no_number_is_none_anywhere(value: float) -> None:
    with pytest.raises(InputError, match="temperature"):
        make_job("vllm/m", "x", temperature=value)


def test_a_registered_provider_has_ranges_of_its_own() -> None:
    row = {
        "base_url": "http://h/v1",
        "ranges": {"temperature": [0, 1]},
        "max_stops": 16,
        "allowed_headers": ["x-api-key"],
    }
    facts = providers({"HEADRACE_PROVIDERS": json.dumps({"mine": row})})["mine"]
    headers = {"X-Api-Key": "a"}
    assert OpenAIChatCompletion("m", facts=facts, api_key="k", stop=list("abcdefgh"), extra_headers=headers)
    with pytest.raises(InputError, match="mine takes from 0"):
        OpenAIChatCompletion("m", facts=facts, api_key="k", temperature=1.5)


@pytest.mark.parametrize(
    ("provider", "header", "fine"),
    [
        ("openai", "api-key", True),
        ("openai", "anthropic-beta", True),
        ("openai", "Helicone-Auth", True),
        ("openai", "cf-aig-authorization", True),
        ("openrouter", "anthropic-beta", True),
        ("openrouter", "Helicone-Auth", True),
        ("openrouter", "api-key", False),
        ("vllm", "api-key", True),
        ("vllm", "anthropic-beta", False),
        ("openai", "Authorization", False),
        ("openai", "Cookie", False),
    ],
)
def test_headers_are_the_providers(provider: str, header: str, fine: bool) -> None:
    def made() -> str:
        transport = FakeTransport()
        ask(model_of(provider, transport, extra_headers={header: "v"}), "async")
        make_job(f"{provider}/m", "x", extra_headers={header: "v"})
        return transport.requests[0].headers[header]

    if fine:
        assert made() == "v"
        make_job("registered/m", "x", extra_headers={header: "v"})
    else:
        with pytest.raises(InputError, match=header):
            made()


def test_the_extra_body_of_a_call_is_merged_deep() -> None:
    own = {"provider": {"order": ["a"], "max_price": {"prompt": 1, "completion": 2}}, "x": {"l": [1]}}
    transport = FakeTransport()
    model = model_of("openrouter", transport, extra_body=own)
    ask(model, "async", extra_body={"provider": {"max_price": {"prompt": 3}}, "x": {"l": [2]}, "y": 1})
    assert transport.body["provider"] == {"order": ["a"], "max_price": {"prompt": 3, "completion": 2}}
    assert (transport.body["x"], transport.body["y"]) == ({"l": [2]}, 1)
    ask(model, "async")
    assert transport.body["provider"] == own["provider"]
    assert own["provider"]["max_price"] == {"prompt": 1, "completion": 2}


@pytest.mark.parametrize(
    ("provider", "own", "extra", "name", "sent"),
    [
        ("openrouter", {"reasoning_effort": "low"}, {"reasoning": {"effort": "high"}}, "reasoning", {"effort": "high"}),
        ("openrouter", {"reasoning_max_tokens": 5}, {"reasoning": {"max_tokens": 9}}, "reasoning", {"max_tokens": 9}),
        ("openrouter", {"enable_thinking": True}, {"reasoning": {"enabled": False}}, "reasoning", {"enabled": False}),
        (
            "openrouter",
            {"reasoning_effort": "low", "enable_thinking": True},
            {"reasoning": {"effort": "high", "exclude": True}},
            "reasoning",
            {"effort": "high", "exclude": True, "enabled": True},
        ),
        (
            "vllm",
            {"enable_thinking": True},
            {"chat_template_kwargs": {"enable_thinking": False, "a": 1}},
            "chat_template_kwargs",
            {"enable_thinking": False, "a": 1},
        ),
        (
            "openrouter",
            {"plugins": [{"id": "web", "max_results": 1, "engine": "exa"}, {"id": "file-parser"}]},
            {"plugins": [{"id": "web", "max_results": 5}]},
            "plugins",
            [{"id": "web", "max_results": 5, "engine": "exa"}, {"id": "file-parser"}],
        ),
        (
            "openrouter",
            {"web_search_options": {"max_results": 1, "engine": "exa"}},
            {"plugins": [{"id": "web", "max_results": 5}]},
            "plugins",
            [{"id": "web", "max_results": 5, "engine": "exa"}],
        ),
    ],
)
def test_the_extra_body_of_a_call_comes_over_the_options_of_its_model(
    provider: str, own: dict[str, Any], extra: dict[str, Any], name: str, sent: Any
) -> None:
    transport = FakeTransport()
    model = model_of(provider, transport, **own)
    ask(model, "async", extra_body=extra)
    assert transport.body[name] == sent
    assert body_of(provider, call={**own, "extra_body": extra})[name] != sent  # what the call itself names wins
    ask(model, "async")
    assert transport.body[name] != sent


def test_a_named_object_is_merged_with_the_extra_body() -> None:
    body = own_body("openrouter", provider={"sort": "price"}, extra_body={"provider": {"sort": "x", "only": ["a"]}})
    assert body["provider"] == {"sort": "price", "only": ["a"]}
    body = body_of("vllm", enable_thinking=False, chat_template_kwargs={"a": 1, "enable_thinking": True})
    assert body["chat_template_kwargs"] == {"a": 1, "enable_thinking": False}
    plugins = [{"id": "web", "engine": "exa"}, {"id": "file-parser"}]
    body = body_of("openrouter", plugins=plugins, web_search_options={"max_results": 3})
    assert body["plugins"] == [{"id": "web", "engine": "exa", "max_results": 3}, {"id": "file-parser"}]
    body = body_of("openrouter", reasoning={"exclude": True}, reasoning_effort="high")
    assert body["reasoning"] == {"exclude": True, "effort": "high"}
    with pytest.raises(InputError, match="reasoning_max_tokens"):
        model_of("openrouter", reasoning={"effort": "low"}, reasoning_max_tokens=5)


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        ("openai", "metadata"),
        ("openai", "logit_bias"),
        ("vllm", "chat_template_kwargs"),
        ("openrouter", "reasoning"),
    ],
)
def test_the_extra_body_of_a_call_comes_over_the_named_options_below(provider: str, name: str) -> None:
    number = name == "logit_bias"
    own: dict[str, Any] = {"1": 1.0, "2": 1.0} if number else {"sort": "price", "effort": "low"}
    theirs: dict[str, Any] = {"1": 2.0} if number else {"effort": "high"}
    both = own | theirs
    transport = FakeTransport()
    model = model_of(provider, transport, **{name: own})
    ask(model, "async", extra_body={name: theirs})
    assert transport.body[name] == both
    ask(model, "async")
    assert transport.body[name] == own
    template = Template(model=f"{provider}/m", prompt="{text}", options=Options(**{name: own}))
    item = Item(custom_id="a", fields={"text": "t"}, options=Options(extra_body={name: theirs}))
    assert getattr(template.job(item).options, name) == both


@pytest.mark.parametrize(("name", "value"), [("temperature", 1.0), ("seed", 7), ("service_tier", "flex")])
def test_named_options_override_the_extra_body(name: str, value: Any) -> None:
    transport = FakeTransport()
    ask(model_of("openai", transport, extra_body={name: 0, "x": 1}), "async", **{name: value})
    assert (transport.body[name], transport.body["x"]) == (value, 1)
    ask(model_of("openai", transport, extra_body={"max_completion_tokens": 5}), "async", max_tokens=7)
    assert transport.body["max_completion_tokens"] == 7


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("provider", CLASSES)
def test_one_limit_of_tokens_travels(provider: str, name: str) -> None:
    body = own_body(provider, max_tokens=7, extra_body={name: 5})
    assert [body[each] for each in ("max_tokens", "max_completion_tokens") if each in body] == [5]


@pytest.mark.parametrize("provider", CLASSES)
def test_parallel_tool_calls_travel_only_when_asked(provider: str) -> None:
    tools = {"tool_definitions": ToolDefinitions(schemas=[T])}
    assert "parallel_tool_calls" not in body_of(provider, call=tools)
    for value in (True, False):
        assert body_of(provider, parallel_tool_calls=value, call=tools)["parallel_tool_calls"] is value


def test_several_choices_are_kept() -> None:
    two = answer("one")
    two["choices"].append({"index": 1, "message": {"content": "two"}, "finish_reason": "stop"})
    job, _ = make_job("openai/m", "x", n=2)
    completion = asyncio.run(model_of("openai", FakeTransport(two)).complete(job))
    assert (completion.content, [choice.content for choice in completion.other_choices]) == ("one", ["two"])


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}


def test_refuses_options_that_bypass_the_schema() -> None:
    for words, match in (
        ({"n": 9}, "`n`=9"),
        ({"structured_outputs": {"regex": "a"}}, "structured_outputs"),
        ({"extra_body": {"n": 2}}, "n=2"),
        ({"extra_body": {"structured_outputs": {"regex": "a"}}}, "structured_outputs"),
    ):
        with pytest.raises(InputError, match=match):
            make_job("vllm/m", "x", schema=SCHEMA, **words)
        with pytest.raises(InputError, match=match):
            make_template("vllm/m", "{text}", schema=SCHEMA, **words)
        with pytest.raises(InputError, match=match):
            ask(model_of("vllm"), "async", generation_schema=SCHEMA, **words)
    with pytest.raises(InputError, match="row of a batch"):
        make_template("openai/m", "{text}", n=2)
    for n in (1, 8):
        make_job("openai/m", "x", schema=SCHEMA, n=n)  # each is a call of its own, and checked


def test_the_gateway_passes_on_what_openai_has_no_name_for() -> None:
    body = {"model": "openai/m", "messages": [{"role": "user", "content": "x"}], "top_k": 5, "metadata": {"a": "b"}}
    options = read_chat_request(body).job.options
    assert (options.extra_body, options.metadata) == ({"top_k": 5}, {"a": "b"})


@pytest.mark.parametrize(
    ("base", "wanted"),
    [
        ("http://h/v1", "http://h/v1/chat/completions"),
        ("http://h/v1/?api-version=1", "http://h/v1/chat/completions?api-version=1"),
        ("http://h/d?api-version=1&b=/c", "http://h/d/chat/completions?api-version=1&b=/c"),
    ],
)
def test_a_query_stays_at_the_end(base: str, wanted: str) -> None:
    assert endpoint(base, "/chat/completions") == wanted


class Recorder(http.server.BaseHTTPRequestHandler):
    paths: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.paths.append(self.path)
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps(answer("hello")).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


def test_the_query_reaches_the_server(each_transport: None) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_address[1]}/openai/deployments/x?api-version=2024-10-21"

        async def call() -> str | None:
            registry = Registry(Deadlines(), {"OPENAI_BASE_URL": base, "OPENAI_API_KEY": "k"})
            job, _ = make_job("openai/m", "x")
            try:
                return (await registry.chat_completion("openai/m").complete(job)).content
            finally:
                await registry.close()

        assert asyncio.run(call()) == "hello"
        server.shutdown()
    assert Recorder.paths[-1:] == ["/openai/deployments/x/chat/completions?api-version=2024-10-21"]


def test_a_configuration_keeps_them() -> None:
    model = CLASSES["openrouter"]("m", api_key="key", **OPENROUTERS)
    again = Model.from_config(json.loads(json.dumps(model.serialize())), api_key="key")
    assert again.options == model.options


def test_plugins_without_an_id_stand_beside_each_other() -> None:
    body = body_of("openrouter", plugins=[{"engine": "x"}], extra_body={"plugins": [{"id": "web"}, {"engine": "y"}]})
    assert body["plugins"] == [{"id": "web"}, {"engine": "y"}, {"engine": "x"}]


def test_a_list_of_plugins_is_the_callers_own() -> None:
    given = [{"id": "web", "a": 1}, {"id": "web", "b": 2}]
    assert merged_plugins([], given) == [{"id": "web", "a": 1, "b": 2}]
    assert given == [{"id": "web", "a": 1}, {"id": "web", "b": 2}]
