"""The forms of `NO_PROXY`, and the address of a provider that cannot be called."""

from __future__ import annotations

import pytest
from headrace_providers.wire.address import fault_of
from headrace_providers.wire.environment_proxies import EnvironmentProxies, is_exempt

PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "exempt"),
    [
        ("", "a.example", 443, False),
        ("*", "a.example", 443, True),
        ("localhost, *", "a.example", 443, True),
        ("a.example", "a.example", 443, True),
        ("A.Example", "a.example", 443, True),
        ("b.example,a.example", "a.example", 443, True),
        ("example", "a.example", 443, True),
        (".example", "a.example", 443, True),
        ("*.example", "a.example", 443, True),
        ("*.example", "an.example.com", 443, False),
        ("xample", "a.example", 443, False),
        ("a.example:443", "a.example", 443, True),
        ("a.example:8443", "a.example", 443, False),
        ("10.0.0.7", "10.0.0.7", 80, True),
        ("10.0.0.7:8000", "10.0.0.7", 8000, True),
        ("10.0.0.7:8000", "10.0.0.7", 80, False),
        ("10.0.0.0/8", "10.1.2.3", 80, True),
        ("10.0.0.0/8", "11.1.2.3", 80, False),
        ("10.0.0.0/8", "a10.example", 80, False),
        ("fd00::/8", "fd00::7", 80, True),
        ("::1", "::1", 80, True),
        ("[::1]", "::1", 80, True),
        ("[::1]:8000", "::1", 8000, True),
        ("[::1]:8000", "::1", 80, False),
        (",, ,", "a.example", 80, False),
        (":80", "a.example", 80, False),
        (".", "a.example", 80, False),
        ("[", "a.example", 80, False),
        ("[]", "a.example", 80, False),
    ],
)
def test_which_hosts_are_reached_without(no_proxy: str, host: str, port: int, exempt: bool) -> None:
    assert is_exempt(host, port, no_proxy) is exempt


@pytest.mark.parametrize(
    ("url", "proxied"),
    [
        ("https://a.example/v1", True),
        ("http://a.example/v1", False),
        ("https://b.example/v1", False),
        ("https://[::1]:9/v1", False),
        ("https://[::1]:10/v1", True),
    ],
)
def test_the_environment_is_read(url: str, proxied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HTTP_PROXY", "http_proxy", "https_proxy", "no_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", "b.example:443,[::1]:9")
    words, headers = EnvironmentProxies().words_for(url)
    assert (words, headers) == ({"proxy": PROXY} if proxied else {}, {})


@pytest.mark.parametrize(
    "url",
    [
        *("http://me:hunter2@h/v1", "http://me@h/", "http://h:99999/", "http://h:0/", "http://h:x/", "http://[::1/"),
        *("http:///v1", "ftp://h/", "h/v1", "", "http://127.1/", "http://2130706433/", "http://1.2.3.4.5/"),
        *("http://a..b/", "http://.a/", f"http://{'a' * 64}.example/", "http://h/a\r\nX: y", "http://h/\0"),
    ],
)
def test_what_is_no_address_is_told_without_being_shown(url: str) -> None:
    fault = fault_of(url)
    assert fault
    assert "hunter2" not in fault


@pytest.mark.parametrize(
    "url",
    [
        *("http://h", "https://h:8443/v1?api-version=1&x=a%20b", "http://127.0.0.1:8000/v1", "http://[::1]:8000/v1"),
        *(
            "http://[fe80::1%25lo]/",
            "http://bücher.example/v1",
            "http://localhost./v1",
            "http://my_host/v1",
            "HTTP://H/",
        ),
    ],
)
def test_what_is_one(url: str) -> None:
    assert fault_of(url) is None
