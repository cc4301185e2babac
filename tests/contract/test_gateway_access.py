"""Who may use the gateway: proxies, other names for this machine, pages of other sites, bodies that say where a call goes."""

from __future__ import annotations

import html.parser
import json
import re
import socket
import subprocess
import sys
import urllib.parse
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from gateways import Sse, another_gateway, ask, code_of, submit
from headrace_api.__main__ import announce
from headrace_api.auth import Gate
from stack import Stack, until

SECRET = "a secret for this test alone"

BODY = {"model": "rehearsal/small", "messages": [{"role": "user", "content": "x"}]}

ELSEWHERE = ("--host", "0.0.0.0")

FORWARDED = {
    "forwarded": "for=203.0.113.7",
    "x_forwarded_for": "203.0.113.7",
    "x_forwarded_proto": "https",
    "x_forwarded_host": "llm.example.org",
    "x_real_ip": "203.0.113.7",
    "via": "1.1 varnish",
    "cf_connecting_ip": "203.0.113.7",
    "true_client_ip": "203.0.113.7",
    "x_amzn_trace_id": "Root=1-67891233-abcdef012345678912345678",
}


@pytest.mark.parametrize("name", FORWARDED)
async def test_refuses_proxied_requests_unless_the_gateway_is_declared_open(base: str, name: str) -> None:
    header = {name: FORWARDED[name]}
    for method, path in (("GET", "/"), ("GET", "/healthz"), ("POST", "/v1/jobs"), ("POST", "/v1/chat/completions")):
        answer = ask(base + path, method, BODY if method == "POST" else None, **header)
        assert answer.status == 403, path
        message = answer.json["error"]["message"]
        assert "HEADRACE_STREAM_SECRET" in message
        assert "HEADRACE_GATEWAY_OPEN=0" in message
    named = {name.replace("_", "-"): FORWARDED[name]}
    assert await code_of(base, additional_headers=named) == 4403


async def test_ignores_forwarded_headers_of_an_open_gateway(stack: Stack) -> None:
    headers = {"x_forwarded_proto": "https", "x_forwarded_for": "203.0.113.7", "x_forwarded_host": "evil.example"}
    with another_gateway(stack, "meant", HEADRACE_GATEWAY_OPEN="1") as (base, _):
        answer = ask(f"{base}/v1/jobs", "POST", BODY, **headers)
        assert answer.status == 202
        assert answer.json["urls"]["events"].startswith(f"{base}/v1/jobs/")
        assert ask(f"{base}/v1/jobs", "POST", BODY, host="evil.example", **headers).status == 403


def test_behind_a_proxy_a_token_is_what_counts_and_urls_are_those_of_the_callers(stack: Stack) -> None:
    variables = {
        "HEADRACE_STREAM_SECRET": SECRET,
        "HEADRACE_GATEWAY_OPEN": "0",
        "HEADRACE_GATEWAY_URL": "https://llm.example.org",
    }
    token = Gate(SECRET.encode(), is_open=False).sign("*", ("submit", "read"))
    with another_gateway(stack, "behind", **variables) as (base, _):
        proxied = {"x_forwarded_for": "203.0.113.7", "host": "llm.example.org", "origin": "https://llm.example.org"}
        assert ask(f"{base}/v1/jobs", "POST", BODY, **proxied).status == 401
        answer = ask(f"{base}/v1/jobs", "POST", BODY, authorization=f"Bearer {token}", **proxied)
        assert answer.status == 202, answer.body
        assert answer.json["urls"]["events"].startswith("https://llm.example.org/v1/jobs/")
        assert answer.json["urls"]["websocket"].startswith("wss://llm.example.org/v1/stream?")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "HERE"])
@pytest.mark.parametrize("is_open", [None, "0", "1"])
def test_an_address_for_others_without_a_secret_does_not_start(stack: Stack, host: str, is_open: str | None) -> None:
    ready = stack.folder / "never.json"
    environment = {**stack.client_environment, **({} if is_open is None else {"HEADRACE_GATEWAY_OPEN": is_open})}
    host = own_address() if host == "HERE" else host
    command = [sys.executable, "-m", "headrace_api", "--host", host, "--port", "0", "--ready-file", str(ready)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert "HEADRACE_STREAM_SECRET" in done.stderr
    assert "Traceback" not in done.stderr
    assert not ready.exists()


def own_address() -> str:
    """An address of this machine that others may reach."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has loopback alone")
        address = probe.getsockname()[0]
    if address.startswith("127."):
        pytest.skip("this machine has loopback alone")
    return address


async def test_open_to_others_a_name_is_no_pass(stack: Stack) -> None:
    variables = {"HEADRACE_STREAM_SECRET": SECRET, "HEADRACE_GATEWAY_OPEN": "1"}
    with another_gateway(stack, "wide", *ELSEWHERE, **variables) as (base, _):
        port = base.rpartition(":")[2]
        here, there = f"http://127.0.0.1:{port}", f"http://{own_address()}:{port}"
        for host in (
            "localhost",
            f"localhost:{port}",
            "127.0.0.1",
            f"[::1]:{port}",
            "evil.example",
            f"evil.example:{port}",
        ):
            for origin in ({}, {"origin": f"http://{host}"}):
                answer = ask(f"{there}/v1/jobs", "POST", BODY, host=host, **origin)
                assert (answer.status, answer.json["error"]["code"]) == (403, "forbidden"), (host, origin)
            assert await code_of(f"http://{host}", host=own_address(), port=int(port)) == 4403
        assert ask(f"{there}/v1/jobs", "POST", BODY).status == 202, "its own address"
        assert ask(f"{there}/v1/jobs", "POST", BODY, origin=there).status == 202
        assert ask(f"{there}/v1/jobs", "POST", BODY, origin=here).status == 403
        assert ask(f"{there}/v1/jobs", "POST", BODY, origin="http://localhost").status == 403
        assert ask(f"{here}/v1/jobs", "POST", BODY, host=f"localhost:{port}").status == 202, "from this machine"
        assert ask(f"{here}/v1/jobs", "POST", BODY, host=f"evil.example:{port}").status == 403


def test_on_loopback_other_names_are_refused(base: str) -> None:
    port = base.rpartition(":")[2]
    for host in ("evil.example", f"evil.example:{port}", "192.0.2.7", "localhost.evil.example", "127.0.0.1.nip.io"):
        for origin in ({}, {"origin": f"http://{host}"}):
            assert ask(f"{base}/v1/jobs", "POST", BODY, host=host, **origin).status == 403, host
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"):
        assert ask(f"{base}/v1/jobs", "POST", BODY, host=host).status == 202, host


class Links(html.parser.HTMLParser):
    """Every address that a page has a browser load or go to."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.urls += [value for name, value in attrs if name in ("src", "href", "action", "data", "srcset") and value]


def test_pages_load_nothing_from_other_sites(base: str) -> None:
    from headrace_api.routes.pages import FILES

    paths = {"/", *(f"/{name}" for name in FILES)}
    paths |= {f"/v1/openapi.json{page}" for page in ("", "/", "/redoc", "/swagger", "/elements", "/rapidoc", "/scalar")}
    pages = 0
    for path in sorted(paths):
        answer = ask(base + path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy, path
        assert "http" not in policy
        assert "frame-ancestors 'none'" in policy
        if answer.status != 200 or not answer.headers["content-type"].startswith("text/html"):
            continue
        pages += 1
        links = Links()
        links.feed(answer.body.decode())
        for url in links.urls:
            assert not urllib.parse.urlsplit(url).netloc, (path, url)
            assert not url.startswith("//"), (path, url)
    assert pages >= 1
    for name in FILES:
        text = ask(f"{base}/{name}").body.decode()
        assert not re.search(r"""(@import|url\(|from\s+|import\()\s*["']?(https?:)?//""", text), name
    described = ask(f"{base}/v1/openapi.json").json
    assert described["openapi"]
    assert {"/v1/jobs", "/v1/chat/completions", "/v1/responses", "/v1/files", "/v1/batches"} <= set(described["paths"])


def test_nothing_that_holds_content_is_stored(base: str) -> None:
    job = submit(base)
    until(lambda: ask(f"{base}/v1/jobs/{job}").json["status"] == "succeeded", what="it is done")
    last = Sse(f"{base}/v1/jobs/{job}/events").all()[-1][0]
    talk = {"model": "rehearsal/small", "messages": BODY["messages"]}
    ui = {
        "id": "c",
        "model": "rehearsal/small",
        "messages": [{"role": "user", "parts": [{"type": "text", "text": "x"}]}],
    }
    run = {"threadId": "t", "runId": "r", "forwardedProps": {"model": "rehearsal/small"}, "messages": talk["messages"]}
    for method, path, body, status in (
        ("POST", "/v1/jobs", talk, 202),
        ("GET", f"/v1/jobs/{job}", None, 200),
        ("GET", f"/v1/jobs/{job}/events", None, 200),
        ("GET", f"/v1/jobs/{job}/events?after={last}", None, 204),
        ("GET", f"/v1/jobs/{job}/events?view=openai", None, 200),
        ("GET", f"/v1/jobs/{job}/events?after=x", None, 400),
        ("POST", f"/v1/jobs/{job}/tokens", {}, 201),
        ("POST", f"/v1/jobs/{job}/cancel", {}, 409),
        ("POST", f"/v1/jobs/{job}/retry", {}, 400),
        ("POST", "/v1/chat/completions", talk, 200),
        ("POST", "/v1/chat/completions", talk | {"stream": True}, 200),
        ("POST", "/v1/chat/completions", {"model": "rehearsal/x"}, 400),
        ("GET", "/v1/models", None, 200),
        ("GET", "/v1/models/rehearsal/x", None, 200),
        ("POST", "/v1/ui/chat", ui, 200),
        ("GET", "/v1/ui/chat/none/stream", None, 204),
        ("POST", "/v1/ag-ui", run, 200),
        ("GET", "/v1/jobs/job_none", None, 404),
        ("GET", "/nowhere/at/all", None, 404),
        ("DELETE", "/v1/jobs", None, 405),
        ("GET", "/healthz", None, 200),
    ):
        answer = ask(base + path, method, body)
        assert answer.status == status, (path, answer.body[:300])
        assert "no-store" in (answer.headers["cache-control"] or ""), (method, path)


def test_treats_http_1_0_as_a_proxy(base: str) -> None:
    parts = urlsplit(base)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:  # as nginx does by default
        connection.sendall(f"GET /healthz HTTP/1.0\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert answer.startswith(b"HTTP/1.1 403")
    assert b"HEADRACE_GATEWAY_OPEN=0" in answer


@pytest.mark.parametrize("origins", ["*", "app.example", "null", "https://app.example/x", "https://*.example"])
def test_refuses_to_start_with_invalid_origins(stack: Stack, origins: str) -> None:
    environment = {**stack.client_environment, "HEADRACE_GATEWAY_ORIGINS": origins}
    command = [sys.executable, "-m", "headrace_api", "--port", "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert "HEADRACE_GATEWAY_ORIGINS" in done.stderr
    assert "https://app.example" in done.stderr


def test_a_ready_file_follows_no_link(stack: Stack, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "ready.json").symlink_to(victim)
    announce(tmp_path / "ready.json", "http://127.0.0.1:1")
    assert victim.read_text() == "mine"
    assert json.loads((tmp_path / "ready.json").read_text())["url"] == "http://127.0.0.1:1"


STEERING = [
    *("user_config", "litellm_params", "default_fallbacks", "aws_sts_endpoint", "ollama_base_url", "x-api-key"),
    *("vertex_ai_project", "langfuse_host", "success_callback", "litellm_credential_name", "anthropic_api_key"),
    *("api_base", "base_url", "api_key", "extra_query", "extra_headers", "extra_body", "api_version", "organization"),
    *("custom_llm_provider", "apiBase", "API-KEY", "baseURL", "azure_endpoint", "default_headers"),
]


@pytest.mark.parametrize("name", STEERING)
def test_a_body_does_not_say_where_a_call_goes(base: str, name: str) -> None:
    value = {"base_url": "http://203.0.113.7/v1"} if name.startswith("extra") else "http://203.0.113.7/v1"
    ui = {
        "id": "c",
        "model": "rehearsal/small",
        "messages": [{"role": "user", "parts": [{"type": "text", "text": "x"}]}],
    }
    run = {"threadId": "t", "runId": "r", "messages": BODY["messages"]}
    props = {"model": "rehearsal/small"}
    for route, body in (
        ("jobs", BODY | {name: value}),
        ("jobs", BODY | {name: None}),
        ("jobs", BODY | {"headrace": {name: value}}),
        ("chat/completions", BODY | {name: value}),
        ("ui/chat", ui | {name: value}),
        ("ag-ui", run | {"forwardedProps": props, name: value}),
        ("ag-ui", run | {"forwardedProps": props | {name: value}}),
    ):
        answer = ask(f"{base}/v1/{route}", "POST", body)
        assert answer.status == 400, (route, answer.body)
        message = answer.json["error"]["message"]
        assert "headrace" in body or name in message
        assert "203.0.113.7" not in message
